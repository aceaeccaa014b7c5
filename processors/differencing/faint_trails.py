"""Find trails that stay below the threshold everywhere: sums of the score along lines.

A sum of the score along a line is the matched filter of a trail. Sums along all lines are made at once by halving (Brady 1998; for
partial lines Nir, Zackay & Ofek 2018): of squares of pixels, in strips of some lengths. What stands out is then traced on the pixels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.chains import STRAIGHT_PIXELS, Chain

__all__ = ["FAINT_TRAIL_SIGNIFICANCE", "find_faint_trails"]

FAINT_TRAIL_SIGNIFICANCE = 6.5
"""Least significance of a sum: some ten million lines of a CCD can be told apart, of which noise alone takes one in a hundred CCDs this high."""

CELL = 4
"""Side of the squares that are summed first, pixels."""

LEVELS = (4, 5, 6)
"""Lines cross this power of two of rows, or columns, of squares: 64, 128 and 256 pixels."""

CANDIDATE = 4.3
"""Significance of a sum of squares from which its line is traced."""

MOST_CANDIDATES = 60
"""Lines traced, the most significant first."""

LOUD_SNR = 6.0
"""Pixels above this, and those near them, do not count: they are other sources' or need no sum."""

CLIP_SNR = 3.5
"""A pixel counts for no more than this: a trail is faint everywhere, two sources on a line are not."""

LEAST_THIRD = 0.15
"""Least part of the sum that each third of a line holds."""

MOST_BESIDE = 0.35
"""Largest mean score beside a line, as a part of that on it."""

LEAST_LENGTH = 40.0
"""Shortest line, pixels: what is shorter, and as significant, has peaks."""

REACH = 450
"""Longest line, pixels: 90 arcseconds."""

Pixels = NDArray[Any]


def find_faint_trails(
    snr: Pixels, peaks: Pixels, chains: list[Chain], *, response: Pixels, fwhm: float
) -> tuple[Pixels, list[Chain], int]:
    """Find trails of positive flux along which no source, or no more than a few chance peaks, are above the threshold.

    Parameters
    ----------
    snr
        Score map.
    peaks
        Result of `detect_peaks`.
    chains
        Result of `find_chains`: trails that are known.
    response
        Result of `psf_response`: how the noise of the map is correlated.
    fwhm
        Width of the PSF, pixels.

    Returns
    -------
    tuple
        The peaks, with one more (its score the line's significance) at the end for each trail that had none; the chains and the new
        ones; how many peaks are new.
    """
    quiet = np.asarray(_quiet_scores(np.ascontiguousarray(snr, np.float32), math.ceil(2 * fwhm)))
    half = response.shape[0] // 2
    correlation = float(np.sum(response[half]))
    found: list[tuple[float, Chain]] = []
    for line in _candidates(_cells(quiet)):
        significance, *ends = _trace(quiet, *line, correlation, fwhm)
        chain = _as_chain(ends)
        if significance < FAINT_TRAIL_SIGNIFICANCE or chain.length < LEAST_LENGTH:
            continue
        if not any(_same(chain, other, fwhm) for other in [*chains, *(c for _, c in found)]):
            found.append((significance, chain))
    return _joined(snr, peaks, chains, found)


def _as_chain(ends: list[float]) -> Chain:
    x0, y0, x1, y1 = ends
    return Chain(
        members=np.zeros(0, np.int64),
        x=(x0 + x1) / 2,
        y=(y0 + y1) / 2,
        length=math.hypot(x1 - x0, y1 - y0),
        angle=math.atan2(y1 - y0, x1 - x0),
    )


def _places(chain: Chain, x: Pixels, y: Pixels) -> tuple[Pixels, Pixels]:
    dx, dy, c, s = x - chain.x, y - chain.y, math.cos(chain.angle), math.sin(chain.angle)
    return dx * c + dy * s, dy * c - dx * s


def _same(chain: Chain, other: Chain, fwhm: float) -> bool:
    """Tell whether a line runs along another trail, or through most of it."""
    steps = np.linspace(-0.5, 0.5, 21) * chain.length
    x, y = chain.x + steps * math.cos(chain.angle), chain.y + steps * math.sin(chain.angle)
    along, across = _places(other, x, y)
    on = (np.abs(along) < 0.5 * other.length + fwhm) & (np.abs(across) < 3 * fwhm)
    return bool(on.mean() > 0.3)


def _joined(
    snr: Pixels, peaks: Pixels, chains: list[Chain], found: list[tuple[float, Chain]]
) -> tuple[Pixels, list[Chain], int]:
    """Give each new line the peaks on it that no chain has, or a peak of its own."""
    taken = np.zeros(len(peaks), dtype=bool)
    for chain in chains:
        taken[chain.members] = True
    added, out = np.zeros(0, peaks.dtype), list(chains)
    for significance, line in found:
        along, across = _places(line, peaks["x"].astype(float), peaks["y"].astype(float))
        own = (np.abs(along) < 0.5 * line.length + 2) & (np.abs(across) < 2 * STRAIGHT_PIXELS)
        own &= ~taken & (peaks["snr"] > 0) & (peaks["snr"] < LOUD_SNR)
        members = np.flatnonzero(own)
        taken |= own
        if len(members) == 0:
            members = np.array([len(peaks) + len(added)])
            added = np.concatenate([added, _peak(snr, line, significance, peaks.dtype)])
        chain = Chain(members=members, x=line.x, y=line.y, length=line.length, angle=line.angle)
        out.append(chain)
    return np.concatenate([peaks, added]), out, len(added)


