"""Sky background: a mesh of clipped cell levels, measured again with the objects masked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray
from scipy import ndimage

from processors.single_frame.errors import SaturatedDetectorError
from schemas.masks import MaskPlane

__all__ = ["Background", "mask_objects", "measure_background"]

CELL = 128
"""Pixels of a mesh cell: smaller cells follow galaxies and bright stars (design page, section 5)."""

OBJECT_SIGMAS = (3.0, 6.0, 12.0, 25.0, 50.0)
"""Smoothed excess, in its own noise, from which a pixel belongs to an object: the first that leaves enough sky is taken."""

MOST_MASKED = 0.45
"""Share of the usable pixels that objects may take; a mesh cell with more than half of its pixels masked has no level in sep."""

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
        first = _mesh(image, unusable)
        objects = mask_objects(image - first.back(dtype=np.float32), unusable, float(first.globalrms))
    if objects[~unusable].mean() > MOST_MASKED:
        objects = np.zeros_like(unusable)
    final = _mesh(image, unusable | objects)
    return Background(image=final.back(dtype=np.float32), level=float(final.globalback), rms=float(final.globalrms))


def _mesh(image: NDArray[np.float32], unusable: NDArray[np.bool_]) -> Any:
    cell = min(CELL, *image.shape)
    return sep.Background(image, mask=unusable, bw=cell, bh=cell, fw=3, fh=3)


def mask_objects(residual: NDArray[np.float32], unusable: NDArray[np.bool_], rms: float) -> NDArray[np.bool_]:
    """Return where a smoothed, sky-subtracted image stands out of its noise, grown by a few pixels.

    ``residual`` must be finite; ``unusable`` pixels count as sky. In a crowded field the limit rises until sky is left.
    """
    width = 2.0
    smooth = ndimage.gaussian_filter(np.where(unusable, np.float32(0), residual), width, truncate=3)
    noise = rms / (2 * width * np.sqrt(np.pi))
    objects = np.zeros_like(unusable)
    for limit in OBJECT_SIGMAS:
        found = smooth > limit * noise
        objects = np.asarray(ndimage.uniform_filter(found.astype(np.float32), 9) > 1e-3)
        if objects[~unusable].mean() <= MOST_MASKED:
            break
    return objects
