"""Rows of orbits: what an imported catalogue, the simulator and our own fits hand to NightMOPS and DayMOPS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COVARIANCE_COLUMNS",
    "ORBIT_ROW",
    "STATE_COLUMNS",
    "covariances_of",
    "orbit_rows",
    "set_covariances",
    "states_of",
]

STATE_COLUMNS = ("x", "y", "z", "vx", "vy", "vz")
"""Heliocentric, ICRF axes, au and au per day, at the row's epoch."""

COVARIANCE_COLUMNS = tuple(
    f"c_{STATE_COLUMNS[row]}_{STATE_COLUMNS[column]}" for row in range(6) for column in range(row, 6)
)
"""Upper triangle of the state's covariance, row by row; NaN where it is not known."""

ORBIT_ROW = np.dtype(
    [
        ("designation", "<U16"),
        ("packed", "<U12"),
        ("ss_object_id", "<i8"),
        ("epoch_mjd_tdb", "<f8"),
        *[(name, "<f8") for name in STATE_COLUMNS],
        *[(name, "<f8") for name in COVARIANCE_COLUMNS],
        ("h", "<f4"),
        ("g", "<f4"),
        ("n_observations", "<i4"),
        ("n_oppositions", "<i4"),
        ("arc_days", "<f4"),
        ("rms_arcsec", "<f4"),
        ("uncertainty_code", "<i4"),
    ]
)
"""One orbit. Nulls: NaN in floats (``h`` not known: no magnitude is predicted), -1 in integers."""


def orbit_rows(count: int) -> NDArray[Any]:
    """Return rows in which everything is null but G, which is 0.15 where nothing is known (Bowell et al. 1989)."""
    rows = np.zeros(count, ORBIT_ROW)
    for name in ORBIT_ROW.names or ():
        kind = ORBIT_ROW[name].kind
        if kind == "f":
            rows[name] = np.nan
        elif kind == "i" and name != "ss_object_id":
            rows[name] = -1
    rows["g"] = 0.15
    return rows


def states_of(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the states, ``(n, 6)``."""
    return np.stack([rows[name] for name in STATE_COLUMNS], axis=-1) if len(rows) else np.zeros((0, 6))


def covariances_of(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the full covariances, ``(n, 6, 6)``, NaN where not known."""
    full = np.zeros((len(rows), 6, 6))
    upper, lower = np.triu_indices(6)
    for name, row, column in zip(COVARIANCE_COLUMNS, upper, lower, strict=True):
        full[:, row, column] = full[:, column, row] = rows[name]
    return full


def set_covariances(rows: NDArray[Any], covariances: NDArray[Any]) -> None:
    """Write full covariances, ``(n, 6, 6)``, into rows in place."""
    upper, lower = np.triu_indices(6)
    for name, row, column in zip(COVARIANCE_COLUMNS, upper, lower, strict=True):
        rows[name] = covariances[:, row, column]
