"""Orbits as they come from a file: one row each, checked, each designation once, and what was wrong with the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.elements import states_of as states_on_conics
from schemas.orbits import covariances_of, states_of

__all__ = [
    "DEFAULT_G",
    "ORBIT",
    "OrbitProblem",
    "OrbitTable",
    "assembled",
    "joined",
    "no_orbits",
    "perihelion_states",
    "table_of_rows",
]

Array = np.ndarray[Any, Any]

ORBIT = np.dtype(
    [
        ("designation", "<U16"),
        ("epoch_mjd_tdb", "<f8"),
        ("state", "<f8", (6,)),
        ("h", "<f8"),
        ("g", "<f8"),
        ("n_observations", "<i4"),
        ("n_oppositions", "<i4"),
        ("arc_days", "<f8"),
        ("rms_arcsec", "<f8"),
        ("u_parameter", "<i1"),
        ("line", "<i8"),
    ]
)
"""One orbit: written designation, heliocentric ICRF state in au and au/day; h is NaN where the file has none; counts and the
uncertainty parameter are -1 and the rest NaN where unknown; line is where the file had it."""

DEFAULT_G = 0.15
"""Slope parameter where a file has none (the Minor Planet Center's assumption)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrbitProblem:
    """A line that gave no orbit, and why."""

    line: int
    text: str
    """The line, cut to 80 characters."""
    reason: str

    def __str__(self) -> str:
        """Return the problem as one line for people."""
        return f"line {self.line}: {self.reason}: {self.text.strip()!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrbitTable:
    """The orbits of a file.

    Parameters
    ----------
    orbits
        Rows of ``ORBIT`` in the order of the file, each designation once.
    covariances
        Of the states, ``(n, 6, 6)``, NaN where the file has none; not to be written to.
    problems
        In order of their lines.
    """

    orbits: Array
    covariances: NDArray[np.float64]
    problems: tuple[OrbitProblem, ...]


def no_orbits(n: int = 0) -> Array:
    """Return rows of ``ORBIT`` with everything unknown."""
    rows = np.zeros(n, ORBIT)
    for name in ("epoch_mjd_tdb", "state", "h", "arc_days", "rms_arcsec"):
        rows[name] = np.nan
    for name in ("n_observations", "n_oppositions", "u_parameter"):
        rows[name] = -1
    rows["g"] = DEFAULT_G
    return rows


def assembled(orbits: Array, covariances: NDArray[np.float64] | None, problems: Sequence[OrbitProblem]) -> OrbitTable:
    """Return the table of a part of a file: states that are not finite become problems."""
    if covariances is None:
        covariances = _unknown(len(orbits))
    finite = np.isfinite(orbits["state"]).all(axis=1) & np.isfinite(orbits["epoch_mjd_tdb"])
    lost = [
        OrbitProblem(line=int(row["line"]), text=str(row["designation"]), reason="its elements give no finite state")
        for row in orbits[~finite]
    ]
    every = tuple(sorted([*problems, *lost], key=lambda problem: problem.line))
    return OrbitTable(orbits=orbits[finite], covariances=_chosen(covariances, finite), problems=every)


def _unknown(n: int) -> NDArray[np.float64]:
    """Covariances that nobody knows: one NaN seen n times 36, since a million orbits' would fill 300 MB."""
    return np.broadcast_to(np.float64(np.nan), (n, 6, 6))


def _all_unknown(covariances: NDArray[np.float64]) -> bool:
    return not any(covariances.strides)


def _chosen(covariances: NDArray[np.float64], which: NDArray[np.bool_]) -> NDArray[np.float64]:
    return _unknown(int(which.sum())) if _all_unknown(covariances) else covariances[which]


def joined(parts: Sequence[OrbitTable]) -> OrbitTable:
    """Return one table of the parts of a file.

    Of several orbits with one designation the one with the newest epoch is kept, of equal epochs the first; the others are
    problems.
    """
    orbits = np.concatenate([no_orbits(), *(part.orbits for part in parts)])
    covariances = (
        _unknown(len(orbits))
        if all(_all_unknown(part.covariances) for part in parts)
        else np.concatenate([part.covariances for part in parts])
    )
    order = np.lexsort((orbits["line"], -orbits["epoch_mjd_tdb"], orbits["designation"]))
    names = orbits["designation"][order]
    again = np.zeros(len(orbits), bool)
    again[order[1:]] = names[1:] == names[:-1]
    doubles = [
        OrbitProblem(
            line=int(row["line"]), text=str(row["designation"]), reason="another line has a newer orbit of this object"
        )
        for row in orbits[again]
    ]
    problems = sorted([*(p for part in parts for p in part.problems), *doubles], key=lambda problem: problem.line)
    return OrbitTable(orbits=orbits[~again], covariances=_chosen(covariances, ~again), problems=tuple(problems))


def table_of_rows(rows: Array) -> OrbitTable:
    """Return stored orbits, rows of ``schemas.orbits.ORBIT_ROW``, as a table to be written; lines count them from 1."""
    orbits = no_orbits(len(rows))
    same = ("designation", "epoch_mjd_tdb", "h", "g", "n_observations", "n_oppositions", "arc_days", "rms_arcsec")
    for name in same:
        # Single precision as the decimal it was made from, so that 3.34 is written as that.
        short = rows.dtype[name] == np.dtype("<f4")
        orbits[name] = [float(str(value)) for value in rows[name]] if short else rows[name]
    orbits["u_parameter"], orbits["line"] = rows["uncertainty_code"], np.arange(1, len(rows) + 1)
    orbits["state"] = states_of(rows)
    return assembled(orbits, covariances_of(rows), ())


def perihelion_states(
    *, q_au: NDArray[np.float64], e: NDArray[np.float64], angles: NDArray[np.float64], days_since: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return heliocentric ICRF states some days after perihelion, on any conic.

    Parameters
    ----------
    q_au, e
        Perihelion distance and eccentricity, (n,).
    angles
        Inclination, node and argument of perihelion in radians, ecliptic J2000, (n, 3).

    Returns
    -------
    States (n, 6); NaN where the elements are not finite.
    """
    names = ("q_au", "e", "i_deg", "node_deg", "argperi_deg", "peri_mjd_tdb", "epoch_mjd_tdb")
    columns = (q_au, e, *np.degrees(angles).T, np.zeros(len(q_au)), days_since)
    rows = np.zeros(len(q_au), [(name, "<f8") for name in names])
    for name, column in zip(names, columns, strict=True):
        rows[name] = column
    finite = np.isfinite(np.stack(columns, axis=1)).all(axis=1) & (q_au > 0.0) & (e >= 0.0)
    states = np.full((len(rows), 6), np.nan)
    if finite.any():
        states[finite] = states_on_conics(rows[finite])
    return states
