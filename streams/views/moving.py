"""Moving objects in the view: rows of our orbits, of tracklets and of DayMOPS' runs, and questions to them.

The events themselves are kept beside the columns that one searches by; the imported catalogue, which is one claim, is one row.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select

from schemas import avro
from schemas.events import CatalogueImported, DayMopsDecision, OrbitDetermined, OrbitEvent, TrackletState
from schemas.tables import Claim
from streams.views import tables
from streams.views.queries import alert_rows
from streams.views.rows import AlertRow, FateRow, RunRow

__all__ = [
    "alerts_of_ss_object",
    "count_orbits",
    "count_verdicts",
    "detection_claims",
    "fates_of_night",
    "newest_orbits",
    "newest_runs",
    "orbit_of",
    "orbit_row",
    "run_row",
    "tracklet_row",
    "tracklets_of",
]

Row = dict[str, Any]


def orbit_row(event: OrbitEvent, _message: Any) -> Row:
    """Return the row of an orbit, or of the imported catalogue."""
    fact = event.fact
    own = fact if isinstance(fact, OrbitDetermined) else None
    return {
        "designation": event.designation,
        "ss_object_id": own.ss_object_id if own else None,
        "day_obs": own.day_obs if own else None,
        "reportable": int(own.reportable) if own else None,
        "merged_into": own.merged_into if own else None,
        "event": avro.encode(event),
    }


def tracklet_row(event: TrackletState, _message: Any) -> Row:
    """Return the row of a tracklet."""
    return {
        "tracklet_id": event.tracklet_id,
        "holder": event.holder,
        "day_obs": event.day_obs,
        "status": event.status.value,
        "event": avro.encode(event),
    }


def run_row(event: DayMopsDecision, message: Any) -> Row:
    """Return the row of a run; a repeated run takes the place of the one before."""
    claim = event.detections
    return {
        "key": f"{event.instrument}:{event.day_obs}",
        "instrument": event.instrument,
        "day_obs": event.day_obs,
        "sequence": event.sequence,
        "counts": json.dumps(dict(event.counts), sort_keys=True),
        "detections": None if claim is None else json.dumps(dataclasses.asdict(claim)),
        "appended_unix_s": message.timestamp_s,
    }


def orbit_of(
    connection: Connection, *, designation: str | None = None, ss_object_id: int | None = None
) -> OrbitEvent | None:
    """Return our orbit of a designation or of an object's number, None where we have none."""
    table = tables.orbits.c
    wanted = table.designation == designation if designation is not None else table.ss_object_id == ss_object_id
    # An object may have had another name before a merge: the orbit that stands comes first.
    found = connection.execute(
        select(table.event).where(wanted, table.ss_object_id.is_not(None)).order_by(table.merged_into.is_not(None))
    ).scalar()
    return None if found is None else avro.decode(OrbitEvent, found)


def newest_orbits(connection: Connection, limit: int, *, reportable: bool | None = None) -> list[OrbitEvent]:
    """Return our orbits that stand, the latest night first."""
    table = tables.orbits.c
    wanted: list[ColumnElement[bool]] = [table.ss_object_id.is_not(None), table.merged_into.is_(None)]
    if reportable is not None:
        wanted.append(table.reportable == int(reportable))
    statement = select(table.event).where(*wanted).order_by(table.day_obs.desc(), table.designation).limit(limit)
    return [avro.decode(OrbitEvent, one) for one in connection.execute(statement).scalars()]


def count_orbits(connection: Connection) -> dict[str, Any]:
    """Return how many orbits of ours stand, how many may be reported, and the imported catalogue if there is one."""
    table = tables.orbits.c
    stands = (table.ss_object_id.is_not(None), table.merged_into.is_(None))
    own, reportable = connection.execute(select(func.count(), func.sum(table.reportable)).where(*stands)).one()
    held = connection.execute(select(table.event).where(table.designation == "catalogue")).scalar()
    fact = None if held is None else avro.decode(OrbitEvent, held).fact
    return {
        "own": int(own),
        "reportable": int(reportable or 0),
        "imported": fact if isinstance(fact, CatalogueImported) else None,
    }


def tracklets_of(connection: Connection, holder: str) -> list[TrackletState]:
    """Return the tracklets that an orbit holds, by night."""
    table = tables.tracklets.c
    statement = select(table.event).where(table.holder == holder).order_by(table.day_obs, table.tracklet_id)
    return [avro.decode(TrackletState, one) for one in connection.execute(statement).scalars()]


def newest_runs(connection: Connection, limit: int) -> list[RunRow]:
    """Return DayMOPS' last runs, the latest night first."""
    table = tables.daymops_runs
    statement = select(table).order_by(table.c.day_obs.desc(), table.c.instrument).limit(limit)
    return [
        RunRow(
            instrument=row["instrument"],
            day_obs=row["day_obs"],
            sequence=row["sequence"],
            counts=json.loads(row["counts"]),
            appended_unix_s=row["appended_unix_s"],
        )
        for row in connection.execute(statement).mappings()
    ]


def count_verdicts(connection: Connection, nights: set[int]) -> dict[int, dict[int, int]]:
    """Return how many DIAObjects founded in each night have which verdict; nights without any are left out.

    Those whose sources a later night gave away have -1.
    """
    table = tables.fates.c
    statement = (
        select(table.founded, table.verdict, func.count())
        .where(table.founded.in_(nights), _judged())
        .group_by(table.founded, table.verdict)
        .order_by(table.founded, table.verdict < 0, table.verdict)
    )
    found: dict[int, dict[int, int]] = {}
    for night, verdict, count in connection.execute(statement):
        found.setdefault(int(night), {})[int(verdict)] = int(count)
    return found


def fates_of_night(
    connection: Connection, day_obs: int, *, verdict: int | None = None, limit: int = 200
) -> list[FateRow]:
    """Return what DayMOPS made of the DIAObjects founded in a night, in order of their identifiers; of one verdict only where asked."""
    table = tables.fates.c
    wanted: list[ColumnElement[bool]] = [table.founded == day_obs, _judged()]
    if verdict is not None:
        wanted.append(table.verdict == verdict)
    statement = select(tables.fates).where(*wanted).order_by(table.object_id).limit(limit)
    rows = connection.execute(statement).mappings()
    return [FateRow(**{**row, "closed": bool(row["closed"])}) for row in rows]


def _judged() -> ColumnElement[bool]:
    table = tables.fates.c
    return or_(table.verdict >= 0, table.closed == 1)


def detection_claims(connection: Connection, nights: set[int]) -> list[Claim]:
    """Return where the detections of some nights are."""
    table = tables.daymops_runs.c
    statement = select(table.detections).where(table.day_obs.in_(nights), table.detections.is_not(None))
    return [Claim(**json.loads(text)) for text in connection.execute(statement.order_by(table.day_obs)).scalars()]


def alerts_of_ss_object(connection: Connection, ss_object_id: int, limit: int = 200) -> list[AlertRow]:
    """Return the alerts of a Solar System object, newest first."""
    table = tables.alerts
    statement = select(table).where(table.c.ss_object_id == ss_object_id).order_by(table.c.mjd.desc()).limit(limit)
    return alert_rows(connection.execute(statement).mappings())
