"""Choose the stamps from which the matching kernel is fitted: bright, unsaturated, isolated, spread over the CCD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from processors.differencing.planes import UNUSABLE

__all__ = ["select_kernel_stars", "stands_out"]

MINIMUM_SNR = 20.0
"""Least signal-to-noise of the smoothed peak; fainter stamps add noise in the convolved image faster than knowledge."""

NEIGHBOUR_FRACTION = 0.5
"""A stamp is given up when it holds another peak brighter than this fraction of its own."""

_CELLS = 8
_PEAK_REACH = 3

Pixels = NDArray[Any]
Places = NDArray[np.int64]


def select_kernel_stars(
    image: Pixels,
    variance: Pixels,
    mask: NDArray[np.uint16],
    *,
    half: int,
    limit: int = 300,
    accepts: Callable[[Places, Places], NDArray[np.bool_]] | None = None,
) -> tuple[Places, Places]:
    """Choose the centres of kernel stamps.

    Parameters
    ----------
    image, variance
        Image without background and its variance.
    mask
        Planes of `schemas.masks.MaskPlane`.
    half
        Half size of a stamp, pixels: centres keep this far from the edge.
    limit
        Most stamps wanted.
    accepts
        Tells for columns and rows which stars will do, as `stands_out` does of the template; all will if not given.

    Returns
    -------
    tuple of ndarray
        Columns and rows, brightest first, empty when there is no star.
    """
    x, y, value = _peaks(np.ascontiguousarray(image), np.ascontiguousarray(variance), half + 1)
    order = np.lexsort((x, y, -value))
    x, y, value = x[order], y[order], value[order]
    keep = np.asarray(_clean(np.ascontiguousarray(mask), x, y, half // 2, UNUSABLE)) & ~_crowded(x, y, value, half)
    x, y = x[keep], y[keep]
    if accepts is not None and len(x):
        good = accepts(x, y)
        x, y = x[good], y[good]
    kept = _spread(x, y, (image.shape[0], image.shape[1]), limit)
    return x[kept][:limit], y[kept][:limit]


def stands_out(
    image: Pixels, variance: Pixels, mask: NDArray[np.uint16], x: Pixels, y: Pixels, reach: int
) -> NDArray[np.bool_]:
    """Tell which places of an image show a bright source with only usable pixels around it.

    Parameters
    ----------
    image, variance, mask
        Pixels, their variance and planes.
    x, y
        Places, pixels.
    reach
        Half size of the square that must be usable, pixels.
    """
    columns, rows = (np.floor(np.asarray(p) + 0.5).astype(np.int64) for p in (x, y))
    inside = (columns > reach) & (rows > reach) & (columns < image.shape[1] - reach - 1)
    inside &= rows < image.shape[0] - reach - 1
    good = np.zeros(len(columns), dtype=bool)
    columns, rows = columns[inside], rows[inside]
    bright = np.asarray(_bright(image, variance, columns, rows))
    good[inside] = bright & np.asarray(_clean(mask, columns, rows, reach, UNUSABLE))
    return good


@njit(cache=True)
def _sum3(image: Any, r: int, c: int) -> float:
    total = 0.0
    for q in range(-1, 2):
        for p in range(-1, 2):
            total += image[r + q, c + p]
    return total


@njit(cache=True)
def _bright(image: Any, variance: Any, x: Any, y: Any) -> Any:
    """Tell where the mean of 3 x 3 pixels passes the threshold; a positive one without noise does."""
    out = np.zeros(x.shape[0], dtype=np.bool_)
    for n in range(x.shape[0]):
        total = _sum3(image, y[n], x[n])
        out[n] = total > 0 and total * total > MINIMUM_SNR * MINIMUM_SNR * max(_sum3(variance, y[n], x[n]), 0.0)
    return out


@njit(cache=True)
def _peaks(image: Any, variance: Any, border: int) -> Any:
    """Return places and heights of the peaks of 3 x 3 sums that pass the threshold.

    The middle of a peak holds at least a ninth of its sum, so most pixels are done with after one comparison.
    """
    rows, columns = image.shape
    xs, ys, values = [0][:0], [0][:0], [0.0][:0]
    least = MINIMUM_SNR * MINIMUM_SNR
    for r in range(max(border, _PEAK_REACH + 1), rows - max(border, _PEAK_REACH + 1)):
        for c in range(max(border, _PEAK_REACH + 1), columns - max(border, _PEAK_REACH + 1)):
            value = image[r, c]
            if not (value > 0 and value * value * 16.0 > least * variance[r, c] / 9.0):
                continue
            total = _sum3(image, r, c)
            if not (total > 0 and total * total > least * max(_sum3(variance, r, c), 0.0)):
                continue
            highest = True
            for q in range(-_PEAK_REACH, _PEAK_REACH + 1):
                for p in range(-_PEAK_REACH, _PEAK_REACH + 1):
                    if highest and (q != 0 or p != 0):
                        other = _sum3(image, r + q, c + p)
                        highest = other < total or (other == total and (q > 0 or (q == 0 and p > 0)))
            if highest:
                xs.append(c)
                ys.append(r)
                values.append(total)
    return np.array(xs, dtype=np.int64), np.array(ys, dtype=np.int64), np.array(values, dtype=np.float64)


@njit(cache=True)
def _clean(mask: Any, x: Any, y: Any, reach: int, planes: int) -> Any:
    """Tell which positions have only usable pixels in the square around them."""
    out = np.ones(x.shape[0], dtype=np.bool_)
    for n in range(x.shape[0]):
        for r in range(max(y[n] - reach, 0), min(y[n] + reach + 1, mask.shape[0])):
            for c in range(max(x[n] - reach, 0), min(x[n] + reach + 1, mask.shape[1])):
                if mask[r, c] & planes:
                    out[n] = False
    return out


def _crowded(x: Pixels, y: Pixels, value: Pixels, half: int) -> NDArray[np.bool_]:
    """Tell which peaks, brightest first, have a rival within their stamp."""
    crowded = np.zeros(len(x), dtype=bool)
    if len(x) < 2:
        return crowded
    pairs = cKDTree(np.column_stack([x, y])).query_pairs(half + 0.5, p=np.inf, output_type="ndarray")
    brighter, fainter = pairs.min(axis=1), pairs.max(axis=1)
    crowded[fainter] = True
    crowded[brighter[value[fainter] > NEIGHBOUR_FRACTION * value[brighter]]] = True
    return crowded


def _spread(x: Pixels, y: Pixels, shape: tuple[int, int], limit: int) -> NDArray[np.bool_]:
    """Keep the brightest of each cell, so that no corner of the CCD is without its share."""
    per_cell = max(1, -(-2 * limit // _CELLS**2))
    cell = (y * _CELLS // shape[0]) * _CELLS + x * _CELLS // shape[1]
    taken = np.zeros(_CELLS * _CELLS, dtype=int)
    kept = np.zeros(len(x), dtype=bool)
    for n in range(len(x)):
        if taken[cell[n]] < per_cell:
            taken[cell[n]] += 1
            kept[n] = True
    return kept
