"""Quintic B-spline interpolation of small stamps: moving a star by part of a pixel without changing its size.

Lanczos and cubic kernels bias the second moment of a recentred star by 0.04 to 0.2 %, the quintic spline by 0.001 %
(design page, section 3.3).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["place_splines", "prefilter", "resample", "shift_stamps", "taps"]


def prefilter(stamps: NDArray[Any]) -> NDArray[np.float64]:
    """Return the spline coefficients of each stamp of an array whose last two axes are ``[y, x]``."""
    once = ndimage.spline_filter1d(np.asarray(stamps, np.float64), order=5, axis=-1, mode="mirror")
    return np.ascontiguousarray(ndimage.spline_filter1d(once, order=5, axis=-2, mode="mirror"))


@numba.njit(cache=True)
def taps(fraction: float) -> NDArray[np.float64]:
    """Weights of the coefficients -2..3 around a point ``fraction`` beyond coefficient 0."""
    weights = np.empty(6)
    for k in range(6):
        d = abs(fraction - (k - 2))
        if d < 1.0:
            value = 66.0 + d * d * (-60.0 + d * d * (30.0 - 10.0 * d))
        elif d < 2.0:
            value = 51.0 + d * (75.0 + d * (-210.0 + d * (150.0 + d * (-45.0 + 5.0 * d))))
        else:
            value = max(0.0, 3.0 - d) ** 5
        weights[k] = value / 120.0
    return weights


@numba.njit(cache=True)
def resample(coefficients: NDArray[np.float64], dx: float, dy: float, out: NDArray[np.float64]) -> None:
    """Evaluate a spline at every pixel plus (dx, dy) into ``out``; beyond the stamp it is 0."""
    rows, columns = coefficients.shape
    jx, jy = int(np.floor(dx)), int(np.floor(dy))
    wx, wy = taps(dx - jx), taps(dy - jy)
    half = np.zeros((rows, columns))
    for y in range(rows):
        _combine_shifted(coefficients[y], wx, jx - 2, half[y])
    for y in range(rows):
        line = out[y]
        line[:] = 0.0
        for k in range(6):
            j = y + jy + k - 2
            if 0 <= j < rows:
                for x in range(columns):
                    line[x] += wy[k] * half[j, x]


@numba.njit(cache=True)
def _combine_shifted(
    line: NDArray[np.float64], weights: NDArray[np.float64], shift: int, out: NDArray[np.float64]
) -> None:
    """Add the weighted sum of a line's copies moved by shift, shift + 1 and so on; beyond its ends it is 0."""
    for k in range(len(weights)):
        move = shift + k
        for x in range(max(0, -move), min(len(line), len(line) - move)):
            out[x] += weights[k] * line[x + move]


@numba.njit(cache=True)
def _shift_all(
    coefficients: NDArray[np.float64], dx: NDArray[np.float64], dy: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    for k in range(coefficients.shape[0]):
        resample(coefficients[k], dx[k], dy[k], out[k])


def shift_stamps(stamps: NDArray[Any], dx: NDArray[np.float64], dy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each stamp ``[n, y, x]`` sampled at its pixels plus (dx, dy): a star at (dx, dy) moves to the origin."""
    return place_splines(prefilter(stamps), dx, dy)


def place_splines(
    coefficients: NDArray[np.float64], dx: NDArray[np.float64], dy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Do what `shift_stamps` does, from coefficients that `prefilter` made."""
    out = np.empty_like(coefficients)
    _shift_all(coefficients, np.ascontiguousarray(dx, np.float64), np.ascontiguousarray(dy, np.float64), out)
    return out
