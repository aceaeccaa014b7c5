"""Errors of subtraction that grow with what was subtracted, measured on the kernel's own stars (imaging.md 6, opportunity b).

Each star's residual is split into a part of its light and a shift of it. What the parts scatter beyond their noise is what an
imperfect kernel, and refraction that moves stars of different colours apart, leave on any star.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import brentq

__all__ = ["Systematics", "bounded_systematics", "measure_scatter", "own_light_noise"]

LEAST_STARS = 15
"""Stars below which their scatter is not trusted and the defaults hold."""

_HALF = 6

_GAUSSIAN_MEDIAN = 0.6745
"""Median of the absolute value of a Gaussian of standard deviation 1."""

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Systematics:
    """Errors of subtraction that grow with what was subtracted."""

    flux_fraction: float = 0.003
    """Error of the flux as a part of the static flux under it."""
    centroid_pixels: float = 0.05
    """Error of relative position, pixels; refraction in the air moves red and blue stars apart by as much."""
    saturated_fraction: float = 0.02
    """Further part of the static flux within reach of a saturated star, whose wings are not those of its kernel."""


def measure_scatter(
    raw: Pixels, template: Pixels, variance: Pixels, *, x: NDArray[np.int64], y: NDArray[np.int64]
) -> Systematics | None:
    """Measure flux fraction and shift that scatter from star to star beyond their noise.

    Parameters
    ----------
    raw, template
        Difference before whitening and matched template, nJy.
    variance
        Of a pixel of ``raw`` on the scale of the PSF, nJy^2.
    x, y
        Pixels of the kernel's stars.

    Returns
    -------
    Systematics or None
        None with fewer than `LEAST_STARS` stars within the image. What saturated stars leave is not measured: the default.
    """
    parts, errors = _parts(raw, template, variance, x, y)
    known = np.isfinite(parts).all(axis=1)
    if np.count_nonzero(known) < LEAST_STARS:
        return None
    flux, by_x, by_y = (_intrinsic(parts[known, k], errors[known, k]) for k in range(3))
    return Systematics(flux_fraction=flux, centroid_pixels=float(np.hypot(by_x, by_y) / np.sqrt(2.0)))


def bounded_systematics(scatter: Systematics | None, least: Systematics) -> Systematics:
    """Return the larger of what was measured, or of the defaults if nothing was, and lower bounds."""
    found = scatter or Systematics()
    return Systematics(
        flux_fraction=max(found.flux_fraction, least.flux_fraction),
        centroid_pixels=max(found.centroid_pixels, least.centroid_pixels),
        saturated_fraction=least.saturated_fraction,
    )


def own_light_noise(
    image: Pixels,
    variance: Pixels,
    stars: tuple[NDArray[np.int64], NDArray[np.int64]],
    psf: Pixels,
    science_psf: Pixels,
) -> float:
    """Return the variance (nJy^2) that each nJy of a change's own light adds to its fitted flux.

    Parameters
    ----------
    image, variance
        Science image, nJy, and its variance plane.
    stars
        Columns and rows of stars much brighter than the sky: their variance tells how much of it comes with light.
    psf, science_psf
        PSFs of the difference and of the science image, odd squares of one size.

    Returns
    -------
    float
        0 without stars, and where the variance does not grow with the light.
    """
    columns, rows = stars
    light = image[rows, columns].astype(np.float64)
    above = variance[rows, columns].astype(np.float64) - float(np.median(variance[::5, ::5]))
    shown = light > 0
    if not shown.any():
        return 0.0
    per_light = max(float(np.median(above[shown] / light[shown])), 0.0)
    square = np.asarray(psf, np.float64) ** 2
    return per_light * float(np.sum(square * science_psf) / np.sum(square) ** 2)


def _intrinsic(values: Pixels, errors: Pixels) -> float:
    """Return the scatter about 0 which, added to the errors of the better half, makes their median what a Gaussian's is."""
    well = errors <= np.quantile(errors, 0.5)
    sizes, noise = np.abs(values[well]), errors[well]

    def excess(scatter: float) -> float:
        return float(np.median(sizes / np.hypot(noise, scatter))) - _GAUSSIAN_MEDIAN

    if excess(0.0) <= 0:
        return 0.0
    return float(brentq(excess, 0.0, 2.0 * float(np.median(sizes)) / _GAUSSIAN_MEDIAN, xtol=1e-6))


@njit(cache=True)
def _parts(raw: Any, template: Any, variance: Any, x: Any, y: Any) -> Any:
    """Return, of each star, fraction, x and y shift of the template that its residual is, and their errors."""
    count = x.shape[0]
    parts, errors = np.full((count, 3), np.nan), np.full((count, 3), np.nan)
    slope = np.zeros(3)
    for n in range(count):
        normal, spread, right = np.zeros((3, 3)), np.zeros((3, 3)), np.zeros(3)
        inside = _HALF < x[n] < raw.shape[1] - _HALF - 1 and _HALF < y[n] < raw.shape[0] - _HALF - 1
        if not inside:
            continue
        for r in range(y[n] - _HALF, y[n] + _HALF + 1):
            for c in range(x[n] - _HALF, x[n] + _HALF + 1):
                slope[0] = template[r, c]
                slope[1] = 0.5 * (template[r, c - 1] - template[r, c + 1])
                slope[2] = 0.5 * (template[r - 1, c] - template[r + 1, c])
                for i in range(3):
                    right[i] += slope[i] * raw[r, c]
                    for j in range(3):
                        normal[i, j] += slope[i] * slope[j]
                        spread[i, j] += slope[i] * slope[j] * variance[r, c]
        if normal[0, 0] <= 0 or normal[1, 1] <= 0 or normal[2, 2] <= 0:
            continue
        inverse = np.linalg.inv(normal)
        parts[n] = inverse @ right
        errors[n] = np.sqrt(np.diag(inverse @ spread @ inverse))
    return parts, errors
