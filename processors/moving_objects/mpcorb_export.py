"""Orbits as lines of the Minor Planet Center's export format, for the programs that read it.

The format holds closed orbits at midnight: each orbit is carried to the nearest midnight (TDB) along its own ellipse, and its
elements are rounded to 0.018 arcseconds. To keep an orbit exactly, write a table of states (``orbit_csv``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import numpy as np

from processors.moving_objects.cometary import Array, cometary_elements, orbit_types
from processors.moving_objects.designations import DIGITS, pack
from processors.moving_objects.errors import InvalidDesignationError
from processors.moving_objects.kepler import two_body
from processors.moving_objects.orbit_table import OrbitProblem, OrbitTable

__all__ = ["format_mpcorb", "packed_epoch"]

COMPUTER = "Nightcast"
"""Who computed the orbits, columns 151 to 160."""

LONGEST_PACKED = 7
_MJD_ORIGIN = dt.date(1858, 11, 17)
_TYPE_FLAGS = {0: 1, 1: 2, 2: 3, 3: 4, 12: 9, 23: 10}
"""Class by the present numbers to that in the flags of the format: Atira, Aten, Apollo, Amor, Jupiter Trojan, distant object."""


def packed_epoch(mjd: float) -> str:
    """Return a midnight's packed date, such as ``K2555``."""
    day = _MJD_ORIGIN + dt.timedelta(days=int(mjd))
    return f"{DIGITS[day.year // 100]}{day.year % 100:02d}{DIGITS[day.month]}{DIGITS[day.day]}"


def format_mpcorb(table: OrbitTable) -> tuple[str, tuple[OrbitProblem, ...]]:
    """Return the orbits as lines, without a header, and those that the format cannot hold.

    Open orbits have no semi-major axis there, and a designation needs a packed form of at most seven characters. A missing H is
    left blank.
    """
    orbits = table.orbits
    midnight = np.round(orbits["epoch_mjd_tdb"])
    elements = cometary_elements(two_body(orbits["state"], midnight - orbits["epoch_mjd_tdb"]), midnight)
    flags = [_TYPE_FLAGS.get(int(code), 0) for code in orbit_types(elements)]
    lines, problems = [], []
    for row, own, epoch, flag in zip(orbits, elements, midnight, flags, strict=True):
        packed = _packed(str(row["designation"]))
        if not packed or not own["e"] < 1:
            reason = "its designation has no packed form" if not packed else "it is no closed orbit"
            problems.append(OrbitProblem(line=int(row["line"]), text=str(row["designation"]), reason=reason))
            continue
        lines.append(" ".join(_fields(packed, row, own, float(epoch), flag)).rstrip())
    return "".join(f"{line}\n" for line in lines), tuple(problems)


def _packed(designation: str) -> str:
    try:
        packed = pack(designation)
    except InvalidDesignationError:
        return ""
    return packed if len(packed) <= LONGEST_PACKED else ""


def _fields(packed: str, row: np.void, own: np.void, epoch: float, flag: int) -> Iterator[str]:
    """Yield the columns of a line, to be joined by one blank each."""
    yield f"{packed:<7}"
    yield _number(row["h"], 5, 2)
    yield _number(row["g"], 5, 2)
    yield packed_epoch(epoch)
    yield _angle(own["mean_anomaly"])
    for name in ("argperi", "node"):
        yield f" {_angle(own[name])}"
    yield f" {own['i']:9.5f}"
    yield f" {own['e']:9.7f}"
    yield f"{own['mean_motion']:11.8f}"
    yield f"{own['a']:11.7f}"
    yield f" {row['u_parameter']:1d}" if row["u_parameter"] >= 0 else "  "
    yield " " * 9
    yield _count(row["n_observations"], 5)
    yield _count(row["n_oppositions"], 3)
    yield _arc(row)
    yield _number(row["rms_arcsec"], 4, 2)
    yield "   "
    yield "   "
    yield f"{COMPUTER:<10}"
    yield f"{flag:04X}"
    written = str(row["designation"])
    yield f"{f'({written})' if written.isdigit() else written:<28}"


def _number(value: float, width: int, decimals: int) -> str:
    return " " * width if np.isnan(value) else f"{value:{width}.{decimals}f}"


def _angle(degrees: float) -> str:
    # What rounds to a whole turn is no turn.
    return f"{round(float(degrees), 5) % 360.0:9.5f}"


def _count(value: int, width: int) -> str:
    return f"{value:{width}d}" if value >= 0 else " " * width


def _arc(row: Array | np.void) -> str:
    """Days of the arc, as single oppositions are given: an orbit of ours knows no years of first and last observation."""
    days = float(row["arc_days"])
    return " " * 9 if not 0 <= days < 10_000 else f"{round(days):4d} days"
