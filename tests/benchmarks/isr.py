"""Instrumental signature removal of one LSST CCD (16 amplifiers, 4072 x 4000) beside ccdproc and plain numpy."""

from __future__ import annotations

from collections.abc import Iterator
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

SECONDS = 15.0


def measure() -> Iterator[Measured]:
    """Yield both comparisons, of two snaps each."""
    snaps, masters = [raw_frame(1), raw_frame(2)], master_calibrations()
    frame = snaps[0]
    ours, plain = correct(frame, masters).image, by_numpy(frame, masters)[0]
    peer = assembled(frame, by_ccdproc(frame, masters))
    for errors in (True, False):
        yield beside(
            "ISR of two 4k snaps and their sum",
            lambda: combine([correct(snap, masters) for snap in snaps]),
            f"ccdproc, {'with' if errors else 'without'} its uncertainties",
            lambda errors=errors: [by_ccdproc(snap, masters, errors=errors) for snap in snaps],
            note="ours also crosstalk, linearity, masks, variance planes, cosmic rays, sum; "
            f"rms difference {float(np.std(ours - peer)):.2f} electrons, of the overscan's level of each row",
        )
    yield beside(
        "ISR of two 4k snaps",
        lambda: [correct(snap, masters) for snap in snaps],
        "numpy, written plainly",
        lambda: [by_numpy(snap, masters) for snap in snaps],
        note=f"the same steps; median overscan, no masks; rms difference {float(np.std(ours - plain)):.2f} electrons",
    )


def assembled(frame: RawFrame, parts: list[CCDData]) -> np.ndarray[Any, Any]:
    """Return the CCD of amplifiers in read-out order."""
    image = np.empty((frame.height, frame.width))
    for amplifier, part in zip(frame.amplifiers, parts, strict=True):
        image[amplifier.detector.slices] = _flipped(part.data, amplifier)
    return image


def raw_frame(seed: int) -> RawFrame:
    """Return a raw frame of noise."""
    detector = load_camera("full-ccd").detectors[0]
    rng = np.random.default_rng(seed)
    exposure = Exposure(
        instrument="benchmark", visit=1, exposure=1, snap=0, detector=0, band="r", exposure_time=SECONDS,
        begin_mjd_tai=61400.0, end_mjd_tai=61400.0, ra=0.0, dec=0.0, rotation=0.0, airmass=1.1,
    )  # fmt: skip
    amplifiers = tuple(_amplifier(a, rng) for a in detector.amplifiers)
    return RawFrame(exposure=exposure, width=detector.width, height=detector.height, amplifiers=amplifiers)


def master_calibrations() -> MasterCalibrations:
    """Return masters of the same CCD."""
    detector = load_camera("full-ccd").detectors[0]
    shape, count = (detector.height, detector.width), len(detector.amplifiers)
    rng = np.random.default_rng(2)
    table = AmplifierTable(
        names=tuple(a.name for a in detector.amplifiers),
        gain=np.full(count, 1.6),
        read_noise=np.full(count, 6.0),
        saturation=np.full(count, 60000.0),
        linearity=np.full((count, 2), 1e-9),
    )
    return MasterCalibrations(
        bias=rng.normal(0, 1, shape).astype(np.float32),
        dark=rng.uniform(0, 0.1, shape).astype(np.float32),
        flats={"r": rng.uniform(0.95, 1.05, shape).astype(np.float32)},
        defects=np.zeros(shape, np.uint8),
        amplifiers=table,
        crosstalk=rng.normal(0, 1e-5, (count, count)).astype(np.float32),
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
                image, gain=1.6 * u.electron / u.adu, readnoise=6.0 * u.electron, disregard_nan=True
            )
        image = ccdproc.subtract_bias(image, CCDData(_flipped(masters.bias[place], amplifier), unit="adu"))
        image = ccdproc.gain_correct(image, 1.6 * u.electron / u.adu)
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
    electrons = 1.6 * adu * (1 + 1e-9 * adu + 1e-9 * adu**2)
    calibrated = (electrons - SECONDS * masters.dark) / masters.flats["r"]
    variance = (np.maximum(electrons, 0) + 36.0) / masters.flats["r"] ** 2
    return np.stack([calibrated, variance])


def _amplifier(amplifier: Amplifier, rng: np.random.Generator) -> RawAmplifier:
    rows, columns = amplifier.raw_shape
    left, right = amplifier.prescan, amplifier.prescan + amplifier.width
    x0, y0, x1, y1 = amplifier.box
    data = rng.normal(1000, 4, (rows, columns))
    data[: amplifier.height, left:right] += rng.poisson(500, (amplifier.height, amplifier.width))
    return RawAmplifier(
        name=amplifier.name,
        data=data.astype(np.uint16),
        imaging=Section(x0=left, y0=0, x1=right, y1=amplifier.height),
        serial=Section(x0=right, y0=0, x1=columns, y1=amplifier.height),
        parallel=None,
        detector=Section(x0=x0, y0=y0, x1=x1, y1=y1, flip_x=amplifier.flip_x, flip_y=amplifier.flip_y),
        gain=1.6,
        read_noise=6.0,
        saturation=60000.0,
    )


def _flipped(image: np.ndarray[Any, Any], amplifier: RawAmplifier) -> np.ndarray[Any, Any]:
    place = amplifier.detector
    return image[:: -1 if place.flip_y else 1, :: -1 if place.flip_x else 1]