def _peak(snr: Pixels, line: Chain, significance: float, dtype: Any) -> Pixels:
    """Return a peak at the highest pixel of a line."""
    steps = np.arange(-0.5 * line.length, 0.5 * line.length)
    x, y = line.x + steps * math.cos(line.angle), line.y + steps * math.sin(line.angle)
    columns, rows = (np.clip(np.rint(p), 0, n - 1).astype(int) for p, n in ((x, snr.shape[1]), (y, snr.shape[0])))
    best = int(np.argmax(snr[rows, columns]))
    peak = np.zeros(1, dtype)
    peak["x"], peak["y"], peak["snr"] = columns[best], rows[best], significance
    peak["partner_x"] = peak["partner_y"] = -1
    return peak


@njit(cache=True)
def _quiet_scores(snr: Any, reach: int) -> Any:
    """Return the score, cut to `CLIP_SNR` on both sides, and 0 within reach of loud pixels."""
    rows, columns = snr.shape
    out = np.empty((rows, columns), np.float32)
    clip = np.float32(CLIP_SNR)
    for r in range(rows):
        for c in range(columns):
            out[r, c] = min(max(snr[r, c], -clip), clip)
    for r in range(rows):
        for c in range(columns):
            if abs(snr[r, c]) > LOUD_SNR:
                for q in range(max(r - reach, 0), min(r + reach + 1, rows)):
                    for p in range(max(c - reach, 0), min(c + reach + 1, columns)):
                        out[q, p] = 0.0
    return out


