"""The live completeness of a visit: how many sources of a given signal-to-noise a difference finds, and whether its errors are right."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.fakes import FAKE_LEVELS, inject_fakes, measure_sky

if TYPE_CHECKING:
    from processors.differencing.pipeline import DifferenceResult

__all__ = ["CompletenessCurve", "combine_metrics", "fit_logistic", "measure_completeness", "metrics_of"]

LEVELS = tuple(sorted(set(FAKE_LEVELS)))
"""The signal-to-noise ratios of the fakes."""

BRIGHT_LEVEL = 8.0
"""Signal-to-noise from which fakes tell whether fluxes are right."""

_PULLS = ("sky_psf_pull_sd", "sky_aperture_pull_sd", "sky_aperture_pull_median", "fakes_flux_bias")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletenessCurve:
    """Fakes injected and found by signal-to-noise, the logistic curve through them, and what empty sky says of the errors."""

    level: NDArray[np.float64]
    injected: NDArray[np.int64]
    found: NDArray[np.int64]
    snr50: float
    """Signal-to-noise of 50 % completeness; NaN when there is nothing to fit, as are the next two."""
    snr50_error: float
    width: float
    """Scale of the logistic: completeness is ``1 / (1 + exp(-(s - snr50) / width))``."""
    flux_bias: float
    """Median of measured over injected flux of the bright fakes, less 1; NaN without any."""
    sky_psf_pull_sd: float
    """Standard deviation (from the quartiles) of PSF fluxes of empty sky over their errors; 1 when errors are right."""
    sky_aperture_pull_sd: float
    """The same in apertures: above 1 where noise is correlated or the background wanders."""
    sky_aperture_pull_median: float

    def between(self, low: float, high: float) -> float:
        """Return the share found of the fakes with a signal-to-noise in a half-open interval; NaN without any."""
        chosen = (self.level >= low) & (self.level < high)
        total = int(self.injected[chosen].sum())
        return float(self.found[chosen].sum() / total) if total else math.nan

    def at(self, snr: float) -> float:
        """Return the fitted completeness at a signal-to-noise."""
        if not math.isfinite(self.snr50):
            return math.nan
        return float(1 / (1 + math.exp(-max(min((snr - self.snr50) / self.width, 500.0), -500.0))))


def measure_completeness(result: DifferenceResult, *, visit: int = 0, detector: int = 0) -> CompletenessCurve:
    """Measure the completeness of one CCD with fakes, and its noise on empty sky.

    Parameters
    ----------
    result
        The difference; nothing in it is changed.
    visit, detector
        They choose the places of fakes and sky, so that every run of a visit has the same.
    """
    fakes = inject_fakes(result, visit=visit, detector=detector)
    sky = measure_sky(result, visit=visit, detector=detector)
    level = np.array(LEVELS)
    injected = np.array([np.count_nonzero(fakes["level"] == value) for value in level], np.int64)
    found = np.array([np.count_nonzero(fakes["found"][fakes["level"] == value]) for value in level], np.int64)
    bright = fakes[fakes["level"] >= BRIGHT_LEVEL]
    snr50, error, width = fit_logistic(level, injected, found)
    return CompletenessCurve(
        level=level,
        injected=injected,
        found=found,
        snr50=snr50,
        snr50_error=error,
        width=width,
        flux_bias=_flux_bias(bright),
        sky_psf_pull_sd=_quartile_sd(sky["psf_pull"]),
        sky_aperture_pull_sd=_quartile_sd(sky["aperture_pull"]),
        sky_aperture_pull_median=float(np.median(sky["aperture_pull"])) if len(sky) else math.nan,
    )


def metrics_of(curve: CompletenessCurve) -> dict[str, float]:
    """Return a curve as metrics: the fit, shares of wide intervals, and for each signal-to-noise how many were injected and found.

    The counts of many CCDs add up: `combine_metrics` makes the curve of a visit of them.
    """
    metrics = {
        "fakes_injected": float(curve.injected.sum()),
        "fakes_found": float(curve.found.sum()),
        "fakes_snr50": curve.snr50,
        "fakes_snr50_error": curve.snr50_error,
        "fakes_snr_width": curve.width,
        "fakes_completeness_snr_6_8": curve.between(6.0, 8.0),
        "fakes_completeness_snr_8_up": curve.between(8.0, math.inf),
        "fakes_flux_bias": curve.flux_bias,
        "sky_psf_pull_sd": curve.sky_psf_pull_sd,
        "sky_aperture_pull_sd": curve.sky_aperture_pull_sd,
        "sky_aperture_pull_median": curve.sky_aperture_pull_median,
    }
    for level, injected, found in zip(curve.level, curve.injected, curve.found, strict=True):
        metrics[f"fakes_injected_snr_{level:.1f}"] = float(injected)
        metrics[f"fakes_found_snr_{level:.1f}"] = float(found)
    return metrics


def combine_metrics(metrics: Iterable[Mapping[str, float]]) -> CompletenessCurve:
    """Return the curve of many CCDs from their metrics; those without fakes are passed over.

    Counts are added and fitted anew; noise and flux bias are medians of the CCDs'.
    """
    rows = [row for row in metrics if "fakes_injected" in row]
    level = np.array(LEVELS)
    counts = [
        np.array([sum(int(row.get(f"fakes_{what}_snr_{value:.1f}", 0)) for row in rows) for value in level], np.int64)
        for what in ("injected", "found")
    ]
    snr50, error, width = fit_logistic(level, counts[0], counts[1])
    pulls = {name: _median([row.get(name, math.nan) for row in rows]) for name in _PULLS}
    return CompletenessCurve(
        level=level,
        injected=counts[0],
        found=counts[1],
        snr50=snr50,
        snr50_error=error,
        width=width,
        flux_bias=pulls["fakes_flux_bias"],
        sky_psf_pull_sd=pulls["sky_psf_pull_sd"],
        sky_aperture_pull_sd=pulls["sky_aperture_pull_sd"],
        sky_aperture_pull_median=pulls["sky_aperture_pull_median"],
    )


def fit_logistic(
    level: NDArray[np.float64], injected: NDArray[np.int64], found: NDArray[np.int64]
) -> tuple[float, float, float]:
    """Fit a logistic curve to counts.

    Parameters
    ----------
    level, injected, found
        Signal-to-noise, and how many fakes of it were injected and found.

    Returns
    -------
    snr50, snr50_error, width
        NaN when fewer than two levels have fakes or the counts do not rise.

    Notes
    -----
    Firth's (1993) penalty by the square root of the information removes the first-order bias of the maximum likelihood and
    keeps the fit finite where every fake above some level was found and none below it.
    """
    used = injected > 0
    if np.count_nonzero(used) < 2:
        return math.nan, math.nan, math.nan
    s, n, k = level[used], injected[used].astype(np.float64), found[used].astype(np.float64)
    middle = float(np.average(s, weights=n))
    design = np.column_stack([np.ones_like(s), s - middle])
    beta = np.zeros(2)
    information = np.eye(2)
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        weight = n * p * (1 - p)
        information = design.T @ (weight[:, None] * design) + 1e-12 * np.eye(2)
        leverage = weight * np.einsum("ij,jk,ik->i", design, np.linalg.inv(information), design)
        step = np.linalg.solve(information, design.T @ (k - n * p + leverage * (0.5 - p)))
        beta += step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-30))
        if float(np.abs(step).max()) < 1e-10:
            break
    if beta[1] <= 0:
        return math.nan, math.nan, math.nan
    snr50 = middle - beta[0] / beta[1]
    slope = np.array([-1 / beta[1], beta[0] / beta[1] ** 2])
    error = math.sqrt(max(float(slope @ np.linalg.inv(information) @ slope), 0.0))
    return float(snr50), error, float(1 / beta[1])


def _flux_bias(fakes: NDArray[Any]) -> float:
    return float(np.median(fakes["measured"] / fakes["flux"]) - 1) if len(fakes) else math.nan


def _quartile_sd(values: NDArray[np.float64]) -> float:
    if len(values) < 4:
        return math.nan
    low, high = np.percentile(values, [25, 75])
    return float((high - low) / 1.349)


def _median(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.median(finite)) if finite else math.nan
