"""Compiled comparison of two snaps: sums, differences, and the cosmic rays of either, in one pass and a list of candidates."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.single_frame.amplifiers import NO_DATA_VARIANCE
from schemas.masks import MaskPlane

__all__ = ["CORE_SIGMA", "WING_SIGMA", "combine_pair"]

CORE_SIGMA = 5.0
"""Excess of one snap over the other, in units of its noise, that makes a cosmic ray: 3e-7 by chance."""

WING_SIGMA = 3.0
"""Excess that makes a pixel part of a cosmic ray already found beside it."""

SHARPNESS = 0.42
"""Mean size of the snaps' difference around a pixel, as a share of its own, above which light did it: through optics and air a point
of 3 pixels FWHM gives 0.63, a trail more; a track of one pixel's width gives 0.25."""

CONTRAST_SIGMA = 4.5
"""By how much a cosmic ray stands above its neighbours: a pixel of a faint trail that is bright by chance does not."""

REACH = 3
"""Pixels by which a cosmic ray reaches beyond what is sharp of it: far enough for its ends, and no trail that it crosses is lost."""

_CR, _UNUSABLE = int(MaskPlane.CR), int(MaskPlane.SAT | MaskPlane.BAD | MaskPlane.NO_DATA)
_NO_DATA = int(MaskPlane.NO_DATA)

_FIRST, _SECOND, _FIRST_BRIGHTER, _SECOND_BRIGHTER = 1, 2, 4, 8
"""Marks of a pixel: rejected in a snap; in excess in a snap, but not rejected (these are taken away at the end)."""


