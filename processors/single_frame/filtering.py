"""Separable filters of whole images, fused row by row so that what they need stays in the processor's cache."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["filter_score", "filter_separable", "gaussian_taps", "separate"]


NEGLIGIBLE = 1e-5
"""Singular value, in the largest, of a term that changes no significance by a hundredth of its noise."""


def gaussian_taps(sigma: float, reach: float = 3.0) -> NDArray[np.float32]:
    """Return an odd number of weights of a Gaussian, out to ``reach`` sigmas, of sum 1."""
    half = int(np.ceil(reach * sigma))
    profile = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    return np.asarray(profile / profile.sum(), np.float32)


def separate(kernel: NDArray[Any], rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the best sum of at most ``rank`` products of a column and a row for a kernel: weights (terms, n) along y and x.

    Terms that add next to nothing are left out: a Gaussian is one product. Singular vectors; their sign is fixed by their largest
    entry, so that equal kernels give equal weights.
    """
    u, s, vt = np.linalg.svd(np.asarray(kernel, np.float64))
    rank = min(rank, max(1, int(np.count_nonzero(s > NEGLIGIBLE * s[0]))))
    along_y, along_x = (u[:, :rank] * np.sqrt(s[:rank])).T, vt[:rank] * np.sqrt(s[:rank])[:, None]
    signs = np.sign(along_y[np.arange(len(along_y)), np.argmax(np.abs(along_y), axis=1)])[:, None]
    return (
        np.ascontiguousarray(along_y * signs, np.float32),
        np.ascontiguousarray(along_x * signs, np.float32),
    )


@numba.njit(cache=True)
def _filter_row(row: NDArray[np.float32], taps: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Correlate one row, which has half a filter of zeros on either side, with odd taps into ``out``."""
    # Four weights a round: the sums are read and written a quarter as often.
    count = len(taps)
    out[:] = np.float32(0)
    for t in range(0, count - count % 4, 4):
        a, b, c, d = taps[t], taps[t + 1], taps[t + 2], taps[t + 3]
        for i in range(len(out)):
            out[i] += (a * row[i + t] + b * row[i + t + 1]) + (c * row[i + t + 2] + d * row[i + t + 3])
    for t in range(count - count % 4, count):
        weight = taps[t]
        for i in range(len(out)):
            out[i] += weight * row[i + t]


@numba.njit(cache=True)
def _gather_rows(
    ring: NDArray[np.float32], newest: int, taps: NDArray[np.float32], rows: int, out: NDArray[np.float32]
) -> None:
    """Add the column filter over the rows up to ``newest`` that a ring holds; rows beyond the image count as 0."""
    count = len(taps)
    oldest = newest - count + 1
    begin, end = max(0, -oldest), min(count, rows - oldest)
    last = end - (end - begin) % 4
    for t in range(begin, last, 4):
        a, b, c, d = taps[t], taps[t + 1], taps[t + 2], taps[t + 3]
        first, second = ring[(oldest + t) % count], ring[(oldest + t + 1) % count]
        third, fourth = ring[(oldest + t + 2) % count], ring[(oldest + t + 3) % count]
        for i in range(len(out)):
            out[i] += (a * first[i] + b * second[i]) + (c * third[i] + d * fourth[i])
    for t in range(last, end):
        weight, held = taps[t], ring[(oldest + t) % count]
        for i in range(len(out)):
            out[i] += weight * held[i]


@numba.njit(cache=True)
def filter_separable(image: NDArray[np.float32], taps: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Correlate an image with the same odd, symmetric taps along both axes into ``out``; it is 0 beyond its edges."""
    rows, columns = image.shape
    half = len(taps) // 2
    ring = np.zeros((len(taps), columns), np.float32)
    padded = np.zeros(columns + 2 * half, np.float32)
    for newest in range(rows + half):
        if newest < rows:
            padded[half : half + columns] = image[newest]
            _filter_row(padded, taps, ring[newest % len(taps)])
        if newest >= half:
            out[newest - half] = np.float32(0)
            _gather_rows(ring, newest, taps, rows, out[newest - half])


@numba.njit(cache=True)
def _three_rows(length: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    return np.zeros(length, np.float32), np.zeros(length, np.float32), np.zeros(length, np.float32)


@numba.njit(cache=True)
def filter_score(
    pixels: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]],
    kernel: tuple[NDArray[np.float32], NDArray[np.float32]],
    power: tuple[NDArray[np.float32], NDArray[np.float32]],
    least: float,
    out: NDArray[np.float32],
) -> None:
    """Fill ``out`` with (kernel * image) / sqrt(power * variance), masked pixels left out of both.

    Parameters
    ----------
    pixels
        Image, variance, and pixels to leave out.
    kernel, power
        Weights along y and x, shape (rank, taps): of the kernel, and of its square in one product of sum 1.
    least
        Share of the power on good pixels below which the result is 0.
    out
        Filled; in the units of the kernel's own norm: the caller scales it.
    """
    image, variance, bad = pixels
    rows, columns = image.shape
    rank, wide = kernel[0].shape
    narrow = power[0].shape[1]
    half, near = wide // 2, narrow // 2
    signal = np.zeros((rank, wide, columns), np.float32)
    noise, share = np.zeros((wide, columns), np.float32), np.zeros((wide, columns), np.float32)
    padded, padded_v, padded_s = _three_rows(columns + 2 * half)
    top, total, good = _three_rows(columns)
    # The ring of the narrower filter is as long as the other, so that both know the same rows.
    long_power = np.zeros(wide, np.float32)
    long_power[half - near : half + near + 1] = power[0][0]
    inset = half - near
    for newest in range(rows + half):
        if newest < rows:
            for i in range(columns):
                keep = np.float32(0) if bad[newest, i] else np.float32(1)
                padded_s[half + i] = keep
                padded[half + i] = image[newest, i] if keep > 0 else np.float32(0)
                padded_v[half + i] = variance[newest, i] if keep > 0 else np.float32(0)
            place = newest % wide
            for r in range(rank):
                _filter_row(padded, kernel[1][r], signal[r, place])
            _filter_row(padded_v[inset:], power[1][0], noise[place])
            _filter_row(padded_s[inset:], power[1][0], share[place])
        if newest >= half:
            top[:], total[:], good[:] = np.float32(0), np.float32(0), np.float32(0)
            for r in range(rank):
                _gather_rows(signal[r], newest, kernel[0][r], rows, top)
            _gather_rows(noise, newest, long_power, rows, total)
            _gather_rows(share, newest, long_power, rows, good)
            row = out[newest - half]
            for i in range(columns):
                row[i] = top[i] / np.sqrt(total[i]) if good[i] > least and total[i] > 0 else np.float32(0)
