"""What the schema of ADES does not check: which observatories, modes, catalogues and bands there are, and sensible numbers.

AdesError
├── UnknownStationError
├── UnknownModeError
├── UnknownCatalogueError
├── UnknownBandError
├── AdesRangeError         a number is missing, no number, or outside its range
└── AdesNameError          no designation, more than one kind that exclude each other, or one that cannot be
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from processors.errors import InputError
from processors.moving_objects.ades import AdesBlock

__all__ = [
    "BANDS",
    "CATALOGUES",
    "MODES",
    "AdesError",
    "AdesNameError",
    "AdesRangeError",
    "UnknownBandError",
    "UnknownCatalogueError",
    "UnknownModeError",
    "UnknownStationError",
    "problems",
    "require_valid",
]

MODES = frozenset({"CCD", "CMO", "VID", "PHO", "ENC", "PMT", "MIC", "MER", "TDI", "OCC", "UNK"})
"""Instruments of the Minor Planet Center's page "ADES Field Values"."""

CATALOGUES = frozenset(
    {
        "Gaia1",
        "Gaia2",
        "Gaia3",
        "Gaia3E",
        "Gaia_Int",
        "ATLAS2",
        "PS1_DR1",
        "PS1_DR2",
        "UCAC4",
        "UCAC5",
        "URAT1",
        "2MASS",
        "SDSS8",
    }
)
"""Star catalogues of the same page that a reduction of our time may name; those it calls deprecated, of photographic plates, are
not among them."""

BANDS = frozenset({"Lu", "Lg", "Lr", "Li", "Lz", "Ly"})
"""Bands of the LSST camera."""


class AdesError(InputError):
    """An observation must not be sent: an authority would refuse or misread it."""

    code = "ades"


class UnknownStationError(AdesError):
    """The station is not in the Minor Planet Center's list of observatories."""

    code = "ades_station"


class UnknownModeError(AdesError):
    """The mode is none of the Minor Planet Center's."""

    code = "ades_mode"


class UnknownCatalogueError(AdesError):
    """A star catalogue is none that the Minor Planet Center knows."""

    code = "ades_catalogue"


class UnknownBandError(AdesError):
    """The band is none of the camera's."""

    code = "ades_band"


class AdesRangeError(AdesError):
    """A number is missing, is none, or lies outside its range."""

    code = "ades_range"


class AdesNameError(AdesError):
    """An observation has no designation, or one that cannot be."""

    code = "ades_name"


RANGES: tuple[tuple[str, bool, Callable[[float], bool], str], ...] = (
    ("ra", True, lambda x: 0.0 <= x < 360.0, "0 to 360 degrees"),
    ("dec", True, lambda x: -90.0 <= x <= 90.0, "-90 to 90 degrees"),
    ("rmsRA", True, lambda x: 0.0 < x < 100.0, "above 0 to 100 arc seconds"),
    ("rmsDec", True, lambda x: 0.0 < x < 100.0, "above 0 to 100 arc seconds"),
    ("mag", False, lambda x: -5.0 <= x <= 35.0, "-5 to 35"),
    ("rmsMag", False, lambda x: 0.0 < x < 10.0, "above 0 to 10"),
)
"""Name, whether it must be there, what is allowed, and that in words."""

_DECIMAL = re.compile(r"[+-]?\d+(\.\d*)?")
_TIME = re.compile(r"(19|20)\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)\.\d{3,6}Z")
_TRACKLET = re.compile(r"[-A-Za-z0-9_]{1,8}")


def problems(blocks: Sequence[AdesBlock], *, stations: Collection[str]) -> list[AdesError]:
    """Return everything that is wrong with the observations of a document, an error each, in the order of the rows.

    Parameters
    ----------
    stations
        Codes of all observatories there are.
    """
    found: list[AdesError] = []
    for b, block in enumerate(blocks, 1):
        for r, record in enumerate(block.records(), 1):
            found.extend(_problems(record, f"Observation {r} of block {b}", stations))
    return found


def require_valid(blocks: Sequence[AdesBlock], *, stations: Collection[str]) -> None:
    """Raise the first of the `problems` of a document, if it has any."""
    for problem in problems(blocks, stations=stations):
        raise problem


def _problems(record: Mapping[str, str], where: str, stations: Collection[str]) -> list[AdesError]:
    found: list[AdesError] = []
    if (station := record.get("stn", "")) not in stations:
        found.append(UnknownStationError(f"{where} is of station {station!r}, which no list of observatories has."))
    if (mode := record.get("mode", "")) not in MODES:
        found.append(UnknownModeError(f"{where} has mode {mode!r}, which the Minor Planet Center does not know."))
    for name in ("astCat", "photCat"):
        needed = name == "astCat" or "mag" in record
        if (catalogue := record.get(name, "")) not in CATALOGUES and (needed or catalogue):
            found.append(UnknownCatalogueError(f"{where} has {name} {catalogue!r}, which is no catalogue in use."))
    if "mag" in record and (band := record.get("band", "")) not in BANDS:
        found.append(UnknownBandError(f"{where} has a magnitude in band {band!r}, which is none of the camera's."))
    return found + _wrong_numbers(record, where) + _wrong_names(record, where)


def _wrong_numbers(record: Mapping[str, str], where: str) -> list[AdesError]:
    found: list[AdesError] = []
    for name, needed, allowed, words in RANGES:
        cell = record.get(name, "")
        if not cell and not needed:
            continue
        if not _DECIMAL.fullmatch(cell) or not allowed(float(cell)):
            found.append(AdesRangeError(f"{where} has {name} {cell!r}, not {words}."))
    if not _TIME.fullmatch(time := record.get("obsTime", "")):
        found.append(AdesRangeError(f"{where} has obsTime {time!r}, not a UTC time with Z and three to six decimals."))
    return found


def _wrong_names(record: Mapping[str, str], where: str) -> list[AdesError]:
    names = [name for name in ("permID", "provID", "trkSub") if name in record]
    if not names:
        return [AdesNameError(f"{where} has neither permID nor provID nor trkSub.")]
    tracklet = record.get("trkSub", "")
    if tracklet and not _TRACKLET.fullmatch(tracklet):
        return [AdesNameError(f"{where} has trkSub {tracklet!r}: up to eight letters, digits, - and _ are allowed.")]
    return []
