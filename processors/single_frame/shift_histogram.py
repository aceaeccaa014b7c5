"""The histogram of shifts between two lists of stars, in which their pattern stands out of the chance pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BIN_PIXELS", "shift_peaks"]

BIN_PIXELS = 4.0
"""Bin of the shift histogram; with its neighbours it spans the distortion across one CCD."""


def shift_peaks(dx: NDArray[np.float64], dy: NDArray[np.float64], margin: float) -> list[tuple[float, float, float]]:
    """Return the three highest peaks of the histogram of shifts: votes and the median shift of the pairs in the peak.

    Parameters
    ----------
    dx, dy
        Shifts of all pairs of a source and a star, in pixels.
    margin
        Largest shift looked for.
    """
    bins = int(2 * margin / BIN_PIXELS) + 1
    edges = (np.arange(bins + 1) - bins / 2) * BIN_PIXELS
    counts, *_ = np.histogram2d(dy, dx, bins=(edges, edges))
    smooth = _box_sum(counts)
    peaks = []
    for _ in range(3):
        row, column = (int(i) for i in np.unravel_index(int(np.argmax(smooth)), smooth.shape))
        votes = float(smooth[row, column])
        if votes <= 0:
            break
        near = np.abs(dy - edges[row] - BIN_PIXELS / 2) < 1.5 * BIN_PIXELS
        near &= np.abs(dx - edges[column] - BIN_PIXELS / 2) < 1.5 * BIN_PIXELS
        peaks.append((votes, float(np.median(dx[near])), float(np.median(dy[near]))))
        smooth[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = 0
    return peaks


def _box_sum(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over 3 x 3 bins."""
    padded = np.pad(counts, 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return np.asarray(rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:])
