"""Phase curves: the H, G12 law, and its fit to the magnitudes of one object in one band.

Muinonen et al. 2010 (Icarus 209, 542) with the calibration of Penttila et al. 2016 (Planet. Space Sci. 123, 117), in which the
three-parameter law's parameters are linear in G12; in flux the law is then linear too, but the noise is given in magnitudes,
so that a few Gauss-Newton steps fit it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

__all__ = ["ASSUMED_G12", "PhaseCurve", "fit_phase_curve", "hg12_magnitudes"]

Floats = NDArray[np.float64]

ASSUMED_G12 = 0.62
"""Where the phase angles do not tell: near S and C types' mean (Penttila et al. 2016, 0.5 to 0.8 by class)."""

MIN_POINTS, MIN_SPAN_DEG = 4, 2.0
"""Fewer observations, or a narrower span of phase angles, do not tell the slope."""

SLOPE_RANGE = (-0.3, 1.3)
"""A slope beyond belongs to no surface: the fit went wrong."""

_G1_PER_G12, _G2_AT_0 = 0.84293649, 0.53513350
_KNOTS = np.radians([7.5, 30.0, 60.0, 90.0, 120.0, 150.0])
_PEAK_KNOTS = np.radians([0.0, 0.3, 1.0, 2.0, 4.0, 8.0, 12.0, 20.0, 30.0])


def _spline(knots: Floats, values: tuple[float, ...], ends: tuple[float, float]) -> CubicSpline[np.float64]:
    first, last = np.array(ends[0]), np.array(ends[1])
    return CubicSpline(knots, np.array(values), bc_type=((1, first), (1, last)))


_FIRST = _spline(
    _KNOTS, (0.75, 0.33486016, 0.13410560, 0.051104756, 0.021465687, 0.0036396989), (-1.9098593, -0.091328612)
)
_SECOND = _spline(
    _KNOTS, (0.925, 0.62884169, 0.31755495, 0.12716367, 0.022373903, 0.00016505689), (-0.57295780, -8.6573138e-8)
)
_PEAK = _spline(
    _PEAK_KNOTS,
    (1.0, 0.83381185, 0.57735424, 0.42144772, 0.23174230, 0.10348178, 0.061733473, 0.016107006, 0.0),
    (-0.10630097, 0.0),
)
"""Basis functions of Muinonen et al. 2010, table 3 and 4: knots in radians and derivatives at the ends."""

_ROUNDS = 20
_DARK = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseCurve:
    """A fitted phase curve; NaN where there is none."""

    h: float
    h_err: float
    g12: float
    """The assumed one where the fit of the slope failed."""
    g12_err: float
    covariance: float
    """Of h and g12."""
    chi2: float
    n_used: int
    slope_failed: bool
    """Whether h rests on the assumed slope."""


def _bases(phase_deg: Floats) -> tuple[Floats, Floats]:
    """Flux at G12 of 0 and its change with G12."""
    x = np.radians(phase_deg)
    inner = x < _KNOTS[0]
    last = np.minimum(x, _KNOTS[-1])
    first = np.where(inner, 1 - 6 * x / np.pi, _FIRST(last))
    second = np.where(inner, 1 - 9 * x / (5 * np.pi), _SECOND(last))
    peak = np.where(x < _PEAK_KNOTS[-1], _PEAK(np.minimum(x, _PEAK_KNOTS[-1])), 0.0)
    # G1 = 0.843 G12, G2 = 0.535 (1 - G12), and the peak has what they leave of 1.
    at_0 = _G2_AT_0 * second + (1 - _G2_AT_0) * peak
    return at_0, _G1_PER_G12 * first - _G2_AT_0 * second + (_G2_AT_0 - _G1_PER_G12) * peak


def hg12_magnitudes(phase_deg: Floats, h: float | Floats, g12: float | Floats) -> Floats:
    """Return the magnitudes at 1 au from Sun and observer by phase angle.

    Beyond 150 degrees, where the law ends, its value there is kept.
    """
    at_0, change = _bases(np.asarray(phase_deg, np.float64))
    return np.asarray(h - 2.5 * np.log10(np.maximum(at_0 + g12 * change, _DARK)))


def fit_phase_curve(phase_deg: Floats, reduced_mag: Floats, sigma_mag: Floats) -> PhaseCurve:
    """Fit H and G12 to the reduced magnitudes of one object in one band.

    Parameters
    ----------
    reduced_mag, sigma_mag
        Magnitudes less ``5 log10(r delta)``, and their errors; rows that are not finite, or without a positive error, are
        left out.

    Returns
    -------
    PhaseCurve
        With the assumed slope when there are fewer than four points, less than two degrees of phase angle, or the fitted
        slope is out of range; without any point everything is NaN.
    """
    used = np.isfinite(phase_deg) & np.isfinite(reduced_mag) & np.isfinite(sigma_mag) & (sigma_mag > 0)
    phase, mag, sigma = (np.asarray(x, np.float64)[used] for x in (phase_deg, reduced_mag, sigma_mag))
    if not len(phase):
        nan = float("nan")
        return PhaseCurve(h=nan, h_err=nan, g12=nan, g12_err=nan, covariance=nan, chi2=nan, n_used=0, slope_failed=True)
    if len(phase) >= MIN_POINTS and np.ptp(phase) >= MIN_SPAN_DEG:
        curve = _fit_both(phase, mag, sigma)
        if curve is not None:
            return curve
    return _fit_h(phase, mag, sigma)


def _fit_h(phase: Floats, mag: Floats, sigma: Floats) -> PhaseCurve:
    residual = mag - hg12_magnitudes(phase, 0.0, ASSUMED_G12)
    weight = 1 / sigma**2
    h = float((weight * residual).sum() / weight.sum())
    return PhaseCurve(
        h=h,
        h_err=float(1 / np.sqrt(weight.sum())),
        g12=ASSUMED_G12,
        g12_err=float("nan"),
        covariance=float("nan"),
        chi2=float((weight * (residual - h) ** 2).sum()),
        n_used=len(phase),
        slope_failed=True,
    )


def _fit_both(phase: Floats, mag: Floats, sigma: Floats) -> PhaseCurve | None:
    at_0, change = _bases(phase)
    h, g12 = _fit_h(phase, mag, sigma).h, ASSUMED_G12
    for _ in range(_ROUNDS):
        flux = np.maximum(at_0 + g12 * change, _DARK)
        slope = -2.5 / np.log(10) * change / flux
        design = np.stack([np.ones_like(slope), slope], axis=1) / sigma[:, None]
        residual = (mag - (h - 2.5 * np.log10(flux))) / sigma
        normal = design.T @ design
        step = np.linalg.lstsq(normal, design.T @ residual, rcond=None)[0]
        h, g12 = h + float(step[0]), float(np.clip(g12 + step[1], -1.0, 2.0))
        if np.abs(step).max() < 1e-10:
            break
    if not SLOPE_RANGE[0] < g12 < SLOPE_RANGE[1] or np.linalg.cond(normal) > 1e12:
        return None
    covariance = np.linalg.inv(normal)
    chi2 = float((((mag - hg12_magnitudes(phase, h, g12)) / sigma) ** 2).sum())
    return PhaseCurve(
        h=h,
        h_err=float(np.sqrt(covariance[0, 0])),
        g12=g12,
        g12_err=float(np.sqrt(covariance[1, 1])),
        covariance=float(covariance[0, 1]),
        chi2=chi2,
        n_used=len(phase),
        slope_failed=False,
    )
