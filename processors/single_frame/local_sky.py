"""The level of the sky in a ring around each source, on an image from which the known sources are taken away."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from processors.single_frame.clipping import LANES, clipped_sums

__all__ = ["local_levels", "ring_levels"]

RING_FWHM = (7.0, 10.0)
"""Inner and outer radius in PSF widths: at 7 a star's own wings would take 0.1 % of its light from an aperture of 3."""

LEAST_SHARE = 0.2
"""Share of the ring that must be sky, else the level is taken as 0."""

CLIP_SIGMAS = 3.0
CLIP_ROUNDS = 4


def local_levels(
    rest: NDArray[np.float32],
    left_out: NDArray[np.bool_],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
    fwhm: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the clipped mean in the ring around each position and its standard error.

    Parameters
    ----------
    rest
        Image without the sky and without the known sources.
    left_out
        Footprints of sources, and pixels that cannot be used.
    positions
        x and y; a ring may reach beyond the image.
    fwhm
        Width of the PSF in pixels.

    Returns
    -------
    level, error
        0 and 0 where less than a fifth of the ring is sky: the level of the mesh is then the best there is.
    """
    x, y = (np.ascontiguousarray(p, np.float64) for p in positions)
    level, error = np.zeros(len(x)), np.zeros(len(x))
    ring_levels(rest, left_out, (x, y), (RING_FWHM[0] * fwhm, RING_FWHM[1] * fwhm), (level, error))
    return level, error


@numba.njit(cache=True)
def ring_levels(
    rest: NDArray[np.float32],
    left_out: NDArray[np.bool_],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
    radii: tuple[float, float],
    out: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    """Fill level and error of `local_levels`; of every row the two stretches between the circles are read."""
    rows, columns = rest.shape
    inner, outer = radii
    values, work = np.empty(int(4 * (outer + 1) ** 2) + 1, np.float32), np.empty((3, LANES))
    least = LEAST_SHARE * np.pi * (outer**2 - inner**2)
    for k in range(len(positions[0])):
        x, y = positions[0][k], positions[1][k]
        count = 0
        for j in range(max(0, int(np.ceil(y - outer))), min(rows, int(np.floor(y + outer)) + 1)):
            far = np.sqrt(max(outer**2 - (j - y) ** 2, 0.0))
            near2 = inner**2 - (j - y) ** 2
            near = np.sqrt(near2) if near2 > 0 else -1.0
            first, last = max(0, int(np.ceil(x - far))), min(columns, int(np.floor(x + far)) + 1)
            # Strictly beyond the inner circle; without one the second stretch is empty.
            left = min(last, max(first, int(np.ceil(x - near)))) if near >= 0 else last
            right = max(left, min(last, int(np.floor(x + near)) + 1)) if near >= 0 else last
            for begin, end in ((first, left), (right, last)):
                for i in range(begin, end):
                    values[count] = rest[j, i]
                    count += not left_out[j, i]
        if count >= least:
            out[0][k], out[1][k] = _clipped_mean(values[:count], work)


@numba.njit(cache=True)
def _clipped_mean(values: NDArray[np.float32], work: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.float32(-np.inf), np.float32(np.inf)
    mean, error, counted = 0.0, 0.0, 0
    for _ in range(CLIP_ROUNDS):
        count, first, second = clipped_sums(values, low, high, np.float32(0), work)
        if count < 2 or count == counted:
            break
        counted = count
        mean = first / count
        spread = np.sqrt(max(second / count - mean * mean, 0.0))
        error = spread / np.sqrt(count)
        low, high = np.float32(mean - CLIP_SIGMAS * spread), np.float32(mean + CLIP_SIGMAS * spread)
    return mean, error
