"""Subtract a matched template and whiten the noise that the convolution correlated.

The difference is ``G * science - K * template - background``. G is a delta function when the science image is clearly
the broader one; otherwise it is a Gaussian just wide enough that K need not sharpen the template. Whatever is known exactly
(G) cannot bias fluxes, and the whitening gives back the sharpness that G took. Whitening follows the decorrelation of
Reiss & Lupton (DMTN-021): the noise becomes white with the variance it has at large scales.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numba import njit
from numpy.typing import NDArray

from processors.differencing.fourier import Spectrum, Tile, TileGrid, gaussian_transfer, transform_kernel
from processors.differencing.kernel import Kernel, spatial_terms
from processors.differencing.psf import adaptive_moments
from processors.differencing.separable import correlate_products, separate

__all__ = ["Matched", "Matching", "Whitening", "match_images", "plan_matching"]

LEAST_KERNEL_SIGMA = 0.7
"""Standard deviation, pixels, that the matching kernel should have at least in every direction."""

PLANE_TILES = 7
"""Tiles along a side from which a kernel of second order is a plane within each: what that leaves is then below 0.7 % of the second order."""

_NODES = np.sqrt(0.6) * np.array([-1.0, 0.0, 1.0])
_WEIGHTS = np.array([5.0, 8.0, 5.0]) / 18
"""Gauss and Legendre's three places for a mean over a stretch, and their weights."""

_NOISE_FLOOR = 3e-4
_PSF_SIZE = 96

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """How the two images are brought to one PSF."""

    science_sigma: float
    template_sigma: float
    smoothing_sigma: float
    """Standard deviation of the Gaussian that smooths the science image, pixels; 0 for none."""
    kernel_sigma: float
    """Expected standard deviation of the kernel, pixels."""

    @property
    def smoothing_noise(self) -> float:
        """Factor by which the smoothing changes the variance of a pixel."""
        frequency = np.fft.fftfreq(64)
        line = np.exp(-4 * (np.pi * self.smoothing_sigma * frequency) ** 2)
        return float(np.mean(line) ** 2)


def plan_matching(science_psf: Pixels, template_psf: Pixels) -> Matching:
    """Decide from the two PSFs how far the science image must be smoothed first.

    Parameters
    ----------
    science_psf, template_psf
        PSF images on the same pixels, odd squares.
    """
    science, template = _moments(science_psf), _moments(template_psf)
    widest = float(np.max(np.linalg.eigvalsh(template - science)))
    smoothing = max(0.0, widest + LEAST_KERNEL_SIGMA**2)
    kernel = float(np.trace(science - template)) / 2 + smoothing
    return Matching(
        science_sigma=float(np.sqrt(np.trace(science) / 2)),
        template_sigma=float(np.sqrt(np.trace(template) / 2)),
        smoothing_sigma=float(np.sqrt(smoothing)) if smoothing > 0.01 else 0.0,
        kernel_sigma=float(np.sqrt(max(kernel, LEAST_KERNEL_SIGMA**2))),
    )


