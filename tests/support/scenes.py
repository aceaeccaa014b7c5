"""Synthetic scenes for single frame processing: Moffat stars on raw frames of a bundled camera, with their truth.

Nothing here comes from the code under test; positions on the sky are made with astropy.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from schemas.camera import Amplifier, Camera, Detector, load_camera
from schemas.raw import AmplifierTable, MasterCalibrations, RawFile, RawHdu

__all__ = ["Scene", "draw_stars", "make_scene", "moffat"]

SKY_SCALE = 2.0
"""nJy of one electron of the visit image (both snaps)."""


@dataclass(kw_only=True)
class Scene:
    """Raw files of a visit with everything that is true about it."""

    camera: Camera
    detector: Detector
    raws: list[RawFile]
    masters: MasterCalibrations
    references: NDArray[np.void]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux: NDArray[np.float64]
    """Electrons of both snaps."""
    electrons: list[NDArray[np.float64]]
    """Expected electrons a snap, flat removed, sky included, cosmic rays excluded."""
    cosmic_rays: list[NDArray[np.float64]]
    wcs: WCS
    fwhm: float
    sky: float
    extra: dict[str, float] = field(default_factory=dict)


def moffat(dx: NDArray[np.float64], dy: NDArray[np.float64], fwhm: float, beta: float = 3.5) -> NDArray[np.float64]:
    """Moffat profile of integral 1."""
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    return (beta - 1) / (np.pi * alpha**2) * (1 + (dx**2 + dy**2) / alpha**2) ** -beta


def draw_stars(
    shape: tuple[int, int], x: NDArray[np.float64], y: NDArray[np.float64], flux: NDArray[np.float64], fwhm: float
) -> NDArray[np.float64]:
    """Stars on an empty image."""
    image = np.zeros(shape)
    reach = int(14 * fwhm)
    for cx, cy, f in zip(x, y, flux, strict=True):
        x0, x1 = max(0, int(cx) - reach), min(shape[1], int(cx) + reach + 1)
        y0, y1 = max(0, int(cy) - reach), min(shape[0], int(cy) + reach + 1)
        if x1 > x0 and y1 > y0:
            image[y0:y1, x0:x1] += f * moffat(np.arange(x0, x1) - cx, np.arange(y0, y1)[:, None] - cy, fwhm)
    return image


def make_scene(
    camera: str = "tiny",
    *,
    seed: int = 1,
    stars: int = 60,
    snaps: int = 2,
    fwhm: float = 4.0,
    sky: float = 800.0,
    shift_arcsec: tuple[float, float] = (12.0, -9.0),
    rotation_error: float = 0.06,
    cosmic_rays: int = 15,
    position: tuple[float, float] = (0.002, 1.5),
    bleed: bool = False,
) -> Scene:
    """One visit of detector 0: the field lies at ``position`` (ra, dec), off by a shift and a rotation error."""
    rng = np.random.default_rng(seed)
    description = load_camera(camera)
    detector = description.detectors[0]
    shape = (detector.height, detector.width)
    margin = 260
    area = (shape[0] + 2 * margin) * (shape[1] + 2 * margin) / (shape[0] * shape[1])
    count = int(stars * area)
    x = rng.uniform(-margin, shape[1] + margin, count)
    y = rng.uniform(-margin, shape[0] + margin, count)
    flux = 10 ** rng.uniform(3.2, 5.4, count)
    if bleed:
        x[0], y[0], flux[0] = 0.4 * shape[1], 0.6 * shape[0], 2e7
    wcs = _true_wcs(description, detector, position, shift_arcsec, rotation_error)
    clean = draw_stars(shape, x, y, flux / snaps, fwhm) + sky
    masters, response = _masters(detector, rng)
    raws, rays = [], []
    for snap in range(snaps):
        ray = _cosmic_rays(shape, cosmic_rays, rng)
        rays.append(ray)
        raws.append(_raw_file(description, detector, clean, ray, masters, response, rng, (snap, snaps, position)))
    inside = (x > 0) & (y > 0) & (x < shape[1] - 1) & (y < shape[0] - 1)
    references = _catalogue(wcs, x, y, flux * SKY_SCALE, rng)
    return Scene(
        camera=description,
        detector=detector,
        raws=raws,
        masters=masters,
        references=references,
        x=x[inside],
        y=y[inside],
        flux=flux[inside],
        electrons=[clean] * snaps,
        cosmic_rays=rays,
        wcs=wcs,
        fwhm=fwhm,
        sky=sky,
    )


def _true_wcs(
    camera: Camera,
    detector: Detector,
    position: tuple[float, float],
    shift: tuple[float, float],
    rotation_error: float,
) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [position[0] + shift[0] / 3600, position[1] + shift[1] / 3600]
    wcs.wcs.crpix = [
        (detector.width + 1) / 2 - detector.centre[0],
        (detector.height + 1) / 2 - detector.centre[1],
    ]
    angle = np.radians(rotation_error)
    scale = camera.plate_scale / 3600
    wcs.wcs.cd = scale * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return wcs


def _masters(detector: Detector, rng: np.random.Generator) -> tuple[MasterCalibrations, NDArray[np.float64]]:
    shape = (detector.height, detector.width)
    count = len(detector.amplifiers)
    yy, xx = np.mgrid[0 : shape[0], 0 : shape[1]]
    flat = 1 + 0.05 * np.sin(xx / 90.0) * np.cos(yy / 70.0) + rng.normal(0, 0.005, shape)
    defects = np.zeros(shape, np.uint8)
    defects[:, shape[1] // 3] = 1
    crosstalk = rng.uniform(0, 3e-4, (count, count))
    np.fill_diagonal(crosstalk, 0)
    bias = rng.normal(0, 1.0, shape) + 2 * np.sin(xx / 11.0)
    masters = MasterCalibrations(
        bias=bias.astype(np.float32),
        dark=rng.exponential(0.02, shape).astype(np.float32),
        flats={"r": flat.astype(np.float32)},
        defects=defects,
        amplifiers=AmplifierTable(
            names=tuple(a.name for a in detector.amplifiers),
            gain=rng.uniform(0.8, 1.2, count),
            read_noise=rng.uniform(5, 8, count),
            saturation=np.full(count, 60000.0),
            linearity=np.column_stack([rng.uniform(1e-7, 4e-7, count), np.zeros(count)]),
        ),
        crosstalk=crosstalk.astype(np.float32),
    )
    return masters, flat


def _cosmic_rays(shape: tuple[int, int], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    image = np.zeros(shape)
    for _ in range(count):
        length, angle = rng.integers(1, 12), rng.uniform(0, 2 * np.pi)
        steps = np.arange(length)
        x = (rng.uniform(0, shape[1]) + steps * np.cos(angle)).astype(int)
        y = (rng.uniform(0, shape[0]) + steps * np.sin(angle)).astype(int)
        inside = (x >= 0) & (y >= 0) & (x < shape[1]) & (y < shape[0])
        image[y[inside], x[inside]] += rng.uniform(300, 5000)
    return image


def _raw_file(
    camera: Camera,
    detector: Detector,
    clean: NDArray[np.float64],
    rays: NDArray[np.float64],
    masters: MasterCalibrations,
    flat: NDArray[np.float64],
    rng: np.random.Generator,
    context: tuple[int, int, tuple[float, float]],
) -> RawFile:
    snap, snaps, position = context
    seconds = 15.0
    assert masters.amplifiers is not None
    assert masters.crosstalk is not None
    assert masters.dark is not None
    light = rng.poisson(np.maximum(clean * flat + seconds * masters.dark, 0)) + rays
    imaging = []
    for index, amplifier in enumerate(detector.amplifiers):
        x0, y0, x1, y1 = amplifier.box
        step = (-1 if amplifier.flip_y else 1, -1 if amplifier.flip_x else 1)
        gain = masters.amplifiers.gain[index]
        true = light[y0:y1, x0:x1][:: step[0], :: step[1]] / gain
        l0 = masters.amplifiers.linearity[index, 0]
        imaging.append(np.minimum(2 * true / (1 + np.sqrt(1 + 4 * l0 * true)), 61000.0))
    hdus = []
    for index, amplifier in enumerate(detector.amplifiers):
        ghost = sum(masters.crosstalk[index, j] * imaging[j] for j in range(len(imaging)))
        hdus.append(_hdu(amplifier, imaging[index] + ghost, masters, index, rng))
    begin = 60600.1 + snap * 17 / 86400
    exposure = 2026112900001 + snap
    header = {
        "INSTRUME": camera.instrument,
        "CAMERA": camera.name,
        "EXPID": exposure,
        "VISIT": 2026112900001,
        "SNAP": snap,
        "NSNAPS": snaps,
        "DETECTOR": detector.id,
        "FILTER": "r",
        "EXPTIME": seconds,
        "MJD-BEG": begin,
        "MJD-END": begin + seconds / 86400,
        "RA": position[0],
        "DEC": position[1],
        "ROTPA": 0.0,
        "AIRMASS": 1.2,
    }
    return RawFile(header=header, hdus=tuple(hdus))


def _hdu(
    amplifier: Amplifier,
    pixels: NDArray[np.float64],
    masters: MasterCalibrations,
    index: int,
    rng: np.random.Generator,
) -> RawHdu:
    assert masters.amplifiers is not None
    assert masters.bias is not None
    gain, noise = masters.amplifiers.gain[index], masters.amplifiers.read_noise[index]
    x0, y0, x1, y1 = amplifier.box
    step = (-1 if amplifier.flip_y else 1, -1 if amplifier.flip_x else 1)
    raw = np.zeros(amplifier.raw_shape)
    first = amplifier.prescan
    raw[: amplifier.height, first : first + amplifier.width] = (
        pixels + masters.bias[y0:y1, x0:x1][:: step[0], :: step[1]]
    )
    if amplifier.serial_overscan:
        raw[: amplifier.height, first + amplifier.width] += 0.001 * pixels[:, -1]
    rows = np.arange(raw.shape[0])
    raw += 1000.0 + 3.0 * np.exp(-rows / 40.0)[:, None] + rng.normal(0, noise / gain, raw.shape)
    xs = (x0 + 1, x1) if not amplifier.flip_x else (x1, x0 + 1)
    ys = (y0 + 1, y1) if not amplifier.flip_y else (y1, y0 + 1)
    end = first + amplifier.width
    header = {
        "EXTNAME": amplifier.name,
        "DATASEC": f"[{first + 1}:{end},1:{amplifier.height}]",
        "BIASSEC": f"[{end + 1}:{raw.shape[1]},1:{raw.shape[0]}]",
        "DETSEC": f"[{xs[0]}:{xs[1]},{ys[0]}:{ys[1]}]",
        "GAIN": 1.0,
        "RDNOISE": 6.0,
        "SATURATE": 60000.0,
    }
    return RawHdu(name=amplifier.name, header=header, data=np.clip(np.rint(raw), 0, 65535).astype(np.uint16))


def _catalogue(
    wcs: WCS, x: NDArray[np.float64], y: NDArray[np.float64], flux: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.void]:
    names = ("ra", "dec", "pmra", "pmdec", "epoch_mjd", "flux_r", "fluxErr_r")
    rows = np.zeros(len(x), np.dtype([("id", "<i8"), *((n, "<f8") for n in names), ("isStar", "?")]))
    years = 8.0
    rows["pmra"], rows["pmdec"] = rng.normal(0, 10, len(x)), rng.normal(0, 10, len(x))
    ra, dec = wcs.all_pix2world(x, y, 0)
    rows["ra"] = np.mod(ra - rows["pmra"] * years / 3.6e6 / np.cos(np.radians(dec)), 360)
    rows["dec"] = dec - rows["pmdec"] * years / 3.6e6
    rows["epoch_mjd"] = 60600.1 - years * 365.25
    rows["flux_r"], rows["fluxErr_r"] = flux * rng.normal(1, 0.003, len(x)), 0.003 * flux
    rows["id"], rows["isStar"] = np.arange(1, len(x) + 1), True
    return rows
