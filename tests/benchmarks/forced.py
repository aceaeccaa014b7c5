"""Forced PSF photometry at 2,000 positions beside photutils."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from astropy.table import Table
from photutils.psf import ImagePSF, PSFPhotometry

from processors.differencing.psf import ConstantPsf
from processors.forced import PhotometryImage, forced_photometry
from tests.support.timing import Measured, beside

SIZE, POSITIONS, HALF = 2048, 2000, 12


def measure() -> Iterator[Measured]:
    """Yield the comparison."""
    rng = np.random.default_rng(1)
    image = rng.normal(0, 10, (SIZE, SIZE)).astype(np.float32)
    variance = np.full_like(image, 100.0)
    x, y = rng.uniform(30, SIZE - 30, (2, POSITIONS))
    offset = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1]
    psf = np.exp(-(offset**2).sum(0) / 8.0)
    psf /= psf.sum()
    ours = PhotometryImage(
        image=image, variance=variance, mask=np.zeros(image.shape, np.uint16), psf=ConstantPsf(image=psf)
    )
    model = ImagePSF(psf)
    model.x_0.fixed = model.y_0.fixed = True
    theirs = PSFPhotometry(model, (21, 21), aperture_radius=5, progress_bar=False)
    start = Table({"x": x, "y": y})

    def by_photutils() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return theirs(image, error=np.sqrt(variance), init_params=start)

    yield beside(
        "forced photometry at 2,000 positions",
        lambda: forced_photometry(ours, x, y),
        "photutils PSFPhotometry",
        by_photutils,
        note="positions fixed, window of 21 pixels in both",
    )