def _moments(psf: Pixels) -> NDArray[np.float64]:
    half = psf.shape[0] // 2
    xx, yy, xy, _ = adaptive_moments(np.asarray(psf, dtype=np.float64), float(half), float(half), 1.5, float(half))
    return np.array([[xx, xy], [xy, yy]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """A science image less its matched template, before whitening; all of the science image's shape."""

    raw: NDArray[np.float32]
    template: NDArray[np.float32]
    """Template convolved with the kernel, nJy."""
    template_variance: NDArray[np.float32]
    """Its variance spread like its light, as a density on large scales, nJy^2."""


def match_images(
    grid: TileGrid,
    science: tuple[Pixels, NDArray[np.bool_]],
    template: tuple[Pixels, Pixels],
    *,
    margin: int,
    kernel: Kernel,
    smoothing: float,
) -> Matched:
    """Smooth the science image, convolve the template with its kernel, and subtract, tile by tile.

    Parameters
    ----------
    grid
        Tiles whose margin holds the kernel and the smoothing.
    science
        Image, and which of its pixels are known; others, and those beyond the edge, are taken from the template.
    template
        Image and variance with ``margin`` more pixels on each side, at least `separable.REACH`.
    kernel
        Fitted kernel; the constant of its differential background is subtracted too.
    smoothing
        Standard deviation of the Gaussian that smooths the science image, pixels; 0 for none.
    """
    frame, shape = grid.frame, grid.shape
    raw, matched, spread = (np.empty(shape, np.float32) for _ in range(3))
    gaussian = frame.gaussian(smoothing) if smoothing > 0 else None
    components = [frame.kernel(part) for part in kernel.components()] if _is_coarse(grid, kernel) else []
    for tile in grid:
        pixels = grid.cut(template[0], tile, margin)
        spectrum = frame.forward(pixels)
        if components:
            parts = _exact(grid, tile, [spectrum * component for component in components])
        else:
            parts = [frame.rows(spectrum * frame.kernel(part), tile.height) for part in _plane(kernel, tile)]
        image, first = _science_tile(grid, tile, science, pixels, gaussian)
        slopes = parts[-2 % len(parts)], parts[-1]
        level = np.float32(kernel.background[0])
        _subtract(
            image,
            first,
            parts[0],
            slopes,
            frame.pad,
            level,
            len(parts) > 1,
            (tile.top, tile.left, tile.width),
            matched,
            raw,
        )
        square = kernel.at(*tile.middle)[::-1, ::-1] ** 2
        products = separate(square * (kernel.sum**2 / np.sum(square)))
        place = margin + tile.top, margin + tile.left
        spread[tile.box] = correlate_products(template[1], *place, (tile.height, tile.width), *products)
    return Matched(raw=raw, template=matched, template_variance=spread)


def _is_coarse(grid: TileGrid, kernel: Kernel) -> bool:
    return kernel.order > 1 and min(grid.rows, grid.columns) < PLANE_TILES


def _exact(grid: TileGrid, tile: Tile, products: list[Spectrum]) -> list[Pixels]:
    """Return a tile convolved with a kernel of second order, exactly."""
    columns, rows = np.arange(tile.left, tile.left + tile.width), np.arange(tile.top, tile.top + tile.height)
    mesh_x, mesh_y = np.meshgrid(columns, rows)
    terms = spatial_terms(mesh_x, mesh_y, grid.shape, 2).astype(np.float32)
    total = np.zeros((tile.height, grid.frame.size[1]), np.float32)
    inner = np.s_[:, grid.frame.pad : grid.frame.pad + tile.width]
    for n, product in enumerate(products):
        total[inner] += grid.frame.rows(product, tile.height)[inner] * terms[..., n]
    return [total]


def _plane(kernel: Kernel, tile: Tile) -> Pixels:
    """Return the plane nearest to a kernel within a tile: its mean, and its slopes by half a width and half a height.

    A constant kernel has its mean alone.
    """
    if kernel.order == 0:
        return kernel.components()
    x, y = (middle + half * _NODES for middle, half in zip(tile.middle, (tile.width / 2, tile.height / 2), strict=True))
    mesh_x, mesh_y = np.meshgrid(x, y)
    terms = spatial_terms(mesh_x, mesh_y, kernel.shape, kernel.order)
    by_column = np.tensordot(_WEIGHTS, terms, axes=1)
    by_row = np.tensordot(_WEIGHTS, terms, axes=(0, 1))
    slopes = 3 * _WEIGHTS * _NODES
    plane = np.stack([_WEIGHTS @ by_column, slopes @ by_column, slopes @ by_row])
    return np.tensordot(plane @ kernel.coefficients.T, kernel.basis.images, axes=1)


@njit(cache=True)
def _subtract(
    science: Any,
    first: Any,
    mean: Any,
    slopes: Any,
    pad: int,
    level: Any,
    sloping: bool,
    place: Any,
    matched: Any,
    raw: Any,
) -> None:
    """Fill the matched template, a plane of three convolutions over the tile, and what it leaves of the science image.

    ``first`` is the tile's first pixel in ``science``, ``place`` its row, column and width in what is filled.
    """
    rows, (top, left, columns) = mean.shape[0], place
    across = ((2.0 * np.arange(columns) - (columns - 1)) / columns).astype(np.float32)
    for r in range(rows):
        up = np.float32((2.0 * r - (rows - 1)) / rows)
        pixels = science[first[0] + r, first[1] : first[1] + columns]
        values, by_x = mean[r, pad : pad + columns], slopes[0][r, pad : pad + columns]
        by_y = slopes[1][r, pad : pad + columns]
        line, rest = matched[top + r, left : left + columns], raw[top + r, left : left + columns]
        for c in range(columns):
            value = values[c]
            if sloping:
                value += across[c] * by_x[c] + up * by_y[c]
            line[c] = value
            rest[c] = pixels[c] - value - level


def _science_tile(
    grid: TileGrid, tile: Tile, science: tuple[Pixels, Pixels], template: Pixels, gaussian: Pixels | None
) -> tuple[Pixels, tuple[int, int]]:
    """Return an image that holds the science image's pixels of a tile, and where the first of them is."""
    if gaussian is None:
        return science[0], (tile.top, tile.left)
    frame = grid.frame
    filled = template.copy()
    _put_known(filled, *science, tile.top - frame.pad, tile.left - frame.pad, frame.padded)
    spectrum = frame.forward(filled)
    spectrum *= gaussian
    return frame.rows(spectrum, tile.height), (0, frame.pad)


@njit(cache=True)
def _put_known(full: Any, image: Any, known: Any, top: int, left: int, padded: Any) -> None:
    """Put an image's known pixels into a frame."""
    first, last = max(-left, 0), min(padded[1], image.shape[1] - left)
    for r in range(max(-top, 0), min(padded[0], image.shape[0] - top)):
        line, values = full[r, first:last], image[r + top, first + left : last + left]
        good = known[r + top, first + left : last + left]
        for c in range(line.shape[0]):
            line[c] = values[c] if good[c] else line[c]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whitening:
    """Filter that makes the noise of a difference white, leaving its large scales as they are."""

    kernel: Pixels
    """Matching kernel at the place."""
    smoothing: float
    """Standard deviation of the Gaussian the science image was smoothed with, pixels."""
    noise: tuple[float, float]
    """Typical variances of a pixel of the science image and of the template."""

    def transfer(self, size: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the filter's transfer function on the half plane of a real transform of a size."""
        own, template = (np.float32(noise) for noise in self.noise)
        large_scale = own + template * np.float32(self.kernel.sum()) ** 2
        out: NDArray[np.float32] = np.ones((size[0], size[1] // 2 + 1), np.float32)
        if large_scale > 0:
            spectrum = transform_kernel(self.kernel, size)
            _equalise(spectrum, gaussian_transfer(size, self.smoothing), own, template, large_scale, out)
        return out

    def psf(self, image: Pixels, half: int) -> NDArray[np.float64]:
        """Return what smoothing and whitening make of a PSF of the science image, cut to a half size."""
        size = (_PSF_SIZE, _PSF_SIZE)
        transfer = self.transfer(size) * gaussian_transfer(size, self.smoothing)
        middle = _PSF_SIZE // 2
        full = np.zeros(size)
        own = min(image.shape[0] // 2, middle - 1)
        cut = image.shape[0] // 2 - own
        full[middle - own : middle + own + 1, middle - own : middle + own + 1] = image[
            cut : image.shape[0] - cut, cut : image.shape[1] - cut
        ]
        changed = scipy.fft.irfft2(scipy.fft.rfft2(full) * transfer, s=size)
        return np.asarray(changed[middle - half : middle + half + 1, middle - half : middle + half + 1])


@njit(cache=True)
def _equalise(spectrum: Any, gaussian: Any, own: Any, template: Any, large_scale: Any, out: Any) -> None:
    """Fill the square root of the noise of large scales over the noise of each wave."""
    least = np.float32(_NOISE_FLOOR) * large_scale
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            value = spectrum[r, c]
            power = value.real * value.real + value.imag * value.imag
            total = own * gaussian[r, c] * gaussian[r, c] + template * power
            out[r, c] = np.sqrt(large_scale / max(total, least))
