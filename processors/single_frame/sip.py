"""TAN-SIP world coordinates (Shupe et al. 2005) from a plate solution."""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS, Sip
from numpy.typing import NDArray

from processors.single_frame.plate import PlateFit
from processors.single_frame.projection import deproject
from processors.single_frame.psf import polynomial_terms

__all__ = ["plate_to_wcs"]

INVERSE_ORDER = 4
"""Degree of the polynomials AP and BP, which undo distortions of degree 3 to below a thousandth of a pixel."""

_GRID = 24


def plate_to_wcs(fit: PlateFit, tangent: tuple[float, float], shape: tuple[int, int]) -> WCS:
    """Write a plate solution as a WCS.

    Parameters
    ----------
    fit
        Polynomials to the plane tangent at ``tangent`` (ra, dec in degrees), centred near the CCD's middle, with a
        constant term of a few arcseconds at most.
    tangent
        ra and dec in degrees.
    shape
        Rows and columns of the CCD.

    Returns
    -------
    WCS
        With SIP polynomials A, B and their inverses AP, BP where the degree is above 1.
    """
    constant = fit.coefficients[0]
    ra, dec = deproject(np.array([constant[0]]), np.array([constant[1]]), *tangent)
    linear = fit.coefficients[1:3].T / fit.scale
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"] if fit.order > 1 else ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = [float(ra[0]), float(dec[0])]
    wcs.wcs.crpix = [fit.centre[0] + 1, fit.centre[1] + 1]
    wcs.wcs.cd = linear / 3600.0
    if fit.order > 1:
        wcs.sip = _sip(fit, linear, shape, wcs.wcs.crpix)
    wcs.pixel_shape = (shape[1], shape[0])
    wcs.wcs.set()
    return wcs


def _sip(fit: PlateFit, linear: NDArray[np.float64], shape: tuple[int, int], crpix: NDArray[np.float64]) -> Sip:
    inverse = np.linalg.inv(linear)
    a, b = np.zeros((fit.order + 1,) * 2), np.zeros((fit.order + 1,) * 2)
    for term, (i, j) in enumerate(_powers(fit.order)):
        if i + j >= 2:
            shift = inverse @ fit.coefficients[term] / fit.scale ** (i + j)
            a[i, j], b[i, j] = shift
    ap, bp = _undo(a, b, fit, shape)
    return Sip(a, b, ap, bp, crpix)


def _powers(order: int) -> list[tuple[int, int]]:
    return [(degree - j, j) for degree in range(order + 1) for j in range(degree + 1)]


def _undo(
    a: NDArray[np.float64], b: NDArray[np.float64], fit: PlateFit, shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit the inverse polynomials on a grid that reaches a little beyond the CCD."""
    grid_x = np.linspace(-0.05, 1.05, _GRID) * shape[1] - fit.centre[0]
    grid_y = np.linspace(-0.05, 1.05, _GRID) * shape[0] - fit.centre[1]
    u, v = (g.ravel() for g in np.meshgrid(grid_x, grid_y))
    f = sum(a[i, j] * u**i * v**j for i, j in _powers(fit.order))
    g = sum(b[i, j] * u**i * v**j for i, j in _powers(fit.order))
    scale = float(np.max(np.hypot(u, v)))
    terms = polynomial_terms((u + f) / scale, (v + g) / scale, INVERSE_ORDER)
    solution, *_ = np.linalg.lstsq(terms, np.column_stack([-f, -g]), rcond=None)
    ap, bp = np.zeros((INVERSE_ORDER + 1,) * 2), np.zeros((INVERSE_ORDER + 1,) * 2)
    for term, (i, j) in enumerate(_powers(INVERSE_ORDER)):
        ap[i, j], bp[i, j] = solution[term] / scale ** (i + j)
    return ap, bp
