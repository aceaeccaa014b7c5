"""The wings of a PSF made from few faint stars: where the sky's error drowns them they take the form that the core foretells."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.special import j0

__all__ = ["steady_wings", "turbulent_profile"]

WIDTHS = tuple(0.8 + 0.01 * k for k in range(41))
"""Widths that are tried, in that of the star."""

STEP, REACH = 0.02, 400
"""Steps of the table and their number, to 8 full widths."""

CORE_FWHM = 1.75
"""Radius in widths of the star up to which the profile is fitted."""

WING_FWHM = (1.25, 1.75)
"""Radii in widths of the star between which the wings begin."""

PROFILE_ERROR = 0.2
"""Share by which true wings differ from what the core foretells."""

UNROUNDNESS, VARIATION = 0.2, 0.1
"""Share of a ring's level by which pixels of one ring differ, and by which a pixel varies over the CCD."""

SKY_ERROR = (0.01, 0.003)
"""Error of the sky under a star in the noise of a pixel: each star's own, and all stars' common one (0.02 and 0.007 % of a sky of 1000
electrons, as measured on scenes)."""


@functools.cache
def _table() -> NDArray[np.float64]:
    """Kolmogorov's profile at radii of `STEP` full widths, 1 in the middle: the transform of exp(-b^(5/3))."""
    baseline, step = np.linspace(0.0, 8.0, 1601, retstep=True)
    weight = baseline * np.exp(-(baseline ** (5 / 3))) * step
    radius = np.linspace(0.0, 1.0, 501)
    near = j0(2 * np.pi * radius[:, None] * baseline) @ weight
    width = 2 * float(np.interp(0.5, (near / near[0])[::-1], radius[::-1]))
    return np.asarray(
        j0(2 * np.pi * width * STEP * np.arange(REACH)[:, None] * baseline) @ weight / near[0], np.float64
    )


def turbulent_profile(radius: NDArray[np.float64], fwhm: float) -> NDArray[np.float64]:
    """Return the profile of a star behind turbulent air (Kolmogorov 1941; Fried 1966), 1 in the middle."""
    table = _table()
    return np.asarray(np.interp(radius / fwhm / STEP, np.arange(len(table)), table), np.float64)


def steady_wings(coefficients: NDArray[np.float64], fwhm: float, errors: tuple[float, float]) -> NDArray[np.float64]:
    """Draw a PSF's pixels to their rings, and its wings to a profile fitted to the core, as far as their own errors ask for.

    A flux fitted with a PSF that has noise in its pixels is too low by the noise's power: with a dozen faint stars by some percent.

    Parameters
    ----------
    coefficients
        Of the PSF's polynomial, the constant term first; odd squares.
    fwhm
        Width of a star in pixels.
    errors
        What a noise of 1 in every pixel of the stars makes of a pixel of the stamp, in that noise: when it is independent from star
        to star, and when it is the same for all; both times the noise of a pixel.

    Returns
    -------
    ndarray
        Bright stars' wings stay as they are: their rings are better known than the profile.
    """
    stamp = coefficients[0]
    half = stamp.shape[0] // 2
    axis = np.arange(-half, half + 1)
    radius = np.hypot(axis[:, None], axis)
    rings = np.rint(radius).astype(int)
    count = np.bincount(rings.ravel())
    level = np.bincount(rings.ravel(), stamp.ravel()) / count
    middle = np.bincount(rings.ravel(), radius.ravel()) / count
    model = _foretold(level, middle, count, fwhm)
    own, common = errors
    variance = (1 / count + SKY_ERROR[0] ** 2) * own**2 + (SKY_ERROR[1] * common) ** 2
    trust = variance / np.maximum(variance + (PROFILE_ERROR * model) ** 2, 1e-300)
    begin = np.clip((middle / fwhm - WING_FWHM[0]) / (WING_FWHM[1] - WING_FWHM[0]), 0.0, 1.0)
    steady = level + begin * trust * (model - level)
    kept = [size**2 * model**2 / (own**2 + size**2 * model**2) for size in (UNROUNDNESS, VARIATION)]
    out = coefficients * kept[1][rings]
    out[0] = steady[rings] + (stamp - level[rings]) * kept[0][rings]
    return np.asarray(out, np.float64)


def _foretold(
    level: NDArray[np.float64], middle: NDArray[np.float64], count: NDArray[np.int64], fwhm: float
) -> NDArray[np.float64]:
    """The profile, of those tried, that fits the rings of the core best, at all rings."""
    core = middle <= CORE_FWHM * fwhm
    best, least = np.zeros_like(level), np.inf
    for width in WIDTHS:
        shape = turbulent_profile(middle, width * fwhm)
        height = np.sum((count * level * shape)[core]) / np.sum((count * shape**2)[core])
        misfit = float(np.sum(count[core] * (level - height * shape)[core] ** 2))
        if misfit < least:
            best, least = height * shape, misfit
    return best
