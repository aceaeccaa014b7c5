"""Instrumental signature removal: raw amplifiers in, one assembled CCD in electrons out.

Steps, in order: overscan (serial, then parallel), saturation and suspect masks, crosstalk, bias, linearity, gain, deferred charge,
dark, brighter-fatter, flat, defects, variance, assembly. The order is that of the Rubin ISR task; crosstalk and deferred charge act
in read-out order, before flips.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.single_frame.amplifiers import (
    NO_DATA_VARIANCE,
    Planes,
    calibrate_amplifiers,
    grow_saturation,
    planes_share,
)
from processors.single_frame.brighter_fatter import correct_brighter_fatter
from processors.single_frame.charge_transfer import TransferTables, transfer_tables
from processors.single_frame.errors import (
    InvalidCalibrationError,
    MissingCalibrationError,
    SaturatedDetectorError,
    WrongShapeError,
)
from processors.single_frame.frames import RawAmplifier, RawFrame
from processors.single_frame.overscan import subtract_overscan
from schemas.masks import MaskPlane
from schemas.raw import AmplifierTable, MasterCalibrations

__all__ = ["OPTIONAL_STEPS", "STEPS", "DetectorImage", "bad_share", "correct", "grow_saturation", "interpolate_bad"]

STEPS = ("bias", "dark", "flat", "defects", "amplifiers", "crosstalk")
"""Steps that need a master calibration and may be skipped by name."""

OPTIONAL_STEPS = ("brighter_fatter", "charge_transfer")
"""Steps done where the masters describe the effect; they too may be skipped by name."""

DEAD_NOISE_ELECTRONS = 25.0
"""Overscan scatter above which an amplifier is unusable (default limit of the Rubin ISR task)."""

NOISY_RATIO = 1.5
"""Overscan scatter, in units of the calibrated read noise, above which an amplifier is suspect and its variance follows what
was measured: far outside the 1 % to which a frame's overscan gives its scatter."""

SATURATION_GROWTH = 2
"""Pixels by which saturated areas grow: charge spills beyond the clipped pixels, and without it stars leave residuals."""

LEAST_USABLE = 0.05
"""Share of usable pixels below which a CCD cannot be processed."""

_SAT, _SUSPECT, _BAD = int(MaskPlane.SAT), int(MaskPlane.SUSPECT), int(MaskPlane.BAD)
_NO_DATA, _INTRP = int(MaskPlane.NO_DATA), int(MaskPlane.INTRP)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorImage:
    """One assembled exposure in electrons."""

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint16]
    read_noise: dict[str, float]
    """Electrons, by amplifier, as the overscan shows it (the calibrated value when there is no overscan)."""
    dead: tuple[str, ...]
    """Amplifiers found unusable; their pixels are BAD and NO_DATA."""
    noisy: tuple[str, ...] = ()
    """Amplifiers much noisier than calibrated; their pixels are SUSPECT, with the variance of the noise they show."""


def correct(frame: RawFrame, masters: MasterCalibrations, *, skip: Set[str] = frozenset()) -> DetectorImage:
    """Remove the instrumental signature of one exposure.

    Parameters
    ----------
    frame
        The raw frame.
    masters
        Master calibrations of its detector.
    skip
        Steps of `STEPS` and `OPTIONAL_STEPS` to leave out, whether or not their master is there.

    Returns
    -------
    DetectorImage
        Electrons, with Poisson and read noise in the variance. Pixels that are not finite become BAD and NO_DATA with
        value 0 and variance 1e10.

    Raises
    ------
    MissingCalibrationError
        When a step of `STEPS` that is not skipped has no master.
    WrongShapeError
        When a master's shape is not the CCD's, or an amplifier is not in the table.
    InvalidCalibrationError
        When a master holds values that no detector can have.
    SaturatedDetectorError
        When hardly any pixel can be used.
    """
    _check_masters(frame, masters, skip)
    constants = _constants(frame, masters.amplifiers if "amplifiers" not in skip else None)
    stacks, noises = _read_out(frame, constants)
    dead = tuple(a.name for a, noise in zip(frame.amplifiers, noises, strict=True) if _is_dead(a, noise))
    noisy = _noisy(frame, constants, noises, dead)
    for index, amplifier in enumerate(frame.amplifiers):
        if amplifier.name in noisy:
            constants[index, 1] = noises[index]
    image, variance, mask = _assembled(frame, masters, skip, stacks, constants)
    for amplifier in frame.amplifiers:
        place = amplifier.detector.slices
        if amplifier.name in dead:
            image[place], variance[place] = 0.0, NO_DATA_VARIANCE
            mask[place] |= np.uint16(_BAD | _NO_DATA)
        elif amplifier.name in noisy:
            mask[place] |= np.uint16(_SUSPECT)
    grow_saturation(mask, SATURATION_GROWTH)
    if 1 - planes_share(mask, _SAT | _NO_DATA) < LEAST_USABLE:
        raise SaturatedDetectorError(
            "Fewer than 5 % of the detector's pixels are neither saturated, dead, nor without a number."
        )
    read_noise = {a.name: float(n) for a, n in zip(frame.amplifiers, noises, strict=True)}
    return DetectorImage(image=image, variance=variance, mask=mask, read_noise=read_noise, dead=dead, noisy=noisy)


