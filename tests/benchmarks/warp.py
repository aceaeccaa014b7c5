"""Resampling a template of 2048 x 2048 pixels beside reproject."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from reproject import reproject_interp

from processors.differencing.templates import Template
from processors.differencing.warp import warp_template
from tests.support.difference_scenes import tan_wcs
from tests.support.timing import Measured, beside

SIZE = 2048


def measure() -> Iterator[Measured]:
    """Yield the comparisons."""
    shape = (SIZE, SIZE)
    rng = np.random.default_rng(1)
    image = rng.normal(0, 10, shape).astype(np.float32)
    science, own = tan_wcs(shape), tan_wcs(shape, rotation_deg=12.0, dx=3.4, dy=-7.1)
    offset = np.mgrid[-12:13, -12:13]
    psf = np.exp(-(offset**2).sum(0) / 8.0)
    template = Template(
        image=image, variance=np.ones(shape, np.float32), mask=np.zeros(shape, np.uint16), psf=psf / psf.sum(), wcs=own
    )
    for order in ("bilinear", "bicubic"):
        yield beside(
            "warp a template of 2048 x 2048",
            lambda: warp_template(template, science, shape, 0),
            f"reproject_interp, {order}",
            lambda order=order: reproject_interp((image, own), science, shape_out=shape, order=order),  # type: ignore[misc]
            note="ours Lanczos-5, with variance, mask and PSF; theirs the image alone",
        )
