"""Brighter-fatter effect: put light back into the pixels from which charge collected earlier drove it away.

The scalar kernel model of Coulton et al. (2018) in its flux form, on pixel faces, so that no charge is made or lost: with the light F
of an exposure and the collected charge Q = F - 1/2 div(F, phi), the potential phi = K * Q grows as the charge does. Integrated over the
exposure, the second order of that is a potential of (F + 2 Q) / 3; the equation left is linear in F and iterated.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from processors.single_frame.errors import InvalidCalibrationError

__all__ = ["correct_brighter_fatter"]

ITERATIONS = 4
"""Of F = Q + 1/2 div(F, phi): each leaves a few per cent of the error, the share of light that moves in the brightest star."""

POTENTIALS = 2
"""Potentials computed: the first from Q alone, the second with the light found from it."""


def correct_brighter_fatter(
    image: NDArray[np.float32], kernel: NDArray[np.float32], known: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the light that fell on each pixel of a CCD, from the charge collected in it.

    Parameters
    ----------
    image
        Electrons of one exposure before flat fielding, sky included, shape (rows, columns).
    kernel
        K of `schemas.raw.MasterCalibrations.brighter_fatter`: per electron, odd square, positive.
    known
        Pixels whose charge is known. Others are taken to hold the median of the known ones, and keep their values.

    Returns
    -------
    ndarray
        float32, the same sum as ``image`` where all is known: no light crosses the border of the CCD.

    Raises
    ------
    InvalidCalibrationError
        When the kernel is no odd square of finite numbers.
    """
    size = kernel.shape[0]
    if kernel.ndim != 2 or kernel.shape != (size, size) or size % 2 == 0 or not np.isfinite(kernel).all():
        raise InvalidCalibrationError("A brighter-fatter kernel is an odd square of finite numbers.")
    if not known.any():
        return image.copy()
    level = np.float32(np.median(image[::7, ::7][known[::7, ::7]])) if known[::7, ::7].any() else np.float32(0)
    charge = np.where(known, image, level)
    light = charge
    for _ in range(POTENTIALS):
        potential = _potential((light + 2 * charge) / 3 - level, kernel)
        for _ in range(ITERATIONS):
            light = _given_back(charge, light, potential)
    return np.where(known, light, image)


def _potential(charge: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convolve, the border's pixels going on beyond the border; a constant level is left out, as only slopes count."""
    half = kernel.shape[0] // 2
    wide = np.pad(charge, half, mode="edge")
    return np.asarray(oaconvolve(wide, np.asarray(kernel, np.float32), mode="valid"), np.float32)


@numba.njit(cache=True)
def _given_back(
    charge: NDArray[np.float32], light: NDArray[np.float32], potential: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Charge of each pixel plus half of what light of that kind would lose through its four faces."""
    rows, columns = charge.shape
    out = np.empty_like(charge)
    quarter = np.float32(0.25)
    for y in range(rows):
        for x in range(columns):
            out[y, x] = charge[y, x]
        for x in range(columns - 1):
            lost = quarter * (light[y, x] + light[y, x + 1]) * (potential[y, x] - potential[y, x + 1])
            out[y, x] += lost
            out[y, x + 1] -= lost
        for other in (y - 1, y + 1):
            if 0 <= other < rows:
                for x in range(columns):
                    out[y, x] += quarter * (light[y, x] + light[other, x]) * (potential[y, x] - potential[other, x])
    return out
