"""Take out what is left of the background in a difference: a quadratic through the medians of cells."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.kernel import spatial_terms

__all__ = ["fit_background", "remove_background"]

_CELL = 64
_STRIDE = 3
"""A cell's median is that of every third pixel on every line: the surface through thousands of cells loses nothing."""

Pixels = NDArray[Any]


def fit_background(difference: Pixels, usable: NDArray[np.bool_]) -> tuple[NDArray[np.float64], int]:
    """Fit a polynomial of at most second order to the medians of cells.

    Parameters
    ----------
    difference
        Pixels, nJy.
    usable
        Pixels that count.

    Returns
    -------
    tuple
        Coefficients of `spatial_terms` of an order, and the order; all 0 when no cell has enough usable pixels.
    """
    rows, columns = difference.shape
    medians = np.asarray(_cell_medians(np.asarray(difference), np.asarray(usable)))
    y, x = (np.nonzero(np.isfinite(medians))[axis] for axis in (0, 1))
    measured = medians[y, x]
    if not len(measured):
        return np.zeros(1), 0
    order = 2 if len(measured) >= 24 else 1 if len(measured) >= 9 else 0
    terms = spatial_terms(x * _CELL + _CELL / 2, y * _CELL + _CELL / 2, (rows, columns), order)
    keep = np.ones(len(measured), dtype=bool)
    solution = np.zeros(terms.shape[1])
    for _ in range(3):
        solution = np.linalg.lstsq(terms[keep], measured[keep], rcond=None)[0]
        residual = measured - terms @ solution
        sigma = 1.4826 * float(np.median(np.abs(residual[keep])))
        keep = np.abs(residual) <= 4 * sigma + 1e-12
    return solution, order


def remove_background(difference: NDArray[np.float32], usable: NDArray[np.bool_]) -> float:
    """Subtract what is left of the background, in place, and return the largest absolute value that was subtracted.

    Parameters
    ----------
    difference
        Pixels, nJy; changed.
    usable
        Pixels that count.
    """
    solution, order = fit_background(difference, usable)
    powers = [(i, d - i) for d in range(order + 1) for i in range(d + 1)]
    table = np.zeros((3, 3))
    for (i, j), value in zip(powers, solution, strict=True):
        table[j, i] = value
    return float(_subtract(difference, table))


@njit(cache=True)
def _cell_medians(image: Any, usable: Any) -> Any:
    """Return the median of each cell, NaN where less than a quarter of its pixels count."""
    rows, columns = image.shape
    out = np.full(((rows + _CELL - 1) // _CELL, (columns + _CELL - 1) // _CELL), np.nan)
    values = np.empty(_CELL * _CELL)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            count, offset = 0, 0
            for r in range(j * _CELL, min((j + 1) * _CELL, rows)):
                for c in range(i * _CELL + offset, min((i + 1) * _CELL, columns), _STRIDE):
                    if usable[r, c]:
                        values[count] = image[r, c]
                        count += 1
                offset = (offset + 1) % _STRIDE
            if count > _CELL * _CELL // (4 * _STRIDE):
                out[j, i] = np.median(values[:count])
    return out


@njit(cache=True)
def _subtract(image: Any, table: Any) -> float:
    rows, columns = image.shape
    largest = 0.0
    for r in range(rows):
        v = 2.0 * r / max(rows - 1, 1) - 1.0
        a = table[0, 0] + v * (table[1, 0] + v * table[2, 0])
        b = table[0, 1] + v * (table[1, 1] + v * table[2, 1])
        d = table[0, 2] + v * (table[1, 2] + v * table[2, 2])
        for c in range(columns):
            u = 2.0 * c / max(columns - 1, 1) - 1.0
            value = a + u * (b + u * d)
            image[r, c] -= np.float32(value)
            largest = max(largest, abs(value))
    return largest
