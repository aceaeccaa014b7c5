"""Choose the stamps from which the matching kernel is fitted: bright, unsaturated, isolated, spread over the CCD."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from processors.differencing.planes import UNUSABLE, has_plane

__all__ = ["select_kernel_stars"]

MINIMUM_SNR = 20.0
"""Least signal-to-noise of the smoothed peak; fainter stamps add noise in the convolved image faster than knowledge."""

NEIGHBOUR_FRACTION = 0.5
"""A stamp is given up when it holds another peak brighter than this fraction of its own."""

Pixels = NDArray[Any]


def select_kernel_stars(
    science: tuple[Pixels, Pixels],
    template: tuple[Pixels, Pixels],
    mask: NDArray[np.uint16],
    *,
    half: int,
    limit: int = 300,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the centres of kernel stamps.

    Parameters
    ----------
    science, template
        Image without background and its variance, each, on the same pixels.
    mask
        Planes of both, combined.
    half
        Half size of a stamp, pixels: centres keep this far from the edge.
    limit
        Most stamps wanted.

    Returns
    -------
    tuple of ndarray
        Columns and rows, brightest first, empty when there is no star.
    """
    (first, first_snr), (second, second_snr) = _smoothed(*science), _smoothed(*template)
    fainter, snr = np.minimum(first, second), np.minimum(first_snr, second_snr)
    rows, columns = snr.shape
    is_peak = (fainter == ndimage.maximum_filter(fainter, 7, mode="nearest")) & (snr > MINIMUM_SNR)
    is_peak[: half + 1], is_peak[rows - half - 1 :] = False, False
    is_peak[:, : half + 1], is_peak[:, columns - half - 1 :] = False, False
    y, x = np.nonzero(is_peak)
    value = fainter[y, x]
    order = np.lexsort((x, y, -value))
    x, y, value = x[order], y[order], value[order]
    clean = _clean(mask, x, y, half // 2)
    keep = clean & ~_crowded(x, y, value, half)
    keep &= _spread(x, y, keep, (rows, columns), limit)
    return x[keep][:limit], y[keep][:limit]


def _smoothed(image: Pixels, variance: Pixels) -> tuple[Pixels, Pixels]:
    """Return the mean of 3 x 3 pixels and its signal-to-noise, infinite where a positive mean has no noise."""
    mean = ndimage.uniform_filter(image, 3, mode="nearest")
    noise = np.sqrt(np.maximum(ndimage.uniform_filter(variance, 3, mode="nearest"), 0)) / 3
    with np.errstate(divide="ignore", invalid="ignore"):
        return mean, np.where(mean > 0, mean / noise, 0)


def _clean(mask: NDArray[np.uint16], x: Pixels, y: Pixels, reach: int) -> NDArray[np.bool_]:
    """Tell which positions have only usable pixels in the square around them."""
    bad = ndimage.maximum_filter(has_plane(mask, UNUSABLE), 2 * reach + 1, mode="nearest")
    return np.asarray(~bad[y, x])


def _crowded(x: Pixels, y: Pixels, value: Pixels, half: int) -> NDArray[np.bool_]:
    """Tell which peaks have a rival within their stamp."""
    crowded = np.zeros(len(x), dtype=bool)
    for n in range(len(x)):
        near = (np.abs(x - x[n]) <= half) & (np.abs(y - y[n]) <= half) & (value > NEIGHBOUR_FRACTION * value[n])
        crowded[n] = np.count_nonzero(near) > 1
    return crowded


def _spread(
    x: Pixels, y: Pixels, candidate: NDArray[np.bool_], shape: tuple[int, int], limit: int
) -> NDArray[np.bool_]:
    """Keep the brightest of each cell, so that no corner of the CCD is without its share."""
    cells = 8
    per_cell = max(1, -(-2 * limit // cells**2))
    cell = (y * cells // shape[0]) * cells + x * cells // shape[1]
    taken = np.zeros(cells * cells, dtype=int)
    kept = np.zeros(len(x), dtype=bool)
    for n in np.flatnonzero(candidate):
        if taken[cell[n]] < per_cell:
            taken[cell[n]] += 1
            kept[n] = True
    return kept
