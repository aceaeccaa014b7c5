"""Brighter-fatter effect: put light back into the pixels from which charge collected earlier drove it away.

The scalar kernel model of Coulton et al. (2018) in its flux form, on pixel faces, so that no charge is made or lost: with the light F
of an exposure and the collected charge Q = F - 1/2 div(F, phi), the potential phi = K * Q grows as the charge does. Integrated over the
exposure, the second order of that is a potential of (F + 2 Q) / 3, for which Q stands here: the difference is 1/12 div(F, K * div(F, phi)),
3e-5 of the width of a star at full well. The equation left is linear in F and iterated.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from processors.single_frame.errors import InvalidCalibrationError
from processors.single_frame.medians import median_of

__all__ = ["correct_brighter_fatter"]

ITERATIONS = 3
"""Of F = Q + 1/2 div(F, phi): each leaves a few per cent of the error, the share of light that moves in the brightest star."""


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
    some = image[::7, ::7][known[::7, ::7]]
    level = np.float32(median_of(some)) if some.size else np.float32(0)
    holes = not known.all()
    charge = np.where(known, image, level) if holes else image
    potential = _potential(charge, level, kernel)
    light = charge
    for _ in range(ITERATIONS):
        light = _given_back(charge, light, potential)
    return np.where(known, light, image) if holes else light


def _potential(charge: NDArray[np.float32], level: np.float32, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convolve, the border's pixels going on beyond the border; a constant level is left out, as only slopes count."""
    half = kernel.shape[0] // 2
    wide = np.pad(charge, half, mode="edge")
    wide -= level
    rows, columns = (fft.next_fast_len(n, True) for n in wide.shape)
    transform = fft.rfft2(wide, (rows, columns), overwrite_x=True)
    transform *= fft.fft(fft.rfft(np.asarray(kernel, np.float32), columns, axis=1), rows, axis=0)
    whole = fft.irfft2(transform, (rows, columns), overwrite_x=True)
    place = tuple(slice(2 * half, 2 * half + n) for n in charge.shape)
    return np.ascontiguousarray(whole[place])


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
