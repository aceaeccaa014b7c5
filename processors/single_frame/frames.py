"""Raw frames: the geometry and the exposure's values that a raw file's headers describe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.single_frame.errors import BadHeaderError, MissingAmplifierError, WrongShapeError
from schemas.camera import Detector
from schemas.raw import HeaderValue, RawFile, RawHdu

__all__ = ["Exposure", "RawAmplifier", "RawFrame", "Section", "parse_raw", "parse_section"]

_SECTION = re.compile(r"\[\s*(-?\d+)\s*:\s*(-?\d+)\s*,\s*(-?\d+)\s*:\s*(-?\d+)\s*\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A half-open box of pixels, 0-based, with the directions in which a FITS section ran through it."""

    x0: int
    y0: int
    x1: int
    y1: int
    flip_x: bool = False
    flip_y: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Slices that cut the box out of an array ``[y, x]``."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAmplifier:
    """One amplifier's raw pixels and where their parts are."""

    name: str
    data: NDArray[Any]
    """ADU in read-out order."""
    imaging: Section
    """Imaging part of ``data``."""
    serial: Section | None
    """Columns of ``data`` that saw no light, over the rows that have them."""
    parallel: Section | None
    """Rows of ``data`` beyond the imaging rows, in the imaging columns."""
    detector: Section
    """Where the imaging part lies on the trimmed CCD, with its flips."""
    gain: float
    """Nominal electrons per ADU."""
    read_noise: float
    """Electrons."""
    saturation: float
    """ADU above the overscan level; infinite when the header has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What the header says about the exposure; angles in degrees, times in MJD TAI and seconds."""

    instrument: str
    visit: int
    exposure: int
    snap: int
    detector: int
    band: str
    exposure_time: float
    begin_mjd_tai: float
    end_mjd_tai: float
    ra: float
    dec: float
    rotation: float
    """Position angle of the focal plane's +y, east of north."""
    airmass: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFrame:
    """One exposure of one CCD, ready for the removal of the instrumental signature."""

    exposure: Exposure
    width: int
    height: int
    amplifiers: tuple[RawAmplifier, ...]


def parse_section(text: str) -> Section:
    """Read a FITS section such as ``[512:1,1:2000]`` (1-based, inclusive; a reversed range is a flip).

    Raises
    ------
    BadHeaderError
        When the text is not a section.
    """
    match = _SECTION.fullmatch(str(text).strip())
    if match is None:
        raise BadHeaderError(f"{text!r} is not a FITS section.")
    xa, xb, ya, yb = (int(group) for group in match.groups())
    return Section(
        x0=min(xa, xb) - 1, y0=min(ya, yb) - 1, x1=max(xa, xb), y1=max(ya, yb), flip_x=xa > xb, flip_y=ya > yb
    )


def parse_raw(raw: RawFile, detector: Detector | None = None) -> RawFrame:
    """Interpret the headers of a raw file.

    Geometry comes from DATASEC (or TRIMSEC), BIASSEC and DETSEC of each amplifier; rows above the imaging rows are the
    parallel overscan. Without ``detector`` the file is taken as complete; a lone amplifier without DETSEC is a CCD of
    its own.

    Raises
    ------
    MissingAmplifierError
        When the file has no pixels, or lacks an amplifier that ``detector`` has.
    WrongShapeError
        When a section does not fit its pixels, or the sections do not tile the CCD.
    BadHeaderError
        When a needed card is missing or malformed.
    """
    if not raw.hdus:
        raise MissingAmplifierError("The raw file has no amplifier with pixels.")
    amplifiers = tuple(_amplifier(hdu, raw.header, len(raw.hdus) == 1) for hdu in raw.hdus)
    if detector is None:
        width = max(a.detector.x1 for a in amplifiers)
        height = max(a.detector.y1 for a in amplifiers)
    else:
        _check_amplifiers(amplifiers, detector)
        width, height = detector.width, detector.height
    if sum(a.detector.shape[0] * a.detector.shape[1] for a in amplifiers) != width * height:
        raise WrongShapeError(
            f"The amplifiers do not tile the {width} x {height} CCD: one is missing, or their DETSECs are wrong."
        )
    return RawFrame(exposure=_exposure(raw.header), width=width, height=height, amplifiers=amplifiers)


