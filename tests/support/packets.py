"""Valid v11.1 alert packets with stamps worth looking at, made by code: a supernova beside its galaxy, seen night after night.

Nothing here uses the pipeline's science: fluxes are a closed form, pixels are Gaussians plus seeded noise, files are
written by astropy and packets by fastavro.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from typing import Any

import fastavro
import numpy as np
from astropy.io import fits

from schemas import public
from schemas.ids import forced_source_id, pack_dia_source_id, visit_id

__all__ = [
    "BuiltAlert",
    "Story",
    "build_story",
    "build_sky",
    "encode_record",
    "forced_of",
    "frame_packet",
    "make_stamp",
]

SCALE = 0.2
"""Arcseconds a pixel."""

FIRST_NIGHT = 61406
BANDS = "gri"


@dataclass(frozen=True, slots=True)
class BuiltAlert:
    """One alert as it would stand in the store."""

    alert_id: int
    object_id: int
    visit: int
    detector: int
    record: dict[str, Any]
    framed: bytes


@dataclass(frozen=True, slots=True)
class Story:
    """One object and its alerts, oldest first."""

    object_id: int
    ra: float
    dec: float
    alerts: list[BuiltAlert] = field(default_factory=list)
    dia_object: dict[str, Any] = field(default_factory=dict)


def build_sky(objects: int = 4, epochs: int = 5, *, ra: float = 359.999, dec: float = -1.25) -> list[Story]:
    """Return several objects about a point beside RA = 0, so that the wrap is always in play."""
    stories = []
    for number in range(objects):
        offset = 0.004 * number
        stories.append(build_story(number, epochs, ra=(ra + offset) % 360.0, dec=dec + 0.003 * number))
    return stories


def build_story(number: int, epochs: int, *, ra: float, dec: float, stamp_pixels: int = 31) -> Story:
    """Return one object with a rising and falling flux, an alert an epoch."""
    rng = np.random.default_rng(1000 + number)
    sources = [_source(number, k, ra, dec, rng) for k in range(epochs)]
    object_id = sources[0]["diaSourceId"]
    for source in sources:
        source["diaObjectId"] = object_id
    story = Story(object_id, ra, dec)
    forced = [forced_of(object_id, source) for source in sources]
    for k, source in enumerate(sources):
        dia_object = _dia_object(object_id, ra, dec, sources[: k + 1])
        record = {
            "diaSourceId": source["diaSourceId"],
            "observation_reason": None,
            "target_name": None,
            "diaSource": source,
            "prvDiaSources": sources[:k],
            "prvDiaForcedSources": forced[:k],
            "diaObject": dia_object,
            "ssSource": None,
            "mpc_orbits": None,
            **_cutouts(source, rng, stamp_pixels),
        }
        framed = frame_packet(record)
        alert = BuiltAlert(source["diaSourceId"], object_id, source["visit"], source["detector"], record, framed)
        story.alerts.append(alert)
        story.dia_object.update(dia_object)
    return story


def frame_packet(record: dict[str, Any]) -> bytes:
    """Encode an alert record as the public topic carries it."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, public.alert_schema(), record)
    return b"\x00" + (1101).to_bytes(4, "big") + buffer.getvalue()


