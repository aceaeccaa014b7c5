"""Gather what a correction needs: DayMOPS' tables, the sources' public rows, where the objects' orbits put them.

Rows come from association's own log, which keeps them for ever. Orbits come with DayMOPS' decision, those of objects known before
from the orbits that it names; what neither has is in the state since a visit saw the object. The circumstances of a source are
computed from its orbit by the code that computes an ephemeris, as NightMOPS would have predicted it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from infra.objects import ObjectStore
from infra.parquet import from_parquet
from processors.association.correct import Corrected, NightToCorrect, Wanted, correct, rows_of_sources, wanted_changes
from processors.association.history import History
from processors.association.rules import Rules
from processors.association.solar_system import circumstances_of
from processors.moving_objects.detections import mjd_of_day_obs
from processors.moving_objects.orbit_table import table_of_rows
from processors.moving_objects.rows import mpc_orbit_records
from schemas import avro
from schemas.events import AssociationDecision, DayMopsDecision
from schemas.ids import unpack_dia_source_id
from schemas.orbits import ORBIT_ROW, orbit_rows
from schemas.predictions import predicted_rows
from schemas.public import null_rows
from schemas.public_avro import encode_record
from schemas.tables import Claim, Table
from streams.association.decisions import DecisionLog
from streams.association.state import LocalState
from streams.moving_objects.ephemeris import object_ephemeris

__all__ = ["CorrectionSource", "corrected"]

Array = np.ndarray[Any, Any]

_NIGHT_IS_OVER = 1.5
"""Days from a night's date to the noon that ends it, by which Rubin's day_obs changes (SITCOMTN-032)."""

_GIVEN_UP = ("merged", "withdrawn")
"""Changes of an orbit after which it is nobody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionSource:
    """Where what a correction needs comes from."""

    state: LocalState
    log: DecisionLog
    objects: ObjectStore
    observatory: str
    """The code of the observatory."""


def corrected(event: DayMopsDecision, source: CorrectionSource, rules: Rules) -> AssociationDecision:
    """Return association's answer to a decision of DayMOPS.

    Raises
    ------
    ObjectMissingError, CorruptObjectError, UndecodableEventError, ParquetError
        When one of its tables is gone or broken.
    EphemerisSpanError, UnknownObservatoryError
        When an orbit or a source lies outside the planetary ephemeris, or the observatory is not known.
    """
    view = source.state.view
    asked = NightToCorrect(
        instrument=event.instrument,
        day_obs=event.day_obs,
        sequence=event.sequence,
        over_mjd_tai=mjd_of_day_obs(event.day_obs) + _NIGHT_IS_OVER,
        reassigned=_table(source.objects, event.reassigned),
        verdicts=_verdicts(_table(source.objects, event.verdicts)),
    )
    wanted = wanted_changes(view, asked.reassigned)
    rows = rows_of_sources(_decisions(wanted, source), wanted.owners["diaSourceId"])
    orbits = _orbits(event, wanted, source.objects)
    records = _records(orbits, wanted, view)
    to_moving = wanted.ss_object_ids != 0
    supplied = Corrected(
        rows=rows,
        circumstances=_circumstances(rows[to_moving], wanted.ss_object_ids[to_moving], orbits, source.observatory),
        orbits=records,
    )
    return correct(asked, wanted, supplied, source.state, rules=rules)


def _table(objects: ObjectStore, claim: Claim) -> Array:
    return avro.decode(Table, objects.get(claim)).to_array()


def _verdicts(rows: Array) -> Array:
    """Return verdicts of DIAObjects; a table of another shape has none."""
    known = {"dia_object_id", "verdict"} <= set(rows.dtype.names or ())
    return rows if known else np.zeros(0, [("dia_object_id", "<i8"), ("verdict", "i1")])


def _decisions(wanted: Wanted, source: CorrectionSource) -> list[AssociationDecision]:
    """Return the decisions of the visits that took the sources in."""
    visits = sorted({unpack_dia_source_id(one).visit for one in wanted.owners["diaSourceId"].tolist()})
    found = []
    for visit in visits:
        for folded in source.state.view.folded(visit):
            offset = source.state.offset_of(visit, folded.sequence)
            decision = None if offset is None else source.log.at(offset)
            if decision is not None:
                found.append(decision)
    return found


def _orbits(event: DayMopsDecision, wanted: Wanted, objects: ObjectStore) -> Array:
    """Return the orbits that the decision names, of objects that stand, in order of their numbers."""
    table = _table(objects, event.orbits)
    if "change" in (table.dtype.names or ()):
        table = table[~np.isin(table["change"], _GIVEN_UP)]
    rows = orbit_rows(len(table))
    for name in set(ORBIT_ROW.names or ()) & set(table.dtype.names or ()):
        rows[name] = table[name]
    missing = np.setdiff1d(wanted.ss_object_ids, [0, *rows["ss_object_id"].tolist()])
    if len(missing) and event.known_orbits is not None:
        known = from_parquet(objects.get(event.known_orbits), ORBIT_ROW)
        rows = np.concatenate([rows, known[np.isin(known["ss_object_id"], missing)]])
    _, first = np.unique(rows["ss_object_id"], return_index=True)
    return np.asarray(rows[first])


def _records(orbits: Array, wanted: Wanted, view: History) -> Mapping[int, bytes]:
    """Return the mpc_orbits record of every object that gains or loses sources, or has some and a better orbit."""
    touched = np.union1d(wanted.ss_object_ids, wanted.owners["ssObjectId"])
    seen = np.unique(view.moving(orbits["ss_object_id"])["ssObjectId"])
    touched = np.union1d(touched[touched != 0], seen)
    given = orbits[np.isin(orbits["ss_object_id"], touched)]
    records = view.orbits(touched)
    for number, record in zip(given["ss_object_id"].tolist(), mpc_orbit_records(given), strict=True):
        records[number] = encode_record(record, "mpc_orbits")
    return records


def _circumstances(rows: Array, ss_object_ids: Array, orbits: Array, code: str) -> Array:
    """Return the ssSource row of each source; all but its identifiers is null where its object's orbit is not known."""
    found = null_rows("ssSource", len(rows))
    found["diaSourceId"], found["ssObjectId"] = rows["diaSourceId"], ss_object_ids
    for orbit in orbits[np.isin(orbits["ss_object_id"], ss_object_ids)]:
        mine = np.flatnonzero(ss_object_ids == orbit["ss_object_id"])
        times = rows["midpointMjdTai"][mine]
        ephemeris = object_ephemeris(table_of_rows(np.array([orbit])), times, code=code)
        predicted = predicted_rows(len(mine))
        for name in set(ephemeris.dtype.names or ()) & set(predicted.dtype.names or ()):
            predicted[name] = ephemeris[name]
        predicted["ssObjectId"], predicted["designation"] = orbit["ss_object_id"], orbit["designation"]
        found[mine] = circumstances_of(rows[mine], predicted, times, np.ones(len(mine), np.int64))
    return found