def _check_masters(frame: RawFrame, masters: MasterCalibrations, skip: Set[str]) -> None:
    flat = masters.flats.get(frame.exposure.band)
    images = {"bias": masters.bias, "dark": masters.dark, "flat": flat, "defects": masters.defects}
    present: dict[str, object] = {**images, "amplifiers": masters.amplifiers, "crosstalk": masters.crosstalk}
    missing = [name for name in STEPS if name not in skip and present[name] is None]
    if missing:
        names = ", ".join(f"{m} ({frame.exposure.band})" if m == "flat" else m for m in missing)
        raise MissingCalibrationError(f"Master calibration missing: {names}; supply it or skip the step by name.")
    for name, image in images.items():
        if name not in skip and image is not None and image.shape != (frame.height, frame.width):
            raise WrongShapeError(f"Master {name} has shape {image.shape}, the CCD {(frame.height, frame.width)}.")


def _constants(frame: RawFrame, table: AmplifierTable | None) -> NDArray[np.float64]:
    """Gain, read noise, saturation and two linearity coefficients of each amplifier of the frame."""
    if table is None:
        rows = np.array([(a.gain, a.read_noise, a.saturation, 0.0, 0.0) for a in frame.amplifiers], np.float64)
    else:
        order = _order(frame, table)
        columns = (table.gain[order], table.read_noise[order], table.saturation[order], table.linearity[order])
        rows = np.column_stack(columns).astype(np.float64)
    gain, noise, saturation, linearity = rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3:]
    possible = (gain > 0) & np.isfinite(gain) & (noise >= 0) & np.isfinite(noise) & (saturation > 0)
    if not (possible.all() and np.isfinite(linearity).all()):
        raise InvalidCalibrationError("Gain, read noise, saturation or linearity of an amplifier is not possible.")
    return rows


def _order(frame: RawFrame, table: AmplifierTable) -> list[int]:
    try:
        return [table.names.index(a.name) for a in frame.amplifiers]
    except ValueError as error:
        raise WrongShapeError("The amplifier table lacks an amplifier of the frame.") from error


def _read_out(frame: RawFrame, constants: NDArray[np.float64]) -> tuple[list[NDArray[np.float32]], list[float]]:
    """Overscan-corrected imaging pixels in ADU, in read-out order, of the amplifiers of each shape; measured read noises."""
    shapes = [a.imaging.shape for a in frame.amplifiers]
    alike = len(set(shapes)) == 1
    stacks = (
        [np.empty((len(shapes), *shapes[0]), np.float32)] if alike else [np.empty((1, *s), np.float32) for s in shapes]
    )
    noises = []
    for index, amplifier in enumerate(frame.amplifiers):
        _, scatter = subtract_overscan(amplifier, stacks[0][index] if alike else stacks[index][0])
        gain, read_noise = constants[index, :2]
        noises.append(float(scatter * gain) if amplifier.serial is not None else float(read_noise))
    return stacks, noises


def _assembled(
    frame: RawFrame,
    masters: MasterCalibrations,
    skip: Set[str],
    stacks: list[NDArray[np.float32]],
    constants: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]]:
    """Calibrate all amplifiers and put them together: image, variance, mask."""
    shape = (frame.height, frame.width)
    make = np.empty if _tiled(frame) else np.zeros
    out = make(shape, np.float32), make(shape, np.float32), make(shape, np.uint16)
    planes, crosstalk = _planes(frame, masters, skip), _crosstalk(frame, masters, skip)
    if crosstalk.any() and len(stacks) > 1:
        raise WrongShapeError("Crosstalk needs amplifiers of one shape.")
    kernel = None if "brighter_fatter" in skip else masters.brighter_fatter
    used = planes if kernel is None else replace(planes, flat=np.ones(shape, np.float32))
    places = np.array([(d.x0, d.y0, d.flip_x, d.flip_y) for d in (a.detector for a in frame.amplifiers)], np.int64)
    first = 0
    for stack in stacks:
        some = slice(first, first + len(stack))
        tables = _transfers(frame, masters, skip, some)
        seconds = frame.exposure.exposure_time
        calibrate_amplifiers(stack, places[some], constants[some], crosstalk[some, some], tables, used, seconds, out)
        first += len(stack)
    if kernel is None:
        return out
    light = correct_brighter_fatter(out[0], kernel, (out[2] & _NO_DATA) == 0)
    _flatten((light, *out[1:]), planes.flat)
    return light, out[1], out[2]


def _tiled(frame: RawFrame) -> bool:
    """Tell whether every pixel of the CCD lies on an amplifier."""
    covered = np.zeros((frame.height, frame.width), np.bool_)
    for amplifier in frame.amplifiers:
        covered[amplifier.detector.slices] = True
    return bool(covered.all())


