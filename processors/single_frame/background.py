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

OBJECT_SIGMA = 1.5
"""Smoothed excess, in its own noise, from which a pixel belongs to an object."""

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
    final = _mesh(image, unusable | objects)
    return Background(image=final.back(dtype=np.float32), level=float(final.globalback), rms=float(final.globalrms))


def _mesh(image: NDArray[np.float32], unusable: NDArray[np.bool_]) -> Any:
    cell = min(CELL, *image.shape)
    size = max(3, min(3, min(image.shape) // cell))
    return sep.Background(image, mask=unusable, bw=cell, bh=cell, fw=size, fh=size)


def mask_objects(residual: NDArray[np.float32], unusable: NDArray[np.bool_], rms: float) -> NDArray[np.bool_]:
    """Return where a smoothed, sky-subtracted image stands out of its noise, grown by a few pixels.

    ``residual`` must be finite; ``unusable`` pixels count as sky.
    """
    width = 2.0
    smooth = ndimage.gaussian_filter(np.where(unusable, np.float32(0), residual), width, truncate=3)
    noise = rms / (2 * width * np.sqrt(np.pi))
    found = smooth > OBJECT_SIGMA * 2 * noise
    return np.asarray(ndimage.uniform_filter(found.astype(np.float32), 9) > 1e-3)
