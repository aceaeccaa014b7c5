"""Detection on a matched-filter map calibrated in units of its own noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray
from scipy import fft

from schemas.masks import MaskPlane

__all__ = ["Detections", "detect", "gaussian_stamp", "significance_map"]

UNUSABLE = int(MaskPlane.BAD | MaskPlane.SAT | MaskPlane.NO_DATA)

DEBLEND_LEVELS = 32
DEBLEND_CONTRAST = 0.005
"""Levels and least contrast of the deblending (the defaults of SExtractor)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """Peaks of a significance map, brightest first."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    significance: NDArray[np.float64]
    pixels: NDArray[np.int64]
    """Size of the footprint."""
    footprints: NDArray[np.bool_]
    """Pixels of any footprint."""

    def __len__(self) -> int:
        """Return the number of peaks."""
        return len(self.x)


def gaussian_stamp(fwhm: float) -> NDArray[np.float32]:
    """Return a round Gaussian of that FWHM in pixels on an odd square of sum 1."""
    half = int(np.ceil(2 * fwhm))
    axis = np.arange(-half, half + 1)
    profile = np.exp(-4 * np.log(2) * (axis / fwhm) ** 2)
    return np.asarray(np.outer(profile, profile) / profile.sum() ** 2, np.float32)


def significance_map(
    image: NDArray[np.float32], variance: NDArray[np.float32], unusable: NDArray[np.bool_], psf: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return at each pixel the best flux of a point source there over its error.

    With w = 1/variance (0 where unusable) this is (w d * psf) / sqrt(w * psf^2): over blank sky with independent noise
    its standard deviation is 1. Where less than a twentieth of the usual information is left the map is 0.
    """
    if unusable.all():
        return np.zeros(image.shape, np.float32)
    weight = np.where(unusable, np.float32(0), 1 / np.maximum(variance, np.float32(1e-30))).astype(np.float32)
    scale = np.float32(weight.max()) or np.float32(1)
    weight /= scale
    shape = tuple(fft.next_fast_len(n + psf.shape[0], real=True) for n in image.shape)
    signal = _correlate(weight * image, psf, shape)
    information = _correlate(weight, psf * psf, shape)
    enough = information > 0.05 * float((psf * psf).sum()) * float(np.median(weight[~unusable]))
    score = signal * np.sqrt(scale) / np.sqrt(np.where(enough, information, np.float32(1)))
    return np.where(enough, score, np.float32(0)).astype(np.float32)


def _correlate(image: NDArray[np.float32], kernel: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Correlate with an odd kernel, zero beyond the edges, same size."""
    half = kernel.shape[0] // 2
    product = fft.rfft2(image, shape) * fft.rfft2(np.ascontiguousarray(kernel[::-1, ::-1], np.float32), shape)
    full = fft.irfft2(product, shape)
    return np.asarray(full[half : half + image.shape[0], half : half + image.shape[1]], np.float32)


def detect(score: NDArray[np.float32], *, threshold: float) -> Detections:
    """Find and deblend the peaks of a significance map.

    Parameters
    ----------
    score
        Output of `significance_map`.
    threshold
        Least significance of a peak; footprints are the connected pixels above it.
    """
    sep.set_extract_pixstack(max(300_000, score.size // 2))
    sep.set_sub_object_limit(4096)
    found, segments = sep.extract(
        np.ascontiguousarray(score),
        threshold,
        minarea=1,
        filter_kernel=None,
        deblend_nthresh=DEBLEND_LEVELS,
        deblend_cont=DEBLEND_CONTRAST,
        clean=False,
        segmentation_map=True,
    )
    order = np.lexsort((found["xpeak"], found["ypeak"], -found["peak"]))
    found = found[order]
    x, y = _refine(score, found["xpeak"].astype(np.int64), found["ypeak"].astype(np.int64))
    return Detections(
        x=x,
        y=y,
        significance=found["peak"].astype(np.float64),
        pixels=found["npix"].astype(np.int64),
        footprints=np.asarray(segments > 0),
    )


def _refine(
    score: NDArray[np.float32], column: NDArray[np.int64], row: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move each peak by at most half a pixel to the top of the parabola through its neighbours."""
    rows, columns = score.shape
    i, j = np.clip(column, 1, columns - 2), np.clip(row, 1, rows - 2)

    def top(low: NDArray[np.float32], middle: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.float64]:
        curvature = (2.0 * middle - low - high).astype(np.float64)
        step = (high - low).astype(np.float64) / 2
        moved = np.divide(step, curvature, out=np.zeros_like(step), where=curvature > 0)
        return np.clip(moved, -0.5, 0.5)

    middle = score[j, i]
    return (
        np.asarray(column + np.where(i == column, top(score[j, i - 1], middle, score[j, i + 1]), 0.0), np.float64),
        np.asarray(row + np.where(j == row, top(score[j - 1, i], middle, score[j + 1, i]), 0.0), np.float64),
    )
