"""Instrumental signature removal of one LSST CCD (16 amplifiers, 4072 x 4000) beside ccdproc and plain numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import astropy.units as u
import ccdproc
import numpy as np
from astropy.nddata import CCDData

from processors.single_frame.frames import Exposure, RawAmplifier, RawFrame, Section
from processors.single_frame.isr import correct
from processors.single_frame.snaps import combine
from schemas.camera import Amplifier, load_camera
from schemas.raw import AmplifierTable, MasterCalibrations
from tests.support.timing import Measured, beside

SECONDS, GAIN, READ_NOISE = 15.0, 1.6, 6.0
SKY, BAR = 800.0, 30000.0
"""Electrons a pixel."""

BLOCK = 50
ERROR = f"means of {BLOCK} x {BLOCK} pixels, electrons"
LINEARITY = (2e-7, 1e-12)
CROSSTALK = 1e-4


def measure() -> Iterator[Measured]:
    """Yield the comparisons, of two snaps each."""
    masters = master_calibrations()
    snaps = [raw_frame(1, masters), raw_frame(2, masters)]
    frame, truth = snaps[0], light()
    ours, plain = _error(correct(frame, masters).image, truth), _error(by_numpy(frame, masters)[0], truth)
    peer = _error(assembled(frame, by_ccdproc(frame, masters)), truth)
    for errors in (True, False):
        yield beside(
            "ISR of two 4k snaps and their sum",
            lambda: combine([correct(snap, masters) for snap in snaps]),
            f"ccdproc, {'with' if errors else 'without'} its uncertainties",
            lambda errors=errors: [by_ccdproc(snap, masters, errors=errors) for snap in snaps],
            note="ours also crosstalk, linearity, masks, variance planes, cosmic rays, sum",
            errors=(ERROR, ours, peer),
        )
    yield beside(
        "ISR of two 4k snaps",
        lambda: [correct(snap, masters) for snap in snaps],
        "numpy, written plainly",
        lambda: [by_numpy(snap, masters) for snap in snaps],
        note="the same steps; median overscan, no masks",
        errors=(ERROR, ours, plain),
    )


def light() -> np.ndarray[Any, Any]:
    """Return the electrons that an ideal pixel gathers: sky, and a bright bar on one amplifier."""
    detector = load_camera("full-ccd").detectors[0]
    image = np.full((detector.height, detector.width), SKY, np.float64)
    x0, y0, _, _ = detector.amplifiers[3].box
    image[y0 + 500 : y0 + 1000, x0 + 100 : x0 + 400] += BAR
    return image


def _error(image: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> float:
    """Rms over blocks of the mean difference from the truth: their noise is half an electron."""
    rows, columns = (side // BLOCK for side in truth.shape)
    difference = (image - truth)[: rows * BLOCK, : columns * BLOCK]
    return float(np.sqrt(np.mean(difference.reshape(rows, BLOCK, columns, BLOCK).mean((1, 3)) ** 2)))


def assembled(frame: RawFrame, parts: list[CCDData]) -> np.ndarray[Any, Any]:
    """Return the CCD of amplifiers in read-out order."""
    image = np.empty((frame.height, frame.width))
    for amplifier, part in zip(frame.amplifiers, parts, strict=True):
        image[amplifier.detector.slices] = _flipped(part.data, amplifier)
    return image


def raw_frame(seed: int, masters: MasterCalibrations) -> RawFrame:
    """Return a raw frame of the light, with the signature that the masters take away."""
    detector = load_camera("full-ccd").detectors[0]
    rng = np.random.default_rng(seed)
    exposure = Exposure(
        instrument="benchmark", visit=1, exposure=1, snap=0, detector=0, band="r", exposure_time=SECONDS,
        begin_mjd_tai=61400.0, end_mjd_tai=61400.0, ra=0.0, dec=0.0, rotation=0.0, airmass=1.1,
    )  # fmt: skip
    assert masters.bias is not None
    assert masters.dark is not None
    assert masters.crosstalk is not None
    linear = rng.poisson(light() * masters.flats["r"] + SECONDS * masters.dark) / GAIN
    read = linear.copy()
    for _ in range(4):
        read = linear / (1 + LINEARITY[0] * read + LINEARITY[1] * read**2)
    read += masters.bias
    blank = [_amplifier(a, rng) for a in detector.amplifiers]
    cube = np.stack([_flipped(read[a.detector.slices], a) for a in blank])
    cube += np.tensordot(masters.crosstalk, cube, axes=1)
    amplifiers = tuple(replace(a, data=_exposed(a, plane)) for a, plane in zip(blank, cube, strict=True))
    return RawFrame(exposure=exposure, width=detector.width, height=detector.height, amplifiers=amplifiers)


def _exposed(amplifier: RawAmplifier, plane: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    data = amplifier.data.copy()
    data[amplifier.imaging.slices] += plane
    return np.rint(data).astype(np.uint16)


def master_calibrations() -> MasterCalibrations:
    """Return masters of the same CCD."""
    detector = load_camera("full-ccd").detectors[0]
    shape, count = (detector.height, detector.width), len(detector.amplifiers)
    rng = np.random.default_rng(2)
    table = AmplifierTable(
        names=tuple(a.name for a in detector.amplifiers),
        gain=np.full(count, GAIN),
        read_noise=np.full(count, READ_NOISE),
        saturation=np.full(count, 60000.0),
        linearity=np.tile(LINEARITY, (count, 1)),
    )
    return MasterCalibrations(
        bias=rng.normal(0, 1, shape).astype(np.float32),
        dark=rng.uniform(0, 0.1, shape).astype(np.float32),
        flats={"r": rng.uniform(0.95, 1.05, shape).astype(np.float32)},
        defects=np.zeros(shape, np.uint8),
        amplifiers=table,
        crosstalk=(CROSSTALK * rng.random((count, count)) * (1 - np.eye(count))).astype(np.float32),
    )


def by_ccdproc(frame: RawFrame, masters: MasterCalibrations, *, errors: bool = False) -> list[CCDData]:
    """Reduce amplifier by amplifier with ccdproc, as its documentation shows, with or without uncertainties."""
    done = []
    assert masters.bias is not None
    assert masters.dark is not None
    for amplifier in frame.amplifiers:
        place, imaging, serial = amplifier.detector.slices, amplifier.imaging, amplifier.serial
        assert serial is not None
        image = CCDData(amplifier.data.astype(np.float32), unit="adu")
        image = ccdproc.subtract_overscan(image, overscan=image[:, serial.x0 + 4 : serial.x1], median=True)
        image = ccdproc.trim_image(image[imaging.slices])
        if errors:
            image = ccdproc.create_deviation(
                image, gain=GAIN * u.electron / u.adu, readnoise=READ_NOISE * u.electron, disregard_nan=True
            )
        image = ccdproc.subtract_bias(image, CCDData(_flipped(masters.bias[place], amplifier), unit="adu"))
        image = ccdproc.gain_correct(image, GAIN * u.electron / u.adu)
        dark = CCDData(_flipped(masters.dark[place], amplifier) * SECONDS, unit="electron")
        time = SECONDS * u.second
        image = ccdproc.subtract_dark(image, dark, dark_exposure=time, data_exposure=time)
        flat = CCDData(_flipped(masters.flats["r"][place], amplifier), unit="")
        done.append(ccdproc.flat_correct(image, flat, norm_value=1.0))
    return done


def by_numpy(frame: RawFrame, masters: MasterCalibrations) -> np.ndarray[Any, Any]:
    """Reduce with whole-array expressions."""
    assert masters.bias is not None
    assert masters.dark is not None
    assert masters.crosstalk is not None
    stack = []
    for amplifier in frame.amplifiers:
        data = amplifier.data.astype(np.float32)
        assert amplifier.serial is not None
        level = np.median(data[:, amplifier.serial.x0 + 4 : amplifier.serial.x1], axis=1, keepdims=True)
        stack.append((data - level)[amplifier.imaging.slices])
    cube = np.stack(stack)
    cube -= np.tensordot(masters.crosstalk, cube, axes=1)
    image = np.empty((frame.height, frame.width), np.float32)
    for amplifier, plane in zip(frame.amplifiers, cube, strict=True):
        image[amplifier.detector.slices] = _flipped(plane, amplifier)
    adu = image - masters.bias
    electrons = GAIN * adu * (1 + LINEARITY[0] * adu + LINEARITY[1] * adu**2)
    calibrated = (electrons - SECONDS * masters.dark) / masters.flats["r"]
    variance = (np.maximum(electrons, 0) + READ_NOISE**2) / masters.flats["r"] ** 2
    return np.stack([calibrated, variance])


def _amplifier(amplifier: Amplifier, rng: np.random.Generator) -> RawAmplifier:
    """An amplifier read without light, its pixels not rounded yet."""
    rows, columns = amplifier.raw_shape
    left, right = amplifier.prescan, amplifier.prescan + amplifier.width
    x0, y0, x1, y1 = amplifier.box
    return RawAmplifier(
        name=amplifier.name,
        data=rng.normal(1000, READ_NOISE / GAIN, (rows, columns)),
        imaging=Section(x0=left, y0=0, x1=right, y1=amplifier.height),
        serial=Section(x0=right, y0=0, x1=columns, y1=amplifier.height),
        parallel=None,
        detector=Section(x0=x0, y0=y0, x1=x1, y1=y1, flip_x=amplifier.flip_x, flip_y=amplifier.flip_y),
        gain=GAIN,
        read_noise=READ_NOISE,
        saturation=60000.0,
    )


def _flipped(image: np.ndarray[Any, Any], amplifier: RawAmplifier) -> np.ndarray[Any, Any]:
    place = amplifier.detector
    return image[:: -1 if place.flip_y else 1, :: -1 if place.flip_x else 1]
