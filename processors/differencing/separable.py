"""Small kernels as sums of few products of a row and a column function, applied pixel by pixel.

The square of a PSF is narrow and nearly a product: two products of 19 weights a side cost a third of the two Fourier transforms of
a tile. What is filtered so is a variance, for which a few parts in a thousand of the kernel's shape do not matter; its sum is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["REACH", "Products", "correlate_products", "separate"]

REACH = 9
"""Half size to which kernels are cut, pixels: all but 0.1 % of the square of a PSF of FWHM 8 pixels."""

_TAPS = 2 * REACH + 1

TOLERANCE = 0.005
"""Strength of the products that are left out, as a part of the strongest one's."""

Pixels = NDArray[Any]
Products = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Row and column functions, each of shape (products, 2 `REACH` + 1)."""


def separate(kernel: Pixels) -> Products:
    """Return the products that make up a kernel.

    Parameters
    ----------
    kernel
        Odd square; what lies further than `REACH` pixels from its middle is left out.

    Returns
    -------
    Products
        Their sum has the kernel's sum.
    """
    half = kernel.shape[0] // 2
    size, cut = min(half, REACH), max(half - REACH, 0)
    square = np.zeros((_TAPS, _TAPS))
    inner = np.s_[REACH - size : REACH + size + 1]
    square[inner, inner] = kernel[cut : kernel.shape[0] - cut, cut : kernel.shape[1] - cut]
    down, strength, across = np.linalg.svd(square)
    count = max(1, int(np.count_nonzero(strength > TOLERANCE * strength[0])))
    rows, columns = across[:count] * strength[:count, None], down.T[:count]
    total = float(rows.sum(axis=1) @ columns.sum(axis=1))
    if total != 0.0:
        rows = rows * (float(np.sum(kernel, dtype=np.float64)) / total)
    return np.ascontiguousarray(rows, dtype=np.float32), np.ascontiguousarray(columns, dtype=np.float32)


@njit(cache=True)
def correlate_products(image: Any, top: int, left: int, shape: Any, across: Any, down: Any) -> Any:
    """Return the products' correlation with an image, in a rectangle.

    Parameters
    ----------
    image
        Pixels, C-contiguous; the rectangle and `REACH` pixels around it must lie within.
    top, left, shape
        Row and column of ``image`` of the rectangle's first pixel, its rows and columns.
    across, down
        Result of `separate`.
    """
    rows, columns = shape
    lines, out = np.empty((rows + _TAPS - 1, columns), np.float32), np.zeros((rows, columns), np.float32)
    for k in range(across.shape[0]):
        for r in range(rows + _TAPS - 1):
            row, line = image[top - REACH + r, left - REACH : left + columns + REACH], lines[r]
            for c in range(columns):
                total = across[k, 0] * row[np.uint64(c)]
                for t in range(1, _TAPS):
                    total += across[k, t] * row[np.uint64(c + t)]
                line[c] = total
        for r in range(rows):
            for c in range(columns):
                total = down[k, 0] * lines[r, c]
                for t in range(1, _TAPS):
                    total += down[k, t] * lines[r + np.uint64(t), c]
                out[r, c] += total
    return out
