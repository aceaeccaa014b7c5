"""Detection on a matched-filter map calibrated in units of its own noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numba
import numpy as np
from numpy.typing import NDArray

from processors.single_frame.basins import find_basins
from processors.single_frame.filtering import filter_score, separate
from schemas.masks import MaskPlane

__all__ = [
    "Detections",
    "detect",
    "find_peaks",
    "gaussian_stamp",
    "local_maxima",
    "ring_medians",
    "significance_map",
    "stand_out",
]

UNUSABLE = int(MaskPlane.BAD | MaskPlane.SAT | MaskPlane.NO_DATA)

KERNEL_REACH = 4.5
"""Half side of the filter's kernel in standard deviations of the PSF's core; what lies beyond holds 0.01 % of its power."""

KERNEL_RANK = 2
"""Separable terms of the kernel: two lose 0.01 % of the signal-to-noise of a sheared, skewed PSF, one loses 0.07 %."""

LEAST_POWER = 0.1
"""Share of the kernel's power on usable pixels that makes a significance."""


RING_FWHM = 3.0
"""Radius in PSF widths of the ring that shows what a peak stands on."""

WING_LEVEL = 1.0
"""Significance of the ring from which a peak counts as standing in a wing; over sky a ring's median scatters by 0.3."""

RING_POINTS = 32


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
    filter_score(
        (image, variance, unusable), (kernel[0] / np.float32(np.sqrt(norm)), kernel[1]), power, LEAST_POWER, score
    )
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
    row, column, pixels, footprints = find_basins(score, threshold)
    x, y = _refine(score, column, row)
    return Detections(
        x=x, y=y, significance=score[row, column].astype(np.float64), pixels=pixels, footprints=footprints
    )


def stand_out(score: NDArray[np.float32], found: Detections, fwhm: float, threshold: float) -> Detections:
    """Return the detections that are as significant above their surroundings as above the sky.

    In the wings of a bright star, and on an extended galaxy, noise and errors of the PSF make peaks on a ground that is
    itself significant. From a peak whose ring, 3 PSF widths about it, has a median above 1, that median is taken away
    before its significance is compared with the threshold; what is returned keeps its significance above the sky.
    """
    if len(found) == 0:
        return found
    ring = ring_medians(score, (found.x, found.y), RING_FWHM * fwhm)
    keep = found.significance - np.where(ring > WING_LEVEL, ring, 0.0) >= threshold
    columns = {name: getattr(found, name)[keep] for name in ("x", "y", "significance", "pixels")}
    return replace(found, **columns)


@numba.njit(cache=True)
def ring_medians(
    score: NDArray[np.float32], positions: tuple[NDArray[np.float64], NDArray[np.float64]], radius: float
) -> NDArray[np.float64]:
    """Return the median of a map at points on a circle about each position, those beyond its edges left out."""
    rows, columns = score.shape
    out = np.zeros(len(positions[0]))
    values = np.empty(RING_POINTS, np.float32)
    for k in range(len(out)):
        count = 0
        for t in range(RING_POINTS):
            angle = 2 * np.pi * t / RING_POINTS
            i = int(np.floor(positions[0][k] + radius * np.cos(angle) + 0.5))
            j = int(np.floor(positions[1][k] + radius * np.sin(angle) + 0.5))
            if 0 <= i < columns and 0 <= j < rows:
                values[count] = score[j, i]
                count += 1
        if count > 0:
            out[k] = np.median(values[:count])
    return out


def find_peaks(score: NDArray[np.float32], *, threshold: float, radius: int) -> Detections:
    """Return the local maxima of a significance map, without footprints or deblending: enough to find stars by.

    Parameters
    ----------
    score
        Output of `significance_map`.
    threshold
        Least significance.
    radius
        A peak is the highest pixel of the square of that radius around it.
    """
    row, column = local_maxima(score, np.float32(threshold), radius)
    peak = score[row, column].astype(np.float64)
    order = np.lexsort((column, row, -peak))
    row, column = row[order], column[order]
    x, y = _refine(score, column, row)
    return Detections(
        x=x,
        y=y,
        significance=peak[order],
        pixels=np.zeros(len(x), np.int64),
        footprints=np.zeros((0, 0), np.bool_),
    )


@numba.njit(cache=True)
def local_maxima(
    score: NDArray[np.float32], threshold: np.float32, radius: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of pixels above a threshold that no pixel of the square about them exceeds.

    Of equal neighbours the first in reading order is the peak.
    """
    rows, columns = score.shape
    found_y, found_x = [np.int64(0) for _ in range(0)], [np.int64(0) for _ in range(0)]
    for y in range(rows):
        for x in range(columns):
            value = score[y, x]
            if value > threshold and _is_highest(score, y, x, radius):
                found_y.append(np.int64(y))
                found_x.append(np.int64(x))
    return np.array(found_y, np.int64), np.array(found_x, np.int64)


@numba.njit(cache=True)
def _is_highest(score: NDArray[np.float32], y: int, x: int, radius: int) -> bool:
    rows, columns = score.shape
    value = score[y, x]
    for j in range(max(0, y - radius), min(rows, y + radius + 1)):
        for i in range(max(0, x - radius), min(columns, x + radius + 1)):
            other = score[j, i]
            if other > value or (other == value and (j < y or (j == y and i < x))):
                return False
    return True


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
