"""Compiled calibration of amplifiers: crosstalk to assembly in one pass over the rows, so that each pixel is touched once.

All amplifiers are read out at once, row by row; a row of every amplifier is in the processor's cache while crosstalk between
them is removed and each is calibrated and put where it lies on the CCD. Sums run in a fixed order, without a BLAS. (Numba keeps
compiled code by the source of a file alone: after a change of `charge_transfer` change this file too, or empty the cache.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.single_frame.charge_transfer import TransferTables, restore_row
from schemas.masks import MaskPlane

__all__ = ["NO_DATA_VARIANCE", "SUSPECT_FRACTION", "Planes", "calibrate_amplifiers", "grow_saturation", "planes_share"]

SUSPECT_FRACTION = 0.9
"""Share of the saturation level above which a pixel's linearity is suspect."""

NO_DATA_VARIANCE = 1e10
"""Variance of a pixel that holds no measurement (value of the Rubin pipelines)."""

_SAT, _SUSPECT, _BAD = int(MaskPlane.SAT), int(MaskPlane.SUSPECT), int(MaskPlane.BAD)
_NO_DATA = int(MaskPlane.NO_DATA)

_Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planes:
    """Master images of a whole CCD; a step left out has a neutral one."""

    bias: _Image
    dark: _Image
    flat: _Image
    defects: NDArray[np.uint8]


def calibrate_amplifiers(
    stack: _Image,
    places: NDArray[np.int64],
    constants: NDArray[np.float64],
    crosstalk: _Image,
    transfers: TransferTables,
    masters: Planes,
    seconds: float,
    out: tuple[_Image, _Image, NDArray[np.uint16]],
) -> None:
    """Saturation marks, crosstalk, bias, linearity, gain, charge transfer, dark, flat, defects and variance.

    Parameters
    ----------
    stack
        Pixels above the overscan, ADU, shape (amplifiers, rows, columns), in read-out order.
    places
        Shape (amplifiers, 4): first column and row on the CCD; 1 where columns, where rows, run backwards.
    constants
        Shape (amplifiers, 5): gain, read noise, saturation, two linearity coefficients.
    crosstalk
        Shape (victim, source).
    transfers
        Tables of these amplifiers, or none.
    masters
        Master images of the CCD.
    seconds
        Exposure time.
    out
        Image, variance, mask of the CCD: filled where the amplifiers lie. What is not finite becomes BAD and NO_DATA with
        value 0.
    """
    _calibrate(
        stack,
        places,
        constants.astype(np.float32),
        _by_fours(crosstalk),
        (transfers.late, transfers.traps, transfers.offsets),
        (masters.bias, masters.dark, masters.flat, masters.defects),
        np.float32(seconds),
        out,
    )


def _by_fours(crosstalk: _Image) -> _Image:
    """Pad the sources to a multiple of four; no columns where nothing ghosts."""
    count = len(crosstalk)
    if not crosstalk.any():
        return np.zeros((count, 0), np.float32)
    return np.ascontiguousarray(np.pad(crosstalk, ((0, 0), (0, -count % 4))), np.float32)


@numba.njit(cache=True, error_model="numpy")
def _calibrate(
    stack: Any, places: Any, constants: Any, crosstalk: Any, transfers: Any, masters: Any, seconds: Any, out: Any
) -> None:
    count, rows, columns = stack.shape
    late, traps, offsets = transfers
    sources = np.zeros((max(1, crosstalk.shape[1]), columns), np.float32)
    ghost, line, raw = np.zeros(columns, np.float32), np.empty(columns, np.float32), np.empty(columns, np.float32)
    for j in range(rows):
        if crosstalk.shape[1] > 0:
            _sources(stack, j, sources)
        for a in range(count):
            if crosstalk.shape[1] > 0:
                _ghosts(sources, crosstalk[a], ghost)
            x0, y = places[a, 0], places[a, 1] + (rows - 1 - j if places[a, 3] else j)
            _lay(stack[a, j], ghost, places[a, 2] != 0, line, raw)
            _to_electrons(line, masters[0][y, x0 : x0 + columns], constants[a])
            if late.shape[0] > 0:
                _restore(line, places[a, 2] != 0, late[a], traps[a], offsets[a])
            _finish(line, raw, (y, x0), constants[a], masters, seconds, out)


@numba.njit(cache=True)
def _sources(stack: Any, j: int, sources: Any) -> None:
    """Gather a row of every amplifier, holes as zeros."""
    zero, largest = np.float32(0), np.float32(3.4e38)
    for a in range(stack.shape[0]):
        for c in range(stack.shape[2]):
            value = stack[a, j, c]
            sources[a, c] = value if abs(value) <= largest else zero


