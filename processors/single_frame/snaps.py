"""Snap combination: the sum of two snaps without the cosmic rays of either; L.A.Cosmic where there is only one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import astroscrappy
import numba
import numpy as np
from numpy.typing import NDArray

from processors.single_frame.errors import MismatchedSnapsError
from processors.single_frame.isr import DetectorImage
from schemas.masks import MaskPlane

__all__ = ["CombinedImage", "SnapData", "combine", "combine_pair"]

CORE_SIGMA = 5.0
"""Excess of one snap over the other, in units of its noise, that makes a cosmic ray: 3e-7 by chance."""

WING_SIGMA = 3.0
"""Excess that makes a pixel part of a cosmic ray already found beside it."""

PEAK_FRACTION = 0.06
"""Noise term as a fraction of the fainter snap's local peak: seeing changes between snaps (design page, section 3.1)."""

NO_DATA_VARIANCE = 1e10
"""Variance of a pixel without data in any snap."""

LAPLACE_SIGMA = 4.5
"""Laplacian threshold of L.A.Cosmic for a single snap (van Dokkum 2001)."""

_CR, _SAT, _BAD, _NO_DATA = int(MaskPlane.CR), int(MaskPlane.SAT), int(MaskPlane.BAD), int(MaskPlane.NO_DATA)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapData:
    """What each snap alone says, for the consistency of a source between snaps."""

    count: int
    """Snaps combined."""
    rejected: NDArray[np.uint8]
    """Bit k set where snap k was rejected as a cosmic ray."""
    difference: NDArray[np.float32] | None
    """First minus second snap after their sky levels are matched; None for one snap. Units of the visit image."""
    difference_variance: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinedImage:
    """Electrons of the whole visit on one CCD."""

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint16]
    snaps: SnapData


def combine(frames: Sequence[DetectorImage]) -> CombinedImage:
    """Add the snaps of a visit and leave out cosmic rays.

    Parameters
    ----------
    frames
        One or two exposures in electrons, of one shape and exposure time.

    Returns
    -------
    CombinedImage
        Sum of two snaps; a pixel hit in one snap takes twice the other, with four times its variance, and is marked CR.
        A pixel saturated or bad in one is so in the sum. One snap: cosmic rays are found by L.A.Cosmic and replaced by a
        local median.

    Raises
    ------
    MismatchedSnapsError
        When there are not one or two snaps, or their shapes differ.
    """
    if len(frames) not in (1, 2) or len({f.image.shape for f in frames}) != 1:
        raise MismatchedSnapsError("A visit image is made of one or two snaps of one shape.")
    if len(frames) == 1:
        return _clean_single(frames[0])
    first, second = frames
    offset, fraction = _compare(first, second)
    shape = first.image.shape
    image, variance = np.empty(shape, np.float32), np.empty(shape, np.float32)
    rejected = np.zeros(shape, np.uint8)
    marks = first.mask | second.mask
    combine_pair(
        (first.image, second.image),
        (first.variance, second.variance),
        marks,
        (offset, fraction),
        (image, variance, rejected),
    )
    marks[rejected != 0] |= np.uint16(_CR)
    difference = first.image - second.image - np.float32(offset)
    difference_variance = first.variance + second.variance
    snaps = SnapData(count=2, rejected=rejected, difference=difference, difference_variance=difference_variance)
    return CombinedImage(image=image, variance=variance, mask=marks, snaps=snaps)


def _compare(first: DetectorImage, second: DetectorImage) -> tuple[float, float]:
    """Sky difference of the snaps, and the fraction of the local peak by which sources differ between them."""
    step = (slice(None, None, 3), slice(None, None, 3))
    good = ((first.mask[step] | second.mask[step]) & (_SAT | _BAD | _NO_DATA)) == 0
    a, b = first.image[step][good].astype(np.float64), second.image[step][good].astype(np.float64)
    if a.size == 0:
        return 0.0, PEAK_FRACTION
    offset = float(np.median(a - b))
    fainter = np.minimum(a - offset, b)
    sky = float(np.median(b))
    noise = np.sqrt(2 * np.maximum(second.variance[step][good], 1.0))
    bright = fainter - sky > 30 * noise
    if np.count_nonzero(bright) < 30:
        return offset, PEAK_FRACTION
    ratios = np.abs(a - b - offset)[bright] / (fainter - sky)[bright]
    return offset, max(PEAK_FRACTION, 1.2 * float(np.quantile(ratios, 0.98)) / CORE_SIGMA)


