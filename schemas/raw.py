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
    """How serial read-out defers charge, one value an amplifier in each array, in the order of its `AmplifierTable`.

    Along a row in read-out order, ``S[i]`` being the electrons of imaging pixel i (0 is read first), three things happen, in
    this order (the parts of Snyder and Roodman 2021, each in a form that can be undone exactly):

    1. Inefficiency: the share ``f[i] = 1 - (1 - inefficiency) ** (prescan + i + 1)`` of a pixel, whose charge makes so many
       transfers, trails into the next: ``S1[i] = (1 - f[i]) S[i] + f[i - 1] S[i - 1]``.
    2. Trap, empty at the start of a row, holding q: it first gives ``r = q (1 - exp(-1 / trap_decay))`` to the pixel, then
       takes ``c = max(0, min(trap_size, trap_share * S1[i]) - (q - r))`` from it: ``S2[i] = S1[i] + r - c``.
    3. Output offset, m = 0 at the start of a row: ``S3[i] = S2[i] + m``, then ``m = (m + offset_share * S2[i])
       * exp(-1 / offset_decay)``.

    The same goes on over the overscan columns, where S is zero.
    """

    inefficiency: NDArray[np.float64]
    """Share of the charge left behind at each transfer; 0 switches this part off."""
    trap_size: NDArray[np.float64]
    """Electrons that a full trap holds; 0 switches this part off."""
    trap_share: NDArray[np.float64]
    """Share of a pixel's charge that the trap can reach, below 1."""
    trap_decay: NDArray[np.float64]
    """Transfers in which the trap gives back all but 1/e."""
    offset_share: NDArray[np.float64]
    """Share of a pixel that the output's offset takes on; 0 switches this part off."""
    offset_decay: NDArray[np.float64]
    """Pixels in which the offset falls to 1/e."""


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
    """Kernel K of Coulton and others (2018), pixels^2 per electron, odd square, negative in the middle: charge Q moves the
    light F of an exposure so that ``F - 1/2 div(F grad(K * Q))`` is collected; with T = K * Q, pixel p loses to its
    neighbour q ``(F[p] + F[q]) / 4 (T[q] - T[p])``. None: no such effect, nothing is corrected."""
    charge_transfer: ChargeTransfer | None = None
    """None: charge is transferred whole, nothing is corrected."""


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