def combine_pair(
    images: tuple[NDArray[np.float32], NDArray[np.float32]],
    variances: tuple[NDArray[np.float32], NDArray[np.float32]],
    masks: tuple[NDArray[np.uint16], NDArray[np.uint16]],
    settings: tuple[float, float, float],
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Sum two snaps without their cosmic rays.

    Parameters
    ----------
    images, variances, masks
        Of both snaps, one shape.
    settings
        Sky of the first snap minus that of the second, sky of the second, and the fraction of a source's peak by which it may
        differ between the snaps.

    Returns
    -------
    image, variance, mask
        Of the sum. A pixel rejected in one snap takes twice the other, with four times its variance, and is CR.
    rejected
        uint8: bit k set where snap k was rejected.
    difference, its variance
        First minus second snap once their sky levels are matched.
    """
    shape = images[0].shape
    out = tuple(np.empty(shape, np.float32) for _ in range(4))
    mask, marks = np.empty(shape, np.uint16), np.zeros(shape, np.uint8)
    numbers = (np.float32(settings[0]), np.float32(settings[1]), np.float32(settings[2]))
    _combine(images, variances, masks, numbers, (*out, mask), marks)
    return out[0], out[1], mask, marks, out[2], out[3]


@numba.njit(cache=True)
def _combine(images: Any, variances: Any, masks: Any, settings: Any, out: Any, marks: Any) -> None:
    found = _add(images, variances, masks, settings[0], out)
    _reject(found, images, variances, settings, (out[0], out[1], out[4], marks))


@numba.njit(cache=True)
def _add(images: Any, variances: Any, masks: Any, offset: Any, out: Any) -> Any:
    """Fill sum, variance, difference, its variance and mask; return the places where the snaps differ by `WING_SIGMA`."""
    rows, columns = images[0].shape
    zero, hole, limit = np.float32(0), np.float32(NO_DATA_VARIANCE), np.float32(2 * WING_SIGMA**2)
    apart = np.empty(columns, np.bool_)
    found = [(0, 0) for _ in range(0)]
    for y in range(rows):
        a, b, va, vb = images[0][y], images[1][y], variances[0][y], variances[1][y]
        total, variance, difference, spread, mask = out[0][y], out[1][y], out[2][y], out[3][y], out[4][y]
        ma, mb = masks[0][y], masks[1][y]
        for x in range(columns):
            d, both = a[x] - b[x] - offset, va[x] + vb[x]
            planes = ma[x] | mb[x]
            empty = (planes & _NO_DATA) != 0
            total[x] = zero if empty else a[x] + b[x]
            variance[x] = hole if empty else both
            difference[x], spread[x], mask[x] = d, both, planes
            apart[x] = d * d > limit * (vb[x] if d > zero else va[x])
        for x in range(columns):
            if apart[x]:
                found.append((y, x))
    return found


@numba.njit(cache=True)
def _reject(found: Any, images: Any, variances: Any, settings: Any, out: Any) -> None:
    """Find cosmic rays among the candidates and take them out of sum, variance and mask."""
    image, variance, mask, marks = out
    offset = settings[0]
    rays = [(0, 0) for _ in range(0)]
    for y, x in found:
        excess = _excess(y, x, images, variances, mask, settings)
        if abs(excess) > WING_SIGMA and (mask[y, x] & _UNUSABLE) == 0:
            marks[y, x] = _FIRST_BRIGHTER if excess > 0 else _SECOND_BRIGHTER
            if abs(excess) > CORE_SIGMA:
                around = _difference_around(y, x, images, mask, offset)
                if around <= SHARPNESS and abs(excess) * (1 - around) > CONTRAST_SIGMA:
                    rays.append((y, x))
    _spread(rays, marks)
    for y, x in found:
        marks[y, x] &= _FIRST | _SECOND
        if marks[y, x] == _FIRST:
            image[y, x], variance[y, x] = 2 * images[1][y, x] + offset, 4 * variances[1][y, x]
            mask[y, x] |= _CR
        elif marks[y, x] == _SECOND:
            image[y, x], variance[y, x] = 2 * images[0][y, x] - offset, 4 * variances[0][y, x]
            mask[y, x] |= _CR


@numba.njit(cache=True)
def _spread(rays: Any, marks: Any) -> None:
    """Reject rays and, for `REACH` steps, what is in excess in the same snap and hangs on them by sides or corners."""
    for y, x in rays:
        marks[y, x] = _FIRST if marks[y, x] == _FIRST_BRIGHTER else _SECOND
    for _ in range(REACH):
        added = [(0, 0) for _ in range(0)]
        for y, x in rays:
            same = _FIRST_BRIGHTER if marks[y, x] == _FIRST else _SECOND_BRIGHTER
            for j in range(max(0, y - 1), min(marks.shape[0], y + 2)):
                for i in range(max(0, x - 1), min(marks.shape[1], x + 2)):
                    if marks[j, i] == same:
                        marks[j, i] = marks[y, x]
                        added.append((j, i))
        rays = added


@numba.njit(cache=True)
def _difference_around(y: int, x: int, images: Any, mask: Any, offset: Any) -> float:
    """Mean size of the snaps' difference in the usable ones of eight neighbours, as a share of the pixel's own.

    Sizes, so that both lobes of a star that moved a little count.
    """
    a, b = images
    total, count = 0.0, 0
    for j in range(max(0, y - 1), min(a.shape[0], y + 2)):
        for i in range(max(0, x - 1), min(a.shape[1], x + 2)):
            if (j != y or i != x) and (mask[j, i] & _UNUSABLE) == 0:
                total += abs(a[j, i] - b[j, i] - offset)
                count += 1
    return float(total / max(1, count) / abs(a[y, x] - b[y, x] - offset))


@numba.njit(cache=True)
def _excess(y: int, x: int, images: Any, variances: Any, mask: Any, settings: Any) -> float:
    """Difference of the snaps at a pixel over its noise; positive where the first is brighter.

    The noise is that of the fainter snap twice. A pixel that is faint by chance has a small variance by chance, so its neighbours'
    mean counts where it is larger; on sources a fraction of the fainter snap's local peak is added.
    """
    offset, sky, fraction = settings
    a, b = images
    difference = a[y, x] - b[y, x] - offset
    fainter = variances[1] if difference > 0 else variances[0]
    peak, total, count = 0.0, 0.0, 0
    for j in range(max(0, y - 1), min(a.shape[0], y + 2)):
        for i in range(max(0, x - 1), min(a.shape[1], x + 2)):
            peak = max(peak, min(a[j, i] - offset, b[j, i]) - sky)
            if (j != y or i != x) and (mask[j, i] & _UNUSABLE) == 0:
                total += fainter[j, i]
                count += 1
    variance = max(float(fainter[y, x]), total / max(count, 1))
    return float(difference / np.sqrt(2.0 * variance + (fraction * peak) ** 2))
