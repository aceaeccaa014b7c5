"""Phase curves: H and G12 fitted to the magnitudes of an object in one band, for many objects and bands at once.

The law is H-G12* (Muinonen et al. 2010, Icarus 209, 542, in the calibration of Penttila et al. 2016, Planet. Space Sci. 123,
117): in flux it is linear in G12, but the noise is given in magnitudes, so that a few Gauss-Newton steps fit it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.moving_objects.photometry import SLOPE_G12_STAR, v_magnitudes

__all__ = ["ASSUMED_G12", "PHASE_CURVE", "fit_phase_curves"]

Floats = NDArray[np.float64]
Array = np.ndarray[Any, Any]

PHASE_CURVE = np.dtype(
    [
        ("h", "<f8"),
        ("h_err", "<f8"),
        ("g12", "<f8"),
        ("g12_err", "<f8"),
        ("covariance", "<f8"),
        ("chi2", "<f8"),
        ("n_used", "<i4"),
        ("slope_failed", "?"),
    ]
)
"""One fitted curve: g12, its error and the covariance with h are NaN where the slope could not be fitted and h rests on the
assumed one; everything is NaN where nothing was measured."""

ASSUMED_G12 = 0.62
"""Where the phase angles do not tell: between the means of S and C types (Penttila et al. 2016)."""

MIN_POINTS, MIN_SPAN_DEG = 4, 2.0
"""Fewer observations, or a narrower span of phase angles, do not tell the slope."""

LARGEST_PHASE_DEG = 150.0
"""Where the law ends."""

LOWEST_G12, HIGHEST_G12 = -0.3, 1.3
"""A slope beyond belongs to no surface: the fit went wrong."""

_ROUNDS = 20
_SMALL_STEP = 1e-10
_DARK = 1e-6
_MAG = 2.5 / math.log(10.0)


def fit_phase_curves(phase_deg: Floats, reduced_mag: Floats, sigma_mag: Floats, offsets: NDArray[np.int64]) -> Array:
    """Fit H and G12 to groups of reduced magnitudes.

    Parameters
    ----------
    reduced_mag, sigma_mag
        Magnitudes less ``5 log10(r delta)``, and their errors, group by group; rows that are not finite, have no positive
        error or a phase angle beyond 150 degrees are left out.
    offsets
        Where each group begins, and the end: ``(n + 1,)``.

    Returns
    -------
    Array
        Dtype ``PHASE_CURVE``, ``(n,)``.
    """
    names = PHASE_CURVE.names or ()
    numbers = np.full((len(offsets) - 1, len(names)), np.nan)
    phase, mag, sigma = (np.ascontiguousarray(x, np.float64) for x in (phase_deg, reduced_mag, sigma_mag))
    # The law is linear in G12: two values of it are enough.
    low, high = (_fluxes(phase, g12) for g12 in (0.0, 1.0))
    _fit_groups(
        phase, np.stack([low, high - low, mag, sigma], axis=1), np.ascontiguousarray(offsets, np.int64), numbers
    )
    curves = np.zeros(len(numbers), PHASE_CURVE)
    for k, name in enumerate(names):
        curves[name] = numbers[:, k]
    return curves


def _fluxes(phase_deg: Floats, g12: float) -> Floats:
    one = np.ones(len(phase_deg))
    inside = np.where((phase_deg >= 0.0) & (phase_deg <= LARGEST_PHASE_DEG), phase_deg, np.nan)
    mags = v_magnitudes(
        0.0 * one, g12, helio_range_au=one, topo_range_au=one, phase_angle_deg=inside, kind=SLOPE_G12_STAR
    )
    return np.asarray(10 ** (-0.4 * mags))


@njit(cache=True)
def _flux(at_0: float, change: float, g12: float) -> float:  # pragma: no cover
    return max(at_0 + g12 * change, _DARK)


@njit(cache=True)
def _measured(
    phase: Floats, rows: Floats, begin: int, end: int, points: Floats
) -> tuple[int, float]:  # pragma: no cover
    """Copy the rows that are measurements; return how many, and their span of phase angles."""
    n, low, high = 0, math.inf, -math.inf
    for k in range(begin, end):
        if not (math.isfinite(rows[k].sum()) and rows[k, 3] > 0.0):
            continue
        points[n] = rows[k]
        low, high = min(low, phase[k]), max(high, phase[k])
        n += 1
    return n, high - low


@njit(cache=True)
def _fit_h(points: Floats, n: int, out: Floats) -> None:  # pragma: no cover
    weights, total = 0.0, 0.0
    for k in range(n):
        weight = 1.0 / points[k, 3] ** 2
        weights += weight
        total += weight * (points[k, 2] + 2.5 * math.log10(_flux(points[k, 0], points[k, 1], ASSUMED_G12)))
    out[0], out[1] = total / weights, 1.0 / math.sqrt(weights)
    out[5] = _chi_square(points, n, out[0], ASSUMED_G12)


@njit(cache=True)
def _chi_square(points: Floats, n: int, h: float, g12: float) -> float:  # pragma: no cover
    total = 0.0
    for k in range(n):
        model = h - 2.5 * math.log10(_flux(points[k, 0], points[k, 1], g12))
        total += ((points[k, 2] - model) / points[k, 3]) ** 2
    return total


@njit(cache=True)
def _fit_both(points: Floats, n: int, out: Floats) -> bool:  # pragma: no cover
    """Fit both parameters from those in ``out``; tell whether they are a surface's."""
    h, g12 = out[0], ASSUMED_G12
    hh, hg, gg, determinant = 0.0, 0.0, 0.0, 0.0
    for _ in range(_ROUNDS):
        hh, hg, gg, rh, rg = 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(n):
            flux = _flux(points[k, 0], points[k, 1], g12)
            slope, weight = -_MAG * points[k, 1] / flux, 1.0 / points[k, 3] ** 2
            residual = points[k, 2] - (h - 2.5 * math.log10(flux))
            hh, hg, gg = hh + weight, hg + weight * slope, gg + weight * slope * slope
            rh, rg = rh + weight * residual, rg + weight * slope * residual
        determinant = hh * gg - hg * hg
        if determinant <= 1e-12 * hh * gg:
            return False
        dh, dg = (gg * rh - hg * rg) / determinant, (hh * rg - hg * rh) / determinant
        h, g12 = h + dh, min(max(g12 + dg, -1.0), 2.0)
        if abs(dh) < _SMALL_STEP and abs(dg) < _SMALL_STEP:
            break
    if not LOWEST_G12 < g12 < HIGHEST_G12:
        return False
    out[0], out[1], out[2], out[3] = h, math.sqrt(gg / determinant), g12, math.sqrt(hh / determinant)
    out[4], out[5] = -hg / determinant, _chi_square(points, n, h, g12)
    return True


@njit(cache=True)
def _fit_groups(phase: Floats, rows: Floats, offsets: NDArray[np.int64], out: Floats) -> None:  # pragma: no cover
    points = np.empty((np.max(offsets[1:] - offsets[:-1]) if len(offsets) > 1 else 0, 4))
    for k in range(len(offsets) - 1):
        n, span = _measured(phase, rows, offsets[k], offsets[k + 1], points)
        out[k, 6], out[k, 7] = n, 1.0
        if n > 0:
            _fit_h(points, n, out[k])
        if n >= MIN_POINTS and span >= MIN_SPAN_DEG and _fit_both(points, n, out[k]):
            out[k, 7] = 0.0
