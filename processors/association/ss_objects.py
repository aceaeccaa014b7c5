"""What is known of a Solar System object from all its DIASources: the newest version after a decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from processors.association.blocks import MOVING_ROW
from processors.association.history import History
from processors.association.ownership import orbits_of
from processors.moving_objects.detections import BANDS, DETECTION
from processors.moving_objects.orbit_table import perihelion_states
from processors.moving_objects.rows import ss_object_rows
from schemas.events import AssociationDecision, SsObjectVersion
from schemas.orbits import STATE_COLUMNS, orbit_rows
from schemas.public_avro import decode_record, encode_columns, encode_rows

__all__ = ["AB_ZERO_POINT_NJY", "ss_object_versions", "warm_up"]

Array = np.ndarray[Any, Any]

AB_ZERO_POINT_NJY = 31.4
"""AB magnitude of a nanojansky (DPDD, LSE-163)."""

_MAGNITUDES_PER_RELATIVE_ERROR = 2.5 / np.log(10.0)
_ANGLES = ("i", "node", "argperi")
_NAMES = ("designation", "packed_primary_provisional_designation", "unpacked_primary_provisional_designation")


def ss_object_versions(view: History, decision: AssociationDecision) -> Iterator[tuple[int, SsObjectVersion | None]]:
    """Yield each Solar System object that a folded decision touched, ascending, with its version after it.

    None is an object that has no DIASource any more. The state may have gone on since: what later decisions brought or took is
    left out.

    Parameters
    ----------
    view
        The state.
    decision
        A decision folded into it; it names the orbit of each object that it touches, where there is one.
    """
    orbits = orbits_of(decision)
    touched = _touched(decision, orbits)
    if not len(touched):
        return
    number = view.number_of(decision.visit, decision.sequence)
    rows = view.moving(touched, number=number)
    known = np.unique(rows["ssObjectId"])
    table = _orbit_rows(known, orbits)
    encoded = dict(zip(known.tolist(), _encoded(known, table, rows), strict=True))
    names = dict(zip(known.tolist(), table["designation"].tolist(), strict=True))
    for identifier in touched.tolist():
        version = None
        if identifier in encoded:
            version = SsObjectVersion(
                ss_object_id=identifier,
                designation=names[identifier],
                day_obs=decision.day_obs,
                visit=decision.visit,
                sequence=decision.sequence,
                record=encoded[identifier],
            )
        yield identifier, version


def warm_up() -> None:
    """Compile, or load from the cache on disk, all that versions of objects need: two seconds that the first visit is spared."""
    rows = np.zeros(4, MOVING_ROW)
    rows["ssObjectId"], rows["mjd"], rows["band"] = 1, 60000.0 + np.arange(4), BANDS[0]
    rows["psfFlux"], rows["psfFluxErr"], rows["phaseAngle"] = 1000.0, 10.0, [2.0, 5.0, 9.0, 20.0]
    rows["helioRange"], rows["topoRange"] = 2.5, 1.7
    elements = dict.fromkeys(("q", "e", *_ANGLES), 0.5) | {"peri_time": 59000.0, "epoch_mjd": 60000.0}
    orbit = encode_columns(
        {name: np.array([value]) for name, value in elements.items()}
        | {"id": np.array([1])}
        | dict.fromkeys(_NAMES, np.array(["1900 AA"])),
        1,
        "mpc_orbits",
    )
    known = np.array([1])
    _encoded(known, _orbit_rows(known, {1: orbit[0]}), rows)


def _encoded(known: Array, table: Array, rows: Array) -> list[bytes]:
    """Return the SSObject record of each object, from its orbit and its sources."""
    offsets = np.searchsorted(rows["ssObjectId"], [*known.tolist(), np.iinfo(np.int64).max]).astype(np.int64)
    records = ss_object_rows(
        table, _detections(rows), rows, offsets, extendedness=rows["extendedness"].astype(np.float64)
    )
    return encode_rows(records, "ssObject")


def _touched(decision: AssociationDecision, orbits: Mapping[int, bytes]) -> Array:
    tables = [decision.moving] if decision.moving.rows else []
    tables += [] if decision.correction is None else [decision.correction.released]
    found = [table.to_array()["ssObjectId"] for table in tables]
    touched = np.unique(np.concatenate([np.array(sorted(orbits), np.int64), *found]))
    return np.asarray(touched[touched != 0])


def _orbit_rows(identifiers: Array, orbits: Mapping[int, bytes]) -> Array:
    """Return the orbits as rows; what is not known of one is null."""
    rows = orbit_rows(len(identifiers))
    rows["ss_object_id"] = identifiers
    for row in rows:
        record = orbits.get(int(row["ss_object_id"]))
        if record:
            _fill(row, decode_record(record, "mpc_orbits"))
    return rows


def _fill(row: Any, record: Mapping[str, Any]) -> None:
    row["designation"] = record["designation"] or ""
    needed = ("q", "e", *_ANGLES, "peri_time", "epoch_mjd")
    q, e, *angles, perihelion, epoch = (np.nan if record[name] is None else float(record[name]) for name in needed)
    row["epoch_mjd_tdb"] = epoch
    state = perihelion_states(
        q_au=np.array([q]),
        e=np.array([e]),
        angles=np.radians([angles]),
        days_since=np.array([epoch - perihelion]),
    )
    for name, value in zip(STATE_COLUMNS, state[0], strict=True):
        row[name] = value


def _detections(rows: Array) -> Array:
    """Return sources as detections with magnitudes; a flux that is not positive has none."""
    detections = np.zeros(len(rows), DETECTION)
    detections["midpoint_mjd_tai"] = rows["mjd"]
    detections["band"] = [BANDS.index(band) for band in rows["band"].astype("U1").tolist()]
    flux = np.where(rows["psfFlux"] > 0.0, rows["psfFlux"], np.nan).astype(np.float64)
    detections["mag"] = AB_ZERO_POINT_NJY - 2.5 * np.log10(flux)
    detections["mag_err"] = _MAGNITUDES_PER_RELATIVE_ERROR * rows["psfFluxErr"] / flux
    return detections
