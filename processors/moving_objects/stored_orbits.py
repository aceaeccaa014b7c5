"""Orbits as they are stored: rows with packed names and numbers, in order of their designations; and records for packets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.designations import pack
from processors.moving_objects.errors import InvalidDesignationError
from processors.moving_objects.orbit_table import OrbitProblem, OrbitTable
from schemas.orbits import STATE_COLUMNS, orbit_rows, set_covariances
from schemas.predictions import ss_object_id_of

__all__ = ["named_rows", "stored_rows"]

_SAME_NAME = ("designation", "epoch_mjd_tdb", "h", "g", "n_observations", "n_oppositions", "arc_days", "rms_arcsec")


def stored_rows(table: OrbitTable) -> tuple[NDArray[Any], tuple[OrbitProblem, ...]]:
    """Return the orbits of a file as rows to store, in order of their designations, and the problems of those left out.

    An orbit whose designation has no packed form cannot be named in an alert or a report: it is a problem of its own line, and
    the rest is stored. The table's own problems come first.
    """
    packed = [_packed(name) for name in table.orbits["designation"].tolist()]
    good = np.array([name is not None for name in packed], bool)
    refused = tuple(
        OrbitProblem(line=int(row["line"]), text=str(row["designation"]), reason="its designation has no packed form")
        for row in table.orbits[~good]
    )
    orbits, covariances = table.orbits[good], table.covariances if good.all() else table.covariances[good]
    rows = orbit_rows(len(orbits))
    for name in _SAME_NAME:
        rows[name] = orbits[name]
    rows["uncertainty_code"] = orbits["u_parameter"]
    for index, name in enumerate(STATE_COLUMNS):
        rows[name] = orbits["state"][:, index]
    set_covariances(rows, covariances)
    rows["packed"] = [name for name in packed if name is not None]
    return _numbered(rows[np.argsort(rows["designation"], kind="stable")]), (*table.problems, *refused)


def _packed(designation: str) -> str | None:
    try:
        return pack(designation)
    except InvalidDesignationError:
        return None


def _numbered(rows: NDArray[Any]) -> NDArray[Any]:
    rows["ss_object_id"] = [ss_object_id_of(name) for name in rows["packed"].tolist()]
    return rows


def named_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """Return rows in order of their designations with packed names and object numbers filled in.

    Raises
    ------
    InvalidDesignationError
        When a designation has no packed form.
    """
    rows = rows[np.argsort(rows["designation"], kind="stable")]
    rows["packed"] = [pack(name) for name in rows["designation"].tolist()]
    return _numbered(rows)
