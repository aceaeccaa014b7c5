"""The template: a coadd of earlier visits, whose noise was resampled with each of them and is correlated therefore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["CoaddNoise", "coadd_noise", "resampling_factor"]

TAPS = 6
"""Lanczos-3, the window with which coadds are usually resampled."""

PHASES = 256

_Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoaddNoise:
    """Noise of a mean of resampled visits, each with noise of variance 1 before."""

    noise: _Image
    variance: _Image
    """Of every pixel, exactly."""
    factor: float
    """Variance of a wide sum over the sum of the pixels' variances."""


def coadd_noise(shape: tuple[int, int], epochs: int, random: np.random.Generator) -> CoaddNoise:
    """Draw the noise of a coadd.

    Parameters
    ----------
    shape
        Rows and columns.
    epochs
        Visits; each has its own rotation and offset against the coadd's grid.
    random
        Source of the noise.
    """
    noise, variance = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    table = _lanczos()
    for _ in range(epochs):
        white = np.pad(random.standard_normal(shape, np.float32), TAPS, mode="wrap")
        angle, (dx, dy) = np.radians(random.uniform(-2.0, 2.0)), random.uniform(0.0, 1.0, 2)
        _resample_noise(white, float(np.cos(angle)), float(np.sin(angle)), (dx, dy), table, noise, variance)
    noise /= np.float32(epochs)
    variance /= np.float32(epochs**2)
    mean = float(variance.mean(dtype=np.float64)) * epochs
    return CoaddNoise(noise=noise, variance=variance, factor=1.0 / mean)


def resampling_factor() -> float:
    """Return the mean over all offsets by which resampling lowers the variance of a pixel."""
    table = _lanczos().astype(np.float64)
    return float(np.mean(np.sum(table**2, axis=1)) ** 2)


def _lanczos() -> _Image:
    phase = (np.arange(PHASES) + 0.5) / PHASES
    offset = phase[:, None] - (np.arange(TAPS) - (TAPS // 2 - 1))
    weights = np.sinc(offset) * np.sinc(offset / (TAPS // 2))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


@numba.njit(cache=True)
def _resample_noise(  # type: ignore[no-untyped-def]
    white, cosine, sine, shift, table, noise, variance
) -> Any:
    rows, columns = noise.shape
    phases, taps = table.shape
    squares = np.zeros(phases, np.float32)
    for k in range(phases):
        for tap in range(taps):
            squares[k] += table[k, tap] * table[k, tap]
    for r in range(rows):
        for c in range(columns):
            x = cosine * c - sine * r + shift[0]
            y = sine * c + cosine * r + shift[1]
            fx, fy = int(np.floor(x)), int(np.floor(y))
            px, py = int((x - fx) * phases), int((y - fy) * phases)
            # The field of noise repeats: beyond its border it goes on from the other side.
            left, top = fx % columns + taps - (taps // 2 - 1), fy % rows + taps - (taps // 2 - 1)
            total = np.float32(0.0)
            for q in range(taps):
                line = np.float32(0.0)
                for p in range(taps):
                    line += table[px, p] * white[top + q, left + p]
                total += table[py, q] * line
            noise[r, c] += total
            variance[r, c] += squares[px] * squares[py]
