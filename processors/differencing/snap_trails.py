"""Which snaps saw a trail: the light of its two halves on the snaps' difference, against that on the difference from the template.

A body that moves at one pace is in the first snap on one half of its trail and in the second on the other; a satellite crosses
within one snap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.snap_consistency import PRESENCE_CHI2, SnapPair, SnapPresence

__all__ = ["trail_presence"]

Pixels = NDArray[Any]

BAND = 5.0
"""Half width of the band summed, pixels."""

MODEL_ERROR = 0.15
"""Error of the sums as a part of a trail's light: where its middle lies is only guessed, and the two differences have different PSFs."""


def trail_presence(
    pair: SnapPair, planes: tuple[Pixels, Pixels, NDArray[np.bool_]], guesses: NDArray[np.float64]
) -> NDArray[np.int8]:
    """Tell which snaps saw trails.

    Parameters
    ----------
    pair
        The snaps.
    planes
        Difference from the template, its variance, and which pixels count.
    guesses
        Where trails may be, shape (trails, 5): x, y, flux, vector from end to end (pixels).

    Returns
    -------
    ndarray
        Values of `SnapPresence`; UNKNOWN where no answer is better than the others by three sigma.
    """
    images = (planes[0], planes[1], pair.difference, pair.variance, planes[2])
    sums = np.asarray(_halves(images, np.ascontiguousarray(guesses, dtype=np.float64)))
    whole, together, apart = sums[:, 4], sums[:, 0] + sums[:, 1], sums[:, 0] - sums[:, 1]
    noise = sums[:, 2] + sums[:, 3] + (MODEL_ERROR * whole) ** 2
    mixed = noise + sums[:, 5]
    with np.errstate(invalid="ignore", divide="ignore"):
        turned = np.minimum((apart - whole) ** 2, (apart + whole) ** 2) / mixed
        chi2 = np.stack(
            [
                (together - whole) ** 2 / mixed + apart**2 / noise,
                (together + whole) ** 2 / mixed + apart**2 / noise,
                together**2 / noise + turned,
            ]
        )
    chi2 = np.nan_to_num(chi2, nan=0.0)
    order = np.sort(chi2, axis=0)
    answers = np.array([SnapPresence.FIRST, SnapPresence.SECOND, SnapPresence.BOTH], np.int8)
    best = answers[np.argmin(chi2, axis=0)]
    return np.where(order[1] - order[0] > PRESENCE_CHI2, best, np.int8(SnapPresence.UNKNOWN)).astype(np.int8)


@njit(cache=True)
def _halves(planes: Any, guesses: Any) -> Any:
    """Return, a trail, the sums of the snaps' difference over both halves, their variances, and sum and variance of the white one."""
    white, noise, image, variance, usable = planes
    out = np.zeros((guesses.shape[0], 6))
    for n in range(guesses.shape[0]):
        x0, y0, length = guesses[n, 0], guesses[n, 1], np.hypot(guesses[n, 3], guesses[n, 4])
        if length <= 0:
            continue
        ux, uy, reach = guesses[n, 3] / length, guesses[n, 4] / length, 0.5 * length + BAND
        wide, high = abs(ux) * reach + abs(uy) * BAND, abs(uy) * reach + abs(ux) * BAND
        for row in range(max(0, int(y0 - high)), min(white.shape[0], int(y0 + high) + 2)):
            for column in range(max(0, int(x0 - wide)), min(white.shape[1], int(x0 + wide) + 2)):
                px, py = column - x0, row - y0
                along, across = px * ux + py * uy, -px * uy + py * ux
                if abs(along) > reach or abs(across) > BAND or not usable[row, column]:
                    continue
                half = 0 if along < 0 else 1
                out[n, half] += image[row, column]
                out[n, 2 + half] += variance[row, column]
                out[n, 4] += white[row, column]
                out[n, 5] += noise[row, column]
    return out
