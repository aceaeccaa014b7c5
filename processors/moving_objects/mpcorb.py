"""MPCORB.DAT: the Minor Planet Center's export format for minor-planet orbits, read.

Columns after "Export Format For Minor-Planet Orbits" of the Minor Planet Center. Epochs are 0h TT there, taken for TDB: they
differ by less than 2 ms, 60 m of an Earth-crosser's way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2
from processors.moving_objects.designations import DIGITS, unpack_many
from processors.moving_objects.fixed_columns import BAD, GOOD, Lines, split_lines
from processors.moving_objects.orbit_table import (
    DEFAULT_G,
    Array,
    OrbitProblem,
    OrbitTable,
    assembled,
    no_orbits,
    perihelion_states,
)

__all__ = ["after_header", "packed_epochs", "parse_mpcorb"]

_Bools = NDArray[np.bool_]
_Floats = NDArray[np.float64]

SHORTEST_LINE = 103
"""Columns up to the semi-major axis: without them there is no orbit."""

_HEADER_END = b"-----"
_HEADER_LINES = 200
_TEXT_LENGTH = 80
_CODE = np.full(256, -1, np.int64)
_CODE[np.frombuffer(DIGITS.encode(), np.uint8)] = np.arange(62)


def after_header(data: bytes) -> int:
    """Return where the orbits begin: after a line of dashes among the first 200 lines, or at the start.

    The file of the Minor Planet Center begins with a text for people that ends so; pieces of it have no such text.
    """
    position = 0
    for _ in range(_HEADER_LINES):
        end = data.find(b"\n", position)
        if end < 0:
            return 0
        if data.startswith(_HEADER_END, position):
            return end + 1
        position = end + 1
    return 0


def parse_mpcorb(data: bytes, first_line: int = 1) -> OrbitTable:
    """Read lines of orbits; blank lines are passed over, and a line that gives no orbit becomes a problem.

    Parameters
    ----------
    data
        Whole lines, without the header.
    first_line
        Number of the first in its file.

    Returns
    -------
    OrbitTable
        A missing H is NaN, a missing slope parameter ``DEFAULT_G``; covariances are unknown. A designation may be there twice
        (``orbit_table.joined`` settles that).
    """
    lines = split_lines(data, first_line)
    lines = lines.take(~_blank(lines))
    reading = _Reading(lines=lines)
    reading.refuse(lines.lengths < SHORTEST_LINE, "it is shorter than an orbit")
    orbits = no_orbits(len(lines))
    orbits["line"] = lines.numbers
    orbits["designation"], named = unpack_many(lines.columns(1, 7))
    reading.refuse(~named, "its designation is unreadable")
    orbits["epoch_mjd_tdb"], dated = packed_epochs(lines.columns(21, 25))
    reading.refuse(~dated, "its epoch is unreadable")
    orbits["state"] = _states(reading)
    orbits["h"] = reading.optional(9, 13, "its absolute magnitude H is no number")
    slope = reading.optional(15, 19, "its slope parameter G is no number")
    orbits["g"] = np.where(np.isnan(slope), DEFAULT_G, slope)
    _quality(reading, orbits)
    good = np.flatnonzero(reading.sound)
    return assembled(orbits[good], None, list(reading.problems()))


@dataclass(slots=True, kw_only=True)
class _Reading:
    """Lines being read: the first thing wrong with each."""

    lines: Lines
    reasons: list[str] = field(default_factory=list)
    wrong: NDArray[np.int16] = field(init=False)

    def __post_init__(self) -> None:
        self.wrong = np.full(len(self.lines), -1, np.int16)

    @property
    def sound(self) -> _Bools:
        return np.asarray(self.wrong < 0)

    def refuse(self, which: _Bools, reason: str) -> None:
        self.reasons.append(reason)
        self.wrong[which & self.sound] = len(self.reasons) - 1

    def required(self, first: int, last: int, reason: str) -> _Floats:
        values, state = self.lines.decimals(first, last)
        self.refuse(state != GOOD, reason)
        return values

    def optional(self, first: int, last: int, reason: str) -> _Floats:
        values, state = self.lines.decimals(first, last)
        self.refuse(state == BAD, reason)
        return values

    def problems(self) -> Iterator[OrbitProblem]:
        for k in np.flatnonzero(~self.sound):
            yield OrbitProblem(
                line=int(self.lines.numbers[k]),
                text=self.lines.line(int(k))[:_TEXT_LENGTH],
                reason=self.reasons[self.wrong[k]],
            )


def _blank(lines: Lines) -> _Bools:
    # A short line may be blank; a long one is worth its own report even so.
    blank = np.asarray(lines.lengths == 0)
    for k in np.flatnonzero((lines.lengths > 0) & (lines.lengths < SHORTEST_LINE)):
        blank[k] = not lines.line(int(k)).strip()
    return blank


def _states(reading: _Reading) -> _Floats:
    angles = [
        np.radians(reading.required(first, last, f"its {name} is no number"))
        for first, last, name in (
            (27, 35, "mean anomaly"),
            (38, 46, "argument of perihelion"),
            (49, 57, "node"),
            (60, 68, "inclination"),
        )
    ]
    anomaly, argperi, node, inclination = angles
    e = reading.required(71, 79, "its eccentricity is no number")
    a = reading.required(93, 103, "its semi-major axis is no number")
    # With e of 1 or more the axis is negative; a parabola has none and cannot stand in this format.
    impossible = ~((e >= 0) & (a * (1 - e) > 0)) & reading.sound
    reading.refuse(impossible, "its eccentricity and semi-major axis give no perihelion")
    sound = reading.sound
    states = np.full((len(sound), 6), np.nan)
    motion = np.sqrt(GM_SUN_AU3_PER_DAY2 / np.abs(a[sound]) ** 3)
    mean = anomaly[sound]
    # The nearest perihelion: the shortest way by which the state is carried.
    turned = np.where(e[sound] < 1, np.mod(mean + np.pi, 2 * np.pi) - np.pi, mean)
    states[sound] = perihelion_states(
        q_au=a[sound] * (1 - e[sound]),
        e=e[sound],
        angles=np.stack([inclination[sound], node[sound], argperi[sound]], axis=1),
        days_since=turned / motion,
    )
    return states


def _quality(reading: _Reading, orbits: Array) -> None:
    """Fill what tells how good an orbit is; what is unreadable there is unknown and no reason to refuse the orbit."""
    lines = reading.lines
    for name, first, last in (("n_observations", 118, 122), ("n_oppositions", 124, 126)):
        values, state = lines.decimals(first, last)
        orbits[name] = np.where(state == GOOD, values, -1).astype(np.int32)
    orbits["rms_arcsec"] = lines.decimals(138, 141)[0]
    uncertainty, state = lines.decimals(106, 106)
    orbits["u_parameter"] = np.where(state == GOOD, uncertainty, -1).astype(np.int8)
    orbits["arc_days"] = _arcs(lines)


def _arcs(lines: Lines) -> _Floats:
    """Days of one opposition's arc, or from the middle of the first to that of the last year."""
    codes = lines.columns(128, 136)
    days, _ = lines.decimals(128, 131)
    last, state = lines.decimals(133, 136)
    years = (codes[:, 4] == ord("-")) & (state == GOOD)
    in_days = (codes[:, 5:9] == np.frombuffer(b"days", np.uint8)).all(axis=1)
    return np.where(years, (last - days) * 365.25, np.where(in_days, days, np.nan))


