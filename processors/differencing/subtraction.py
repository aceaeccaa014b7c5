"""From a science image and a template to a white difference with its PSF: warp, match, subtract, whiten."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.errors import HopelessDifferenceError, InvalidImageError, TemplateCoverageError
from processors.differencing.fourier import FourierFrame
from processors.differencing.halos import brilliant_stars, flatten_halos
from processors.differencing.kernel import Kernel, measure_stamps, require_stamps
from processors.differencing.kernel_basis import make_basis
from processors.differencing.kernel_fit import fit_kernel
from processors.differencing.kernel_stars import select_kernel_stars
from processors.differencing.layers import Layers, ScienceImage
from processors.differencing.planes import UNUSABLE, combine_masks, has_plane, is_lost, set_plane
from processors.differencing.psf import PsfGrid, adaptive_moments
from processors.differencing.registration import measure_shift
from processors.differencing.sky import pixel_scale
from processors.differencing.subtract import (
    Matching,
    convolve_template,
    convolve_variance,
    plan_matching,
    remove_background,
    whiten,
    whitened_psf,
)
from processors.differencing.templates import Template
from processors.differencing.warp import WarpedTemplate, coverage, warp_template
from schemas.masks import MaskPlane

__all__ = ["Subtraction", "checked_science", "subtract_template"]

LEAST_COVERAGE = 0.1
"""Part of the detector below which nothing is differenced (ip_diffim refuses the same)."""

HOPELESS_RESIDUAL = 0.2
"""Residual power in the kernel stars, as a part of their power, above which a CCD is given up (ip_diffim)."""

EDGE_PIXELS = 4
"""Border in which a centroid cannot be trusted."""

STAMP_HALF = 12
"""Half size of kernel stamps, pixels."""

MEASURE_SPACING = 256.0
"""Largest distance of PSF nodes, pixels."""

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtraction:
    """A white difference and how it was made."""

    layers: Layers
    frame: FourierFrame
    kernel: Kernel
    matching: Matching
    fwhm: float
    coverage: float
    background: float
    residual_ratio: float
    stamp_chi2: float


def checked_science(science: ScienceImage) -> ScienceImage:
    """Return a science image whose NaN pixels are 0 and NO_DATA.

    Raises
    ------
    InvalidImageError
        When shapes differ or no pixel can be used.
    """
    shape = science.image.shape
    if len(shape) != 2 or science.variance.shape != shape or science.mask.shape != shape:
        raise InvalidImageError("Image, variance and mask of a science image must have one two-dimensional shape.")
    absent = ~np.isfinite(science.image) | ~np.isfinite(science.variance)
    mask = np.where(absent, science.mask | np.uint16(MaskPlane.NO_DATA), science.mask).astype(np.uint16)
    if not (~has_plane(mask, UNUSABLE)).any():
        raise InvalidImageError("No pixel of the science image can be used.")
    return ScienceImage(
        image=np.where(absent, 0, science.image).astype(np.float32),
        variance=np.where(absent, 0, science.variance).astype(np.float32),
        mask=mask,
        psf=science.psf,
        wcs=science.wcs,
    )


def subtract_template(science: ScienceImage, template: Template, largest_order: int) -> Subtraction:
    """Warp a template, match it to a science image, subtract it and whiten the difference.

    Parameters
    ----------
    science
        Result of `checked_science`.
    template
        Template in its own pixels.
    largest_order
        Bound on the kernel's spatial order.

    Raises
    ------
    TemplateCoverageError, TooFewKernelStarsError, HopelessDifferenceError
        When the images cannot be subtracted.
    """
    shape = (science.image.shape[0], science.image.shape[1])
    middle = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    psf_image = np.asarray(science.psf.at(*middle))
    science_psf = PsfGrid.sample(science.psf, shape, psf_image.shape[0] // 2, MEASURE_SPACING)
    pad = max(24, science_psf.half + 4)
    warped = warp_template(template, science.wcs, shape, pad)
    covered = coverage(warped)
    if covered < LEAST_COVERAGE:
        raise TemplateCoverageError(
            f"The template covers {covered:.1%} of the detector; {LEAST_COVERAGE:.0%} is needed."
        )
    matching = plan_matching(science_psf.mean, warped.psf)
    frame = FourierFrame(shape, pad)
    mask = _joined_mask(science.mask, warped, matching)
    usable = ~has_plane(mask, UNUSABLE)
    image = _smoothed(frame, science.image, ~is_lost(mask), warped.image, matching.smoothing_sigma)
    x, y = _stars(image, science.variance, warped, mask)
    shifted = measure_shift(
        image,
        _inner(warped.image, pad),
        science.wcs,
        x=x,
        y=y,
        sigma=max(matching.science_sigma, matching.template_sigma),
    )
    if shifted is not None:
        warped = warp_template(template, shifted, shape, pad)
    kernel = _fit(image, science.variance, warped, usable, (x, y), matching, largest_order)
    matched = convolve_template(frame, warped.image, kernel)
    raw, background = remove_background(image - matched - np.float32(kernel.background[0]), usable)
    noise = math.sqrt(float(np.median(science.variance[usable])))
    fwhm = 2.3548 * matching.science_sigma
    raw, _ = flatten_halos(raw, usable, brilliant_stars(matched, noise, mask, fwhm), 1.5 * fwhm)
    middle_kernel = kernel.at(*middle)
    spread = convolve_variance(frame, warped.variance, middle_kernel)
    ratio, chi2 = _residuals(kernel, raw, matched, science.variance * matching.smoothing_noise + spread, usable)
    if ratio > HOPELESS_RESIDUAL:
        raise HopelessDifferenceError(f"Residuals of the kernel stars hold {ratio:.0%} of their power.")
    layers = _layers(science, spread, frame, mask, raw, matched, middle_kernel, matching, science_psf)
    fwhm = 2.3548 * _sigma_of(layers.psf.mean)
    return Subtraction(
        layers=layers,
        frame=frame,
        kernel=kernel,
        matching=matching,
        fwhm=fwhm,
        coverage=covered,
        background=background,
        residual_ratio=ratio,
        stamp_chi2=chi2,
    )


def _inner(image: Pixels, pad: int) -> Pixels:
    return image[pad : image.shape[0] - pad, pad : image.shape[1] - pad]


def _joined_mask(science: NDArray[np.uint16], warped: WarpedTemplate, matching: Matching) -> NDArray[np.uint16]:
    mask = combine_masks(
        science,
        warped.mask,
        science_growth=2,
        template_growth=math.ceil(1.5 * matching.kernel_sigma) + 1,
        pad=warped.pad,
    )
    border = EDGE_PIXELS + math.ceil(2 * matching.smoothing_sigma)
    set_plane(mask, np.s_[:border], MaskPlane.EDGE)
    set_plane(mask, np.s_[-border:], MaskPlane.EDGE)
    set_plane(mask, np.s_[:, :border], MaskPlane.EDGE)
    set_plane(mask, np.s_[:, -border:], MaskPlane.EDGE)
    return mask


def _smoothed(frame: FourierFrame, image: Pixels, known: NDArray[np.bool_], filling: Pixels, sigma: float) -> Pixels:
    """Return the science image smoothed by a Gaussian; unknown pixels, and those beyond the edge, are the template's."""
    pad = frame.pad
    filled = np.array(filling, dtype=np.float32)
    inner = filled[pad : pad + frame.shape[0], pad : pad + frame.shape[1]]
    inner[known] = image[known]
    if sigma == 0.0:
        return inner.copy()
    return frame.back(frame.forward(filled) * frame.gaussian(sigma))


