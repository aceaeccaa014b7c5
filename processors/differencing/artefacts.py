"""Tell sources from what only looks like one: left-over cosmic rays, satellite streaks, residuals of bright sources."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.psf import PsfGrid, render_psf

__all__ = ["early_streaks", "is_sharper_than_psf", "streak_pixels"]

SHARP_SIGMA = 5.0
"""Excess of a source's two highest pixels above its point-source fit, in sigma, from which it is a cosmic ray."""

SHARP_SIGMA_ONE_SNAP = 3.8
"""The same for a source that one snap alone saw: noise alone leaves 2.6 on average, and 3.8 in one source of a hundred."""

SHARP_FRACTION = 0.2
"""What may be added to `SHARP_SIGMA` for each unit of signal-to-noise, since no PSF is exact."""

STREAK_BIN = 4
"""Pixels are summed in squares of this side before lines are looked for."""

STREAK_LEAST_BINS = 12
"""Fewest bright squares on a line that make a streak: one that cuts a corner is short."""

STREAK_FILLED = 0.7
"""Least part of a streak's length that bright squares fill; half is enough for one of `STREAK_LONG` squares."""

STREAK_LONG = 30

_STREAK_ENDS = 3.0
"""Squares by which a streak's mask goes on beyond its last bright ones."""

STREAK_SCORE = 3.5
"""Score from which a square votes."""

STREAK_REJECTED = 2
"""Rejected pixels from which a square votes."""

Pixels = NDArray[Any]


