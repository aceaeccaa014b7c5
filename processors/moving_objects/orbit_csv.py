"""Orbits as a table of Cartesian states with commas, read and written without loss."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.designations import pack, unpack
from processors.moving_objects.errors import InvalidDesignationError, InvalidOrbitsError
from processors.moving_objects.orbit_table import DEFAULT_G, OrbitProblem, OrbitTable, assembled, no_orbits

__all__ = ["COLUMNS", "COVARIANCE_COLUMNS", "csv_columns", "format_orbit_csv", "parse_orbit_csv"]

STATE_COLUMNS = ("x_au", "y_au", "z_au", "vx_au_per_day", "vy_au_per_day", "vz_au_per_day")
"""Heliocentric, ICRF axes."""

COLUMNS = ("designation", "epoch_mjd_tdb", *STATE_COLUMNS)
"""Columns that must be there; their order does not matter, and others are passed over."""

OPTIONAL_COLUMNS = ("h", "g")

COVARIANCE_COLUMNS = tuple(f"cov_{i}{j}" for i in range(6) for j in range(i, 6))
"""Upper triangle of the state's covariance, au and days; all of them or none."""

_TEXT_LENGTH = 80


def csv_columns(header: str) -> tuple[str, ...]:
    """Return the columns of a header line.

    Raises
    ------
    InvalidOrbitsError
        When one that must be there is missing, or some but not all of the covariance are there.
    """
    names = tuple(name.strip() for name in next(csv.reader([header]), []))
    missing = [name for name in COLUMNS if name not in names]
    covariance = [name for name in COVARIANCE_COLUMNS if name in names]
    if covariance and len(covariance) < len(COVARIANCE_COLUMNS):
        missing += [name for name in COVARIANCE_COLUMNS if name not in names]
    if missing:
        raise InvalidOrbitsError(f"The table of orbits has no column {', '.join(missing)}.")
    return names


def parse_orbit_csv(data: bytes, columns: Sequence[str], first_line: int = 2) -> OrbitTable:
    """Read the lines under the header; a line that gives no orbit becomes a problem.

    Parameters
    ----------
    columns
        As ``csv_columns`` returns them.
    first_line
        Number of the first of the lines in its file.

    Returns
    -------
    OrbitTable
        Missing H is NaN, a missing slope parameter ``DEFAULT_G``. A designation that is none of the Minor Planet Center's
        (simulated ones) is kept as it is, up to 16 characters.
    """
    kept, numbers, problems = [], [], []
    for offset, line in enumerate(data.decode("utf-8", errors="replace").splitlines()):
        cells = next(csv.reader([line]), [])
        if not line.strip():
            continue
        if len(cells) == len(columns):
            kept.append(cells)
            numbers.append(first_line + offset)
        else:
            reason = f"it has {len(cells)} cells instead of {len(columns)}"
            problems.append(OrbitProblem(line=first_line + offset, text=line[:_TEXT_LENGTH], reason=reason))
    return _table(kept, np.array(numbers, np.int64), list(columns), problems)


def _table(
    cells: list[list[str]], numbers: NDArray[np.int64], columns: list[str], problems: list[OrbitProblem]
) -> OrbitTable:
    texts = {name: [row[k].strip() for row in cells] for k, name in enumerate(columns)}
    reasons = np.full(len(cells), "", "U80")
    orbits, covariances = no_orbits(len(cells)), np.full((len(cells), 6, 6), np.nan)
    orbits["line"] = numbers
    written = [_designation(text) for text in texts["designation"]]
    orbits["designation"] = written
    _mark(reasons, np.array([not name for name in written], bool), "its designation is empty or too long")
    orbits["epoch_mjd_tdb"] = _numbers(texts["epoch_mjd_tdb"], "epoch_mjd_tdb", reasons, required=True)
    for k, name in enumerate(STATE_COLUMNS):
        orbits["state"][:, k] = _numbers(texts[name], name, reasons, required=True)
    for name, otherwise in (("h", np.nan), ("g", DEFAULT_G)):
        if name in texts:
            values = _numbers(texts[name], name, reasons, required=False)
            orbits[name] = np.where(np.isnan(values), otherwise, values)
    if COVARIANCE_COLUMNS[0] in texts:
        for name in COVARIANCE_COLUMNS:
            i, j = int(name[4]), int(name[5])
            covariances[:, i, j] = covariances[:, j, i] = _numbers(texts[name], name, reasons, required=False)
    good = reasons == ""
    for row in np.flatnonzero(~good):
        text = ",".join(cells[row])[:_TEXT_LENGTH]
        problems.append(OrbitProblem(line=int(numbers[row]), text=text, reason=str(reasons[row])))
    return assembled(orbits[good], covariances[good], problems)


def _designation(text: str) -> str:
    try:
        return unpack(pack(text))
    except InvalidDesignationError:
        return text if len(text) <= 16 else ""


def _mark(reasons: NDArray[np.str_], which: NDArray[np.bool_], reason: str) -> None:
    reasons[which & (reasons == "")] = reason


def _numbers(texts: list[str], name: str, reasons: NDArray[np.str_], *, required: bool) -> NDArray[np.float64]:
    """Numbers of a column: NaN for an empty cell; what is no number, or a required one that is not finite, is marked."""
    empty = np.array([not text for text in texts], bool)
    filled = [text or "nan" for text in texts]
    try:
        values, good = np.array(filled, np.float64), np.ones(len(texts), bool)
    except ValueError:
        parsed = [_number(text) for text in filled]
        values = np.array([np.nan if value is None else value for value in parsed], np.float64)
        good = np.array([value is not None for value in parsed], bool)
    _mark(reasons, ~good, f"its {name} is no number")
    if required:
        _mark(reasons, empty, f"its {name} is missing")
        _mark(reasons, ~np.isfinite(values), f"its {name} is not finite")
    return values


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def format_orbit_csv(table: OrbitTable) -> str:
    """Return the orbits as text with a header; numbers come back bit by bit, the covariance if any orbit has one."""
    known = bool(np.isfinite(table.covariances).any())
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*COLUMNS, *OPTIONAL_COLUMNS, *(COVARIANCE_COLUMNS if known else ())])
    upper = np.triu_indices(6)
    for row, covariance in zip(table.orbits, table.covariances, strict=True):
        numbers = [row["epoch_mjd_tdb"], *row["state"], row["h"], row["g"], *(covariance[upper] if known else ())]
        writer.writerow([row["designation"], *("" if np.isnan(x) else repr(float(x)) for x in numbers)])
    return out.getvalue()