def _transfers(frame: RawFrame, masters: MasterCalibrations, skip: Set[str], some: slice) -> TransferTables:
    transfer = masters.charge_transfer
    if transfer is None or "charge_transfer" in skip:
        return TransferTables.none()
    whole = list(range(len(frame.amplifiers)))
    order = _order(frame, masters.amplifiers) if masters.amplifiers is not None else whole
    amplifiers = frame.amplifiers[some]
    prescans = [a.imaging.x0 for a in amplifiers]
    return transfer_tables(transfer, order[some], prescans, amplifiers[0].imaging.shape[1])


def _crosstalk(frame: RawFrame, masters: MasterCalibrations, skip: Set[str]) -> NDArray[np.float32]:
    """Crosstalk of the frame's amplifiers in their order; zeros when it is left out."""
    count = len(frame.amplifiers)
    if "crosstalk" in skip or masters.crosstalk is None:
        return np.zeros((count, count), np.float32)
    order = _order(frame, masters.amplifiers) if masters.amplifiers is not None else list(range(count))
    if masters.crosstalk.shape != (count, count):
        raise WrongShapeError(f"The crosstalk matrix has shape {masters.crosstalk.shape} for {count} amplifiers.")
    if not np.isfinite(masters.crosstalk).all():
        raise InvalidCalibrationError("The crosstalk matrix holds values that are not finite.")
    return np.ascontiguousarray(masters.crosstalk[np.ix_(order, order)], np.float32)


def _planes(frame: RawFrame, masters: MasterCalibrations, skip: Set[str]) -> Planes:
    """Masters as full images; a skipped one is neutral."""
    shape = (frame.height, frame.width)

    def image(name: str, array: NDArray[np.float32] | None, neutral: float) -> NDArray[np.float32]:
        if name in skip or array is None:
            return np.full(shape, neutral, np.float32)
        return np.ascontiguousarray(array, np.float32)

    use_defects = "defects" not in skip and masters.defects is not None
    return Planes(
        bias=image("bias", masters.bias, 0.0),
        dark=image("dark", masters.dark, 0.0),
        flat=image("flat", masters.flats.get(frame.exposure.band), 1.0),
        defects=np.ascontiguousarray(masters.defects, np.uint8) if use_defects else np.zeros(shape, np.uint8),
    )


@numba.njit(cache=True, error_model="numpy")
def _flatten(images: Any, flat: NDArray[np.float32]) -> None:
    """Divide image and variance by the flat in place; where it is not positive nothing is known."""
    image, variance, mask = images
    for y in range(flat.shape[0]):
        for x in range(flat.shape[1]):
            inverse = np.float32(1) / flat[y, x]
            if (mask[y, x] & _NO_DATA) == 0 and flat[y, x] > 0 and np.isfinite(inverse):
                image[y, x] *= inverse
                variance[y, x] *= inverse * inverse
            else:
                image[y, x], variance[y, x] = 0.0, NO_DATA_VARIANCE
                mask[y, x] |= _BAD | _NO_DATA


def _is_dead(amplifier: RawAmplifier, noise: float) -> bool:
    """Whether the overscan is far too noisy, or the imaging pixels do not vary at all."""
    pixels = amplifier.data[amplifier.imaging.slices]
    return noise > DEAD_NOISE_ELECTRONS or (pixels[0, 0] == pixels[-1, -1] and float(np.ptp(pixels)) == 0.0)


def _noisy(
    frame: RawFrame, constants: NDArray[np.float64], noises: list[float], dead: tuple[str, ...]
) -> tuple[str, ...]:
    """Names of amplifiers that are not dead but much noisier than calibrated; a calibrated noise of 0 says nothing."""
    pairs = zip(frame.amplifiers, constants[:, 1], noises, strict=True)
    return tuple(a.name for a, known, noise in pairs if noise > NOISY_RATIO * known > 0 and a.name not in dead)


@numba.njit(cache=True)
def interpolate_bad(image: NDArray[np.float32], mask: NDArray[np.uint16], planes: int, longest: int) -> None:
    """Bridge runs of masked pixels along rows by straight lines, in place, and mark them INTRP.

    Only runs of at most ``longest`` pixels with a good pixel at both ends are bridged.
    """
    rows, columns = image.shape
    for y in range(rows):
        x = 0
        while x < columns:
            if (mask[y, x] & planes) == 0:
                x += 1
                continue
            end = x
            while end < columns and (mask[y, end] & planes) != 0:
                end += 1
            if x > 0 and end < columns and end - x <= longest:
                left, right = float(image[y, x - 1]), float(image[y, end])
                for i in range(x, end):
                    image[y, i] = left + (right - left) * (i - x + 1) / (end - x + 1)
                    mask[y, i] |= _INTRP
            x = end


def bad_share(mask: NDArray[Any]) -> float:
    """Share of the pixels that are BAD, SAT or NO_DATA."""
    return float(((mask & (_BAD | _SAT | _NO_DATA)) != 0).mean())
