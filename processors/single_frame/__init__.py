"""Single frame processing: from the raw snaps of one CCD to a calibrated visit image.

`parse_raw` reads the headers, `calibrate` does a science CCD, `calibrate_wavefront` a wavefront sensor; `warm_up` compiles
every kernel beforehand.
"""

from __future__ import annotations

from processors.single_frame.frames import RawFrame, parse_raw
from processors.single_frame.pipeline import calibrate, calibrate_wavefront
from processors.single_frame.point_sources import psf_fluxes
from processors.single_frame.products import CalibratedImage, WavefrontImage
from processors.single_frame.psf import PsfModel
from processors.single_frame.snaps import SnapData
from processors.single_frame.warm import warm_up

__all__ = [
    "CalibratedImage",
    "PsfModel",
    "RawFrame",
    "SnapData",
    "WavefrontImage",
    "calibrate",
    "calibrate_wavefront",
    "parse_raw",
    "psf_fluxes",
    "warm_up",
]
