"""Verdicts on detectors and visits from what their processing measured.

A threshold names a metric, the value from which it is a warning and the value from which the data are bad. A metric that
was not measured says nothing; one that is not a number is bad. The limits on astrometry follow the field's requirements
(LSE-61: 50 mas per CCD), the others the behaviour of healthy simulated nights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from processors.differencing.completeness import combine_metrics, metrics_of

__all__ = ["DETECTOR_THRESHOLDS", "VISIT_THRESHOLDS", "Threshold", "Verdict", "judge", "summarise_visit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Limits of one metric."""

    metric: str
    warning: float
    bad: float
    meaning: str
    above: bool = True
    """Whether large values are bad; small ones otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """good, warning or bad, with a sentence for each limit that was passed."""

    verdict: str
    reasons: tuple[str, ...]


DETECTOR_THRESHOLDS: tuple[Threshold, ...] = (
    Threshold(metric="psf_fwhm_arcsec", warning=1.5, bad=2.5, meaning="the PSF is wide"),
    Threshold(metric="psf_stars", warning=10, bad=5, meaning="few stars made the PSF", above=False),
    Threshold(metric="astrometry_rms_mas", warning=50, bad=200, meaning="positions scatter about the reference"),
    Threshold(metric="zero_point_scatter_mag", warning=0.03, bad=0.1, meaning="the zero point scatters"),
    Threshold(metric="score_sd", warning=1.15, bad=1.5, meaning="the S/N map is wider than noise"),
    Threshold(metric="template_coverage", warning=0.8, bad=0.2, meaning="the template covers little", above=False),
)
"""Limits of one detector of one visit."""

VISIT_THRESHOLDS: tuple[Threshold, ...] = (
    Threshold(metric="detectors_failed_fraction", warning=0.001, bad=0.1, meaning="detectors failed"),
    Threshold(metric="latency_p98_s", warning=60.0, bad=120.0, meaning="alerts came late"),
    Threshold(metric="psf_fwhm_arcsec_median", warning=1.5, bad=2.5, meaning="the seeing was poor"),
    Threshold(
        metric="clock_slip_s", warning=0.5, bad=2.0, meaning="known asteroids are all ahead or all behind in time"
    ),
)
"""Limits of a visit: 60 s and 120 s are OTT1's design and minimum (LSE-61); a clock that slips by 2 s puts a near-Earth object of
10 degrees a day 0.8" off."""


def judge(values: Mapping[str, float], thresholds: Sequence[Threshold] = DETECTOR_THRESHOLDS) -> Verdict:
    """Return the verdict on a set of metrics.

    Parameters
    ----------
    values
        Metrics by name; those without a threshold are passed over.
    thresholds
        Limits to hold them against.
    """
    worst, reasons = 0, []
    for threshold in thresholds:
        if threshold.metric not in values:
            continue
        value = values[threshold.metric]
        level = _level(value, threshold)
        if level:
            limit = threshold.bad if level == 2 else threshold.warning
            relation = "above" if threshold.above else "below"
            reasons.append(f"{threshold.metric} is {value:.4g}, {relation} {limit:g}: {threshold.meaning}")
        worst = max(worst, level)
    return Verdict(verdict=("good", "warning", "bad")[worst], reasons=tuple(reasons))


def summarise_visit(detectors: Sequence[Mapping[str, float]], *, planned: int) -> dict[str, float]:
    """Return the metrics of a visit from those of its detectors.

    Parameters
    ----------
    detectors
        Metrics of each detector that succeeded.
    planned
        How many detectors were planned.

    Returns
    -------
    summary
        Counts, and for each metric its median, smallest and largest value over detectors (non-finite values left out).
    """
    summary = {
        "detectors": float(len(detectors)),
        "detectors_failed_fraction": (planned - len(detectors)) / planned if planned else 0.0,
    }
    for name in sorted({name for metrics in detectors for name in metrics}):
        values = np.array([metrics[name] for metrics in detectors if name in metrics], dtype=float)
        values = values[np.isfinite(values)]
        if len(values):
            summary[f"{name}_median"] = float(np.median(values))
            summary[f"{name}_min"] = float(values.min())
            summary[f"{name}_max"] = float(values.max())
    return summary | _completeness(detectors)


def _completeness(detectors: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the completeness of the whole visit from all its fakes; nothing where no detector had any."""
    curve = combine_metrics(detectors)
    if not curve.injected.sum():
        return {}
    return {name: value for name, value in metrics_of(curve).items() if math.isfinite(value)}


def _level(value: float, threshold: Threshold) -> int:
    if math.isnan(value):
        return 2
    sign = 1 if threshold.above else -1
    if sign * value > sign * threshold.bad:
        return 2
    return int(sign * value > sign * threshold.warning)
