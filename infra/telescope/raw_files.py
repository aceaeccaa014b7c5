"""Writes raw frames as the camera does: one FITS per CCD and exposure, one extension per amplifier, a checksum beside it."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.time import Time
from numpy.typing import NDArray

from infra.telescope.optics import inverse_gnomonic
from infra.telescope.response import DetectorResponse
from infra.telescope.scene import axes_of_sky
from infra.telescope.schedule import PlannedVisit
from schemas.camera import Amplifier

__all__ = ["COMPLETE_MARKER", "complete_exposure", "encode_raw", "raw_name", "write_atomically", "write_raw"]

COMPLETE_MARKER = "complete.json"
"""Last file of an exposure's folder: names of its files and their checksums."""


def raw_name(exposure: int, detector: int) -> str:
    """Return the file name of one CCD of an exposure."""
    return f"{exposure}-{detector:03d}.fits"


def encode_raw(visit: PlannedVisit, snap: int, response: DetectorResponse, frames: list[NDArray[np.uint16]]) -> bytes:
    """Return the bytes of the raw FITS file of one CCD; amplifiers beyond the frames given are left out."""
    hdus = fits.HDUList([fits.PrimaryHDU(header=_primary_header(visit, snap, response))])
    constants = response.amplifiers
    for index, (amplifier, frame) in enumerate(zip(response.detector.amplifiers, frames, strict=False)):
        header = _amplifier_header(amplifier, response)
        header["GAIN"] = (round(float(constants.gain[index]), 2), "nominal electrons per ADU")
        header["RDNOISE"] = (round(float(constants.read_noise[index]), 1), "electrons")
        header["SATURATE"] = (round(float(constants.saturation[index])), "ADU above the overscan")
        hdus.append(fits.ImageHDU(frame, header=header, name=amplifier.name))
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    return buffer.getvalue()


def write_raw(folder: Path, name: str, content: bytes) -> str:
    """Write a raw file and its checksum file, each under a temporary name first; return the checksum."""
    digest = hashlib.sha256(content).hexdigest()
    write_atomically(folder / name, content)
    write_atomically(folder / f"{name}.sha256", f"{digest}\n".encode())
    return digest


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no reader sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def complete_exposure(folder: Path, digests: dict[str, str]) -> None:
    """Write the marker that says that the exposure's folder is complete."""
    text = json.dumps(digests, indent=1, sort_keys=True) + "\n"
    write_atomically(folder / COMPLETE_MARKER, text.encode())


def _primary_header(visit: PlannedVisit, snap: int, response: DetectorResponse) -> fits.Header:
    detector = response.detector
    begin, end = visit.begin_mjd_tai(snap), visit.end_mjd_tai(snap)
    cards: list[tuple[str, Any, str]] = [
        ("INSTRUME", visit.camera.instrument, "instrument"),
        ("CAMERA", visit.camera.name, "camera description"),
        ("TELESCOP", "Simulated", ""),
        ("DAYOBS", visit.day_obs, "night"),
        ("SEQNUM", visit.sequence + snap, "sequence number in the night"),
        ("EXPID", visit.exposure(snap), "exposure"),
        ("VISIT", visit.visit, "first exposure of the visit"),
        ("SNAP", snap, "of the visit, from 0"),
        ("NSNAPS", visit.n_snaps, "snaps of the visit"),
        ("GROUPID", visit.group_id, ""),
        ("DETECTOR", detector.id, ""),
        ("RAFT", detector.raft, ""),
        ("SENSOR", detector.sensor, ""),
        ("CCDTYPE", detector.kind, ""),
        ("FILTER", visit.band, "band"),
        ("EXPTIME", visit.exposure_time, "s"),
        ("TIMESYS", "TAI", ""),
        ("MJD-BEG", begin, "shutter opens"),
        ("MJD-END", end, "shutter closes"),
        ("DATE-BEG", Time(begin, format="mjd", scale="tai").isot, ""),
        ("DATE-END", Time(end, format="mjd", scale="tai").isot, ""),
        ("RA", visit.ra, "deg, commanded boresight, ICRS"),
        ("DEC", visit.dec, "deg, commanded boresight, ICRS"),
        ("ROTPA", visit.rotation, "deg, position angle of +y, east of north"),
        ("AIRMASS", visit.air.airmass, "at the start of the visit"),
        ("IMGTYPE", "OBJECT", ""),
    ]
    return fits.Header([*cards, *_commanded_wcs(visit, response)])


def _commanded_wcs(visit: PlannedVisit, response: DetectorResponse) -> list[tuple[str, Any, str]]:
    """Tangent projection that the commanded pointing implies for the trimmed CCD: off by the true pointing's error."""
    detector, scale = response.detector, visit.camera.plate_scale
    axes = axes_of_sky(visit.rotation, scale, detector.quarter_turns)
    plain = np.linalg.inv(axes_of_sky(visit.rotation, scale))
    xi, eta = plain @ np.array(detector.centre)
    ra, dec = inverse_gnomonic(np.array([xi]), np.array([eta]), visit.ra, visit.dec)
    matrix = np.linalg.inv(axes) / 3600
    return [
        ("WCSAXES", 2, "trimmed CCD, commanded pointing"),
        ("CTYPE1", "RA---TAN", ""),
        ("CTYPE2", "DEC--TAN", ""),
        ("CUNIT1", "deg", ""),
        ("CUNIT2", "deg", ""),
        ("CRPIX1", (detector.width + 1) / 2, ""),
        ("CRPIX2", (detector.height + 1) / 2, ""),
        ("CRVAL1", float(ra[0]), ""),
        ("CRVAL2", float(dec[0]), ""),
        *((f"CD{i + 1}_{j + 1}", float(matrix[i, j]), "") for i in range(2) for j in range(2)),
        ("RADESYS", "ICRS", ""),
    ]


def _amplifier_header(amplifier: Amplifier, response: DetectorResponse) -> fits.Header:
    left, right = amplifier.prescan + 1, amplifier.prescan + amplifier.width
    rows, columns = amplifier.raw_shape
    x0, y0, x1, y1 = amplifier.box
    across = f"{x1}:{x0 + 1}" if amplifier.flip_x else f"{x0 + 1}:{x1}"
    upward = f"{y1}:{y0 + 1}" if amplifier.flip_y else f"{y0 + 1}:{y1}"
    return fits.Header(
        [
            ("DATASEC", f"[{left}:{right},1:{amplifier.height}]", "imaging part"),
            ("BIASSEC", f"[{right + 1}:{columns},1:{rows}]", "serial overscan"),
            ("PRESEC", f"[1:{amplifier.prescan},1:{rows}]", "serial prescan"),
            ("DETSEC", f"[{across},{upward}]", "on the trimmed CCD"),
            ("DETSIZE", f"[1:{response.detector.width},1:{response.detector.height}]", ""),
        ]
    )