@njit(cache=True)
def _cells(quiet: Any) -> Any:
    """Return sums of squares of pixels; what is left over at the far borders is not summed."""
    rows, columns = quiet.shape[0] // CELL, quiet.shape[1] // CELL
    out = np.zeros((rows, columns), np.float32)
    for r in range(rows * CELL):
        for c in range(columns * CELL):
            out[r // CELL, c // CELL] += quiet[r, c]
    return out


def _candidates(cells: Pixels) -> list[tuple[float, float, float, float]]:
    """Return ends (x, y, x, y; pixels) of lines whose sums stand out, the most significant first, none twice."""
    parts = []
    for turned in (False, True):
        image = cells.T if turned else cells
        for mirrored in (False, True):
            lines = _lines(np.ascontiguousarray(image[:, ::-1] if mirrored else image))
            if mirrored:
                lines[:, [1, 3]] = image.shape[1] - 1 - lines[:, [1, 3]]
            parts.append(lines[:, [0, 2, 1, 4, 3]] if turned else lines)
    lines = np.concatenate(parts)
    lines = lines[np.lexsort((lines[:, 3], lines[:, 2], lines[:, 1], -lines[:, 0]))]
    kept = np.asarray(_distinct(lines, MOST_CANDIDATES))
    return [(a, b, c, d) for a, b, c, d in (CELL * lines[kept, 1:] + 0.5 * (CELL - 1)).tolist()]


def _lines(image: Pixels) -> Pixels:
    """Return significance and ends (x, y, x, y; squares) of lines that lean to the right by up to half a right angle."""
    side = 2 ** LEVELS[-1]
    rows = -(-image.shape[0] // side) * side
    padded = np.zeros((rows, image.shape[1] + 2 * side), np.float32)
    padded[: image.shape[0], side : side + image.shape[1]] = image
    sums, out = padded[:, None, :], []
    for level in range(1, LEVELS[-1] + 1):
        sums = np.asarray(_doubled(sums))
        if level not in LEVELS:
            continue
        sample = sums[:, ::3, ::7]
        noise = 1.4826 * float(np.median(np.abs(sample[sample != 0]))) if sample.any() else 0.0
        if noise > 0:
            block, shift, x = np.nonzero(sums > CANDIDATE * noise)
            y = block * 2**level
            values = sums[block, shift, x] / noise
            out.append(np.column_stack([values, x - side, y, x - side + shift, y + 2**level - 1]))
    return np.concatenate(out) if out else np.zeros((0, 5))


@njit(cache=True)
def _doubled(sums: Any) -> Any:
    """Return sums along lines of twice the height: shape (strips, steps to the right, first column)."""
    strips, steps, columns = sums.shape
    out = np.zeros((strips // 2, 2 * steps, columns), np.float32)
    for strip in range(strips // 2):
        for step in range(2 * steps):
            half, ahead = step // 2, (step + 1) // 2
            for c in range(columns - ahead):
                out[strip, step, c] = sums[2 * strip, half, c] + sums[2 * strip + 1, half, c + ahead]
    return out


@njit(cache=True)
def _distinct(lines: Any, most: int) -> Any:
    """Return the first lines, without those that run along an earlier one."""
    kept = np.empty(most, np.int64)
    count = 0
    for n in range(lines.shape[0]):
        if count == most:
            break
        new = True
        for k in range(count):
            m = kept[k]
            ux, uy = lines[m, 3] - lines[m, 1], lines[m, 4] - lines[m, 2]
            length = np.hypot(ux, uy)
            ux, uy = ux / length, uy / length
            near = True
            for end in (1, 3):
                dx, dy = lines[n, end] - lines[m, 1], lines[n, end + 1] - lines[m, 2]
                near = near and abs(dy * ux - dx * uy) < 5.0 and -16.0 < dx * ux + dy * uy < length + 16.0
            if near:
                new = False
                break
        if new:
            kept[count] = n
            count += 1
    return kept[:count]


@njit(cache=True)
def _value(quiet: Any, x: float, y: float) -> float:
    c, r = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    if 0 <= r < quiet.shape[0] and 0 <= c < quiet.shape[1]:
        return float(quiet[r, c])
    return 0.0


@njit(cache=True)
def _sum(quiet: Any, x0: float, y0: float, x1: float, y1: float, step: float) -> float:
    """Return the mean score between two places."""
    count = max(int(np.hypot(x1 - x0, y1 - y0) / step), 1)
    total = 0.0
    for k in range(count + 1):
        t = k / count
        total += _value(quiet, x0 + t * (x1 - x0), y0 + t * (y1 - y0))
    return total / (count + 1)


@njit(cache=True)
def _turned(quiet: Any, ends: Any, reach: int, step: int) -> Any:
    """Return the ends moved across the line to where its sum is highest."""
    x0, y0, x1, y1 = ends
    length = max(np.hypot(x1 - x0, y1 - y0), 1.0)
    nx, ny = -(y1 - y0) / length, (x1 - x0) / length
    best, a_best, b_best = -1e30, 0, 0
    for a in range(-reach, reach + 1, step):
        for b in range(-reach, reach + 1, step):
            value = _sum(quiet, x0 + a * nx, y0 + a * ny, x1 + b * nx, y1 + b * ny, 2.0)
            if value > best:
                best, a_best, b_best = value, a, b
    return x0 + a_best * nx, y0 + a_best * ny, x1 + b_best * nx, y1 + b_best * ny


@njit(cache=True)
def _stretched(quiet: Any, ends: Any, correlation: float) -> Any:
    """Return the significance of the best stretch of a line and its ends."""
    x0, y0, x1, y1 = ends
    length = max(np.hypot(x1 - x0, y1 - y0), 1.0)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    before = max((REACH - length) / 2, 0.0)
    count = int(length + 2 * before)
    total = np.zeros(count + 1)
    for k in range(count):
        total[k + 1] = total[k] + _value(quiet, x0 + (k - before) * ux, y0 + (k - before) * uy)
    best, first, last = 0.0, 0, 1
    for a in range(0, count, 2):
        for b in range(a + 20, count + 1, 2):
            value = (total[b] - total[a]) / np.sqrt(correlation * (b - a + 0.5 * correlation))
            if value > best:
                best, first, last = value, a, b
    a, b = first - before, last - 1 - before
    return best, (x0 + a * ux, y0 + a * uy, x0 + b * ux, y0 + b * uy)


@njit(cache=True)
def _trace(quiet: Any, x0: float, y0: float, x1: float, y1: float, correlation: float, fwhm: float) -> Any:
    """Follow a line on the pixels; its significance is 0 when it is uneven or no narrower than what is about it."""
    ends = (x0, y0, x1, y1)
    significance = 0.0
    for turn in range(3):
        ends = _turned(quiet, ends, 9 if turn == 0 else 4, 3 if turn == 0 else 1)
        significance, ends = _stretched(quiet, ends, correlation)
    x0, y0, x1, y1 = ends
    whole = _sum(quiet, x0, y0, x1, y1, 1.0)
    for third in range(3):
        a, b = third / 3, (third + 1) / 3
        part = _sum(quiet, x0 + a * (x1 - x0), y0 + a * (y1 - y0), x0 + b * (x1 - x0), y0 + b * (y1 - y0), 1.0)
        if part < 3 * LEAST_THIRD * whole:
            significance = 0.0
    length = max(np.hypot(x1 - x0, y1 - y0), 1.0)
    nx, ny = -(y1 - y0) / length * 2.5 * fwhm, (x1 - x0) / length * 2.5 * fwhm
    for side in (-1.0, 1.0):
        beside = _sum(quiet, x0 + side * nx, y0 + side * ny, x1 + side * nx, y1 + side * ny, 1.0)
        if beside > MOST_BESIDE * whole:
            significance = 0.0
    return significance, ends[0], ends[1], ends[2], ends[3]
