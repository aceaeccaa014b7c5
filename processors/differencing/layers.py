"""The images of one CCD that measurements read, and what a row says of its visit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processors.differencing.psf import PsfGrid, PsfModel
from processors.differencing.sky import SkyMap

__all__ = ["Layers", "ScienceImage", "VisitInfo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitInfo:
    """What a DIASource says of the visit it comes from."""

    visit: int = 0
    detector: int = 0
    band: str = ""
    midpoint_mjd_tai: float = math.nan
    exposure_time: float = math.nan
    """Seconds of both snaps together."""
    processed_mjd_tai: float = math.nan
    """TAI of the visit's last endReadout, so that a replay gives the same row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Images of one CCD on the same pixels, with their PSFs."""

    difference: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint16]
    usable: NDArray[np.bool_]
    psf: PsfGrid
    science: NDArray[np.float32]
    science_variance: NDArray[np.float32]
    science_psf: PsfGrid
    template: NDArray[np.float32]
    """Matched to the science image."""
    template_variance: NDArray[np.float32]
    template_psf: PsfGrid
    wcs: SkyMap
    pixel_scale: float
    """Arcseconds a pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScienceImage:
    """A calibrated visit image of one CCD."""

    image: NDArray[np.float32]
    """nJy per pixel, background removed, shape (rows, columns)."""
    variance: NDArray[np.float32]
    """nJy^2 per pixel."""
    mask: NDArray[np.uint16]
    """Planes of `schemas.masks.MaskPlane`."""
    psf: PsfModel
    wcs: SkyMap
