"""Overscan: the electronic zero level of every row and column of an amplifier."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from processors.single_frame.frames import RawAmplifier

__all__ = ["shrink_levels", "subtract_overscan"]

SKIP = 4
"""First columns (rows) of a trailing overscan that carry deferred charge of the last imaging pixel and are left out."""

SMOOTHING = 51
"""Rows over which the level is taken to drift slowly; what varies faster must stand out of the noise to count."""


def subtract_overscan(amplifier: RawAmplifier) -> tuple[NDArray[np.float32], float]:
    """Return the imaging pixels above the overscan level, and the scatter of the overscan.

    The level of each row is the clipped mean of its serial overscan, each shrunk towards its neighbours as far as its
    noise explains the difference. The parallel overscan, once free of row levels, gives a level for each column.

    Returns
    -------
    pixels
        ADU, float32, shape of the imaging part, in read-out order. Without an overscan nothing is subtracted.
    scatter
        Standard deviation in ADU of one overscan pixel; 0 without a serial overscan.
    """
    if amplifier.serial is None:
        return amplifier.data[amplifier.imaging.slices].astype(np.float32), 0.0
    section = amplifier.serial
    first = section.x0
    if section.x0 >= amplifier.imaging.x1 and section.x1 - section.x0 > 2 * SKIP:
        first += SKIP
    block = amplifier.data[:, first : section.x1].astype(np.float64)
    means, scatter = _clipped_rows(_without_holes(block))
    levels = shrink_levels(means, scatter / np.sqrt(block.shape[1]))
    imaging = amplifier.imaging
    rows = levels[imaging.y0 : imaging.y1, None]
    pixels = (amplifier.data[imaging.slices] - rows).astype(np.float32)
    if amplifier.parallel is not None:
        pixels -= _column_levels(amplifier, levels, scatter)
    return pixels, scatter


def _column_levels(amplifier: RawAmplifier, levels: NDArray[np.float64], scatter: float) -> NDArray[np.float32]:
    section = amplifier.parallel
    if section is None:
        return np.zeros(amplifier.imaging.shape[1], np.float32)
    first = section.y0 + (SKIP if section.y1 - section.y0 > 2 * SKIP else 0)
    block = amplifier.data[first : section.y1, section.x0 : section.x1] - levels[first : section.y1, None]
    means, _ = _clipped_rows(_without_holes(np.ascontiguousarray(block.T)))
    noise = scatter / np.sqrt(block.shape[0])
    typical = np.median(means)
    bled = np.abs(means - typical) > 20 * max(noise, 1e-3)
    means[bled] = typical
    return shrink_levels(means, noise).astype(np.float32)


def _without_holes(block: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace what is not finite by the median of the rest, so that a hole costs its own pixel and no row."""
    finite = np.isfinite(block)
    if finite.all():
        return block
    return np.where(finite, block, np.median(block[finite]) if finite.any() else 0.0)


def _clipped_rows(block: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Mean of each row without pixels more than 4 sigma from its median, and the scatter of a pixel about its row."""
    centred = block - np.median(block, axis=1, keepdims=True)
    spread = 1.4826 * float(np.median(np.abs(centred))) or float(centred.std())
    kept = np.abs(centred) <= 4 * max(spread, 1e-6)
    counts = np.maximum(kept.sum(axis=1), 1)
    means = np.where(kept, block, 0.0).sum(axis=1) / counts
    deviations = (block - means[:, None])[kept]
    freedom = max(1.0, deviations.size * (1 - 1 / max(block.shape[1], 2)))
    return means, float(np.sqrt(np.sum(deviations**2) / freedom))


def shrink_levels(levels: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    """Move levels towards their smooth run by the share of their scatter that is noise (Wiener's rule).

    Parameters
    ----------
    levels
        One measured level a row.
    noise
        Standard error of one level.
    """
    if len(levels) <= SMOOTHING:
        smooth = np.full_like(levels, levels.mean())
    else:
        smooth = savgol_filter(levels, SMOOTHING, 2, mode="interp")
    rest = levels - smooth
    scatter = float((1.4826 * np.median(np.abs(rest - np.median(rest)))) ** 2)
    genuine = max(0.0, scatter - noise**2)
    if scatter == 0.0:
        return levels
    weights = np.full_like(levels, genuine / (genuine + noise**2) if genuine > 0 else 0.0)
    weights[np.abs(rest) > 6 * max(noise, np.sqrt(scatter))] = 1.0
    return smooth + weights * rest