def packed_epochs(codes: NDArray[np.uint8]) -> tuple[_Floats, _Bools]:
    """Return MJD of packed dates such as ``K2555`` (2025 May 5), NaN where there is none, and which are dates.

    Parameters
    ----------
    codes
        ASCII codes (n, 5): century, year, month and day, base 62 for the first and the last two.
    """
    values = _CODE[codes]
    two_digits = (values[:, 1] >= 0) & (values[:, 1] <= 9) & (values[:, 2] >= 0) & (values[:, 2] <= 9)
    century = (values[:, 0] >= 17) & (values[:, 0] <= 21)
    good = (
        two_digits & century & (values[:, 3] >= 1) & (values[:, 3] <= 12) & (values[:, 4] >= 1) & (values[:, 4] <= 31)
    )
    years = np.where(good, values[:, 0] * 100 + values[:, 1] * 10 + values[:, 2], 2000)
    months = np.where(good, values[:, 3] - 1, 0)
    first = ((years - 1970) * 12 + months).astype("datetime64[M]")
    days = first.astype("datetime64[D]") + np.where(good, values[:, 4] - 1, 0)
    good &= days.astype("datetime64[M]") == first
    mjd = days.astype(np.int64) + 40587.0
    return np.where(good, mjd, np.nan), good
