"""From a science image and a template to a white difference with its PSF: warp, match, subtract, whiten."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.artefacts import early_streaks
from processors.differencing.background import remove_background
from processors.differencing.errors import (
    HopelessDifferenceError,
    InvalidImageError,
    TemplateCoverageError,
    TooFewKernelStarsError,
)
from processors.differencing.fourier import TileGrid
from processors.differencing.halos import brilliant_stars, flatten_halos
from processors.differencing.kernel import Kernel, measure_stamps, require_stamps
from processors.differencing.kernel_basis import make_basis
from processors.differencing.kernel_fit import fit_kernel
from processors.differencing.kernel_stars import select_kernel_stars, stands_out
from processors.differencing.layers import Layers, ScienceImage
from processors.differencing.planes import all_finite, combine_masks, has_plane, judge_pixels, set_plane
from processors.differencing.psf import PsfGrid, adaptive_moments
from processors.differencing.registration import measure_shift
from processors.differencing.score import ScoreMap
from processors.differencing.score_tiles import TileFilters, score_tiles
from processors.differencing.sky import pixel_scale
from processors.differencing.subtract import Matched, Matching, Whitening, match_images, plan_matching
from processors.differencing.templates import Template
from processors.differencing.warp import WarpedTemplate, coarse_grid, coverage, warp_psf, warp_template
from schemas.masks import MaskPlane

__all__ = ["Subtraction", "checked_science", "psf_sigma", "subtract_template", "whitened"]

LEAST_COVERAGE = 0.1
"""Part of the detector below which nothing is differenced (ip_diffim refuses the same)."""

TOLERATED_COVERAGE = 0.2
"""Part of the detector below which a kernel that cannot be fitted is put down to the template's coverage (ip_diffim excuses the same)."""

HOPELESS_RESIDUAL = 0.2
"""Residual power in the kernel stars, as a part of their power, above which a CCD is given up (ip_diffim)."""

EDGE_PIXELS = 4
"""Border in which a centroid cannot be trusted."""

STAMP_HALF = 12
"""Half size of kernel stamps, pixels."""

MEASURE_SPACING = 256.0
"""Largest distance of PSF nodes, pixels."""

