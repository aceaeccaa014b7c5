"""Templates of the last data release: what one is, and which one a science image is compared with.

A template is chosen by filter and by airmass bin, because differential chromatic refraction moves and stretches sources with
the airmass. The choice is recorded, so that a DIASource's template can be named afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from processors.differencing.errors import NoTemplateError
from processors.differencing.sky import SkyMap
from schemas.raw import TemplateImage

__all__ = [
    "Template",
    "TemplateChoice",
    "TemplateInfo",
    "choose_template",
    "shallow_pixels",
    "template_from_image",
]


HIGH_VARIANCE = 4.0
"""Variance, in units of the template's median, from which it is shallow (ip_diffim's HIGH_VARIANCE)."""

DEPTH_CELL = 32
"""Side of the squares whose median tells depth from the noise of sources, pixels."""

_DEPTH_STEP = 4
"""Every so-manyth row and column of a square is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateInfo:
    """What the release says of one template, without its pixels."""

    path: str
    detector: int
    band: str
    airmass: float
    airmass_min: float
    airmass_max: float
    ra: float = math.nan
    dec: float = math.nan
    n_epochs: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateChoice:
    """The template chosen, and how far its airmass bin is from the visit's airmass."""

    info: TemplateInfo
    airmass_distance: float
    """Distance of the visit's airmass from the bin; 0 inside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template's pixels with where they are and where they came from."""

    image: NDArray[np.float32]
    """nJy per pixel, shape (rows, columns)."""
    variance: NDArray[np.float32]
    """nJy^2 per pixel; 0 means noise free."""
    mask: NDArray[np.uint16]
    """Planes of `schemas.masks.MaskPlane`."""
    psf: NDArray[np.floating[Any]]
    """Odd square, sum 1."""
    wcs: SkyMap
    band: str = ""
    airmass: float = math.nan
    airmass_min: float = math.nan
    airmass_max: float = math.nan
    n_epochs: int = 0
    path: str = ""
    sha256: str = ""
    noise_factor: float = 1.0
    """Variance of a sum over many pixels per sum of their variances: above 1 where resampling correlated the coadd's noise."""


def template_from_image(raw: TemplateImage, *, path: str = "", sha256: str = "") -> Template:
    """Turn a template as its file gives it into one that has a WCS.

    Parameters
    ----------
    raw
        The file's pixels and header.
    path, sha256
        Provenance.
    """
    return Template(
        image=raw.image,
        variance=raw.variance,
        mask=raw.mask,
        psf=raw.psf,
        wcs=WCS(dict(raw.header)),
        band=raw.band,
        airmass=raw.airmass,
        airmass_min=raw.airmass_range[0],
        airmass_max=raw.airmass_range[1],
        n_epochs=raw.n_epochs,
        noise_factor=raw.noise_factor,
        path=path,
        sha256=sha256,
    )


def shallow_pixels(variance: NDArray[np.float32], absent: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Tell where a template is much less deep than elsewhere: fewer epochs, or an amplifier that was bad in most.

    Parameters
    ----------
    variance
        Variance of its pixels.
    absent
        Pixels without data: not shallow, and not counted.

    Returns
    -------
    ndarray
        True where the variance exceeds `HIGH_VARIANCE` medians, and so does the median of the square of `DEPTH_CELL` pixels around
        or beside; the noise of sources alone makes no pixel shallow.
    """
    whole = np.zeros(variance.shape, dtype=bool)
    depth = variance[_DEPTH_STEP // 2 :: _DEPTH_STEP, _DEPTH_STEP // 2 :: _DEPTH_STEP].astype(np.float32)
    if absent is not None:
        depth = np.where(absent[_DEPTH_STEP // 2 :: _DEPTH_STEP, _DEPTH_STEP // 2 :: _DEPTH_STEP], np.nan, depth)
    side = DEPTH_CELL // _DEPTH_STEP
    rows, columns = (-(-n // side) for n in depth.shape)
    if depth.size == 0 or np.isnan(depth).all():
        return whole
    limit = HIGH_VARIANCE * float(np.nanmedian(depth))
    padded = np.full((rows * side, columns * side), np.nan, np.float32)
    padded[: depth.shape[0], : depth.shape[1]] = depth
    cells = padded.reshape(rows, side, columns, side).transpose(0, 2, 1, 3).reshape(rows, columns, side * side)
    with np.errstate(invalid="ignore"):
        # Half of a square's pixels above the limit is a median above it; NaN is not above.
        shallow = np.count_nonzero(cells > limit, axis=2) * 2 > np.count_nonzero(np.isfinite(cells), axis=2)
    if not shallow.any():
        return whole
    beside = binary_dilation(shallow, np.ones((3, 3), bool))
    places = beside.repeat(DEPTH_CELL, axis=0).repeat(DEPTH_CELL, axis=1)[: variance.shape[0], : variance.shape[1]]
    whole[: places.shape[0], : places.shape[1]] = places
    whole &= variance > limit
    return whole if absent is None else whole & ~absent


def choose_template(templates: Sequence[TemplateInfo], *, detector: int, band: str, airmass: float) -> TemplateChoice:
    """Choose the template of a detector and band whose airmass bin is nearest to the visit's airmass.

    Among bins equally near the one with the nearer mean airmass wins, then the deeper, then the first path in order.
    Whether the template covers the detector is known when it is warped (`TemplateCoverageError`).

    Parameters
    ----------
    templates
        The release's templates.
    detector
        Detector's number.
    band
        Filter's letter.
    airmass
        Airmass of the visit; NaN takes the bin of the smallest airmass.

    Raises
    ------
    NoTemplateError
        When no template is of this detector and band.
    """
    usable = [t for t in templates if t.detector == detector and t.band == band]
    if not usable:
        raise NoTemplateError(f"The release has no {band} template of detector {detector}.")
    wanted = airmass if math.isfinite(airmass) else 1.0

    def rank(info: TemplateInfo) -> tuple[float, float, int, str]:
        return _distance(info, wanted), abs(info.airmass - wanted), -info.n_epochs, info.path

    best = min(usable, key=rank)
    return TemplateChoice(info=best, airmass_distance=_distance(best, wanted))


def _distance(info: TemplateInfo, airmass: float) -> float:
    return max(info.airmass_min - airmass, airmass - info.airmass_max, 0.0)
