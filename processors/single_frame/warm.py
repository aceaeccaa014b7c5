"""Compile every kernel before the first real frame: a small made-up visit goes through the whole of `calibrate`."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from processors.single_frame.frames import Exposure, RawAmplifier, RawFrame, Section
from processors.single_frame.pipeline import calibrate
from processors.single_frame.projection import deproject
from processors.single_frame.visit_image import make_visit_image
from schemas.camera import Amplifier, Camera, Detector
from schemas.raw import AmplifierTable, ChargeTransfer, MasterCalibrations

__all__ = ["warm_up"]

_SIDE = 160
_STARS = 36
_SCALE = 0.2
_OVERSCAN = 16


@functools.cache
def warm_up() -> None:
    """Compile (or load from the disk cache) all kernels of single frame processing; a second call does nothing."""
    x, y, flux = _stars()
    sky = np.random.default_rng(1).poisson(400 + _image(x, y, flux), (2, _SIDE, _SIDE))
    frames = [_frame(sky[snap], snap) for snap in (0, 1)]
    masters = MasterCalibrations(
        bias=np.zeros((_SIDE, _SIDE), np.float32),
        dark=np.zeros((_SIDE, _SIDE), np.float32),
        flats={"r": np.ones((_SIDE, _SIDE), np.float32)},
        defects=np.zeros((_SIDE, _SIDE), np.uint8),
        amplifiers=AmplifierTable(
            names=("A", "B"),
            gain=np.ones(2),
            read_noise=np.full(2, 5.0),
            saturation=np.full(2, 60000.0),
            linearity=np.zeros((2, 2)),
        ),
        crosstalk=np.full((2, 2), 1e-6, np.float32),
        brighter_fatter=np.full((3, 3), 1e-9, np.float32),
        charge_transfer=_transfer(),
    )
    camera = _camera()
    calibrate(frames, masters, _catalogue(x, y, flux), camera=camera, detector=camera.detectors[0])
    make_visit_image(frames[:1], masters)


def _transfer() -> ChargeTransfer:
    """Every part of deferred charge, faint."""
    few = np.full(2, 1e-7)
    return ChargeTransfer(
        loss=few,
        trap_column=np.full(2, 20),
        trap_capacity=np.full(2, 1.0),
        trap_share=np.full(2, 0.01),
        trap_release=np.full(2, 1.5),
        offset_scale=few,
        offset_limit=np.full(2, 1e4),
        offset_decay=np.full(2, 1.5),
    )


def _stars() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """A scattered but fixed set of stars: a low-discrepancy sequence, three magnitudes of brightness."""
    k = np.arange(1, _STARS + 1)
    x, y = 12 + (_SIDE - 24) * np.mod(k * 0.7548777, 1), 12 + (_SIDE - 24) * np.mod(k * 0.5698403, 1)
    return x, y, np.asarray(30000.0 * 10 ** (-0.03 * k), np.float64)


def _image(x: NDArray[np.float64], y: NDArray[np.float64], flux: NDArray[np.float64]) -> NDArray[np.float64]:
    grid = np.arange(_SIDE)
    total = np.zeros((_SIDE, _SIDE))
    for cx, cy, f in zip(x, y, flux, strict=True):
        radius2 = (grid[:, None] - cy) ** 2 + (grid - cx) ** 2
        total += f * np.exp(-radius2 / (2 * 1.7**2)) / (2 * np.pi * 1.7**2)
    return total


def _frame(electrons: NDArray[np.int64], snap: int) -> RawFrame:
    half = _SIDE // 2
    amplifiers = []
    noise = np.random.default_rng(2 + snap)
    for name, left in (("A", 0), ("B", half)):
        data = noise.normal(1000.0, 5.0, (_SIDE + 8, half + _OVERSCAN))
        data[:_SIDE, :half] += electrons[:, left : left + half]
        amplifiers.append(
            RawAmplifier(
                name=name,
                data=np.rint(data).astype(np.uint16),
                imaging=Section(x0=0, y0=0, x1=half, y1=_SIDE),
                serial=Section(x0=half, y0=0, x1=half + _OVERSCAN, y1=_SIDE + 8),
                parallel=Section(x0=0, y0=_SIDE, x1=half, y1=_SIDE + 8),
                detector=Section(x0=left, y0=0, x1=left + half, y1=_SIDE),
                gain=1.0,
                read_noise=5.0,
                saturation=60000.0,
            )
        )
    exposure = Exposure(
        instrument="warm",
        visit=1,
        exposure=1 + snap,
        snap=snap,
        detector=0,
        band="r",
        exposure_time=15.0,
        begin_mjd_tai=60000.0,
        end_mjd_tai=60000.0002,
        ra=10.0,
        dec=-20.0,
        rotation=0.0,
        airmass=1.0,
    )
    return RawFrame(exposure=exposure, width=_SIDE, height=_SIDE, amplifiers=tuple(amplifiers))


def _camera() -> Camera:
    half = _SIDE // 2
    amplifiers = tuple(
        Amplifier(
            name=name,
            box=(left, 0, left + half, _SIDE),
            flip_x=False,
            flip_y=False,
            prescan=0,
            serial_overscan=_OVERSCAN,
            parallel_overscan=8,
        )
        for name, left in (("A", 0), ("B", half))
    )
    detector = Detector(
        id=0,
        name="R00_S00",
        raft="R00",
        sensor="S00",
        kind="SCIENCE",
        width=_SIDE,
        height=_SIDE,
        centre=(0.0, 0.0),
        quarter_turns=0,
        amplifiers=amplifiers,
    )
    return Camera(name="warm", instrument="warm", plate_scale=_SCALE, detectors=(detector,))


def _catalogue(x: NDArray[np.float64], y: NDArray[np.float64], flux: NDArray[np.float64]) -> NDArray[np.void]:
    middle = (_SIDE - 1) / 2
    ra, dec = deproject(-(x - middle) * _SCALE, (y - middle) * _SCALE, 10.0, -20.0)
    floats = ("ra", "dec", "pmra", "pmdec", "epoch_mjd", "flux_r", "fluxErr_r")
    rows = np.zeros(len(x), np.dtype([("id", "<i8"), *((name, "<f8") for name in floats), ("isStar", "?")]))
    rows["id"], rows["ra"], rows["dec"] = np.arange(1, len(x) + 1), ra, dec
    rows["epoch_mjd"], rows["flux_r"], rows["fluxErr_r"], rows["isStar"] = 60000.0, 2 * flux, 0.01 * flux, True
    return rows
