"""Instrumental signature removal: raw amplifiers in, one assembled CCD in electrons out.

Steps, in order: overscan (serial, then parallel), saturation and suspect masks, crosstalk, bias, linearity, gain, dark,
flat, defects, variance, assembly. The order is that of the Rubin ISR task; crosstalk acts in read-out order, before flips.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.single_frame.errors import MissingCalibrationError, SaturatedDetectorError, WrongShapeError
from processors.single_frame.frames import RawAmplifier, RawFrame
from processors.single_frame.overscan import subtract_overscan
from schemas.masks import MaskPlane
from schemas.raw import AmplifierTable, MasterCalibrations

__all__ = [
    "STEPS",
    "DetectorImage",
    "correct",
    "grow_saturation",
    "interpolate_bad",
    "bad_share",
    "calibrate_amplifier",
    "saturation_mask",
]

STEPS = ("bias", "dark", "flat", "defects", "amplifiers", "crosstalk")
"""Steps that need a master calibration and may be skipped by name."""

DEAD_NOISE_ELECTRONS = 25.0
"""Overscan scatter above which an amplifier is unusable (default limit of the Rubin ISR task)."""

SUSPECT_FRACTION = 0.9
"""Share of the saturation level above which a pixel's linearity is suspect."""

SATURATION_GROWTH = 2
"""Pixels by which saturated areas grow: charge spills beyond the clipped pixels, and without it stars leave residuals."""

NO_DATA_VARIANCE = 1e10
"""Variance of a pixel that holds no measurement (value of the Rubin pipelines)."""

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


def correct(frame: RawFrame, masters: MasterCalibrations, *, skip: Set[str] = frozenset()) -> DetectorImage:
    """Remove the instrumental signature of one exposure.

    Parameters
    ----------
    frame
        The raw frame.
    masters
        Master calibrations of its detector.
    skip
        Steps of `STEPS` to leave out, whether or not their master is there.

    Returns
    -------
    DetectorImage
        Electrons, with Poisson and read noise in the variance. Pixels that are not finite become BAD and NO_DATA with
        value 0 and variance 1e10.

    Raises
    ------
    MissingCalibrationError
        When a step that is not skipped has no master.
    WrongShapeError
        When a master's shape is not the CCD's, or an amplifier is not in the table.
    """
    _check_masters(frame, masters, skip)
    constants = _constants(frame, masters.amplifiers if "amplifiers" not in skip else None)
    stacks, masks, noises = _read_out(frame, constants)
    _remove_crosstalk(stacks, frame, masters, skip)
    shape = (frame.height, frame.width)
    image, variance = np.empty(shape, np.float32), np.empty(shape, np.float32)
    mask = np.zeros(shape, np.uint16)
    bias, dark, flat, defects = _planes(frame, masters, skip)
    for index, amplifier in enumerate(frame.amplifiers):
        place = amplifier.detector
        calibrate_amplifier(
            stacks[index],
            masks[index],
            (bias[place.slices], dark[place.slices], flat[place.slices], defects[place.slices]),
            (place.flip_x, place.flip_y),
            np.append(constants[index], frame.exposure.exposure_time),
            (image[place.slices], variance[place.slices], mask[place.slices]),
        )
    dead = tuple(a.name for a, noise in zip(frame.amplifiers, noises, strict=True) if _is_dead(a, noise))
    for amplifier in frame.amplifiers:
        if amplifier.name in dead:
            _blank(image, variance, mask, amplifier)
    grow_saturation(mask, SATURATION_GROWTH)
    usable = (mask & (_SAT | _NO_DATA)) == 0
    if usable.mean() < 0.05:
        raise SaturatedDetectorError("Fewer than 5 % of the detector's pixels are neither saturated nor dead.")
    read_noise = {a.name: float(n) for a, n in zip(frame.amplifiers, noises, strict=True)}
    return DetectorImage(image=image, variance=variance, mask=mask, read_noise=read_noise, dead=dead)


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
        rows = [(a.gain, a.read_noise, a.saturation, 0.0, 0.0) for a in frame.amplifiers]
        return np.array(rows, np.float64)
    order = _order(frame, table)
    columns = (table.gain[order], table.read_noise[order], table.saturation[order], table.linearity[order])
    return np.column_stack(columns).astype(np.float64)


def _order(frame: RawFrame, table: AmplifierTable) -> list[int]:
    try:
        return [table.names.index(a.name) for a in frame.amplifiers]
    except ValueError as error:
        raise WrongShapeError("The amplifier table lacks an amplifier of the frame.") from error


def _read_out(
    frame: RawFrame, constants: NDArray[np.float64]
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.uint16]], list[float]]:
    """Overscan-corrected imaging pixels in ADU, saturation masks and measured read noises, in read-out order."""
    stacks, masks, noises = [], [], []
    for amplifier, (gain, read_noise, saturation, *_) in zip(frame.amplifiers, constants, strict=True):
        pixels, scatter = subtract_overscan(amplifier)
        stacks.append(pixels)
        masks.append(saturation_mask(pixels, float(saturation)))
        noises.append(float(scatter * gain) if amplifier.serial is not None else float(read_noise))
    return stacks, masks, noises