@numba.njit(cache=True)
def _ghosts(sources: Any, strengths: Any, ghost: Any) -> None:
    """Sum what a row of one amplifier sees of all others."""
    ghost[:] = 0
    for s in range(0, strengths.shape[0], 4):
        k0, k1, k2, k3 = strengths[s], strengths[s + 1], strengths[s + 2], strengths[s + 3]
        for c in range(ghost.shape[0]):
            near = k0 * sources[s, c] + k1 * sources[s + 1, c]
            ghost[c] += near + (k2 * sources[s + 2, c] + k3 * sources[s + 3, c])


@numba.njit(cache=True)
def _lay(pixels: Any, ghost: Any, backwards: bool, line: Any, raw: Any) -> None:
    """Take ghosts off a row and lay it in the CCD's order, with and without them."""
    columns = pixels.shape[0]
    if backwards:
        for x in range(columns):
            # An unsigned index cannot mean "from the end": without that question the loop runs in vectors.
            c = np.uint64(columns - 1 - x)
            raw[x] = pixels[c]
            line[x] = pixels[c] - ghost[c]
    else:
        for x in range(columns):
            raw[x] = pixels[x]
            line[x] = pixels[x] - ghost[x]


@numba.njit(cache=True)
def _to_electrons(line: Any, bias: Any, constants: Any) -> None:
    gain, l0, l1, one = constants[0], constants[3], constants[4], np.float32(1)
    for x in range(line.shape[0]):
        adu = line[x] - bias[x]
        line[x] = gain * adu * (one + adu * (l0 + l1 * adu))


@numba.njit(cache=True)
def _restore(line: Any, backwards: bool, late: Any, trap: Any, offset: Any) -> None:
    """Undo charge transfer in read-out order; a hole is taken to hold what the pixel before it holds, and stays a hole."""
    columns = line.shape[0]
    ordered = line[::-1].copy() if backwards else line.copy()
    last = np.float32(0)
    for c in range(columns):
        if np.isfinite(ordered[c]):
            last = ordered[c]
        ordered[c] = last
    restore_row(ordered, late, trap, offset)
    for x in range(columns):
        if np.isfinite(line[x]):
            line[x] = ordered[columns - 1 - x] if backwards else ordered[x]


@numba.njit(cache=True, error_model="numpy")
def _finish(line: Any, raw: Any, corner: Any, constants: Any, masters: Any, seconds: Any, out: Any) -> None:
    """Dark, flat, variance and marks of one row, written to the CCD."""
    y, x0 = corner
    columns = line.shape[0]
    read_noise, saturation = constants[1], constants[2]
    suspect = np.float32(SUSPECT_FRACTION) * saturation
    zero, one, hole, largest = np.float32(0), np.float32(1), np.float32(NO_DATA_VARIANCE), np.float32(3.4e38)
    dark, flat = masters[1][y, x0 : x0 + columns], masters[2][y, x0 : x0 + columns]
    defects = masters[3][y, x0 : x0 + columns]
    image, variance = out[0][y, x0 : x0 + columns], out[1][y, x0 : x0 + columns]
    mask = out[2][y, x0 : x0 + columns]
    for x in range(columns):
        inverse = one / flat[x]
        value = (line[x] - seconds * dark[x]) * inverse
        power = (max(line[x], zero) + read_noise * read_noise) * inverse * inverse
        known = (flat[x] > zero) & (abs(value) <= largest)
        image[x] = value if known else zero
        variance[x] = power if known else hole
    for x in range(columns):
        marks = (_SAT if raw[x] >= saturation else 0) | (_BAD if defects[x] != 0 else 0)
        marks |= _SUSPECT if (raw[x] >= suspect) & (raw[x] < saturation) else 0
        mask[x] = np.uint16(marks | (_BAD | _NO_DATA if variance[x] == hole else 0))


@numba.njit(cache=True)
def grow_saturation(mask: NDArray[np.uint16], radius: int) -> None:
    """Grow the SAT plane in place by a square of that radius."""
    rows, columns = mask.shape
    seeds = [(0, 0) for _ in range(0)]
    for y in range(rows):
        planes = 0
        for x in range(columns):
            planes |= mask[y, x]
        if planes & _SAT:
            for x in range(columns):
                if mask[y, x] & _SAT:
                    seeds.append((y, x))
    for row, column in seeds:
        for y in range(max(0, row - radius), min(rows, row + radius + 1)):
            for x in range(max(0, column - radius), min(columns, column + radius + 1)):
                mask[y, x] |= _SAT


@numba.njit(cache=True)
def planes_share(mask: NDArray[np.uint16], planes: int) -> float:
    """Share of the pixels of a mask that carry any of some planes."""
    total = 0
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            total += 1 if (mask[y, x] & planes) != 0 else 0
    return total / mask.size
