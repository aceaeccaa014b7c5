"""Questions to the view: alerts, objects, annotations, visits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, func, or_, select, tuple_

from streams.views import tables
from streams.views.errors import NotInViewError
from streams.views.rows import AlertRow, AnnotationRow, FateRow, ObjectRow
from streams.views.sky import Cone, separation_arcsec

__all__ = [
    "AlertSearch",
    "alert",
    "alert_rows",
    "alerts_after",
    "alerts_of_object",
    "annotation",
    "annotations_of",
    "count_alerts",
    "dia_object",
    "dia_object_record",
    "fate_of",
    "last_sequence",
    "ledger_of",
    "measurements_of",
    "objects_near",
    "packet",
    "search_alerts",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSearch:
    """Which alerts; what is None does not restrict."""

    identifier: int | None = None
    """An alert or an object."""
    cone: Cone | None = None
    bands: tuple[str, ...] = ()
    mjd_min: float | None = None
    mjd_max: float | None = None
    snr_min: float | None = None
    visit: int | None = None
    before: tuple[float, int] | None = None
    """Midpoint and id of the last alert of the page before."""
    limit: int = 50


def search_alerts(connection: Connection, search: AlertSearch) -> list[AlertRow]:
    """Return matching alerts, latest midpoint first."""
    table = tables.alerts
    statement = select(table).where(*_conditions(search)).order_by(table.c.mjd.desc(), table.c.alert_id.desc())
    if search.cone is None:
        return alert_rows(connection.execute(statement.limit(search.limit)).mappings())
    found = []
    for row in alert_rows(connection.execute(statement).mappings()):
        if separation_arcsec(row.ra, row.dec, search.cone.ra, search.cone.dec) <= search.cone.radius_arcsec:
            found.append(row)
            if len(found) == search.limit:
                break
    return found


def alerts_after(connection: Connection, sequence: int, limit: int = 200) -> list[AlertRow]:
    """Return alerts that came into the view after one, in order of arrival."""
    table = tables.alerts
    statement = select(table).where(table.c.sequence > sequence).order_by(table.c.sequence).limit(limit)
    return alert_rows(connection.execute(statement).mappings())


def last_sequence(connection: Connection) -> int:
    """Return the sequence of the alert that came last, 0 when there is none."""
    return int(connection.execute(select(func.max(tables.alerts.c.sequence))).scalar() or 0)


def count_alerts(connection: Connection) -> int:
    """Return how many alerts the view holds."""
    return int(connection.execute(select(func.count()).select_from(tables.alerts)).scalar() or 0)


def alert(connection: Connection, alert_id: int) -> AlertRow:
    """Return one alert.

    Raises
    ------
    NotInViewError
        When the store has none of that id, as far as the view has read it.
    """
    statement = select(tables.alerts).where(tables.alerts.c.alert_id == alert_id)
    rows = alert_rows(connection.execute(statement).mappings())
    if not rows:
        raise NotInViewError(f"The alert store holds no alert {alert_id}.")
    return rows[0]


def packet(connection: Connection, alert_id: int) -> bytes:
    """Return an alert's message exactly as it was sent, wire header included.

    Raises
    ------
    NotInViewError
        When the store has none of that id.
    """
    statement = select(tables.packets.c.message).where(tables.packets.c.alert_id == alert_id)
    message = connection.execute(statement).scalar()
    if message is None:
        raise NotInViewError(f"The alert store holds no alert {alert_id}.")
    return bytes(message)


def alerts_of_object(connection: Connection, object_id: int) -> list[AlertRow]:
    """Return an object's alerts, oldest first."""
    table = tables.alerts
    statement = select(table).where(table.c.object_id == object_id).order_by(table.c.mjd, table.c.alert_id)
    return alert_rows(connection.execute(statement).mappings())


def dia_object(connection: Connection, object_id: int) -> ObjectRow:
    """Return the newest version of an object.

    Raises
    ------
    NotInViewError
        When there is no such object; where it was closed, the error says where its sources went.
    """
    statement = select(*_object_columns()).where(tables.objects.c.object_id == object_id)
    row = connection.execute(statement).mappings().first()
    if row is None:
        raise NotInViewError(_why_not(connection, object_id))
    return ObjectRow(**row)


def _why_not(connection: Connection, object_id: int) -> str:
    fate = fate_of(connection, object_id)
    if fate is None or not fate.closed:
        return f"There is no object {object_id}."
    went = f"the Solar System object {fate.designation} ({fate.ss_object_id})" if fate.ss_object_id else "other objects"
    return f"Object {object_id} was closed by DayMOPS of night {fate.day_obs}: its detections are those of {went}."


def dia_object_record(connection: Connection, object_id: int) -> bytes | None:
    """Return the encoded DIAObject record of the newest version, None when there is no such object."""
    statement = select(tables.objects.c.record).where(tables.objects.c.object_id == object_id)
    record = connection.execute(statement).scalar()
    return None if record is None else bytes(record)