def _stars(
    image: Pixels, variance: Pixels, warped: WarpedTemplate, mask: NDArray[np.uint16]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    inner = _inner(warped.image, warped.pad), _inner(warped.variance, warped.pad)
    x, y = select_kernel_stars((image, variance), inner, mask, half=_stamp_half(image.shape))
    require_stamps(len(x))
    return x, y


def _stamp_half(shape: tuple[int, ...]) -> int:
    return min(STAMP_HALF, (min(shape) - 3) // 4)


def _fit(
    image: Pixels,
    variance: Pixels,
    warped: WarpedTemplate,
    usable: NDArray[np.bool_],
    stars: tuple[NDArray[np.int64], NDArray[np.int64]],
    matching: Matching,
    largest_order: int,
) -> Kernel:
    basis = make_basis(matching.kernel_sigma, largest_half=min(16, warped.pad))
    stamps = measure_stamps(
        image,
        variance,
        warped.image,
        warped.variance,
        usable,
        x=stars[0],
        y=stars[1],
        half=_stamp_half(image.shape),
        pad=warped.pad,
        basis=basis,
    )
    return fit_kernel(stamps, basis, (image.shape[0], image.shape[1]), largest_order=largest_order)


def _residuals(
    kernel: Kernel, raw: Pixels, matched: Pixels, variance: Pixels, usable: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return, over the kernel's stamps, residual power beyond noise per power of the stars, and chi squared per pixel."""
    ratios, chi2 = [], []
    half = STAMP_HALF // 2
    for x, y in zip(kernel.stamp_x, kernel.stamp_y, strict=True):
        box = np.s_[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1]
        good = usable[box]
        noise = variance[box][good].astype(np.float64)
        residual = raw[box][good].astype(np.float64) ** 2
        power = float(np.sum(matched[box][good].astype(np.float64) ** 2))
        if power > 0 and good.any():
            ratios.append(max(float(np.sum(residual - noise)), 0.0) / power)
            chi2.append(float(np.mean(residual / np.maximum(noise, 1e-30))))
    return (float(np.median(ratios)), float(np.median(chi2))) if ratios else (0.0, 1.0)


def _layers(
    science: ScienceImage,
    spread: Pixels,
    frame: FourierFrame,
    mask: NDArray[np.uint16],
    raw: Pixels,
    matched: Pixels,
    middle: Pixels,
    matching: Matching,
    science_psf: PsfGrid,
) -> Layers:
    usable = ~has_plane(mask, UNUSABLE)
    rows, columns = frame.shape
    template_variance = spread / np.float32(np.sum(middle**2))
    noise = float(np.median(science.variance[usable])), float(np.median(template_variance[usable]))
    white = whiten(
        frame, np.where(is_lost(mask), 0, raw), kernel=middle, smoothing=matching.smoothing_sigma, noise=noise
    )
    psf = whitened_psf(
        science_psf, kernel=middle, smoothing=matching.smoothing_sigma, noise=noise, half=min(science_psf.half + 4, 30)
    )
    smooth_psf = whitened_psf(
        science_psf, kernel=middle, smoothing=matching.smoothing_sigma, noise=(0.0, 0.0), half=science_psf.half
    )
    return Layers(
        difference=np.where(usable, white, 0).astype(np.float32),
        variance=(science.variance + np.float32(middle.sum() ** 2) * template_variance).astype(np.float32),
        mask=mask,
        usable=usable,
        psf=psf,
        science=science.image,
        science_variance=science.variance,
        science_psf=science_psf,
        template=matched,
        template_variance=(template_variance * np.float32(_noise_factor(middle, smooth_psf.mean))).astype(np.float32),
        template_psf=smooth_psf,
        wcs=science.wcs,
        pixel_scale=pixel_scale(science.wcs, (columns - 1) / 2, (rows - 1) / 2),
    )


def _noise_factor(kernel: Pixels, psf: Pixels) -> float:
    """Return by how much convolving with a kernel changes the noise of a PSF flux, as a factor of variance."""
    size = (kernel.shape[0] + psf.shape[0],) * 2
    spectrum = np.fft.rfft2(psf, s=size)
    convolved = np.fft.irfft2(spectrum * np.conj(np.fft.rfft2(kernel, s=size)), s=size)
    return float(np.sum(convolved**2) / np.sum(np.asarray(psf) ** 2))


def _sigma_of(psf: Pixels) -> float:
    half = psf.shape[0] // 2
    xx, yy, _, _ = adaptive_moments(np.asarray(psf, dtype=np.float64), float(half), float(half), 1.5, float(half))
    return math.sqrt((xx + yy) / 2)