def encode_record(record: dict[str, Any], name: str) -> bytes:
    """Encode one record of the packet, such as a DIAObject."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(dict(public.record_schema(name))), record)
    return buffer.getvalue()


def make_stamp(
    pixels: np.ndarray, variance: np.ndarray, *, ra: float, dec: float, rotation_deg: float, flip: bool = False
) -> bytes:
    """Write one stamp with astropy: image, variance, mask and PSF, and a tangent-plane WCS turned by an angle."""
    size = pixels.shape[0]
    angle, step = math.radians(rotation_deg), SCALE / 3600
    east = 1.0 if flip else -1.0
    header = fits.Header()
    header["BUNIT"] = "nJy"
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CUNIT1"] = header["CUNIT2"] = "deg"
    header["CRPIX1"] = header["CRPIX2"] = size // 2 + 1.0
    header["CRVAL1"], header["CRVAL2"] = ra, dec
    header["CD1_1"], header["CD1_2"] = east * step * math.cos(angle), step * math.sin(angle)
    header["CD2_1"], header["CD2_2"] = -east * step * math.sin(angle), step * math.cos(angle)
    psf = _gaussian(21, 10, 10, 2.0).astype("f4")
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(pixels.astype("f4"), header),
            fits.ImageHDU(variance.astype("f4"), name="UNCERT"),
            fits.ImageHDU(np.zeros(pixels.shape, "u1"), name="MASK"),
            fits.ImageHDU(psf, name="PSFIMAGE"),
        ]
    )
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    return buffer.getvalue()


def _source(number: int, epoch: int, ra: float, dec: float, rng: np.random.Generator) -> dict[str, Any]:
    night = FIRST_NIGHT + epoch // 2
    visit = visit_id(20270101 + epoch // 2, 10 + 2 * epoch)
    detector = number % 4
    mjd = night + 0.1 + 0.02 * (epoch % 2)
    true = 9000.0 / (1 + 0.3 * number) * math.exp(-(((epoch - 2.5) / 3.0) ** 2)) + 700
    error = 120.0 + 15 * (epoch % 3)
    flux = float(np.float32(true + rng.normal(0, error)))
    template = 4000.0
    record = public.to_public_record(public.null_rows("diaSource", 1)[0], "diaSource")
    return record | {
        "diaSourceId": pack_dia_source_id(visit, detector, number), "visit": visit, "detector": detector,
        "midpointMjdTai": mjd, "exposureTime": 30.0, "ra": (ra + rng.normal(0, 1e-6)) % 360.0,
        "dec": dec + rng.normal(0, 1e-6), "raErr": 1e-5, "decErr": 1e-5, "x": 512.0 + number, "y": 300.5,
        "xErr": 0.1, "yErr": 0.1, "psfFlux": flux, "psfFluxErr": error, "snr": flux / error, "apFlux": flux * 1.01,
        "apFluxErr": error * 1.5, "psfNdata": 441, "psfChi2": 430.0, "scienceFlux": flux + template,
        "scienceFluxErr": error * 1.1, "templateFlux": template, "templateFluxErr": 30.0, "band": BANDS[epoch % 3],
        "reliability": 0.9, "extendedness": 0.0, "isNegative": False, "timeProcessedMjdTai": mjd + 0.0005,
        "bboxSize": 21, "psfFlux_flag": False, "apFlux_flag": False, "centroid_flag": False, "isDipole": False,
        "pixelFlags_cr": False, "pixelFlags_saturated": False,
    }  # fmt: skip


def forced_of(object_id: int, source: dict[str, Any]) -> dict[str, Any]:
    """Return the forced measurement in the visit after a detection's."""
    visit, detector = source["visit"] + 1, source["detector"]
    return {
        "diaForcedSourceId": forced_source_id(object_id, visit, detector), "diaObjectId": object_id,
        "ra": source["ra"], "dec": source["dec"], "visit": visit, "detector": detector,
        "psfFlux": source["psfFlux"] * 0.6 - 900, "psfFluxErr": 130.0,
        "midpointMjdTai": source["midpointMjdTai"] + 0.01, "scienceFlux": source["scienceFlux"] * 0.7,
        "scienceFluxErr": 140.0, "band": source["band"], "timeProcessedMjdTai": source["midpointMjdTai"] + 0.0105,
        "timeWithdrawnMjdTai": None,
    }  # fmt: skip


def _dia_object(object_id: int, ra: float, dec: float, sources: list[dict[str, Any]]) -> dict[str, Any]:
    record = public.to_public_record(public.null_rows("diaObject", 1)[0], "diaObject")
    record |= {
        "diaObjectId": object_id, "validityStartMjdTai": sources[-1]["timeProcessedMjdTai"], "ra": ra, "dec": dec,
        "firstDiaSourceMjdTai": sources[0]["midpointMjdTai"], "lastDiaSourceMjdTai": sources[-1]["midpointMjdTai"],
        "nDiaSources": len(sources),
    }  # fmt: skip
    for band in BANDS:
        fluxes = [source["psfFlux"] for source in sources if source["band"] == band]
        record[f"{band}_psfFluxNdata"] = len(fluxes)
        if fluxes:
            record[f"{band}_psfFluxMean"] = sum(fluxes) / len(fluxes)
            record[f"{band}_psfFluxMin"], record[f"{band}_psfFluxMax"] = min(fluxes), max(fluxes)
    return record


def _cutouts(source: dict[str, Any], rng: np.random.Generator, size: int) -> dict[str, bytes]:
    middle = (size - 1) / 2
    sigma = 2.0
    galaxy = 16000 * _gaussian(size, middle + 4, middle - 3, 4.5)
    point = source["psfFlux"] * _gaussian(size, middle, middle, sigma)
    sky = 12.0 * (1 + 0.2 * (source["visit"] % 3))
    noise = rng.normal(0, sky, (3, size, size))
    quiet = 0.3
    pixels = {
        "cutoutScience": galaxy + point + noise[0],
        "cutoutTemplate": galaxy + quiet * noise[1],
        "cutoutDifference": point + noise[0] - quiet * noise[1],
    }
    variance = np.full((size, size), sky**2)
    place = {"ra": source["ra"], "dec": source["dec"], "rotation_deg": 17.0 * (source["visit"] % 20)}
    return {role: make_stamp(image, variance, **place) for role, image in pixels.items()}


def _gaussian(size: int, x: float, y: float, sigma: float) -> np.ndarray:
    rows, columns = np.mgrid[0:size, 0:size]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)) / (2 * math.pi * sigma**2)
