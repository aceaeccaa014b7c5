"""What single frame processing hands on: the calibrated visit image of one CCD, and that of a wavefront sensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from processors.single_frame.psf import PsfModel
from processors.single_frame.snaps import SnapData

__all__ = ["CalibratedImage", "WavefrontImage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedImage:
    """One CCD of one visit, sky subtracted and calibrated."""

    instrument: str
    visit: int
    detector: int
    band: str
    image: NDArray[np.float32]
    """nJy per pixel; finite everywhere, 0 where there are no data."""
    variance: NDArray[np.float32]
    """nJy^2 per pixel, photon noise of sources included; huge where there are no data."""
    mask: NDArray[np.uint16]
    """Planes of `schemas.masks.MaskPlane`. A CR pixel holds the other snap's value and may be used."""
    psf: PsfModel
    wcs: WCS
    photo_calib: float
    """nJy of one electron in a PSF flux."""
    background: NDArray[np.float32]
    """Sky that was subtracted, nJy per pixel."""
    background_level: float
    """Median sky, electrons per pixel."""
    snaps: SnapData
    """Difference of the snaps in nJy."""
    sources: NDArray[np.void]
    """Rows of `processors.single_frame.measurement.SOURCE_DTYPE`, fluxes in nJy, brightest first."""
    metrics: Mapping[str, float]
    midpoint_mjd_tai: float
    """Middle between the first snap's beginning and the last snap's end."""
    exposure_time: float
    """Seconds, all snaps together."""
    airmass: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WavefrontImage:
    """One wavefront sensor of one visit: signature removed, sky subtracted, PSF measured."""

    instrument: str
    visit: int
    detector: int
    band: str
    image: NDArray[np.float32]
    """Electrons per pixel."""
    variance: NDArray[np.float32]
    mask: NDArray[np.uint16]
    psf: PsfModel | None
    """None when too few stars show it."""
    metrics: Mapping[str, float]
    midpoint_mjd_tai: float
    exposure_time: float
