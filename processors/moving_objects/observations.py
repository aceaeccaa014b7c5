"""Observations of people's files as detections: ADES documents and lines of 80 columns, each with its object and its station.

A line that cannot be read is told with its number and the rest is read. Where a file gives no sigma, ``DEFAULT_SIGMA_ARCSEC``
stands in: lines of 80 columns have none.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import erfa  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.ades import AdesBlock
from processors.moving_objects.ades_report import NAME_COLUMNS
from processors.moving_objects.designations import unpack
from processors.moving_objects.detections import BANDS, DETECTION
from processors.moving_objects.errors import InvalidDesignationError
from processors.moving_objects.timescales import tai_from_utc

__all__ = ["DEFAULT_SIGMA_ARCSEC", "ObservationProblem", "Observations", "read_ades", "read_obs80"]

DEFAULT_SIGMA_ARCSEC = 0.5
"""Sigma of a position that comes without one: about what the Minor Planet Center's residuals of surveys scatter by."""

_MJD_ZERO_JD = 2400000.5

_ORDINAL_OF_MJD_ZERO = dt.date(1858, 11, 17).toordinal()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationProblem:
    """An observation that could not be read, and why."""

    line: int
    """Of 80 columns the line of the file; of ADES the number of the observation, from 1."""
    reason: str

    def __str__(self) -> str:
        """Return the problem as one line for people."""
        return f"observation {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Detections of a file.

    Parameters
    ----------
    detections
        Rows of ``DETECTION``; ``detection_id`` and ``visit`` count the observations from 1.
    names
        ``(n,)`` the object of each, written; empty where the file has none.
    stations
        ``(n,)`` code of the observatory of each.
    problems
        What could not be read.
    """

    detections: NDArray[Any]
    names: NDArray[np.str_]
    stations: NDArray[np.str_]
    problems: tuple[ObservationProblem, ...]

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.detections)


def read_ades(blocks: Iterable[AdesBlock]) -> Observations:
    """Return the optical observations of a document (`ades.read_psv`, `ades.read_xml`)."""
    records = [record for block in blocks for record in block.records()]
    return _collected(records, _of_ades)


def read_obs80(text: str) -> Observations:
    """Return the observations of lines of 80 columns; second lines of satellites and roving observers are refused."""
    return _collected([line for line in text.splitlines() if line.strip()], _of_line, text)


def _collected(items: Sequence[Any], read: Any, text: str | None = None) -> Observations:
    lines = [n for n, line in enumerate(text.splitlines(), 1) if line.strip()] if text is not None else None
    kept, problems = [], []
    for number, item in enumerate(items, 1):
        line = number if lines is None else lines[number - 1]
        try:
            kept.append((line, *read(item)))
        except (ValueError, KeyError, IndexError) as error:
            reason = f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error)
            problems.append(ObservationProblem(line=line, reason=reason))
    rows = np.zeros(len(kept), DETECTION)
    for row, (line, values, _, _) in zip(rows, kept, strict=True):
        row["detection_id"] = row["visit"] = line
        for name, value in values.items():
            row[name] = value
    return Observations(
        detections=rows,
        names=np.array([name for _, _, name, _ in kept], np.str_),
        stations=np.array([station for *_, station in kept], np.str_),
        problems=tuple(problems),
    )


def _of_ades(record: Mapping[str, str]) -> tuple[dict[str, float], str, str]:
    sigma = str(DEFAULT_SIGMA_ARCSEC)
    values = {
        "midpoint_mjd_tai": _tai_of_iso(record["obsTime"]),
        "ra": _within(record["ra"], 0.0, 360.0, "ra") % 360.0,
        "dec": _within(record["dec"], -90.0, 90.0, "dec"),
        "ra_err_arcsec": _positive(record.get("rmsRA", sigma), "rmsRA"),
        "dec_err_arcsec": _positive(record.get("rmsDec", sigma), "rmsDec"),
        **_brightness(record.get("mag", ""), record.get("band", ""), record.get("rmsMag", "")),
    }
    name = next((record[column] for column in reversed(NAME_COLUMNS) if record.get(column)), "")
    return values, name, record["stn"]


def _of_line(line: str) -> tuple[dict[str, float], str, str]:
    if len(line) < 80:
        raise ValueError(f"the line has {len(line)} of 80 columns")
    if line[14] in "sSvVxXrR":
        raise ValueError(f"observations of kind {line[14]!r} (column 15) are not read: they have no fixed place")
    sign = -1.0 if line[44] == "-" else 1.0
    values = {
        "midpoint_mjd_tai": _tai_of_date(line[15:32]),
        "ra": _within(str(15.0 * _sexagesimal(line[32:44], "right ascension")), 0.0, 360.0, "right ascension") % 360.0,
        "dec": _within(str(sign * _sexagesimal(line[45:56], "declination")), -90.0, 90.0, "declination"),
        "ra_err_arcsec": DEFAULT_SIGMA_ARCSEC,
        "dec_err_arcsec": DEFAULT_SIGMA_ARCSEC,
        **_brightness(line[65:70], line[70], ""),
    }
    return values, _name(line[:12]), line[77:80]


def _name(columns: str) -> str:
    """Return the object of columns 1 to 12: number before provisional designation, else a tracklet's own name."""
    for text in (columns[:5].strip(), columns[5:12].strip()):
        if not text:
            continue
        try:
            return unpack(text)
        except InvalidDesignationError:
            return text
    return ""


