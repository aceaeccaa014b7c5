"""Orbits as they are stored: rows with packed names and numbers, in order of their designations; and records for packets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.designations import pack
from processors.moving_objects.orbit_table import OrbitTable
from schemas.orbits import STATE_COLUMNS, orbit_rows, set_covariances
from schemas.predictions import ss_object_id_of

__all__ = ["named_rows", "stored_rows"]

_SAME_NAME = ("designation", "epoch_mjd_tdb", "h", "g", "n_observations", "n_oppositions", "arc_days", "rms_arcsec")


def stored_rows(table: OrbitTable) -> NDArray[Any]:
    """Return the orbits of a file as rows to store, in order of their designations.

    Raises
    ------
    InvalidDesignationError
        When a designation has no packed form.
    """
    rows = orbit_rows(len(table.orbits))
    for name in _SAME_NAME:
        rows[name] = table.orbits[name]
    rows["uncertainty_code"] = table.orbits["u_parameter"]
    for index, name in enumerate(STATE_COLUMNS):
        rows[name] = table.orbits["state"][:, index]
    set_covariances(rows, table.covariances)
    return named_rows(rows)


def named_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """Return rows in order of their designations with packed names and object numbers filled in.

    Raises
    ------
    InvalidDesignationError
        When a designation has no packed form.
    """
    rows = rows[np.argsort(rows["designation"], kind="stable")]
    rows["packed"] = [pack(name) for name in rows["designation"].tolist()]
    rows["ss_object_id"] = [ss_object_id_of(name) for name in rows["packed"].tolist()]
    return rows
