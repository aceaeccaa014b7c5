"""The Minor Planet Center's extended orbit file: one JSON object an orbit, in one array."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2
from processors.moving_objects.designations import pack, unpack
from processors.moving_objects.errors import InvalidDesignationError, InvalidOrbitsError
from processors.moving_objects.orbit_table import (
    DEFAULT_G,
    OrbitProblem,
    OrbitTable,
    assembled,
    no_orbits,
    perihelion_states,
)

__all__ = ["parse_extended_json"]

_OBJECT = re.compile(rb"\{[^{}]*\}?")
"""From one brace to the next: an object of this file holds lists but no other object, and a broken one ends where the next
begins."""

_PLAIN = re.compile(r"[1-9]\d{0,6}|(?:192[5-9]|19[3-9]\d|20\d\d) [A-HJ-Y][A-HJ-Z](?:[1-9]\d{0,2})?")
"""Most designations as they are written anyway: a number, or a year, two letters and a cycle."""

_JD_OF_MJD = 2400000.5
_TEXT_LENGTH = 80
_ELEMENTS = ("q_au", "e", "inclination", "node", "argperi", "days_since", "epoch")


class _UnreadableOrbit(InvalidOrbitsError):
    """Why an object gives no orbit."""

    code = "unreadable_orbit"


def parse_extended_json(data: bytes, first_line: int = 1) -> OrbitTable:
    """Read the orbits of a text; an object that gives no orbit becomes a problem with the number of its first line.

    Elements with perihelion distance and time are taken where there is no semi-major axis or the orbit is not elliptic.

    Parameters
    ----------
    data
        Whole objects; what stands between them does not matter.
    first_line
        Number of the first line in its file.

    Returns
    -------
    OrbitTable
        A missing H is NaN, a missing slope parameter ``DEFAULT_G``; covariances are unknown.
    """
    rows: list[tuple[Any, ...]] = []
    elements: list[tuple[float, ...]] = []
    problems = []
    line, position = first_line, 0
    for match in _OBJECT.finditer(data):
        line, position = line + data.count(b"\n", position, match.start()), match.start()
        try:
            entry = _entry(match.group())
            rows.append((line, _designation(entry), *_brightness(entry), *_counts(entry)))
            elements.append(_elements(entry))
        except _UnreadableOrbit as error:
            # A row without elements goes with its object.
            del rows[len(elements) :]
            text = " ".join(match.group().decode("ascii", errors="replace").split())
            problems.append(OrbitProblem(line=line, text=text[:_TEXT_LENGTH], reason=str(error)))
    return _table(rows, elements, problems)


def _entry(text: bytes) -> Mapping[str, Any]:
    try:
        entry = json.loads(text.decode())
    except ValueError as error:
        raise _UnreadableOrbit("it is no JSON object") from error
    return entry if isinstance(entry, dict) else {}


def _designation(entry: Mapping[str, Any]) -> str:
    number = str(entry.get("Number") or "").strip("() ")
    written = number or str(entry.get("Principal_desig") or "")
    if _PLAIN.fullmatch(written):
        return written
    try:
        return unpack(pack(written))
    except InvalidDesignationError as error:
        raise _UnreadableOrbit("its designation is unreadable") from error


def _number(entry: Mapping[str, Any], name: str) -> float:
    value = entry.get(name)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise _UnreadableOrbit(f"its {name} is no number") from error
    if not math.isfinite(number):
        raise _UnreadableOrbit(f"its {name} is not finite")
    return number


def _optional(entry: Mapping[str, Any], name: str, otherwise: float) -> float:
    return otherwise if entry.get(name) in (None, "") else _number(entry, name)


def _elements(entry: Mapping[str, Any]) -> tuple[float, ...]:
    epoch, e = _number(entry, "Epoch") - _JD_OF_MJD, _number(entry, "e")
    angles = tuple(math.radians(_number(entry, name)) for name in ("i", "Node", "Peri"))
    if e < 0:
        raise _UnreadableOrbit("its eccentricity is negative")
    if e < 1 and entry.get("a") is not None:
        a, mean = _number(entry, "a"), math.radians(_number(entry, "M"))
        if a <= 0:
            raise _UnreadableOrbit("its eccentricity and semi-major axis give no perihelion")
        turned = (mean + math.pi) % (2 * math.pi) - math.pi
        return (a * (1 - e), e, *angles, turned / math.sqrt(GM_SUN_AU3_PER_DAY2 / a**3), epoch)
    q, peri_time = _number(entry, "Perihelion_dist"), _number(entry, "Tp") - _JD_OF_MJD
    if q <= 0:
        raise _UnreadableOrbit("its perihelion distance is not positive")
    return (q, e, *angles, epoch - peri_time, epoch)


def _table(rows: list[tuple[Any, ...]], elements: list[tuple[float, ...]], problems: list[OrbitProblem]) -> OrbitTable:
    orbits = no_orbits(len(rows))
    names = ("line", "designation", "h", "g", "n_observations", "n_oppositions", "rms_arcsec", "u_parameter")
    for name, column in zip(names, zip(*rows, strict=True), strict=False):
        orbits[name] = column
    columns = np.array(elements, np.float64).reshape(-1, len(_ELEMENTS))
    orbits["epoch_mjd_tdb"], orbits["state"] = columns[:, 6], _states(columns)
    return assembled(orbits, None, problems)


def _states(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    return perihelion_states(q_au=columns[:, 0], e=columns[:, 1], angles=columns[:, 2:5], days_since=columns[:, 5])


def _brightness(entry: Mapping[str, Any]) -> tuple[float, float]:
    return _optional(entry, "H", float("nan")), _optional(entry, "G", DEFAULT_G)


def _counts(entry: Mapping[str, Any]) -> tuple[int, int, float, int]:
    """Observations, oppositions, RMS and uncertainty parameter; what is unreadable is unknown."""
    numbers = [str(entry.get(name, "")) for name in ("Num_obs", "Num_opps", "U")]
    counts = [int(text) if text.isdigit() and len(text) < 9 else -1 for text in numbers]
    rms = entry.get("rms")
    return counts[0], counts[1], float(rms) if isinstance(rms, int | float) else float("nan"), min(counts[2], 9)