@numba.njit(cache=True)
def _excess(
    images: tuple[NDArray[np.float32], NDArray[np.float32]],
    variances: tuple[NDArray[np.float32], NDArray[np.float32]],
    sky: float,
    settings: tuple[float, float],
    out: NDArray[np.float32],
) -> None:
    """Difference of the snaps over its noise; positive where the first is brighter."""
    a, b = images
    offset, fraction = settings
    rows, columns = a.shape
    for y in range(rows):
        for x in range(columns):
            difference = a[y, x] - b[y, x] - offset
            limit = 2.0 * (variances[1][y, x] if difference > 0 else variances[0][y, x])
            if difference * difference <= WING_SIGMA * WING_SIGMA * limit:
                out[y, x] = 0.0
                continue
            peak = 0.0
            for j in range(max(0, y - 1), min(rows, y + 2)):
                for i in range(max(0, x - 1), min(columns, x + 2)):
                    peak = max(peak, min(a[j, i] - offset, b[j, i]) - sky)
            out[y, x] = difference / np.sqrt(limit + (fraction * peak) ** 2)


@numba.njit(cache=True)
def _spread(excess: NDArray[np.float32], marks: NDArray[np.uint16], rejected: NDArray[np.uint8]) -> None:
    """Mark cores, then everything of the same sign above the wing limit that hangs on a core."""
    rows, columns = excess.shape
    stack = np.empty((rows * columns, 2), np.int32)
    top = 0
    for y in range(rows):
        for x in range(columns):
            if abs(excess[y, x]) > CORE_SIGMA and (marks[y, x] & (_SAT | _BAD | _NO_DATA)) == 0:
                rejected[y, x] = 1 if excess[y, x] > 0 else 2
                stack[top, 0], stack[top, 1] = y, x
                top += 1
    while top > 0:
        top -= 1
        y, x = stack[top, 0], stack[top, 1]
        sign = 1.0 if rejected[y, x] == 1 else -1.0
        for j in range(max(0, y - 1), min(rows, y + 2)):
            for i in range(max(0, x - 1), min(columns, x + 2)):
                usable = (marks[j, i] & (_SAT | _BAD | _NO_DATA)) == 0
                if rejected[j, i] == 0 and usable and sign * excess[j, i] > WING_SIGMA:
                    rejected[j, i] = rejected[y, x]
                    stack[top, 0], stack[top, 1] = j, i
                    top += 1


@numba.njit(cache=True)
def combine_pair(
    images: tuple[NDArray[np.float32], NDArray[np.float32]],
    variances: tuple[NDArray[np.float32], NDArray[np.float32]],
    marks: NDArray[np.uint16],
    settings: tuple[float, float],
    out: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]],
) -> None:
    """Sum two snaps without their cosmic rays into ``out`` (image, variance, rejected).

    ``settings`` are the sky of the first snap minus that of the second, and the peak fraction.
    """
    a, b = images
    total, variance, rejected = out
    excess = np.empty(a.shape, np.float32)
    sky = float(np.median(b[::5, ::5]))
    _excess(images, variances, sky, settings, excess)
    _spread(excess, marks, rejected)
    offset = settings[0]
    rows, columns = a.shape
    for y in range(rows):
        for x in range(columns):
            if rejected[y, x] == 1:
                total[y, x] = 2 * b[y, x] + offset
                variance[y, x] = 4 * variances[1][y, x]
            elif rejected[y, x] == 2:
                total[y, x] = 2 * a[y, x] - offset
                variance[y, x] = 4 * variances[0][y, x]
            else:
                total[y, x] = a[y, x] + b[y, x]
                variance[y, x] = variances[0][y, x] + variances[1][y, x]
            if (marks[y, x] & _NO_DATA) != 0:
                total[y, x] = 0.0
                variance[y, x] = NO_DATA_VARIANCE


def _clean_single(frame: DetectorImage) -> CombinedImage:
    bad = (frame.mask & (_SAT | _BAD | _NO_DATA)) != 0
    noise = float(np.median(list(frame.read_noise.values()))) or 1.0
    found, cleaned = astroscrappy.detect_cosmics(
        frame.image,
        inmask=bad,
        invar=frame.variance,
        sigclip=LAPLACE_SIGMA,
        readnoise=noise,
        satlevel=np.inf,
        niter=2,
        cleantype="medmask",
    )
    hit = np.asarray(found, bool) & ~bad
    mask = frame.mask.copy()
    mask[hit] |= np.uint16(_CR | int(MaskPlane.INTRP))
    image: NDArray[Any] = np.where(hit, cleaned, frame.image).astype(np.float32)
    snaps = SnapData(count=1, rejected=hit.astype(np.uint8), difference=None, difference_variance=None)
    return CombinedImage(image=image, variance=frame.variance.copy(), mask=mask, snaps=snaps)
