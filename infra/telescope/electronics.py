"""From expected light to raw frames: shot noise, full wells and bleeding, nonlinearity, crosstalk, bias, read noise."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from infra.telescope.charge import ChargeEffects, accumulate, defer_charge
from infra.telescope.response import DetectorResponse, read_out_view
from schemas.raw import ChargeTransfer

__all__ = ["collect", "read_out", "spill"]

_Image = NDArray[np.float32]

DEFERRED = (6e-4, 2e-4, 5e-5)
"""Share of the last imaging pixel that appears in the first overscan pixels, where charge transfer is not simulated."""


def collect(
    expected: _Image,
    struck: _Image | None,
    response: DetectorResponse,
    random: np.random.Generator,
    *,
    effects: ChargeEffects | None = None,
) -> _Image:
    """Return the electrons that a detector holds at the end of an exposure.

    Parameters
    ----------
    expected
        Mean electrons of light and dark current; float32 of the trimmed CCD.
    struck
        Electrons freed by particles, or None.
    response
        The detector.
    random
        Source of the shot noise.
    effects
        With these the brighter-fatter effect deflects the light; without them every photon stays in its pixel.
    """
    if effects is not None and effects.brighter_fatter is not None:
        electrons = accumulate(expected, effects.brighter_fatter, random)
    else:
        electrons = random.poisson(expected).astype(np.float32)
    if struck is not None:
        electrons += struck
    for amplifier, well in zip(response.detector.amplifiers, response.amplifiers.full_well, strict=True):
        spill(read_out_view(electrons, amplifier), np.float32(well))
    return electrons


@numba.njit(cache=True)
def spill(electrons, well):  # type: ignore[no-untyped-def]
    """Let charge above the full well run along its column, half each way, in place; what leaves the array is lost."""
    height, width = electrons.shape
    excess = np.zeros(height, np.float32)
    for column in range(width):
        any_excess = False
        for row in range(height):
            over = electrons[row, column] - well
            excess[row] = 0.0
            if over > 0:
                excess[row] = 0.5 * over
                electrons[row, column] = well
                any_excess = True
        if not any_excess:
            continue
        carry = np.float32(0.0)
        for row in range(height):
            room = well - electrons[row, column]
            moved = min(room, carry)
            electrons[row, column] += moved
            carry += excess[row] - moved
        carry = np.float32(0.0)
        for row in range(height - 1, -1, -1):
            room = well - electrons[row, column]
            moved = min(room, carry)
            electrons[row, column] += moved
            carry += excess[row] - moved


def read_out(
    electrons: _Image,
    response: DetectorResponse,
    random: np.random.Generator,
    *,
    effects: ChargeEffects | None = None,
) -> list[NDArray[np.uint16]]:
    """Read a detector out.

    Parameters
    ----------
    electrons
        What `collect` gave.
    response
        The detector.
    random
        Source of the read noise.
    effects
        With these charge arrives late (`infra.telescope.charge`); without them a fixed share of the last pixel trails.

    Returns
    -------
    frames
        Raw uint16 frame of each amplifier, in read-out order, with prescan and overscans.
    """
    constants = response.amplifiers
    transfer = effects.transfer if effects is not None else None
    count = len(response.detector.amplifiers)
    signals = np.stack([_signal(electrons, response, index, transfer) for index in range(count)])
    ghosts = _ghosts(signals, constants.crosstalk.astype(np.float32))
    frames = []
    for index, amplifier in enumerate(response.detector.amplifiers):
        rows, columns = amplifier.raw_shape
        frame = random.standard_normal((rows, columns), np.float32)
        frame *= np.float32(constants.read_noise[index] / constants.gain[index])
        frame += signals[index]
        frame += ghosts[index]
        frame += _row_levels(random, rows, float(constants.pedestal[index]))[:, None]
        imaging = slice(0, amplifier.height), slice(amplifier.prescan, amplifier.prescan + amplifier.width)
        frame[imaging] += read_out_view(response.bias, amplifier)
        frames.append(np.clip(np.rint(frame), 0, 65535).astype(np.uint16))
    return frames


@numba.njit(cache=True)
def _ghosts(signals, crosstalk):  # type: ignore[no-untyped-def]
    """Sum what each amplifier sees of the others; in a fixed order, which a BLAS would not promise."""
    out = np.zeros_like(signals)
    for victim in range(signals.shape[0]):
        for source in range(signals.shape[0]):
            share = crosstalk[victim, source]
            if share != 0:
                for row in range(signals.shape[1]):
                    for column in range(signals.shape[2]):
                        out[victim, row, column] += share * signals[source, row, column]
    return out


def _signal(
    electrons: _Image, response: DetectorResponse, index: int, transfer: ChargeTransfer | None = None
) -> _Image:
    """Return the raw frame's ADU that stand for charge: the imaging part and what trails into the overscans."""
    amplifier, constants = response.detector.amplifiers[index], response.amplifiers
    frame = np.zeros(amplifier.raw_shape, np.float32)
    part = np.ascontiguousarray(read_out_view(electrons, amplifier))
    left, right, top = amplifier.prescan, amplifier.prescan + amplifier.width, amplifier.height
    if transfer is not None:
        part = defer_charge(part, transfer, index, amplifier)
    true = part / np.float32(constants.gain[index])
    frame[:top, left : left + part.shape[1]] = _report(true, float(constants.lin1[index]), float(constants.lin2[index]))
    for step, share in enumerate(DEFERRED):
        if transfer is None and step < amplifier.serial_overscan:
            frame[:top, right + step] = share * frame[:top, right - 1]
        if step < amplifier.parallel_overscan:
            frame[top + step, left:right] = 0.3 * share * frame[top - 1, left:right]
    return frame


@numba.njit(cache=True)
def _report(true, lin1, lin2):  # type: ignore[no-untyped-def]
    out = np.empty_like(true)
    for row in range(true.shape[0]):
        for column in range(true.shape[1]):
            wanted = float(true[row, column])
            adu = wanted
            for _ in range(3):
                adu = wanted / (1.0 + lin1 * adu + lin2 * adu * adu)
            out[row, column] = np.float32(adu)
    return out


def _row_levels(random: np.random.Generator, rows: int, pedestal: float) -> NDArray[Any]:
    """Zero level of each row: wanders from exposure to exposure and along the read-out."""
    offset, slope = random.normal(0.0, 2.0), random.normal(0.0, 0.8)
    wander = np.cumsum(random.normal(0.0, 0.04, rows))
    along = np.arange(rows) / rows
    settle = 1.5 * np.exp(-np.arange(rows) / 15.0)
    return np.asarray(pedestal + offset + slope * along + wander - wander.mean() + settle, np.float32)
