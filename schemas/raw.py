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

__all__ = [
    "AmplifierTable",
    "ChargeTransfer",
    "HeaderValue",
    "MasterCalibrations",
    "RawFile",
    "RawHdu",
    "TemplateImage",
]

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
class ChargeTransfer:
    """How serial read-out holds charge back: one value an amplifier in each array, in the order of its `AmplifierTable`.

    Along a row in read-out order, overscan included, three things happen one after the other (the parts of Snyder et al. 2021):

    1. From its column on a trap, empty when the row starts and holding q, first releases ``q (1 - exp(-1 / trap_release))``
       into each pixel, then takes ``min(trap_share s, trap_capacity) - q`` from it if that is positive.
    2. Each of a pixel's ``n = prescan + column + 1`` transfers leaves the part ``loss`` behind: the share
       ``C(n + k - 1, k) loss^k (1 - loss)^n`` arrives k pixels late, k up to 3, which keeps the rest.
    3. The output remembers: pixel j reads ``s[j] + o[j]`` with ``o[j] = m[j - 1] exp(-1 / offset_decay)`` and
       ``m[j] = max(offset_scale min(s[j], offset_limit), o[j])``.
    """

    loss: NDArray[np.float64]
    """Part of the charge left behind at each transfer; 0 stands for none."""
    trap_column: NDArray[np.int64]
    """Imaging column of the trap, from 0 in read-out order."""
    trap_capacity: NDArray[np.float64]
    """Electrons; 0 stands for no trap."""
    trap_share: NDArray[np.float64]
    """Part of a pixel's charge that can reach the trap, below 1."""
    trap_release: NDArray[np.float64]
    """Decay length of what the trap holds, pixels."""
    offset_scale: NDArray[np.float64]
    """Part of a pixel's signal that the output remembers; 0 stands for none."""
    offset_limit: NDArray[np.float64]
    """Electrons of signal beyond which the output remembers no more."""
    offset_decay: NDArray[np.float64]
    """Decay length of the memory, pixels."""


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
    brighter_fatter: NDArray[np.float32] | None = None
    """Kernel K of Coulton et al. (2018), per electron, odd square ``[y, x]``, positive: with the potential ``phi = K * Q`` of the
    collected charge Q, half of ``(F[p] + F[q]) / 2 (phi[p] - phi[q])`` of an exposure's light F has crossed from pixel p to its
    neighbour q at the end. None: nothing is corrected."""
    charge_transfer: ChargeTransfer | None = None
    """None: nothing is corrected."""


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
    noise_factor: float = 1.0
    """Variance of a sum over many pixels per sum of their variances, measured when the file was written."""
