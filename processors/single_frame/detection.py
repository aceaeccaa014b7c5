"""Detection on a matched-filter map calibrated in units of its own noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from processors.single_frame.filtering import filter_score, separate
from schemas.masks import MaskPlane

__all__ = ["Detections", "detect", "gaussian_stamp", "significance_map"]

UNUSABLE = int(MaskPlane.BAD | MaskPlane.SAT | MaskPlane.NO_DATA)

DEBLEND_LEVELS = 32
DEBLEND_CONTRAST = 0.005
"""Levels and least contrast of the deblending (the defaults of SExtractor)."""

KERNEL_REACH = 4.5
"""Half side of the filter's kernel in standard deviations of the PSF's core; what lies beyond holds 0.01 % of its power."""

KERNEL_RANK = 2
"""Separable terms of the kernel: two lose 0.01 % of the signal-to-noise of a sheared, skewed PSF, one loses 0.07 %."""

LEAST_POWER = 0.1
"""Share of the kernel's power on usable pixels that makes a significance."""


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
    """Return at each pixel the matched-filter flux of a point source there over its error.

    This is sum(k d) / sqrt(sum(k^2 v)) over the usable pixels, with k the PSF as a sum of two separable kernels: over blank
    sky with independent noise its standard deviation is 1. The data are not weighted by their variances, which are made from
    the same counts: such weights bias a map by -0.2 on a sky of 800 electrons. Where less than `LEAST_POWER` of the kernel's
    power lies on usable pixels the map is 0.
    """
    score = np.zeros(image.shape, np.float32)
    if unusable.all():
        return score
    half = min(psf.shape[0] // 2, int(np.ceil(KERNEL_REACH * _width(psf))))
    middle = psf.shape[0] // 2
    kernel = separate(psf[middle - half : middle + half + 1, middle - half : middle + half + 1], KERNEL_RANK)
    square = np.einsum("ri,rj->ij", *kernel, dtype=np.float64) ** 2
    norm = square.sum()
    power_y, power_x = separate(square / norm, 1)
    scale = np.sqrt(float(power_y.sum(dtype=np.float64)) * float(power_x.sum(dtype=np.float64)))
    power = (power_y / np.float32(scale), power_x / np.float32(scale))
    filter_score((image, variance, unusable), (kernel[0] / np.float32(np.sqrt(norm)), kernel[1]), power, LEAST_POWER, score)
    return score


def _width(psf: NDArray[np.float32]) -> float:
    """Standard deviation of a Gaussian with this peak and sum."""
    return float(np.sqrt(psf.sum(dtype=np.float64) / (2 * np.pi * max(float(psf.max()), 1e-12))))


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
