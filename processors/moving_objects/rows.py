"""Public records of moving objects: mpc_orbits of orbits, SSObject of objects with their detections; nulls where unknown.

The third table, SSSource, has one row a detection: NightMOPS predicts its columns and association completes them
(``processors.association.solar_system.circumstances_of``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.errors import InputError
from processors.moving_objects.cometary import (
    ELEMENTS,
    cometary_elements,
    element_sigmas,
    orbit_types,
    tisserand_jupiter,
    uncertainty_codes,
)
from processors.moving_objects.detections import BANDS
from processors.moving_objects.moid import earth_moids
from processors.moving_objects.phase_curves import fit_phase_curves
from schemas.orbits import covariances_of, states_of
from schemas.public import fields_of, null_rows
from schemas.public_avro import encode_columns

__all__ = ["MismatchedRowsError", "encoded_mpc_orbits", "mpc_orbit_records", "ss_object_rows"]

Array = np.ndarray[Any, Any]
Floats = NDArray[np.float64]
Record = dict[str, Any]

_MOID_COLUMNS = {
    "MOIDEarth": "moid_au",
    "MOIDEarthDeltaV": "delta_v_km_per_s",
    "MOIDEarthEclipticLongitude": "ecliptic_longitude_deg",
    "MOIDEarthTrueAnomaly": "true_anomaly_earth_deg",
    "MOIDEarthTrueAnomalyObject": "true_anomaly_deg",
}
"""Column of SSObject to that of ``moid.MOID``."""


_CURVE_COLUMNS = {
    "{0}_H": "h",
    "{0}_HErr": "h_err",
    "{0}_G12": "g12",
    "{0}_G12Err": "g12_err",
    "{0}_H_{0}_G12_Cov": "covariance",
    "{0}_Chi2": "chi2",
    "{0}_nObsUsed": "n_used",
}
"""Column of SSObject, with its band, to that of ``phase_curves.PHASE_CURVE``."""


class MismatchedRowsError(InputError):
    """Rows that must belong together do not."""

    code = "mismatched_rows"


def mpc_orbit_records(
    orbits: Array,
    *,
    fitted_at_us: int | None = None,
    normalized_rms: Sequence[float] | Floats | None = None,
    used: Sequence[int] | NDArray[np.int64] | None = None,
    selected_arc_days: Sequence[float] | Floats | None = None,
    with_moid: bool = True,
) -> list[Record]:
    """Return the mpc_orbits record of each orbit, as Avro encodes it; the order of the rows gives ``id``, from 1.

    Parameters
    ----------
    orbits
        Rows of ``schemas.orbits.ORBIT_ROW``. Errors of the elements follow from the covariance, the uncertainty parameter too
        where the row has none.
    fitted_at_us
        When the orbits were fitted or imported, microseconds since 1970 UTC; null where not given.
    normalized_rms, used, selected_arc_days
        Of our own fits, one value an orbit: root of chi-squared over the number of residuals, observations used, days
        between the first and last of these.
    with_moid
        Whether to look for the smallest distance to the Earth's orbit, which costs 0.1 ms an orbit.

    Raises
    ------
    MismatchedRowsError
        When a sequence has another length than the orbits.
    """
    optional = {"normalized_rms": normalized_rms, "nobs_total_sel": used, "arc_length_sel": selected_arc_days}
    columns = _mpc_columns(orbits, with_moid=with_moid) | {
        name: np.asarray(values) for name, values in optional.items() if values is not None
    }
    wrong = {len(values) for values in columns.values()} - {len(orbits)}
    if wrong:
        raise MismatchedRowsError(f"{len(orbits)} orbits came with {max(wrong)} values of a column.")
    constant = {} if fitted_at_us is None else dict.fromkeys(_TIMES, [fitted_at_us] * len(orbits))
    return _records({name: _listed(values) for name, values in columns.items()} | constant, len(orbits))


def encoded_mpc_orbits(orbits: Array, ids: NDArray[np.int64]) -> list[bytes]:
    """Return what encoding each of the records of `mpc_orbit_records` gives, with these ``id``: ten times quicker than one by one."""
    return encode_columns(_mpc_columns(orbits) | {"id": ids}, len(orbits), "mpc_orbits")


def _mpc_columns(orbits: Array, *, with_moid: bool = True) -> dict[str, Array]:
    """Return the columns of mpc_orbits that an orbit gives; -1 in integers and NaN in floats where it does not."""
    epoch, states = orbits["epoch_mjd_tdb"].astype(np.float64), states_of(orbits)
    elements = cometary_elements(states, epoch)
    sigmas = element_sigmas(states, epoch, covariances_of(orbits))
    codes = np.where(orbits["uncertainty_code"] >= 0, orbits["uncertainty_code"], uncertainty_codes(elements, sigmas))
    columns = {name: elements[name] for name in ELEMENTS.names or ()}
    columns |= {f"{name}_unc": sigmas[name] for name in ELEMENTS.names or ()}
    columns |= {
        "id": np.arange(1, len(orbits) + 1),
        "designation": orbits["designation"],
        "packed_primary_provisional_designation": orbits["packed"],
        "unpacked_primary_provisional_designation": orbits["designation"],
        "orbit_type_int": orbit_types(elements),
        "u_param": codes,
        "nopp": np.maximum(orbits["n_oppositions"], -1),
        "nobs_total": np.maximum(orbits["n_observations"], -1),
        "arc_length_total": orbits["arc_days"].astype(np.float64),
        "epoch_mjd": epoch,
        "h": _as_printed(orbits["h"]),
        "g": _as_printed(orbits["g"]),
        "not_normalized_rms": _as_printed(orbits["rms_arcsec"]),
        "earth_moid": earth_moids(elements, epoch)["moid_au"] if with_moid else np.full(len(orbits), np.nan),
    }
    # What is not finite is not known, for a parabola's semi-major axis too.
    return {name: np.where(np.isfinite(v), v, np.nan) if v.dtype.kind == "f" else v for name, v in columns.items()}


def _listed(values: Array) -> list[Any]:
    """Return the values of a column with None for its nulls."""
    if values.dtype.kind == "f":
        return [value if np.isfinite(value) else None for value in values.tolist()]
    return (
        values.tolist() if values.dtype.kind == "U" else [None if value == -1 else value for value in values.tolist()]
    )


def _as_printed(values: Array) -> Floats:
    """Single precision numbers as the shortest decimals that mean them: 3.34, not 3.3399999141693115."""
    single = values.astype(np.float32)
    exact, open_ones = single.astype(np.float64), np.isfinite(single)
    for decimals in range(7):
        rounded = np.round(single.astype(np.float64), decimals)
        good = open_ones & (rounded.astype(np.float32) == single)
        exact[good], open_ones = rounded[good], open_ones & ~good
    exact[open_ones] = [float(str(value)) for value in single[open_ones]]
    return exact


def _records(columns: dict[str, list[Any]], n: int) -> list[Record]:
    """Records of all fields of the schema: what no column gives is null."""
    filled = [columns.get(name, [None] * n) for name in _FIELDS]
    return [dict(zip(_FIELDS, values, strict=True)) for values in zip(*filled, strict=True)]


_TIMES = ("created_at", "updated_at", "fitting_datetime")
_FIELDS = tuple(name for name, _, _ in fields_of("mpc_orbits"))


def ss_object_rows(
    orbits: Array,
    detections: Array,
    circumstances: Array,
    offsets: NDArray[np.int64],
    *,
    extendedness: Floats | None = None,
) -> Array:
    """Return the SSObject row of each object, dtype ``schemas.public.record_dtype("ssObject")``.

    Parameters
    ----------
    orbits
        Rows of ``schemas.orbits.ORBIT_ROW``, one an object.
    detections
        All detections of all objects, dtype ``detections.DETECTION``, object by object.
    circumstances
        Of each detection, with ``phaseAngle`` in degrees, ``helioRange`` and ``topoRange`` in au, such as ssSource rows.
    offsets
        Where each object's detections begin, and the end: ``(n + 1,)``.
    extendedness
        Of each detection, 0 a point to 1; null in the result where not given.

    Raises
    ------
    MismatchedRowsError
        When the lengths do not fit each other.
    """
    if len(offsets) != len(orbits) + 1 or not len(detections) == len(circumstances) == offsets[-1]:
        raise MismatchedRowsError("Each object needs its orbit and each detection its circumstances.")
    rows = null_rows("ssObject", len(orbits))
    epoch = orbits["epoch_mjd_tdb"].astype(np.float64)
    elements = cometary_elements(states_of(orbits), epoch)
    moids = earth_moids(elements, epoch)
    rows["ssObjectId"], rows["designation"] = orbits["ss_object_id"], orbits["designation"]
    rows["tisserand_J"] = tisserand_jupiter(elements)
    for column, name in _MOID_COLUMNS.items():
        rows[column] = moids[name]
    _observed(rows, detections["midpoint_mjd_tai"], offsets)
    if extendedness is not None:
        _extended(rows, extendedness, offsets)
    _bands(rows, detections, circumstances, offsets)
    return rows


def _observed(rows: Array, times: Floats, offsets: NDArray[np.int64]) -> None:
    rows["nObs"] = np.diff(offsets)
    seen = np.flatnonzero(rows["nObs"])
    if len(seen):
        first, last = np.minimum.reduceat(times, offsets[seen]), np.maximum.reduceat(times, offsets[seen])
        rows["arc"][seen], rows["firstObservationMjdTai"][seen] = last - first, first


def _extended(rows: Array, extendedness: Floats, offsets: NDArray[np.int64]) -> None:
    for k, row in enumerate(rows):
        own = extendedness[offsets[k] : offsets[k + 1]]
        known = own[np.isfinite(own)]
        if len(known):
            row["extendednessMin"], row["extendednessMax"] = known.min(), known.max()
            row["extendednessMedian"] = np.median(known)


def _bands(rows: Array, detections: Array, circumstances: Array, offsets: NDArray[np.int64]) -> None:
    """Fill in every column of every band: the detections sorted into groups of one object and band."""
    group = np.repeat(np.arange(len(rows)), np.diff(offsets)) * len(BANDS) + detections["band"]
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(len(rows) * len(BANDS) + 1))
    phase = circumstances["phaseAngle"][order].astype(np.float64)
    reach = (circumstances["helioRange"].astype(np.float64) * circumstances["topoRange"])[order]
    with np.errstate(divide="ignore", invalid="ignore"):
        reduced = detections["mag"][order] - 5 * np.log10(reach)
    curves = fit_phase_curves(phase, reduced, detections["mag_err"][order], edges).reshape(len(rows), len(BANDS))
    low, high = (_extremes(phase, edges, extreme).reshape(len(rows), len(BANDS)) for extreme in (np.fmin, np.fmax))
    counts = np.diff(edges).reshape(len(rows), len(BANDS))
    for band, letter in enumerate(BANDS):
        rows[f"{letter}_nObs"] = counts[:, band]
        rows[f"{letter}_phaseAngleMin"], rows[f"{letter}_phaseAngleMax"] = low[:, band], high[:, band]
        own = curves[:, band]
        for column, name in _CURVE_COLUMNS.items():
            rows[column.format(letter)] = own[name]
        rows[f"{letter}_slope_fit_failed"] = np.where(own["n_used"] > 0, own["slope_failed"], -1)


def _extremes(values: Floats, edges: NDArray[np.int64], extreme: np.ufunc) -> Floats:
    """Extreme of each group; NaN of an empty one and of one without a number."""
    found = np.full(len(edges) - 1, np.nan)
    filled = np.flatnonzero(np.diff(edges))
    if len(filled):
        found[filled] = extreme.reduceat(values, edges[filled])
    return found
