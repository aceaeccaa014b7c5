"""Measure one PSF for a whole image by stacking its stars, for images that come without a PSF."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from processors.differencing.errors import TooFewKernelStarsError
from processors.differencing.kernel_stars import select_kernel_stars
from processors.differencing.psf import resize_psf
from processors.differencing.registration import star_centroids

__all__ = ["stack_psf"]

HALF = 15
"""Half size of the PSF made, pixels."""

GUESSED_SIGMA = 2.0
"""Width of the centroid's window, pixels; windowed positions need no exact one."""

Pixels = NDArray[Any]


def stack_psf(image: Pixels, variance: Pixels, mask: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Average an image's stars, each moved onto a pixel's middle by a quintic spline and scaled to its flux.

    Parameters
    ----------
    image, variance
        Pixels without background and their variance.
    mask
        Planes of `schemas.masks.MaskPlane`.

    Returns
    -------
    ndarray
        Odd square of sum 1; a star's weight is its flux.

    Raises
    ------
    TooFewKernelStarsError
        When the image has no isolated unsaturated star.
    """
    half = min(HALF, (min(image.shape) - 3) // 4)
    x, y = select_kernel_stars(image, variance, mask, half=half)
    places = star_centroids(image, x, y, GUESSED_SIGMA)
    total = np.zeros((2 * half + 1, 2 * half + 1))
    for (column, row), cx, cy in zip(places, x, y, strict=True):
        if not np.isfinite(column):
            continue
        cut = np.asarray(image[cy - half : cy + half + 1, cx - half : cx + half + 1], dtype=np.float64)
        moved = ndimage.shift(cut, (cy - row, cx - column), order=5, mode="nearest")
        if moved.sum() > 0:
            total += moved
    if total.sum() <= 0:
        raise TooFewKernelStarsError("The image has no isolated unsaturated star from which a PSF could be made.")
    return resize_psf(_tapered(total / total.sum(), half), half)


def _tapered(psf: Pixels, half: int) -> Pixels:
    """Take the level of the border away and lead the image to zero there."""
    rows, columns = np.indices(psf.shape)
    radius = np.hypot(rows - half, columns - half)
    level = float(np.median(psf[radius > 0.85 * half]))
    return np.asarray((psf - level) * np.clip((half + 1 - radius) / (0.25 * half), 0, 1))
