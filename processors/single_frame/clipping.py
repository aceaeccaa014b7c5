"""Sums over the values between two limits, in lanes, so that a processor adds several at once."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["LANES", "clipped_sums"]

LANES = 16
"""Values added side by side; the order of the sums does not depend on the processor."""


@numba.njit(cache=True)
def clipped_sums(
    values: NDArray[np.float32], low: np.float32, high: np.float32, shift: np.float32, work: NDArray[Any]
) -> tuple[int, float, float]:
    """Return how many values lie between two limits (both included), and the sums of their differences from a value and of the squares.

    ``work`` is room for sums, float64 of shape (3, `LANES`).
    """
    work[:] = 0.0
    counts, firsts, seconds = work[0], work[1], work[2]
    whole = len(values) - len(values) % LANES
    for begin in range(0, whole, LANES):
        some = values[begin : begin + LANES]
        for k in range(LANES):
            inside = (some[k] >= low) & (some[k] <= high)
            offset = np.float64(some[k] - shift) if inside else 0.0
            counts[k] += 1.0 if inside else 0.0
            firsts[k] += offset
            seconds[k] += offset * offset
    for i in range(whole, len(values)):
        if low <= values[i] <= high:
            offset = np.float64(values[i] - shift)
            counts[0] += 1.0
            firsts[0] += offset
            seconds[0] += offset * offset
    return int(counts.sum()), float(firsts.sum()), float(seconds.sum())
