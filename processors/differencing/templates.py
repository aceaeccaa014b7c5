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

from processors.differencing.errors import NoTemplateError
from processors.differencing.sky import SkyMap
from schemas.raw import TemplateImage

__all__ = [
    "Template",
    "TemplateChoice",
    "TemplateInfo",
    "choose_template",
    "template_from_image",
]


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
        path=path,
        sha256=sha256,
    )


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
