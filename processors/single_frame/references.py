"""The reference catalogue beside the sources of one CCD: columns at the epoch, matches, zero point."""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from processors.single_frame.astrometry import match, propagate
from processors.single_frame.errors import BadHeaderError, MissingReferenceError
from processors.single_frame.frames import Exposure
from processors.single_frame.photometry import ZeroPoint, aperture_correction, zero_point
from schemas.masks import MaskPlane

__all__ = ["DOUBTFUL", "catalogue_zero_point", "match_references", "reference_columns"]

DOUBTFUL = int(MaskPlane.BAD | MaskPlane.SAT | MaskPlane.NO_DATA | MaskPlane.SUSPECT)
"""Planes near a source that keep it from telling PSF, position or zero point."""


def reference_columns(
    references: NDArray[np.void], exposure: Exposure
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return ra and dec (degrees) at the epoch of the visit, flux and its error (nJy) in its band.

    An error that the catalogue does not have is NaN.

    Raises
    ------
    MissingReferenceError
        When the catalogue has no fluxes in the band.
    BadHeaderError
        When the header does not say where and when the telescope looked.
    """
    names = references.dtype.names or ()
    if f"flux_{exposure.band}" not in names:
        raise MissingReferenceError(f"The reference catalogue has no fluxes in band {exposure.band}.")
    if not all(np.isfinite([exposure.ra, exposure.dec, exposure.rotation, exposure.begin_mjd_tai])):
        raise BadHeaderError("RA, DEC, ROTPA or MJD-BEG is missing: the sky cannot be matched.")
    ra, dec = propagate(references, exposure.begin_mjd_tai)
    flux = np.asarray(references[f"flux_{exposure.band}"], np.float64)
    error = f"fluxErr_{exposure.band}"
    flux_error = np.asarray(references[error], np.float64) if error in names else np.full(len(flux), np.nan)
    return ra, dec, flux, flux_error


def match_references(
    sources: NDArray[np.void],
    references: NDArray[np.void],
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
    wcs: WCS,
) -> None:
    """Fill ra and dec of the sources, and the id of the catalogue star within half an arcsecond, in place.

    ``places`` are the catalogue's ra and dec at the epoch. No sources, or no stars near, is no error.
    """
    if len(sources) == 0:
        return
    sources["ra"], sources["dec"] = wcs.all_pix2world(sources["x"], sources["y"], 0)
    ra0, dec0 = wcs.wcs.crval
    near = np.flatnonzero(np.abs(places[1] - dec0) < 1.0)
    stars = _tangent(places[0][near], places[1][near], ra0, dec0)
    if len(near) == 0:
        return
    mine, theirs = match(_tangent(sources["ra"], sources["dec"], ra0, dec0), stars, 0.5)
    sources["reference"][mine] = references["id"][near[theirs]]


def _tangent(
    ra: NDArray[np.float64], dec: NDArray[np.float64], ra0: float, dec0: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Offsets in arcseconds, good enough for matching near the tangent point."""
    east = np.mod(ra - ra0 + 180.0, 360.0) - 180.0
    return east * np.cos(np.radians(dec)) * 3600.0, (dec - dec0) * 3600.0


def catalogue_zero_point(
    sources: NDArray[np.void], catalogue: tuple[NDArray[np.void], NDArray[np.float64], NDArray[np.float64]]
) -> tuple[ZeroPoint, float]:
    """Return the zero point of PSF fluxes and the aperture correction, from clean matched stars.

    ``catalogue`` holds the rows, their fluxes and errors in the band (nJy).

    Raises
    ------
    PhotometryError
        When fewer than three stars serve.
    """
    references, flux, flux_error = catalogue
    rows = {int(identifier): row for row, identifier in enumerate(references["id"])}
    good = (sources["reference"] != 0) & ((sources["mask"] & DOUBTFUL) == 0)
    chosen = np.flatnonzero(good)
    index = np.array([rows[int(i)] for i in sources["reference"][chosen]], np.int64)
    star = references["isStar"][index] if len(index) else np.zeros(0, np.bool_)
    chosen, index = chosen[star], index[star]
    taken = sources[chosen]
    point = zero_point(
        taken["psf_flux"].astype(np.float64), taken["psf_flux_err"].astype(np.float64), flux[index], flux_error[index]
    )
    correction = aperture_correction(taken["psf_flux"], taken["aperture_flux"], taken["aperture_flux_err"])
    return point, correction
