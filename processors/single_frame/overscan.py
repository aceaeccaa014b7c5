"""Overscan: the electronic zero level of every row and column of an amplifier."""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.single_frame.frames import RawAmplifier
from processors.single_frame.medians import median_of, row_medians

__all__ = ["shrink_levels", "subtract_overscan"]

SKIP = 4
"""First columns (rows) of a trailing overscan that carry deferred charge of the last imaging pixel and are left out."""

SMOOTHING = 51
"""Rows over which the level is taken to drift slowly; what varies faster must stand out of the noise to count."""

CLIP = 4.0
"""Sigma beyond which an overscan pixel does not count for its row's level."""

BLED = 20.0
"""Standard errors from the typical column beyond which a parallel overscan holds charge that bled into it."""


def subtract_overscan(
    amplifier: RawAmplifier, out: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], float]:
    """Return the imaging pixels above the overscan level, and the scatter of the overscan.

    The level of each row is the clipped mean of its serial overscan, each shrunk towards its neighbours as far as its
    noise explains the difference. The parallel overscan, once free of row levels, gives a level for each column.

    Parameters
    ----------
    amplifier
        Raw pixels and where their parts are.
    out
        Where the pixels are written, float32 of the shape of the imaging part; made when it is None.

    Returns
    -------
    pixels
        ADU, float32, shape of the imaging part, in read-out order. Without an overscan nothing is subtracted.
    scatter
        Standard deviation in ADU of one overscan pixel; 0 without a serial overscan.
    """
    imaging, data = amplifier.imaging, np.ascontiguousarray(amplifier.data)
    pixels = np.empty(imaging.shape, np.float32) if out is None else out
    rows, columns, scatter = np.zeros(len(data)), np.zeros(imaging.shape[1], np.float32), 0.0
    if amplifier.serial is not None:
        rows, scatter = _row_levels(amplifier, data)
        columns = _column_levels(amplifier, data, rows, scatter)
    _subtract(data, (imaging.x0, imaging.y0), rows, columns, pixels)
    return pixels, scatter


@numba.njit(cache=True)
def _subtract(
    data: Any,
    first: tuple[int, int],
    rows: NDArray[np.float64],
    columns: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Fill ``out`` with the imaging pixels less the level of their row and column."""
    for y in range(out.shape[0]):
        line, level = data[first[1] + y, first[0] : first[0] + out.shape[1]], rows[first[1] + y]
        for x in range(out.shape[1]):
            out[y, x] = np.float32(line[x] - level) - columns[x]


def _row_levels(amplifier: RawAmplifier, data: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    section = amplifier.serial
    if section is None:
        return np.zeros(len(data)), 0.0
    first = section.x0
    if section.x0 >= amplifier.imaging.x1 and section.x1 - section.x0 > 2 * SKIP:
        first += SKIP
    block = _without_holes(data[:, first : section.x1])
    means, scatter = _clipped_rows(block)
    return shrink_levels(means, scatter / np.sqrt(block.shape[1])), scatter


def _column_levels(
    amplifier: RawAmplifier, data: NDArray[Any], levels: NDArray[np.float64], scatter: float
) -> NDArray[np.float32]:
    section = amplifier.parallel
    if section is None:
        return np.zeros(amplifier.imaging.shape[1], np.float32)
    first = section.y0 + (SKIP if section.y1 - section.y0 > 2 * SKIP else 0)
    block = data[first : section.y1, section.x0 : section.x1] - levels[first : section.y1, None]
    means, _ = _clipped_rows(_without_holes(np.ascontiguousarray(block.T)))
    noise = scatter / np.sqrt(block.shape[0])
    typical = np.median(means)
    bled = np.abs(means - typical) > BLED * max(noise, 1e-3)
    means[bled] = typical
    return shrink_levels(means, noise).astype(np.float32)


def _without_holes(block: NDArray[Any]) -> NDArray[Any]:
    """Replace what is not finite by the median of the rest, so that a hole costs its own pixel and no row."""
    if not np.issubdtype(block.dtype, np.floating):
        return block
    finite = np.isfinite(block)
    if finite.all():
        return block
    return np.where(finite, block, np.median(block[finite]) if finite.any() else 0.0)


def _clipped_rows(block: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """Mean of each row without pixels more than 4 sigma from its median, and the scatter of a pixel about its row."""
    middle = row_medians(block)
    distances = np.empty(block.shape, np.float32)
    _distances(block, middle, distances)
    spread = 1.4826 * median_of(distances) or float((block - middle[:, None]).std())
    means, total, count = _clipped_sums(block, middle, CLIP * max(spread, 1e-6))
    freedom = max(1.0, count * (1 - 1 / max(block.shape[1], 2)))
    return means, float(np.sqrt(total / freedom))


@numba.njit(cache=True)
def _distances(block: Any, middle: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = abs(block[y, x] - middle[y])


@numba.njit(cache=True)
def _clipped_sums(block: Any, middle: NDArray[np.float64], limit: float) -> tuple[NDArray[np.float64], float, int]:
    """Mean of each row's pixels near its median, their squared distances from it summed over all rows, their number."""
    means = np.empty(block.shape[0])
    squares, everything = 0.0, 0
    for y in range(block.shape[0]):
        total, count = 0.0, 0
        for x in range(block.shape[1]):
            if abs(block[y, x] - middle[y]) <= limit:
                total += block[y, x]
                count += 1
        means[y] = total / max(count, 1)
        for x in range(block.shape[1]):
            if abs(block[y, x] - middle[y]) <= limit:
                squares += (block[y, x] - means[y]) ** 2
        everything += count
    return means, squares, everything


@functools.cache
def _parabola() -> NDArray[np.float64]:
    """Matrix that replaces `SMOOTHING` values by the parabola through them."""
    powers = np.vander(np.linspace(-1, 1, SMOOTHING), 3)
    return np.asarray(powers @ np.linalg.pinv(powers))


def _smoothed(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Filter of Savitzky and Golay (1964): the parabola through the values around each; at the ends that of the last ones."""
    matrix, half = _parabola(), SMOOTHING // 2
    inner = np.convolve(levels, matrix[half], mode="valid")
    return np.concatenate([matrix[:half] @ levels[:SMOOTHING], inner, matrix[half + 1 :] @ levels[-SMOOTHING:]])


def shrink_levels(levels: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    """Move levels towards their smooth run by the share of their scatter that is noise (Wiener's rule).

    Parameters
    ----------
    levels
        One measured level a row.
    noise
        Standard error of one level.
    """
    smooth = _smoothed(levels) if len(levels) > SMOOTHING else np.full_like(levels, levels.mean())
    rest = levels - smooth
    scatter = (1.4826 * median_of(np.abs(rest - median_of(rest.copy())))) ** 2
    genuine = max(0.0, scatter - noise**2)
    if scatter == 0.0:
        return levels
    weights = np.full_like(levels, genuine / (genuine + noise**2) if genuine > 0 else 0.0)
    weights[np.abs(rest) > 6 * max(noise, np.sqrt(scatter))] = 1.0
    return smooth + weights * rest