def _check_amplifiers(amplifiers: tuple[RawAmplifier, ...], detector: Detector) -> None:
    found = {a.name: a for a in amplifiers}
    missing = [a.name for a in detector.amplifiers if a.name not in found]
    if missing:
        raise MissingAmplifierError(f"Detector {detector.name}: amplifier {', '.join(missing)} is not in the raw file.")
    for wanted in detector.amplifiers:
        have = found[wanted.name]
        if have.data.shape != wanted.raw_shape:
            raise WrongShapeError(
                f"Amplifier {wanted.name} of {detector.name} has shape {have.data.shape}, not {wanted.raw_shape}."
            )


def _amplifier(hdu: RawHdu, primary: Mapping[str, HeaderValue], alone: bool) -> RawAmplifier:
    header = {**primary, **hdu.header} if alone else hdu.header
    imaging = parse_section(str(_card(header, "TRIMSEC" if "TRIMSEC" in header else "DATASEC")))
    rows, columns = hdu.data.shape
    if min(imaging.x0, imaging.y0) < 0 or imaging.x1 > columns or imaging.y1 > rows:
        raise WrongShapeError(f"Amplifier {hdu.name}: its imaging section does not fit its {columns} x {rows} pixels.")
    if "DETSEC" in header:
        place = parse_section(str(header["DETSEC"]))
    elif alone:
        place = Section(x0=0, y0=0, x1=imaging.shape[1], y1=imaging.shape[0])
    else:
        raise BadHeaderError(f"Amplifier {hdu.name} has no DETSEC.")
    if place.shape != imaging.shape:
        raise WrongShapeError(
            f"Amplifier {hdu.name}: DETSEC has shape {place.shape}, its imaging part {imaging.shape}."
        )
    serial = _serial(header, imaging, hdu)
    parallel = None
    if rows - imaging.y1 >= 4:
        parallel = Section(x0=imaging.x0, y0=imaging.y1, x1=imaging.x1, y1=rows)
    return RawAmplifier(
        name=hdu.name,
        data=hdu.data,
        imaging=imaging,
        serial=serial,
        parallel=parallel,
        detector=place,
        gain=_number(header, "GAIN", 1.0),
        read_noise=_number(header, "RDNOISE", 0.0),
        saturation=_number(header, "SATURATE", float("inf")),
    )


def _serial(header: Mapping[str, HeaderValue], imaging: Section, hdu: RawHdu) -> Section | None:
    if "BIASSEC" not in header:
        return None
    section = parse_section(str(header["BIASSEC"]))
    rows, columns = hdu.data.shape
    if section.x1 > columns or section.y1 > rows or (section.x0 < imaging.x1 and section.x1 > imaging.x0):
        raise WrongShapeError(f"Amplifier {hdu.name}: BIASSEC leaves the pixels or overlaps the imaging part.")
    return Section(x0=section.x0, y0=0, x1=section.x1, y1=rows)


def _exposure(header: Mapping[str, HeaderValue]) -> Exposure:
    begin = _number(header, "MJD-BEG", _number(header, "MJD-OBS", float("nan")))
    exposure_time = _number(header, "EXPTIME")
    identifier = _integer(header, "EXPID", _integer(header, "OBSID", 0))
    return Exposure(
        instrument=str(header.get("INSTRUME", "unknown")),
        visit=_integer(header, "VISIT", identifier),
        exposure=identifier,
        snap=_integer(header, "SNAP", 0),
        detector=_integer(header, "DETECTOR", -1),
        band=str(_card(header, "FILTER")).strip(),
        exposure_time=exposure_time,
        begin_mjd_tai=begin,
        end_mjd_tai=_number(header, "MJD-END", begin + exposure_time / 86400.0),
        ra=_number(header, "RA", _number(header, "RA_DEG", float("nan"))),
        dec=_number(header, "DEC", _number(header, "DEC_DEG", float("nan"))),
        rotation=_number(header, "ROTPA", float("nan")),
        airmass=_number(header, "AIRMASS", 1.0),
    )


def _card(header: Mapping[str, HeaderValue], key: str) -> HeaderValue:
    try:
        return header[key]
    except KeyError:
        raise BadHeaderError(f"The header has no {key}.") from None


def _number(header: Mapping[str, HeaderValue], key: str, default: float | None = None) -> float:
    value = _card(header, key) if default is None else header.get(key, default)
    try:
        number = float(value)
    except ValueError:
        raise BadHeaderError(f"The card {key} is {value!r}, not a number.") from None
    if default is None and not np.isfinite(number):
        raise BadHeaderError(f"The card {key} is not finite.")
    return number


def _integer(header: Mapping[str, HeaderValue], key: str, default: int) -> int:
    value = header.get(key, default)
    try:
        return int(value)
    except ValueError:
        raise BadHeaderError(f"The card {key} is {value!r}, not a whole number.") from None
