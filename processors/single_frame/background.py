"""Sky background: a mesh of clipped cell levels, measured again with the objects masked."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from processors.single_frame.errors import SaturatedDetectorError
from processors.single_frame.filtering import filter_separable, gaussian_taps
from processors.single_frame.mesh import draw_surface, measure_mesh
from schemas.masks import MaskPlane

__all__ = ["Background", "grow", "mask_objects", "measure_background", "smooth_excess"]

CELL = 128
"""Pixels of a mesh cell: smaller cells follow galaxies and bright stars (design page, section 5)."""

SMOOTHING_SIGMA = 2.0
"""Pixels; the width of the filter that reveals objects."""

OBJECT_LIMITS = ((2.5, 5), (20.0, 9), (150.0, 15))
"""Smoothed excess, in its own noise, that makes an object, and the pixels by which it grows: bright ones have wide wings.

Tuned on scenes of 4,500 and of 25,000 stars: faint objects below the limit raise the sky by what the noise peaks above it
lower it.
"""

OBJECT_STEPS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Factors on the limits for a crowded field: the first that leaves enough sky is taken."""

MOST_MASKED = 0.55
"""Share of the usable pixels that objects may take."""

FIRST_STRIDE = 2
"""The first pass reads every second row: it only serves to find objects."""

UNUSABLE = int(MaskPlane.BAD | MaskPlane.SAT | MaskPlane.NO_DATA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """The sky of one CCD."""

    image: NDArray[np.float32]
    level: float
    """Median of the mesh."""
    rms: float
    """Clipped standard deviation of blank sky pixels."""


def measure_background(
    image: NDArray[np.float32], mask: NDArray[np.uint16], *, objects: NDArray[np.bool_] | None = None
) -> Background:
    """Measure the sky in two passes, the second without the objects that the first reveals.

    Parameters
    ----------
    image
        Any linear unit.
    mask
        Mask planes; BAD, SAT and NO_DATA pixels are left out.
    objects
        Further pixels to leave out, such as the footprints of known sources.

    Raises
    ------
    SaturatedDetectorError
        When hardly a pixel is left to measure.
    """
    unusable = (mask & UNUSABLE) != 0
    if unusable.mean() > 0.95:
        raise SaturatedDetectorError("Fewer than 5 % of the pixels are left to measure the sky.")
    if objects is None:
        first = measure_mesh(image, unusable, CELL, stride=FIRST_STRIDE)
        surface = draw_surface(first)
        np.subtract(image, surface, out=surface)
        objects = mask_objects(surface, unusable, first.noise)
        del surface
    usable = int(np.count_nonzero(~unusable))
    crowded = _count(objects, unusable) > MOST_MASKED * usable
    left_out = unusable if crowded else np.logical_or(unusable, objects, out=unusable)
    final = measure_mesh(image, left_out, CELL, mode=bool(crowded))
    return Background(image=draw_surface(final), level=final.middle, rms=final.noise)


def smooth_excess(residual: NDArray[np.float32], unusable: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a sky-subtracted image smoothed by a Gaussian of `SMOOTHING_SIGMA`; unusable pixels count as 0."""
    smooth = np.empty_like(residual)
    filter_separable(np.where(unusable, np.float32(0), residual), gaussian_taps(SMOOTHING_SIGMA), smooth)
    return smooth


def mask_objects(residual: NDArray[np.float32], unusable: NDArray[np.bool_], rms: float) -> NDArray[np.bool_]:
    """Return where a smoothed, sky-subtracted image stands out of its noise, grown by a few pixels.

    ``residual`` must be finite; ``unusable`` pixels count as sky. In a crowded field the limit rises until sky is left.
    """
    smooth = smooth_excess(residual, unusable)
    noise = rms * float(np.sum(gaussian_taps(SMOOTHING_SIGMA).astype(np.float64) ** 2))
    most = MOST_MASKED * np.count_nonzero(~unusable)
    limits, radii = (np.array(column) for column in zip(*OBJECT_LIMITS, strict=True))
    objects = np.zeros_like(unusable)
    for step in OBJECT_STEPS:
        objects[:] = False
        grow(smooth, (step * noise * limits).astype(np.float32), radii, objects)
        if _count(objects, unusable) <= most:
            break
    return objects


@numba.njit(cache=True)
def _count(objects: NDArray[np.bool_], unusable: NDArray[np.bool_]) -> int:
    """Return the number of usable pixels of objects."""
    total = 0
    for y in range(objects.shape[0]):
        for x in range(objects.shape[1]):
            total += objects[y, x] & ~unusable[y, x]
    return total


@numba.njit(cache=True)
def grow(
    image: NDArray[np.float32], limits: NDArray[np.float32], radii: NDArray[np.int64], out: NDArray[np.bool_]
) -> None:
    """Mark also in ``out`` every pixel within the square of a radius about a pixel above its limit; the lowest limit comes first."""
    rows, columns = image.shape
    wide, until = np.zeros((len(limits), columns), np.bool_), np.zeros(len(limits), np.int64)
    for y in range(rows):
        until[:] = -1
        for x in range(columns):
            level = 0
            while level < len(limits) and image[y, x] > limits[level]:
                if until[level] < 0:
                    wide[level, :] = False
                    until[level] = 0
                begin = max(x - radii[level], until[level])
                until[level] = min(columns, x + radii[level] + 1)
                for i in range(begin, until[level]):
                    wide[level, i] = True
                level += 1
        for level in range(len(limits)):
            if until[level] >= 0:
                for j in range(max(0, y - radii[level]), min(rows, y + radii[level] + 1)):
                    for x in range(columns):
                        out[j, x] |= wide[level, x]
