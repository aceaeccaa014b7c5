"""Observations as lines of 80 columns, the Minor Planet Center's format of 1992: for programs that read nothing else.

Sigmas are lost, times are rounded to a millionth of a day (0.09 s: 4 mas at 1 degree a day), right ascensions to 0.001 s,
declinations to 0.01": export only.
"""

from __future__ import annotations

from collections.abc import Mapping

from processors.errors import InputError
from processors.moving_objects.ades import AdesBlock
from processors.moving_objects.designations import pack

__all__ = ["Obs80Error", "obs80_lines"]

MODES = {"CCD": "C", "CMO": "B", "VID": "V", "PHO": "P", "TDI": "C"}
"""Column 15 of the modes of ADES."""


class Obs80Error(InputError):
    """An observation does not fit 80 columns."""

    code = "obs80"


def obs80_lines(block: AdesBlock) -> list[str]:
    """Return the observations of a block as lines of 80 columns.

    Raises
    ------
    Obs80Error
        If a name, a mode or the station has no place in the format.
    """
    return [_line(record) for record in block.records()]


def _line(record: Mapping[str, str]) -> str:
    if record["mode"] not in MODES:
        raise Obs80Error(f"Mode {record['mode']} has no letter in lines of 80 columns.")
    if len(record["stn"]) != 3:
        raise Obs80Error(f"Station {record['stn']} does not fit three columns.")
    name, mode = _name(record), MODES[record["mode"]]
    magnitude = f"{float(record['mag']):5.2f}{record['band'][-1]}" if "mag" in record else " " * 6
    place = _right_ascension(float(record["ra"])) + _declination(float(record["dec"]))
    return f"{name}  {mode}{_date(record['obsTime'])}{place}{' ' * 9}{magnitude}{' ' * 6}{record['stn']}"


def _name(record: Mapping[str, str]) -> str:
    """Columns 1 to 12: the packed number, or from column 6 the packed provisional designation or the tracklet's name."""
    if "permID" in record:
        return pack(record["permID"]).ljust(12)
    if "provID" in record:
        return " " * 5 + pack(record["provID"]).ljust(7)
    if len(record.get("trkSub", "x" * 8)) > 7:
        raise Obs80Error(f"The name {record.get('trkSub', '')!r} does not fit seven columns.")
    return " " * 5 + record["trkSub"].ljust(7)


def _date(text: str) -> str:
    """Columns 16 to 32: year, month, and day with six decimals."""
    seconds = 3600 * int(text[11:13]) + 60 * int(text[14:16]) + float(text[17:-1])
    # The last half millionth of a day is written down: the next day would be another date.
    millionths = min(round(seconds / 0.0864), 999_999)
    return f"{text[:4]} {text[5:7]} {text[8:10]}.{millionths:06d}"


def _right_ascension(degrees: float) -> str:
    """Columns 33 to 44: hours, minutes, seconds with three decimals."""
    thousandths = round(degrees * 240_000.0) % 86_400_000
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02d} {minutes % 60:02d} {rest / 1000.0:06.3f}"


def _declination(degrees: float) -> str:
    """Columns 45 to 56: sign, degrees, minutes, seconds with two decimals."""
    hundredths = round(abs(degrees) * 360_000.0)
    minutes, rest = divmod(hundredths, 6_000)
    sign = "-" if degrees < 0.0 else "+"
    return f"{sign}{minutes // 60:02d} {minutes % 60:02d} {rest / 100.0:05.2f}"
