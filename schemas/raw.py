"""Structures in which files of pixels enter the pipeline: raw frames, master calibrations, templates.

They hold what a file says and nothing more; `infra.fits_io` fills them and `processors.single_frame` reads them. Arrays
are C-contiguous, in the machine's byte order and indexed ``[y, x]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["AmplifierTable", "HeaderValue", "MasterCalibrations", "RawFile", "RawHdu", "TemplateImage"]

HeaderValue = str | int | float | bool
"""A value of a FITS card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawHdu:
    """The raw pixels of one amplifier with the header they came with."""

    name: str
    header: Mapping[str, HeaderValue]
    data: NDArray[Any]
    """ADU, shape (rows, columns) as read out, prescan and overscan included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFile:
    """One exposure of one CCD as its file gives it."""

    header: Mapping[str, HeaderValue]
    """Cards of the primary header."""
    hdus: tuple[RawHdu, ...]
    """Amplifiers in the order of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AmplifierTable:
    """Calibrated constants of the amplifiers of one detector, one value an amplifier in each array."""

    names: tuple[str, ...]
    gain: NDArray[np.float64]
    """Electrons per ADU."""
    read_noise: NDArray[np.float64]
    """Electrons."""
    saturation: NDArray[np.float64]
    """ADU above the overscan level."""
    linearity: NDArray[np.float64]
    """Shape (amplifiers, 2): true = adu * (1 + l0 * adu + l1 * adu^2), adu above the overscan level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterCalibrations:
    """Master calibrations of one detector; None stands for one that is not there.

    Images have the shape of the trimmed CCD.
    """

    bias: NDArray[np.float32] | None = None
    """ADU."""
    dark: NDArray[np.float32] | None = None
    """Electrons per second."""
    flats: Mapping[str, NDArray[np.float32]]
    """Relative response by band, mean about 1."""
    defects: NDArray[np.uint8] | None = None
    """1 where a pixel is bad."""
    amplifiers: AmplifierTable | None = None
    crosstalk: NDArray[np.float32] | None = None
    """Shape (victim, source), fraction of the source's ADU; amplifiers in the order of ``amplifiers.names``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateImage:
    """A template of one detector in one band and airmass bin."""

    image: NDArray[np.float32]
    """nJy per pixel."""
    variance: NDArray[np.float32]
    """nJy^2 per pixel."""
    mask: NDArray[np.uint16]
    """Planes of `schemas.masks.MaskPlane`."""
    psf: NDArray[np.float32]
    """Odd square, sum 1."""
    header: Mapping[str, HeaderValue]
    """Cards of the image's header, WCS included."""
    band: str
    airmass: float
    airmass_range: tuple[float, float]
    n_epochs: int