Pixels = NDArray[Any]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtraction:
    """A difference before whitening, and how it was made."""

    matched: Matched
    variance: NDArray[np.float32]
    """Of a pixel of the white difference, nJy^2."""
    mask: NDArray[np.uint16]
    """Planes of both images."""
    usable: NDArray[np.bool_]
    lost: NDArray[np.bool_]
    science: ScienceImage
    science_psf: PsfGrid
    kernel: Kernel
    matching: Matching
    coverage: float
    noise_correlation: float
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
    image, variance, mask = science.image, science.variance, science.mask
    if not (all_finite(image) and all_finite(variance)):
        absent = ~np.isfinite(image) | ~np.isfinite(variance)
        mask = mask | (absent * np.uint16(MaskPlane.NO_DATA))
        image, variance = np.where(absent, 0, image), np.where(absent, 0, variance)
    mask = np.ascontiguousarray(mask, dtype=np.uint16)
    if not judge_pixels(mask)[0].any():
        raise InvalidImageError("No pixel of the science image can be used.")
    return ScienceImage(
        image=np.ascontiguousarray(image, dtype=np.float32),
        variance=np.ascontiguousarray(variance, dtype=np.float32),
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
    psf_image = np.asarray(science.psf.at((shape[1] - 1) / 2, (shape[0] - 1) / 2))
    science_psf = PsfGrid.sample(science.psf, shape, psf_image.shape[0] // 2, MEASURE_SPACING)
    matching, stars, warped, covered = _aligned(science, template, science_psf)
    mask = _joined_mask(science.mask, warped, matching)
    usable, lost = judge_pixels(mask)
    with _excused(covered):
        kernel = _fit(science, warped, usable, stars, matching, largest_order)
    reach = max(kernel.basis.half, math.ceil(5 * matching.smoothing_sigma)) + 1
    matched = match_images(
        TileGrid(shape, reach),
        (science.image, ~lost),
        (warped.image, warped.variance),
        margin=warped.pad,
        kernel=kernel,
        smoothing=matching.smoothing_sigma,
    )
    noise_correlation = warped.noise_correlation
    del warped  # a sixth of what is held here
    background = remove_background(matched.raw, usable)
    variance = science.variance + matched.template_variance
    _mask_streaks(matched.raw, variance, mask, usable, 2.3548 * matching.science_sigma)
    noise = math.sqrt(float(np.median(science.variance[::5, ::5][usable[::5, ::5]])))
    fwhm = 2.3548 * matching.science_sigma
    brilliant = brilliant_stars(matched.template, noise, mask, fwhm)
    flatten_halos(matched.raw, usable, brilliant, 1.5 * fwhm, template=matched.template, noise=noise)
    parts = science.variance, matched.template_variance, matching.smoothing_noise
    ratio, chi2 = _residuals(kernel, matched, parts, usable)
    with _excused(covered):
        if ratio > HOPELESS_RESIDUAL:
            raise HopelessDifferenceError(f"Residuals of the kernel stars hold {ratio:.0%} of their power.")
    return Subtraction(
        matched=matched,
        variance=variance,
        mask=mask,
        usable=usable,
        lost=lost,
        science=science,
        science_psf=science_psf,
        kernel=kernel,
        matching=matching,
        coverage=covered,
        noise_correlation=noise_correlation,
        background=background,
        residual_ratio=ratio,
        stamp_chi2=chi2,
    )


@contextmanager
def _excused(covered: float) -> Iterator[None]:
    """Turn a failure on the little that a template covers into one of its coverage."""
    try:
        yield
    except (TooFewKernelStarsError, HopelessDifferenceError) as error:
        if covered >= TOLERATED_COVERAGE:
            raise
        raise TemplateCoverageError(
            f"The template covers {covered:.1%} of the detector, too little: {error}"
        ) from error


def _aligned(
    science: ScienceImage, template: Template, science_psf: PsfGrid
) -> tuple[Matching, tuple[Places, Places], WarpedTemplate, float]:
    """Choose the kernel's stars, and warp the template once, with the shift that they show taken out."""
    shape = (science.image.shape[0], science.image.shape[1])
    pad = max(24, science_psf.half + 4)
    grid = coarse_grid(template.wcs, science.wcs, shape, pad)
    matching = plan_matching(science_psf.mean, warp_psf(template.psf, grid))
    half = _stamp_half(shape)

    def in_template(x: Places, y: Places) -> NDArray[np.bool_]:
        ra, dec = science.wcs.all_pix2world(x.astype(float), y.astype(float), 0)
        columns, rows = template.wcs.all_world2pix(ra, dec, 0)
        return stands_out(template.image, template.variance, template.mask, columns, rows, half // 2)

    stars = select_kernel_stars(science.image, science.variance, science.mask, half=half, accepts=in_template)
    width = max(matching.science_sigma, matching.template_sigma)
    shifted = measure_shift(
        science.image, (template.image, template.wcs), science.wcs, x=stars[0], y=stars[1], sigma=width
    )
    warped = warp_template(template, shifted or science.wcs, shape, pad)
    covered = coverage(warped)
    if covered < LEAST_COVERAGE:
        raise TemplateCoverageError(
            f"The template covers {covered:.1%} of the detector; {LEAST_COVERAGE:.0%} is needed."
        )
    with _excused(covered):
        require_stamps(len(stars[0]))
    return matching, stars, warped, covered


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


def _stamp_half(shape: tuple[int, ...]) -> int:
    return min(STAMP_HALF, (min(shape) - 3) // 4)


def _fit(
    science: ScienceImage,
    warped: WarpedTemplate,
    usable: NDArray[np.bool_],
    stars: tuple[Places, Places],
    matching: Matching,
    largest_order: int,
) -> Kernel:
    shape = (usable.shape[0], usable.shape[1])
    basis = make_basis(matching.kernel_sigma, largest_half=min(16, warped.pad))
    stamps = measure_stamps(
        science.image,
        science.variance,
        warped.image,
        warped.variance,
        usable,
        x=stars[0],
        y=stars[1],
        half=_stamp_half(shape),
        pad=warped.pad,
        basis=basis,
        smoothing=matching.smoothing_sigma,
    )
    return fit_kernel(stamps, basis, shape, largest_order=largest_order)


def _mask_streaks(
    raw: Pixels, variance: Pixels, mask: NDArray[np.uint16], usable: NDArray[np.bool_], fwhm: float
) -> None:
    """Set the plane of streaks and take them from the usable pixels, in place."""
    streaks = early_streaks(raw, variance, usable, has_plane(mask, MaskPlane.CR), fwhm)
    if streaks.any():
        set_plane(mask, streaks, MaskPlane.STREAK)
        usable &= ~streaks


def _residuals(
    kernel: Kernel, matched: Matched, variance: tuple[Pixels, Pixels, float], usable: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return, over the kernel's stamps, residual power beyond noise per power of the stars, and chi squared per pixel."""
    ratios, chi2 = [], []
    half = STAMP_HALF // 2
    spread = np.float32(np.sum(kernel.at(*((n - 1) / 2 for n in kernel.shape[::-1])) ** 2) / kernel.sum**2)
    for x, y in zip(kernel.stamp_x, kernel.stamp_y, strict=True):
        box = np.s_[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1]
        good = usable[box]
        noise = (variance[0][box] * variance[2] + variance[1][box] * spread)[good].astype(np.float64)
        residual = matched.raw[box][good].astype(np.float64) ** 2
        power = float(np.sum(matched.template[box][good].astype(np.float64) ** 2))
        if power > 0 and good.any():
            ratios.append(max(float(np.sum(residual - noise)), 0.0) / power)
            chi2.append(float(np.mean(residual / np.maximum(noise, 1e-30))))
    return (float(np.median(ratios)), float(np.median(chi2))) if ratios else (0.0, 1.0)


def whitened(subtraction: Subtraction) -> tuple[Layers, ScoreMap, TileGrid, TileFilters]:
    """Whiten a difference and score it; the score's errors are those of the variance plane. The template's variance is used up."""
    shape = (subtraction.mask.shape[0], subtraction.mask.shape[1])
    science, kernel, matched = subtraction.science, subtraction.kernel, subtraction.matched
    own = subtraction.science_psf.half
    half = min(own + 4, 30)
    grid = TileGrid(shape, half)
    filters = TileFilters.of(grid, science.psf, _whitenings(grid, subtraction), half=half, own=own)
    variance = subtraction.variance
    white, score = score_tiles(
        grid,
        matched.raw,
        variance=variance,
        lost=subtraction.lost,
        usable=subtraction.usable,
        static=matched.template,
        filters=filters,
    )
    middle = kernel.at((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    smoothing = Whitening(kernel=middle, smoothing=subtraction.matching.smoothing_sigma, noise=(0.0, 0.0))
    smooth_psf = subtraction.science_psf.map(lambda image: smoothing.psf(image, own))
    factor = np.float32(_noise_factor(middle, smooth_psf.mean) / kernel.sum**2)
    np.multiply(matched.template_variance, factor, out=matched.template_variance)
    layers = Layers(
        difference=white,
        variance=variance,
        mask=subtraction.mask,
        usable=subtraction.usable,
        psf=filters.psf,
        science=science.image,
        science_variance=science.variance,
        science_psf=subtraction.science_psf,
        template=matched.template,
        template_variance=matched.template_variance,
        template_psf=smooth_psf,
        wcs=science.wcs,
        pixel_scale=pixel_scale(science.wcs, (shape[1] - 1) / 2, (shape[0] - 1) / 2),
    )
    return layers, score, grid, filters


def _whitenings(grid: TileGrid, subtraction: Subtraction) -> list[list[Whitening]]:
    """Return the whitening of every tile: its own kernel, its own depths of both images."""
    rows: list[list[Whitening]] = [[] for _ in range(grid.rows)]
    kernel, matched = subtraction.kernel, subtraction.matched
    whole = _depths(subtraction.science.variance, matched.template_variance, subtraction.usable, kernel.sum)
    for tile in grid:
        box = tile.box
        own = _depths(
            subtraction.science.variance[box], matched.template_variance[box], subtraction.usable[box], kernel.sum
        )
        noise = own or whole or (1.0, 0.0)
        smoothing = subtraction.matching.smoothing_sigma
        rows[tile.row].append(Whitening(kernel=kernel.at(*tile.middle), smoothing=smoothing, noise=noise))
    return rows


def _depths(
    science: Pixels, template: Pixels, usable: NDArray[np.bool_], kernel_sum: float
) -> tuple[float, float] | None:
    good = usable[::8, ::8]
    if not good.any():
        return None
    return (
        float(np.median(science[::8, ::8][good])),
        float(np.median(template[::8, ::8][good])) / max(kernel_sum**2, 1e-30),
    )


def _noise_factor(kernel: Pixels, psf: Pixels) -> float:
    """Return by how much convolving with a kernel changes the noise of a PSF flux, as a factor of variance."""
    size = (kernel.shape[0] + psf.shape[0],) * 2
    spectrum = np.fft.rfft2(psf, s=size)
    convolved = np.fft.irfft2(spectrum * np.conj(np.fft.rfft2(kernel, s=size)), s=size)
    return float(np.sum(convolved**2) / np.sum(np.asarray(psf) ** 2))


def psf_sigma(psf: Pixels) -> float:
    """Return a PSF image's standard deviation under an adaptive Gaussian weight, pixels."""
    half = psf.shape[0] // 2
    xx, yy, _, _ = adaptive_moments(np.asarray(psf, dtype=np.float64), float(half), float(half), 1.5, float(half))
    return math.sqrt((xx + yy) / 2)
