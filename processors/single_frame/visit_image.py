"""The visit image of one CCD before anything on it is measured: snaps corrected, combined, sky subtracted."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processors.single_frame.background import Background, measure_background
from processors.single_frame.errors import MismatchedSnapsError
from processors.single_frame.frames import Exposure, RawFrame
from processors.single_frame.isr import DetectorImage, correct, interpolate_bad
from processors.single_frame.snaps import CombinedImage, combine
from schemas.masks import MaskPlane
from schemas.raw import MasterCalibrations

__all__ = ["VisitImage", "make_visit_image"]

LONGEST_BRIDGE = 8
"""Pixels of the longest run of bad pixels in a row that is bridged: wider than a hot column with its neighbours."""

EDGE_PIXELS = 5
"""Width of the border marked EDGE."""

UNUSABLE = int(MaskPlane.BAD | MaskPlane.SAT | MaskPlane.NO_DATA)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitImage:
    """A visit on one CCD in electrons, sky subtracted, with the first sources found on it."""

    exposures: tuple[Exposure, ...]
    combined: CombinedImage
    """Image with the sky subtracted."""
    background: Background
    unusable: NDArray[np.bool_]
    read_noise: float
    """Median of the amplifiers, electrons."""
    dead_amplifiers: int


def make_visit_image(
    raws: Sequence[RawFrame], masters: MasterCalibrations, *, skip: Set[str] = frozenset()
) -> VisitImage:
    """Remove the signature of the snaps, combine them and subtract the sky.

    Raises
    ------
    MismatchedSnapsError
        When the frames are not one or two snaps of one visit, detector and band.
    """
    frames = sorted(raws, key=lambda frame: frame.exposure.snap)
    keys = {(f.exposure.visit, f.exposure.detector, f.exposure.band, f.exposure.exposure_time) for f in frames}
    snaps = [f.exposure.snap for f in frames]
    if len(frames) not in (1, 2) or len(keys) != 1 or len(set(snaps)) != len(snaps):
        raise MismatchedSnapsError(
            f"{len(frames)} raw frames with snaps {snaps} are not the one or two snaps of one visit and detector."
        )
    corrected = [correct(frame, masters, skip=skip) for frame in frames]
    combined = combine(corrected)
    image, mask = combined.image, combined.mask
    interpolate_bad(image, mask, int(MaskPlane.BAD), LONGEST_BRIDGE)
    background = measure_background(image, mask)
    image -= background.image
    image[(mask & int(MaskPlane.NO_DATA)) != 0] = 0.0
    _mark_edges(mask)
    return VisitImage(
        exposures=tuple(f.exposure for f in frames),
        combined=combined,
        background=background,
        unusable=(mask & UNUSABLE) != 0,
        read_noise=_median_noise(corrected),
        dead_amplifiers=len({name for c in corrected for name in c.dead}),
    )


def _mark_edges(mask: NDArray[np.uint16]) -> None:
    border = np.ones(mask.shape, np.bool_)
    border[EDGE_PIXELS:-EDGE_PIXELS, EDGE_PIXELS:-EDGE_PIXELS] = False
    mask[border] |= np.uint16(MaskPlane.EDGE)


def _median_noise(images: Sequence[DetectorImage]) -> float:
    return float(np.median([noise for image in images for noise in image.read_noise.values()]))
