"""The photometric zero point and the aperture correction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processors.single_frame.errors import PhotometryError

__all__ = ["ZeroPoint", "aperture_correction", "zero_point"]

LEAST_STARS = 3
"""Fewest stars that give a zero point."""

SCATTER_FLOOR = 0.005
"""Share by which a star's measured and catalogue fluxes differ besides photon noise."""

CLIP = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroPoint:
    """How much a unit of PSF flux is worth."""

    scale: float
    """nJy per electron."""
    error: float
    """Relative standard error of the scale."""
    scatter: float
    """Relative scatter of a star about it."""
    stars: int


def zero_point(
    flux: NDArray[np.float64],
    flux_error: NDArray[np.float64],
    reference: NDArray[np.float64],
    reference_error: NDArray[np.float64],
) -> ZeroPoint:
    """Compare measured with catalogue fluxes.

    The scale is the weighted mean of the log ratios after clipping about their median. No colour enters: the catalogue's
    fluxes are in the band's own system.

    Parameters
    ----------
    flux, flux_error
        PSF fluxes of matched stars in electrons.
    reference, reference_error
        Their catalogue fluxes in nJy; an error that is not finite counts as 1 %.

    Raises
    ------
    PhotometryError
        When fewer than three stars have positive fluxes.
    """
    safe = np.where(np.isfinite(reference_error), reference_error, 0.01 * np.abs(reference))
    usable = np.isfinite(flux) & np.isfinite(flux_error) & np.isfinite(reference) & (flux > 0) & (reference > 0)
    usable &= (flux > 5 * flux_error) & (reference > 5 * safe)
    if np.count_nonzero(usable) < LEAST_STARS:
        raise PhotometryError(f"{np.count_nonzero(usable)} reference stars are too few for a zero point.")
    ratio = np.log(reference[usable] / flux[usable])
    variance = (flux_error[usable] / flux[usable]) ** 2 + (safe[usable] / reference[usable]) ** 2 + SCATTER_FLOOR**2
    kept = np.ones(len(ratio), np.bool_)
    centre = _weighted_median(ratio, 1 / variance)
    for _ in range(5):
        pull = np.abs(ratio - centre) / np.sqrt(variance)
        spread = max(1.0, 1.4826 * float(np.median(pull[kept])))
        kept = pull < CLIP * spread
        if np.count_nonzero(kept) < LEAST_STARS:
            kept = pull <= np.sort(pull)[LEAST_STARS - 1]
        centre = float(np.average(ratio[kept], weights=1 / variance[kept]))
    scatter = float(np.sqrt(np.average((ratio[kept] - centre) ** 2, weights=1 / variance[kept])))
    error = max(float(1 / np.sqrt(np.sum(1 / variance[kept]))), scatter / np.sqrt(np.count_nonzero(kept)))
    return ZeroPoint(scale=float(np.exp(centre)), error=error, scatter=scatter, stars=int(np.count_nonzero(kept)))


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(share, 0.5 * share[-1])])


def aperture_correction(
    psf_flux: NDArray[np.float64], aperture_flux: NDArray[np.float64], aperture_error: NDArray[np.float64]
) -> float:
    """Return the factor that brings aperture fluxes of stars to their PSF fluxes; 1 when there are no stars to tell."""
    usable = np.isfinite(psf_flux) & np.isfinite(aperture_flux) & (psf_flux > 0) & (aperture_flux > 0)
    usable &= aperture_flux > 20 * aperture_error
    if not usable.any():
        return 1.0
    weights = (aperture_flux[usable] / aperture_error[usable]) ** 2
    return _weighted_median(psf_flux[usable] / aperture_flux[usable], np.minimum(weights, 1e5))
