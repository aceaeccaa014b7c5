"""Snap combination: the sum of two snaps without the cosmic rays of either; L.A.Cosmic where there is only one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processors.single_frame.errors import MismatchedSnapsError
from processors.single_frame.isr import DetectorImage
from processors.single_frame.medians import median_of
from processors.single_frame.single_snap import reject_rays
from processors.single_frame.snap_pairs import CORE_SIGMA, combine_pair
from schemas.masks import MaskPlane

__all__ = ["CombinedImage", "SnapData", "combine"]

SAMPLING = 5
"""Rows and columns from one pixel to the next where skies and sources of the snaps are compared."""

PEAK_FRACTION = 0.06
"""Noise term as a fraction of the fainter snap's local peak: seeing changes between snaps, and five times this is what that may do."""

_CR, _UNUSABLE = int(MaskPlane.CR), int(MaskPlane.SAT | MaskPlane.BAD | MaskPlane.NO_DATA)


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
    image, variance, mask, rejected, difference, difference_variance = combine_pair(
        (first.image, second.image),
        (first.variance, second.variance),
        (first.mask, second.mask),
        _compare(first, second),
    )
    snaps = SnapData(count=2, rejected=rejected, difference=difference, difference_variance=difference_variance)
    return CombinedImage(image=image, variance=variance, mask=mask, snaps=snaps)


def _compare(first: DetectorImage, second: DetectorImage) -> tuple[float, float, float]:
    """Sky difference of the snaps, the second's sky, and the fraction of the local peak by which sources differ between them."""
    step = (slice(None, None, SAMPLING), slice(None, None, SAMPLING))
    good = ((first.mask[step] | second.mask[step]) & _UNUSABLE) == 0
    a, b, variance = first.image[step][good], second.image[step][good], second.variance[step][good]
    if a.size == 0:
        return 0.0, 0.0, PEAK_FRACTION
    offset, sky = median_of(a - b), median_of(b.copy())
    signal = np.minimum(a - np.float32(offset), b) - np.float32(sky)
    bright = signal > 30 * np.sqrt(2 * np.maximum(variance, 1.0))
    if np.count_nonzero(bright) < 30:
        return offset, sky, PEAK_FRACTION
    ratios = np.abs(a - b - np.float32(offset))[bright] / signal[bright]
    return offset, sky, max(PEAK_FRACTION, 1.2 * float(np.quantile(ratios, 0.98)) / CORE_SIGMA)


def _clean_single(frame: DetectorImage) -> CombinedImage:
    bad = (frame.mask & _UNUSABLE) != 0
    image, variance, rays = reject_rays(frame.image, frame.variance, bad)
    mask = frame.mask.copy()
    mask[rays] |= np.uint16(_CR | int(MaskPlane.INTRP))
    snaps = SnapData(count=1, rejected=rays.astype(np.uint8), difference=None, difference_variance=None)
    return CombinedImage(image=image, variance=variance, mask=mask, snaps=snaps)
