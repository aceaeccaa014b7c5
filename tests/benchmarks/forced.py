"""Forced PSF photometry at 1,000 positions of a full CCD beside photutils, and beside one position after the other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy.table import Table
from photutils.psf import ImagePSF, PSFPhotometry
from scipy import ndimage

from processors.differencing.psf import ConstantPsf
from processors.forced import PhotometryImage, forced_photometry
from tests.support.timing import Measured, beside

ROWS, COLUMNS, POSITIONS, HALF = 4000, 4072, 1000, 16
SIGMA = 10.0
WINDOW = 10


def measure() -> Iterator[Measured]:
    """Yield both comparisons."""
    rng = np.random.default_rng(1)
    image = rng.normal(0, SIGMA, (ROWS, COLUMNS)).astype(np.float32)
    x, y = rng.uniform(30, COLUMNS - 30, POSITIONS), rng.uniform(30, ROWS - 30, POSITIONS)
    psf = _psf()
    ours = PhotometryImage(
        image=image,
        variance=np.full_like(image, SIGMA**2),
        mask=np.zeros(image.shape, np.uint16),
        psf=ConstantPsf(image=psf),
    )
    fluxes, errors = forced_photometry(ours, x, y)
    theirs = np.asarray(_by_photutils(image, psf, x, y)["flux_fit"], np.float64)
    yield beside(
        "forced photometry, 1,000 positions",
        lambda: forced_photometry(ours, x, y),
        "photutils PSFPhotometry",
        lambda: _by_photutils(image, psf, x, y),
        note="positions fixed, window of 21 pixels, fluxes of noise alone",
        errors=("flux, in our errors", _rms(fluxes / errors), _rms(theirs / errors)),
    )
    looped = _by_loop(image, psf, x, y)
    yield beside(
        "forced photometry, 1,000 positions",
        lambda: forced_photometry(ours, x, y),
        "numpy and scipy, a loop",
        lambda: _by_loop(image, psf, x, y),
        note="a PSF shifted by a quintic spline at each position; largest difference of a flux "
        f"{np.max(np.abs(looped - fluxes) / errors):.1g} sigma",
        errors=("flux, in our errors", _rms(fluxes / errors), _rms(looped / errors)),
    )


def _rms(values: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.nanmean(values**2)))


def _psf() -> np.ndarray[Any, Any]:
    offset = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1]
    psf = np.exp(-(offset**2).sum(0) / 8.0)
    return np.asarray(psf / psf.sum())


def _by_photutils(image: np.ndarray[Any, Any], psf: np.ndarray[Any, Any], x: Any, y: Any) -> Any:
    model = ImagePSF(psf)
    model.x_0.fixed = model.y_0.fixed = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = PSFPhotometry(model, (2 * WINDOW + 1, 2 * WINDOW + 1), aperture_radius=5, progress_bar=False)
        return fit(image, error=np.full_like(image, SIGMA), init_params=Table({"x": x, "y": y}))


def _by_loop(image: np.ndarray[Any, Any], psf: np.ndarray[Any, Any], x: Any, y: Any) -> np.ndarray[Any, Any]:
    coefficients = ndimage.spline_filter(psf, order=5, mode="mirror")
    fluxes = np.empty(len(x))
    cut = slice(HALF - WINDOW, HALF + WINDOW + 1)
    for n, (column, row) in enumerate(zip(x, y, strict=True)):
        ix, iy = int(np.floor(column + 0.5)), int(np.floor(row + 0.5))
        shift = (row - iy, column - ix)
        weight = ndimage.shift(coefficients, shift, order=5, mode="constant", prefilter=False)[cut, cut]
        pixels = image[iy - WINDOW : iy + WINDOW + 1, ix - WINDOW : ix + WINDOW + 1]
        fluxes[n] = np.sum(weight * pixels) / np.sum(weight**2)
    return fluxes
