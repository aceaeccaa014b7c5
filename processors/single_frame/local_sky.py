"""The level of the sky in a ring around each source, on an image from which the known sources are taken away."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

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
    values = np.empty(int(4 * (outer + 1) ** 2), np.float32)
    least = LEAST_SHARE * np.pi * (outer**2 - inner**2)
    for k in range(len(positions[0])):
        x, y = positions[0][k], positions[1][k]
        count = 0
        for j in range(max(0, int(np.ceil(y - outer))), min(rows, int(np.floor(y + outer)) + 1)):
            far = np.sqrt(max(outer**2 - (j - y) ** 2, 0.0))
            near2 = inner**2 - (j - y) ** 2
            near = np.sqrt(near2) if near2 > 0 else -1.0
            for i in range(max(0, int(np.ceil(x - far))), min(columns, int(np.floor(x + far)) + 1)):
                if abs(i - x) > near and not left_out[j, i]:
                    values[count] = rest[j, i]
                    count += 1
        if count >= least:
            out[0][k], out[1][k] = _clipped_mean(values[:count])


@numba.njit(cache=True)
def _clipped_mean(values: NDArray[np.float32]) -> tuple[float, float]:
    low, high = np.float32(-np.inf), np.float32(np.inf)
    mean, error = 0.0, 0.0
    for _ in range(CLIP_ROUNDS):
        count, first, second = 0, 0.0, 0.0
        for value in values:
            if low <= value <= high:
                count += 1
                first += value
                second += value * value
        if count < 2:
            break
        mean = first / count
        spread = np.sqrt(max(second / count - mean * mean, 0.0))
        error = spread / np.sqrt(count)
        low, high = np.float32(mean - CLIP_SIGMAS * spread), np.float32(mean + CLIP_SIGMAS * spread)
    return mean, error
