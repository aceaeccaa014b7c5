"""The clock, checked by asteroids: one that all of them are ahead of or behind in time slips.

An exposure whose time stamp is early sees every body farther along its path than predicted, each by its own motion in the time
that is missing. UTC taken for TAI (37 s) is 0.4" for a main-belt asteroid at opposition, which a radius of 1" hides silently.
The offset is the slope of a line through zero of residuals along the track over motions, found by an estimator that one wrong
match, or a bad orbit, cannot move (Tukey's biweight about the weighted median: Maronna et al. 2019, Robust Statistics, 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

from processors.moving_objects.constants import SECONDS_PER_DAY

__all__ = ["ClockOffset", "ClockRules", "arcsec_per_s", "clock_metrics", "clock_offset", "well_known"]

Floats = NDArray[np.float64]

OWN_PREFIX = "NC"
"""Our own names begin so (`discoveries.provisional_name`): their orbits were fitted to the very times that are checked."""

_BIWEIGHT = 4.685
"""Tuning for 95 % of the efficiency of least squares on Gaussian errors."""

_MAD_TO_SIGMA = 1.4826
_STEPS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRules:
    """When an offset is said, and when it is an alarm."""

    asteroids: int = 8
    """Fewer give no verdict: their scatter is not known well enough."""
    chance: float = 1e-5
    """An alarm without a slip is this improbable in one check."""
    least_s: float = 0.5
    """Smaller offsets are no alarm, however certain: 5 mas for a main-belt asteroid, below the catalogues' own errors."""
    slowest_arcsec_per_s: float = 1e-4
    """Slower bodies say nothing of time (a distant object at opposition: 8e-4)."""
    floor_arcsec: float = 0.03
    """Least scatter that is believed: that of good positions of numbered asteroids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset:
    """What the asteroids say of a visit's or a night's clock."""

    offset_s: float
    """By how much exposures were later than their time stamps say; negative: earlier."""
    sigma_s: float
    asteroids: int
    significance: float
    """In Gaussian sigmas of equal probability, few asteroids taken into account."""
    is_slip: bool
    """Whether this is an alarm."""


def clock_offset(
    along_arcsec: NDArray[Any],
    cross_arcsec: NDArray[Any],
    rate_arcsec_per_s: NDArray[Any],
    rules: ClockRules | None = None,
) -> ClockOffset | None:
    """Return the time offset that residuals along the track have in common, None where too few asteroids can say.

    Parameters
    ----------
    along_arcsec
        ``(n,)`` observed less predicted along the motion; NaN is left out.
    cross_arcsec
        ``(n,)`` the same across it: no clock moves these, so that they tell the scatter, too.
    rate_arcsec_per_s
        ``(n,)`` speed on the sky, not negative; NaN is left out.
    rules
        Limits.
    """
    rules = rules or ClockRules()
    along, cross, rate = (
        np.asarray(a, np.float64).reshape(-1) for a in (along_arcsec, cross_arcsec, rate_arcsec_per_s)
    )
    good = np.isfinite(along) & np.isfinite(cross) & np.isfinite(rate) & (rate >= rules.slowest_arcsec_per_s)
    along, cross, rate = along[good], cross[good], rate[good]
    if len(along) < rules.asteroids:
        return None
    offset, sigma = _slope(along, cross, rate, rules.floor_arcsec)
    chance = 2.0 * float(stdtr(2 * len(along) - 1, -abs(offset) / sigma))
    return ClockOffset(
        offset_s=offset,
        sigma_s=sigma,
        asteroids=len(along),
        significance=float(-ndtri(max(0.5 * chance, 1e-300))),
        is_slip=chance < rules.chance and abs(offset) > rules.least_s,
    )


def _slope(along: Floats, cross: Floats, rate: Floats, floor: float) -> tuple[float, float]:
    """Return the slope of a line through zero and its one-sigma error."""
    offset = _weighted_median(along / rate, rate)
    first = np.abs(along - offset * rate)
    # The median of few residuals about a slope of their own is too small: one of n is used up (Rousseeuw and Leroy 1987).
    n = len(along)
    scale = max(
        _MAD_TO_SIGMA * (1.0 + 5.0 / (n - 1.0)) * float(np.median(first)),
        _MAD_TO_SIGMA * float(np.median(np.concatenate([first, np.abs(cross)]))),
        floor,
    )
    for _ in range(_STEPS):
        weight = _weights(along - offset * rate, scale)
        new = float((weight * along * rate).sum() / (weight * rate * rate).sum())
        if abs(new - offset) < 1e-9 * (1.0 + abs(offset)):
            break
        offset = new
    residual = along - offset * rate
    weight = _weights(residual, scale)
    # Psi and its derivative for residuals in units of the scale.
    u2 = np.minimum((residual / (_BIWEIGHT * scale)) ** 2, 1.0)
    steep = float((np.where(u2 < 1.0, (1.0 - u2) * (1.0 - 5.0 * u2), 0.0) * rate * rate).sum())
    spread = float(((weight * residual * rate) ** 2).sum())
    by_fit = np.sqrt(spread * n / (n - 1.0)) / steep if steep > 0.0 else np.inf
    # The sandwich is too small where few bodies have most of the motion: the plain error with the same scale bounds it.
    return offset, max(float(by_fit), scale / float(np.sqrt((weight * rate * rate).sum())))


def _weights(residual: Floats, scale: float) -> Floats:
    u2 = np.minimum((residual / (_BIWEIGHT * scale)) ** 2, 1.0)
    return np.asarray((1.0 - u2) ** 2)


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.lexsort((weights, values))
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])


def well_known(designations: NDArray[Any], rules: ClockRules | None = None) -> NDArray[np.bool_]:
    """Return which objects may judge the clock: the numbered ones; where these are too few, all but our own discoveries."""
    rules = rules or ClockRules()
    names = [str(name) for name in np.asarray(designations).tolist()]
    numbered = np.array([name.isascii() and name.strip("()").isdigit() for name in names], bool)
    if numbered.sum() >= rules.asteroids:
        return numbered
    return np.array([bool(name) and not name.startswith(OWN_PREFIX) for name in names], bool)


def clock_metrics(found: ClockOffset | None) -> dict[str, float]:
    """Return metrics of a check, named for `processors.quality.metrics`; empty without a verdict.

    ``clock_slip_s`` is the size of an offset that is an alarm, 0 of any other, so that thresholds can be held against it.
    """
    if found is None:
        return {}
    return {
        "clock_offset_s": found.offset_s,
        "clock_offset_sigma_s": found.sigma_s,
        "clock_asteroids": float(found.asteroids),
        "clock_slip_s": abs(found.offset_s) if found.is_slip else 0.0,
    }


def arcsec_per_s(rate_deg_per_day: NDArray[Any]) -> Floats:
    """Return a motion in arcseconds per second of time of one in degrees per day."""
    return np.asarray(rate_deg_per_day, np.float64) * 3600.0 / SECONDS_PER_DAY
