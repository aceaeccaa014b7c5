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
from numpy.typing import NDArray

from processors.differencing.fourier import FourierFrame, gaussian_transfer
from processors.differencing.kernel import Kernel, spatial_terms
from processors.differencing.psf import PsfGrid, adaptive_moments

__all__ = [
    "Matching",
    "convolve_template",
    "convolve_variance",
    "plan_matching",
    "remove_background",
    "whiten",
    "whitened_psf",
]

LEAST_KERNEL_SIGMA = 1.0
"""Standard deviation, pixels, that the matching kernel should have at least in every direction."""

_NOISE_FLOOR = 1e-6
_PSF_SIZE = 96
_CELL = 64

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


def convolve_template(frame: FourierFrame, template: Pixels, kernel: Kernel) -> NDArray[np.float32]:
    """Convolve a padded template with a spatially varying kernel.

    Parameters
    ----------
    frame
        Frame whose padded shape the template has.
    template
        Pixels, nJy.
    kernel
        Fitted kernel; its differential background is not added.
    """
    spectrum = frame.forward(template)
    rows, columns = frame.shape
    total = np.zeros(frame.shape, np.float32)
    u = spatial_terms(np.arange(columns), np.zeros(columns), frame.shape, 1)[:, 2]
    v = spatial_terms(np.zeros(rows), np.arange(rows), frame.shape, 1)[:, 1]
    powers = [(i, d - i) for d in range(kernel.order + 1) for i in range(d + 1)]
    for (i, j), component in zip(powers, kernel.components(), strict=True):
        part = frame.back(spectrum * frame.kernel(component))
        total += part * (u**i).astype(np.float32)[None, :] * (v**j).astype(np.float32)[:, None]
    return total


def convolve_variance(frame: FourierFrame, variance: Pixels, kernel: Pixels) -> NDArray[np.float32]:
    """Return the variance that a pixel of a convolved image has, given the variance of independent pixels before.

    Parameters
    ----------
    frame
        Frame whose padded shape the variance has.
    variance
        Variance before, nJy^2.
    kernel
        The kernel, taken as the same everywhere.
    """
    return np.maximum(frame.back(frame.forward(variance) * frame.kernel(kernel**2)), 0)


def remove_background(difference: Pixels, usable: NDArray[np.bool_]) -> tuple[NDArray[np.float32], float]:
    """Subtract what is left of the background: a quadratic through the medians of cells.

    Parameters
    ----------
    difference
        Pixels, nJy.
    usable
        Pixels that count.

    Returns
    -------
    tuple
        The image without it, and the largest absolute value that was subtracted.
    """
    rows, columns = difference.shape
    values, x, y = [], [], []
    for top in range(0, rows, _CELL):
        for left in range(0, columns, _CELL):
            box = np.s_[top : top + _CELL, left : left + _CELL]
            pixels = difference[box][usable[box]]
            if len(pixels) > _CELL * _CELL // 4:
                values.append(float(np.median(pixels)))
                x.append(left + _CELL / 2)
                y.append(top + _CELL / 2)
    if not values:
        return np.asarray(difference, dtype=np.float32), 0.0
    order = 2 if len(values) >= 24 else 1 if len(values) >= 9 else 0
    terms = spatial_terms(np.array(x), np.array(y), (rows, columns), order)
    measured = np.array(values)
    keep = np.ones(len(measured), dtype=bool)
    solution = np.zeros(terms.shape[1])
    for _ in range(3):
        solution = np.linalg.lstsq(terms[keep], measured[keep], rcond=None)[0]
        residual = measured - terms @ solution
        sigma = 1.4826 * float(np.median(np.abs(residual[keep])))
        keep = np.abs(residual) <= 4 * sigma + 1e-12
    surface = np.zeros((rows, columns))
    axis_x = spatial_terms(np.arange(columns), np.zeros(columns), (rows, columns), 1)[:, 2]
    axis_y = spatial_terms(np.zeros(rows), np.arange(rows), (rows, columns), 1)[:, 1]
    powers = [(i, d - i) for d in range(order + 1) for i in range(d + 1)]
    for (i, j), value in zip(powers, solution, strict=True):
        surface += value * np.outer(axis_y**j, axis_x**i)
    return (difference - surface).astype(np.float32), float(np.max(np.abs(surface)))


def whiten(
    frame: FourierFrame, difference: Pixels, *, kernel: Pixels, smoothing: float, noise: tuple[float, float]
) -> NDArray[np.float32]:
    """Whiten the noise of a difference, leaving its large scales as they are.

    Parameters
    ----------
    frame
        The image's frame.
    difference
        Pixels, 0 where they are unusable.
    kernel
        Matching kernel in the middle of the image.
    smoothing
        Standard deviation of the Gaussian the science image was smoothed with, pixels.
    noise
        Typical variances of a pixel of the science image and of the template.
    """
    transfer = _whitening(frame.size, kernel, smoothing, noise)
    return frame.back(frame.forward(difference) * transfer)


def _whitening(
    size: tuple[int, ...], kernel: Pixels, smoothing: float, noise: tuple[float, float]
) -> NDArray[np.float32]:
    full = np.zeros(size, dtype=np.float32)
    full[: kernel.shape[0], : kernel.shape[1]] = kernel
    power = np.abs(scipy.fft.rfft2(full)) ** 2
    total = noise[0] * gaussian_transfer(size, smoothing) ** 2 + noise[1] * power
    large_scale = noise[0] + noise[1] * float(kernel.sum()) ** 2
    if large_scale <= 0:
        return np.ones_like(power)
    return np.sqrt(large_scale / np.maximum(total, _NOISE_FLOOR * large_scale)).astype(np.float32)


def whitened_psf(psf: PsfGrid, *, kernel: Pixels, smoothing: float, noise: tuple[float, float], half: int) -> PsfGrid:
    """Return the PSF that the whitened difference has, smoothed and whitened like the image.

    Parameters
    ----------
    psf
        PSF of the science image.
    kernel, smoothing, noise
        As for `whiten`.
    half
        Half size of the PSF wanted, pixels.
    """
    size = (_PSF_SIZE, _PSF_SIZE)
    transfer = _whitening(size, kernel, smoothing, noise) * gaussian_transfer(size, smoothing)
    middle = _PSF_SIZE // 2

    def change(image: Pixels) -> Pixels:
        full = np.zeros(size)
        own = min(image.shape[0] // 2, middle - 1)
        cut = image.shape[0] // 2 - own
        full[middle - own : middle + own + 1, middle - own : middle + own + 1] = image[
            cut : image.shape[0] - cut, cut : image.shape[1] - cut
        ]
        changed = scipy.fft.irfft2(scipy.fft.rfft2(full) * transfer, s=size)
        return np.asarray(changed[middle - half : middle + half + 1, middle - half : middle + half + 1])

    return psf.map(change)
