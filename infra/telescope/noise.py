"""How correlated the noise of a coadd is, measured on the difference of its epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

__all__ = ["noise_factor"]

REACH = 4
"""Pixels within which neighbours may be correlated: resampling windows reach three, their overlaps a little farther."""

BRIGHT_SIGMA = 4.0
"""Mean of a square of the coadd, in its noise, above which a source is there: what epochs of different seeing leave of it is no noise."""

SQUARE = 15
"""Side of that square, pixels."""


def noise_factor(apart: NDArray[Any], image: NDArray[Any], variance: NDArray[Any], usable: NDArray[np.bool_]) -> float:
    """Return the variance of a sum over many pixels per sum of their variances: 1 for noise without correlation.

    Parameters
    ----------
    apart
        Half of the epochs minus the other half, scaled to have the coadd's noise: what lasts cancels.
    image, variance
        The coadd, sky subtracted, and the variance of its pixels.
    usable
        Pixels that count.

    Returns
    -------
    float
        Sum of the autocorrelation over distances up to `REACH`, over the pixels' mean square; 1 where there is too little sky.

    Notes
    -----
    A sum over a wide area has the variance of a pixel times the sum of the correlations with its neighbours.
    """
    noise = np.sqrt(np.where(usable & (variance > 0), variance, 1.0))
    level = uniform_filter(np.where(usable, image / noise, 0.0), SQUARE)
    good = usable & (variance > 0) & (level * SQUARE < BRIGHT_SIGMA * np.sqrt(SQUARE))
    if np.count_nonzero(good) < 1000:
        return 1.0
    values = np.where(good, apart / noise, 0.0)
    values = np.where(np.abs(values) < 5.0, values, 0.0).astype(np.float64)
    values[good] -= values[good].mean()
    weight = good.astype(np.float64)
    total, power = 0.0, float(np.sum(values**2) / weight.sum())
    for dy in range(-REACH, REACH + 1):
        for dx in range(-REACH, REACH + 1):
            pair = _overlap(values, dy, dx), _overlap(weight, dy, dx)
            total += pair[0] / max(pair[1], 1.0)
    return float(total / power)


def _overlap(plane: NDArray[np.float64], dy: int, dx: int) -> float:
    """Return the sum of a plane times itself moved by some pixels."""
    rows, columns = plane.shape
    own = plane[max(dy, 0) : rows + min(dy, 0), max(dx, 0) : columns + min(dx, 0)]
    moved = plane[max(-dy, 0) : rows + min(-dy, 0), max(-dx, 0) : columns + min(-dx, 0)]
    return float(np.einsum("ij,ij->", own, moved))
