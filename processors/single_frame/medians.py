"""Medians of many pixels, by one partition in the element type: several times faster than `numpy.median`, and as exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["median_of", "row_medians"]


def median_of(values: NDArray[Any]) -> float:
    """Return the median of all values, NaN for none; the array is put into another order.

    Parameters
    ----------
    values
        Contiguous, without NaN.
    """
    flat = values.reshape(-1)
    if flat.size == 0:
        return float("nan")
    middle = flat.size // 2
    flat.partition(middle)
    upper = float(flat[middle])
    return upper if flat.size % 2 else 0.5 * (float(flat[:middle].max()) + upper)


def row_medians(block: NDArray[Any]) -> NDArray[np.float64]:
    """Return the median of each row of a block without NaN, shape (rows, at least one column)."""
    ordered = np.sort(block, axis=1)
    middle = block.shape[1] // 2
    upper = ordered[:, middle].astype(np.float64)
    return upper if block.shape[1] % 2 else 0.5 * (ordered[:, middle - 1] + upper)