def fate_of(connection: Connection, object_id: int) -> FateRow | None:
    """Return what DayMOPS made of a DIAObject, None when it said nothing of it."""
    row = connection.execute(select(tables.fates).where(tables.fates.c.object_id == object_id)).mappings().first()
    return None if row is None else FateRow(**{**row, "closed": bool(row["closed"])})


def measurements_of(connection: Connection, object_id: int) -> list[tuple[str, bytes]]:
    """Return kind (detection, forced) and encoded record of each measurement that association published of an object."""
    table = tables.measurements.c
    statement = select(table.kind, table.record).where(table.object_id == object_id).order_by(table.source_id)
    return [(row.kind, bytes(row.record)) for row in connection.execute(statement)]


def objects_near(connection: Connection, cone: Cone, limit: int = 100) -> list[ObjectRow]:
    """Return the objects in a cone, nearest first, each with its separation."""
    statement = select(*_object_columns()).where(_in_box(tables.objects, cone))
    found = []
    for row in connection.execute(statement).mappings():
        separation = separation_arcsec(row["ra"], row["dec"], cone.ra, cone.dec)
        if separation <= cone.radius_arcsec:
            found.append(ObjectRow(**row, separation_arcsec=separation))
    found.sort(key=lambda row: (row.separation_arcsec or 0.0, row.object_id))
    return found[:limit]


def ledger_of(connection: Connection, alert_id: int) -> dict[str, Any] | None:
    """Return what the ledger says of an alert, None when it says nothing."""
    row = connection.execute(select(tables.ledger).where(tables.ledger.c.alert_id == alert_id)).mappings().first()
    return None if row is None else dict(row)


def annotation(connection: Connection, annotation_id: str) -> AnnotationRow:
    """Return one remark.

    Raises
    ------
    NotInViewError
        When there is none of that id.
    """
    table = tables.annotation_log
    row = connection.execute(select(table).where(table.c.annotation_id == annotation_id)).mappings().first()
    if row is None:
        raise NotInViewError(f"There is no annotation {annotation_id}.")
    target = [(row["target_kind"], row["target_id"])]
    return next(note for note in annotations_of(connection, target) if note.annotation_id == annotation_id)


def annotations_of(connection: Connection, targets: Sequence[tuple[str, int]]) -> list[AnnotationRow]:
    """Return all remarks on any of the targets, newest first, each knowing what superseded or retracted it."""
    if not targets:
        return []
    table = tables.annotation_log
    condition = tuple_(table.c.target_kind, table.c.target_id).in_(list(targets))
    statement = select(table).where(condition).order_by(table.c.sequence.desc())
    rows = [AnnotationRow(**row) for row in connection.execute(statement).mappings()]
    superseded = {row.supersedes: row.annotation_id for row in reversed(rows) if row.supersedes}
    retracted = {row.retracts: row.annotation_id for row in reversed(rows) if row.retracts}
    return [
        replace(row, superseded_by=superseded.get(row.annotation_id), retracted_by=retracted.get(row.annotation_id))
        for row in rows
    ]


def _conditions(search: AlertSearch) -> list[ColumnElement[bool]]:
    columns = tables.alerts.c
    conditions: list[ColumnElement[bool]] = []
    if search.identifier is not None:
        conditions.append(or_(columns.alert_id == search.identifier, columns.object_id == search.identifier))
    if search.cone is not None:
        conditions.append(_in_box(tables.alerts, search.cone))
    if search.bands:
        conditions.append(columns.band.in_(search.bands))
    for column, low, high in ((columns.mjd, search.mjd_min, search.mjd_max), (columns.snr, search.snr_min, None)):
        if low is not None:
            conditions.append(column >= low)
        if high is not None:
            conditions.append(column <= high)
    if search.visit is not None:
        conditions.append(columns.visit == search.visit)
    if search.before is not None:
        mjd, alert_id = search.before
        same = and_(columns.mjd == mjd, columns.alert_id < alert_id)
        conditions.append(or_(columns.mjd < mjd, same))
    return conditions


def _in_box(table: Table, cone: Cone) -> ColumnElement[bool]:
    """Return a condition that every member of the cone meets, for the index; the exact test comes after it."""
    radius = cone.radius_arcsec / 3600
    low, high = cone.dec - radius, cone.dec + radius
    in_dec = and_(table.c.dec >= low, table.c.dec <= high)
    if low <= -90 or high >= 90 or radius >= 90:
        return in_dec
    span = math.degrees(math.asin(min(1.0, math.sin(math.radians(radius)) / math.cos(math.radians(cone.dec))))) + 1e-9
    west, east = cone.ra - span, cone.ra + span
    if west >= 0 and east < 360:
        return and_(in_dec, table.c.ra >= west, table.c.ra <= east)
    return and_(in_dec, or_(table.c.ra >= west % 360, table.c.ra <= east % 360))


def _object_columns() -> list[Any]:
    return [column for column in tables.objects.c if column.name != "record"]


def alert_rows(mappings: Iterable[Any]) -> list[AlertRow]:
    """Return rows of the alerts' table as alerts."""
    return [AlertRow(**row) for row in mappings]