def _brightness(magnitude: str, band: str, sigma: str) -> dict[str, float]:
    """Return magnitude and band; one of another system than ugrizy is left out, since no colour says what it would be."""
    letter = band.strip()[-1:]
    if not magnitude.strip() or letter not in BANDS or not letter:
        return {"mag": np.nan, "mag_err": np.nan, "band": BANDS.index("r")}
    error = _positive(sigma, "rmsMag") if sigma.strip() else np.nan
    return {"mag": float(magnitude), "mag_err": error, "band": BANDS.index(letter)}


def _within(text: str, low: float, high: float, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"its {name} {text.strip()!r} is no number") from None
    if not low <= value <= high:
        raise ValueError(f"its {name} {value:g} lies outside {low:g} to {high:g}")
    return value


def _positive(text: str, name: str) -> float:
    return _within(text, 1e-6, 1e6, name)


def _sexagesimal(text: str, name: str) -> float:
    """Return hours or degrees of one to three fields."""
    fields = text.split()
    if not 1 <= len(fields) <= 3:
        raise ValueError(f"its {name} {text.strip()!r} has {len(fields)} fields")
    parts = [_within(field, 0.0, limit, name) for field, limit in zip(fields, (360.0, 60.0, 60.0), strict=False)]
    return sum(part / 60.0**k for k, part in enumerate(parts))


def _tai_of_date(text: str) -> float:
    """Return MJD TAI of year, month and decimal day UTC."""
    fields = text.split()
    if len(fields) != 3:
        raise ValueError(f"its date {text.strip()!r} is not year, month and day")
    try:
        year, month, day = int(fields[0]), int(fields[1]), float(fields[2])
        begin = dt.date(year, month, 1).toordinal() - _ORDINAL_OF_MJD_ZERO
    except ValueError:
        raise ValueError(f"its date {text.strip()!r} is no date") from None
    if not 1.0 <= day < 32.0:
        raise ValueError(f"its day {day:g} is none of a month")
    return float(tai_from_utc(begin + day - 1.0))


def _tai_of_iso(text: str) -> float:
    """Return MJD TAI of ISO 8601 with a Z, leap second allowed."""
    date, _, clock = text.rstrip("Z").partition("T")
    try:
        year, month, day = (int(part) for part in date.split("-"))
        hours, minutes, seconds = (float(part) for part in clock.split(":"))
        dt.date(year, month, day)
        first, second = erfa.dtf2d("UTC", year, month, day, int(hours), int(minutes), seconds)
        first, second = erfa.utctai(first, second)
    except (ValueError, TypeError, erfa.ErfaError):
        # ERFA's binding answers some scalars out of range with a TypeError of its own.
        raise ValueError(f"its obsTime {text!r} is no time such as 2026-09-21T04:30:00.123Z") from None
    return float((first - _MJD_ZERO_JD) + second)