def is_sharper_than_psf(
    difference: Pixels,
    variance: Pixels,
    usable: NDArray[np.bool_],
    psf: PsfGrid,
    *,
    fits: Pixels,
    one_snap: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Tell which point-source fits hold most of their signal in one or two pixels.

    Parameters
    ----------
    difference, variance, usable
        The white difference.
    psf
        Its PSF.
    fits
        Result of `fit_point_sources`.
    one_snap
        Which sources one of the visit's snaps alone saw, where it has two: less is needed to tell that these are cosmic rays.

    Returns
    -------
    ndarray
        True for what no optical image can be.
    """
    found = _excess(difference, variance, usable, psf.x_nodes, psf.y_nodes, psf.coefficients, np.asarray(fits))
    least = SHARP_SIGMA if one_snap is None else np.where(one_snap, SHARP_SIGMA_ONE_SNAP, SHARP_SIGMA)
    with np.errstate(invalid="ignore"):
        snr = np.abs(fits[:, 2]) / np.sqrt(fits[:, 5])
        return np.asarray(found > least + SHARP_FRACTION * snr)


@njit(cache=True)
def _excess(image: Any, variance: Any, usable: Any, x_nodes: Any, y_nodes: Any, coefficients: Any, fits: Any) -> Any:
    """Return how far the two pixels that stand highest above a source's fit do so, in sigma added in quadrature."""
    out = np.zeros(fits.shape[0])
    psf = np.empty((3, 5, 5))
    for n in range(fits.shape[0]):
        flux = fits[n, 2]
        if not (np.isfinite(flux) and fits[n, 5] > 0):
            continue
        ix, iy = render_psf(x_nodes, y_nodes, coefficients, fits[n, 0], fits[n, 1], psf)
        first, second = 0.0, 0.0
        for r in range(5):
            for c in range(5):
                row, column = iy + r - 2, ix + c - 2
                if not (0 <= row < image.shape[0] and 0 <= column < image.shape[1]) or not usable[row, column]:
                    continue
                left = np.sign(flux) * (image[row, column] - flux * psf[0, r, c])
                left /= np.sqrt(max(variance[row, column], 1e-30))
                if left > first:
                    first, second = left, first
                elif left > second:
                    second = left
        out[n] = np.hypot(first, second)
    return out


def streak_pixels(snr: Pixels, cosmic_rays: NDArray[np.bool_], fwhm: float) -> NDArray[np.bool_]:
    """Find straight streaks that cross the image.

    Satellites cross the whole of a CCD. Squares of pixels with a high score, or with pixels that the comparison of the snaps rejected (a satellite is on one snap
    only), vote for the lines through them; a line counts when most of it, from border to border, is filled.

    Parameters
    ----------
    snr
        Score map: of the difference.
    cosmic_rays
        Pixels that the combination of the snaps rejected.
    fwhm
        Width of the PSF, pixels.

    Returns
    -------
    ndarray
        True on streaks.
    """
    return _lines(np.asarray(_bright_squares(snr, cosmic_rays)), snr.shape, fwhm)


def early_streaks(
    raw: Pixels, variance: Pixels, usable: NDArray[np.bool_], cosmic_rays: NDArray[np.bool_], fwhm: float
) -> NDArray[np.bool_]:
    """Find straight streaks before anything is whitened or scored, by the sums of squares of pixels.

    Parameters
    ----------
    raw, variance
        Difference before whitening and its variance on large scales.
    usable
        Pixels that count.
    cosmic_rays, fwhm
        As for `streak_pixels`.
    """
    return _lines(np.asarray(_bright_sums(raw, variance, usable, cosmic_rays)), raw.shape, fwhm)


def _lines(bright: NDArray[np.bool_], shape: tuple[int, ...], fwhm: float) -> NDArray[np.bool_]:
    """Paint the lines through bright squares."""
    streaks = np.zeros(shape, dtype=bool)
    for _ in range(4):
        rows, columns = np.nonzero(bright)
        if len(rows) < STREAK_LEAST_BINS:
            break
        angle, offset, votes = _best_line(rows.astype(np.float64), columns.astype(np.float64), bright.shape)
        angle, offset = _refined(rows, columns, angle, offset)
        across = np.abs(columns * math.cos(angle) + rows * math.sin(angle) - offset)
        along = -columns * math.sin(angle) + rows * math.cos(angle)
        near = across < 1.5
        chord = _chord(angle, offset, np.array(bright.shape))
        if votes < STREAK_LEAST_BINS or not _is_continuous(
            along[near], chord, int(np.count_nonzero(across > 4)), bright.size
        ):
            break
        low, high = float(along[near].min()), float(along[near].max())
        width = 1.0 + 2.0 * fwhm / STREAK_BIN
        _paint_line(streaks, angle, offset, low - _STREAK_ENDS, high + _STREAK_ENDS, width)
        bright[rows[near], columns[near]] = False
    return streaks


@njit(cache=True)
def _bright_squares(snr: Any, cosmic_rays: Any) -> Any:
    """Tell which squares have a pixel of a high score, or several rejected ones."""
    side = STREAK_BIN
    out = np.zeros((snr.shape[0] // side, snr.shape[1] // side), dtype=np.bool_)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            rejected, high = 0, False
            for r in range(j * side, (j + 1) * side):
                for c in range(i * side, (i + 1) * side):
                    high = high or snr[r, c] > STREAK_SCORE
                    rejected += cosmic_rays[r, c]
            out[j, i] = high or rejected >= STREAK_REJECTED
    return out


@njit(cache=True)
def _bright_sums(raw: Any, variance: Any, usable: Any, cosmic_rays: Any) -> Any:
    """Tell which squares' sums stand out of the noise, or have several rejected pixels."""
    side = STREAK_BIN
    out = np.zeros((raw.shape[0] // side, raw.shape[1] // side), dtype=np.bool_)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            total, noise, rejected = 0.0, 0.0, 0
            for r in range(j * side, (j + 1) * side):
                for c in range(i * side, (i + 1) * side):
                    rejected += cosmic_rays[r, c]
                    if usable[r, c]:
                        total += raw[r, c]
                        noise += variance[r, c]
            high = total > 0 and total * total > STREAK_SCORE * STREAK_SCORE * noise
            out[j, i] = high or rejected >= STREAK_REJECTED
    return out


@njit(cache=True)
def _best_line(rows: Any, columns: Any, shape: Any) -> Any:
    """Return angle, offset and votes of the line ``x cos + y sin = offset`` whose votes fill most of the image (Hough); 0 votes for none."""
    angles = 360
    reach = int(np.hypot(shape[0], shape[1])) + 2
    votes = np.zeros((angles, 2 * reach + 1), dtype=np.int32)
    for k in range(angles):
        cos, sin = np.cos(np.pi * k / angles), np.sin(np.pi * k / angles)
        for n in range(rows.shape[0]):
            votes[k, int(np.floor(columns[n] * cos + rows[n] * sin + 0.5)) + reach] += 1
    best_angle, best_offset, best = 0, 0, 0
    for k in range(angles):
        for m in range(2 * reach + 1):
            if votes[k, m] > best and votes[k, m] >= STREAK_LEAST_BINS:
                chord = _chord(np.pi * k / angles, float(m - reach), shape)
                if votes[k, m] > _needed_part(chord) * chord:
                    best_angle, best_offset, best = k, m, votes[k, m]
    return np.pi * best_angle / angles, float(best_offset - reach), best


def _refined(rows: Pixels, columns: Pixels, angle: float, offset: float) -> tuple[float, float]:
    """Turn a line onto the squares near it: half a degree of the votes is 17 pixels over a CCD."""
    for reach in (4.0, 2.0, 2.0):
        across = columns * math.cos(angle) + rows * math.sin(angle) - offset
        near = np.abs(across) < reach
        if np.count_nonzero(near) < STREAK_LEAST_BINS:
            break
        along = -columns[near] * math.sin(angle) + rows[near] * math.cos(angle)
        slope, level = np.polyfit(along - along.mean(), across[near], 1)
        level -= slope * along.mean()
        turn = math.atan(slope)
        # x cos(a) + y sin(a) = offset + level + slope * along, divided by the length of its normal
        offset = (offset + level) * math.cos(turn)
        angle -= turn
    return angle, offset


@njit(cache=True)
def _needed_part(length: float) -> float:
    return 0.5 if length >= STREAK_LONG else STREAK_FILLED


@njit(cache=True)
def _chord(angle: float, offset: float, shape: Any) -> float:
    """Return the length within the image of a line ``x cos + y sin = offset``."""
    cos, sin = np.cos(angle), np.sin(angle)
    low, high = -1e9, 1e9
    for start, slope, end in ((offset * cos, -sin, shape[1] - 1.0), (offset * sin, cos, shape[0] - 1.0)):
        if abs(slope) < 1e-9:
            if start < -0.5 or start > end + 0.5:
                return 0.0
            continue
        first, second = -start / slope, (end - start) / slope
        low, high = max(low, min(first, second)), min(high, max(first, second))
    return max(high - low, 0.0) + 1.0


def _is_continuous(along: Pixels, length: float, others: int, squares: int) -> bool:
    """Tell whether bright squares fill a line far beyond what the density of the others would do by chance."""
    filled = len(np.unique(np.floor(along).astype(int)))
    chance = 1 - (1 - others / squares) ** 3
    return bool(filled / length > max(_needed_part(length), min(4 * chance, 0.9)))


@njit(cache=True)
def _paint_line(streaks: Any, angle: float, offset: float, low: float, high: float, width: float) -> None:
    """Set the pixels near a stretch of a line that is given in squares of `STREAK_BIN` pixels."""
    cos, sin = np.cos(angle), np.sin(angle)
    middle = (STREAK_BIN - 1) / 2
    for r in range(streaks.shape[0]):
        y = (r - middle) / STREAK_BIN
        first, last = 0.0, streaks.shape[1] - 1.0
        for slope, start, least, most in ((cos, y * sin - offset, -width, width), (-sin, y * cos, low, high)):
            if abs(slope) < 1e-9:
                if not least < start < most:
                    last = -1.0
                continue
            ends = (least - start) / slope, (most - start) / slope
            first = max(first, min(ends) * STREAK_BIN + middle)
            last = min(last, max(ends) * STREAK_BIN + middle)
        for c in range(int(np.ceil(first)), int(np.floor(last)) + 1):
            streaks[r, c] = True