def _remove_crosstalk(
    stacks: list[NDArray[np.float32]], frame: RawFrame, masters: MasterCalibrations, skip: Set[str]
) -> None:
    if "crosstalk" in skip or masters.crosstalk is None:
        return
    if len({s.shape for s in stacks}) != 1:
        raise WrongShapeError("Crosstalk needs amplifiers of one shape.")
    order = _order(frame, masters.amplifiers) if masters.amplifiers is not None else list(range(len(stacks)))
    if masters.crosstalk.shape != (len(order), len(order)):
        raise WrongShapeError(f"The crosstalk matrix has shape {masters.crosstalk.shape} for {len(order)} amplifiers.")
    matrix = np.ascontiguousarray(masters.crosstalk[np.ix_(order, order)], np.float32)
    if matrix.any():
        ghosts = matrix @ np.stack([np.nan_to_num(s).ravel() for s in stacks])
        for index, ghost in enumerate(ghosts):
            stacks[index] -= ghost.reshape(stacks[index].shape)


def _planes(
    frame: RawFrame, masters: MasterCalibrations, skip: Set[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """Masters as full images; a skipped one is neutral."""
    shape = (frame.height, frame.width)

    def image(name: str, array: NDArray[np.float32] | None, neutral: float) -> NDArray[np.float32]:
        if name in skip or array is None:
            return np.full(shape, neutral, np.float32)
        return np.ascontiguousarray(array, np.float32)

    use_defects = "defects" not in skip and masters.defects is not None
    return (
        image("bias", masters.bias, 0.0),
        image("dark", masters.dark, 0.0),
        image("flat", masters.flats.get(frame.exposure.band), 1.0),
        np.ascontiguousarray(masters.defects, np.uint8) if use_defects else np.zeros(shape, np.uint8),
    )


def _is_dead(amplifier: RawAmplifier, noise: float) -> bool:
    """Whether the overscan is far too noisy, or the imaging pixels do not vary at all."""
    return noise > DEAD_NOISE_ELECTRONS or float(np.ptp(amplifier.data[amplifier.imaging.slices])) == 0.0


def _blank(
    image: NDArray[np.float32], variance: NDArray[np.float32], mask: NDArray[np.uint16], amplifier: RawAmplifier
) -> None:
    place = amplifier.detector.slices
    image[place], variance[place] = 0.0, NO_DATA_VARIANCE
    mask[place] |= np.uint16(_BAD | _NO_DATA)


@numba.njit(cache=True)
def saturation_mask(pixels: NDArray[np.float32], saturation: float) -> NDArray[np.uint16]:
    """Mark pixels at or above the saturation level (ADU) SAT, and those close below it SUSPECT."""
    mask = np.zeros(pixels.shape, np.uint16)
    suspect = SUSPECT_FRACTION * saturation
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            if pixels[y, x] >= saturation:
                mask[y, x] = _SAT
            elif pixels[y, x] >= suspect:
                mask[y, x] = _SUSPECT
    return mask


@numba.njit(cache=True)
def calibrate_amplifier(
    pixels: NDArray[np.float32],
    marks: NDArray[np.uint16],
    masters: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]],
    flips: tuple[bool, bool],
    constants: NDArray[np.float64],
    out: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]],
) -> None:
    """Bias, linearity, gain, dark, flat, defects and variance of one amplifier, written where it lies on the CCD.

    ``pixels`` and ``marks`` are in read-out order; ``masters`` (bias, dark, flat, defects) and ``out`` (image, variance,
    mask) are the amplifier's box on the CCD. ``constants`` are gain, read noise, saturation, two linearity coefficients
    and the exposure time.
    """
    bias, dark, flat, defects = masters
    image, variance, mask = out
    gain, read_noise, l0, l1, seconds = constants[0], constants[1], constants[3], constants[4], constants[5]
    rows, columns = pixels.shape
    for j in range(rows):
        y = rows - 1 - j if flips[1] else j
        for i in range(columns):
            x = columns - 1 - i if flips[0] else i
            adu = float(pixels[j, i]) - float(bias[y, x])
            electrons = gain * adu * (1.0 + l0 * adu + l1 * adu * adu)
            response = float(flat[y, x])
            value = (electrons - seconds * float(dark[y, x])) / response if response > 0.0 else np.nan
            if np.isfinite(value):
                image[y, x] = value
                variance[y, x] = (max(electrons, 0.0) + read_noise * read_noise) / (response * response)
                mask[y, x] = marks[j, i]
            else:
                image[y, x] = 0.0
                variance[y, x] = NO_DATA_VARIANCE
                mask[y, x] = marks[j, i] | _BAD | _NO_DATA
            if defects[y, x]:
                mask[y, x] |= _BAD


@numba.njit(cache=True)
def grow_saturation(mask: NDArray[np.uint16], radius: int) -> None:
    """Grow the SAT plane in place by a square of that radius."""
    rows, columns = mask.shape
    seeds = np.argwhere((mask & _SAT) != 0)
    for k in range(seeds.shape[0]):
        for y in range(max(0, seeds[k, 0] - radius), min(rows, seeds[k, 0] + radius + 1)):
            for x in range(max(0, seeds[k, 1] - radius), min(columns, seeds[k, 1] + radius + 1)):
                mask[y, x] |= _SAT


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
