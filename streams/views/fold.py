"""Fold messages of the topics into the view's tables.

`fold` writes rows and positions in the caller's transaction: a message is in the view if and only if the position of its
partition lies behind it, so each counts exactly once, however often a reader dies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, bindparam, delete, insert, select

from schemas import events
from schemas.errors import PermanentFailure
from schemas.ids import day_obs_of, unpack_dia_source_id
from schemas.wire import EventCodec
from streams.views import tables
from streams.views.head import AlertHead, read_head
from streams.views.moving import orbit_row, run_row, tracklet_row
from streams.views.records import decode_record

__all__ = ["FOLDED_TOPICS", "Folder", "Message", "read_positions"]

T = TypeVar("T")
_AT_ONCE = 500
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    """None is a tombstone."""
    timestamp_s: float = 0.0
    """When the broker appended it, seconds since 1970."""


class Folder:
    """Folds messages into tables.

    Parameters
    ----------
    codec
        Decodes our own events.
    schema
        Returns the text of a public schema by its id, for packets of versions that are not bundled.
    """

    def __init__(self, codec: EventCodec, schema: Callable[[int], str]) -> None:
        self._codec = codec
        self._schema = schema

    def fold(self, connection: Connection, messages: Iterable[Message]) -> int:
        """Fold messages into the view inside the caller's transaction and return how many were new.

        Parameters
        ----------
        connection
            A connection in a transaction that writes.
        messages
            Messages, those of one partition in order; ones already folded are passed over.

        Notes
        -----
        A message that cannot be folded is recorded in ``faults`` and passed over: one broken message must not stop the
        page. A registry that does not answer is no such case: its error leaves this function and nothing is written.
        """
        known = read_positions(connection)
        fresh = [m for m in messages if m.offset >= known.get((m.topic, m.partition), 0)]
        writes: dict[Table, dict[Any, Row | None]] = {}
        for message in fresh:
            try:
                self._fold_one(message, writes)
            except (PermanentFailure, ValueError, EOFError) as error:
                _note_fault(connection, message, str(error))
        for table, rows in writes.items():
            _replace(connection, table, rows)
        _advance(connection, fresh)
        return len(fresh)

    def _fold_one(self, message: Message, writes: dict[Table, dict[Any, Row | None]]) -> None:
        if message.value is None:
            for table in _TOMBSTONED.get(message.topic, ()):
                writes.setdefault(table, {})[_key_of(message, table)] = None
            return
        if message.topic == "alert-store":
            row = _alert_row(read_head(message.value, self._schema), message)
            writes.setdefault(tables.alerts, {})[row["alert_id"]] = row
            packet = {"alert_id": row["alert_id"], "message": message.value}
            writes.setdefault(tables.packets, {})[row["alert_id"]] = packet
            return
        if message.topic == "object-updates":
            update = self._codec.decode(events.ObjectUpdate, message.value)
            measured = writes.setdefault(tables.measurements, {})
            measured.update(_not_older(_measurement_rows(update), measured))
            if update.corrects and update.dia_object_id:
                writes.setdefault(tables.fates, {})[update.dia_object_id] = _fate_row(update)
            return
        event, table, make = _EVENTS[message.topic]
        row = make(self._codec.decode(event, message.value), message)
        key = row[_primary(table)]
        rows = writes.setdefault(table, {})
        if table is tables.annotation_log and key in rows:
            return
        rows[key] = row


def read_positions(connection: Connection) -> dict[tuple[str, int], int]:
    """Return the next offset of each partition that was ever read."""
    rows = connection.execute(select(tables.positions)).all()
    return {(row.topic, row.partition): row.next_offset for row in rows}


def _alert_row(head: AlertHead, message: Message) -> Row:
    source = head.dia_source
    return {
        "alert_id": head.alert_id,
        "object_id": source.get("diaObjectId") or None,
        "ss_object_id": source.get("ssObjectId") or None,
        "ra": source["ra"],
        "dec": source["dec"],
        "mjd": source["midpointMjdTai"],
        "band": source.get("band"),
        "visit": source["visit"],
        "detector": source["detector"],
        "flux": source.get("psfFlux"),
        "flux_error": source.get("psfFluxErr"),
        "science_flux": source.get("scienceFlux"),
        "science_flux_error": source.get("scienceFluxErr"),
        "snr": source.get("snr"),
        "reliability": source.get("reliability"),
        "schema_id": head.schema_id,
        "size": len(message.value or b""),
        "partition": message.partition,
        "offset": message.offset,
        "appended_unix_s": message.timestamp_s,
    }


def _object_row(event: events.DiaObjectVersion, message: Message) -> Row:
    record = decode_record(event.record, "diaObject")
    return {
        "object_id": event.dia_object_id,
        "ra": record["ra"],
        "dec": record["dec"],
        "n_sources": record["nDiaSources"],
        "first_mjd": record["firstDiaSourceMjdTai"],
        "last_mjd": record["lastDiaSourceMjdTai"],
        "visit": event.visit,
        "record": event.record,
        "partition": message.partition,
        "offset": message.offset,
    }


def _measurement_rows(event: events.ObjectUpdate) -> dict[int, Row]:
    kinds = {"detection": ("diaSource", "diaSourceId", event.diasources)}
    kinds["forced"] = ("diaForcedSource", "diaForcedSourceId", event.forced)
    rows = {}
    for kind, (name, key, records) in kinds.items():
        for record in records:
            identifier = decode_record(record, name)[key]
            rows[identifier] = {
                "source_id": identifier,
                "kind": kind,
                "object_id": event.owner,
                "record": record,
                "correction": event.correction,
            }
    return rows


def _not_older(rows: dict[int, Row], held: Mapping[int, Row | None]) -> dict[int, Row]:
    """Return the rows that no later correction has a word on."""
    return {
        key: row
        for key, row in rows.items()
        if (before := held.get(key)) is None or row["correction"] >= before["correction"]
    }


def _fate_row(event: events.ObjectUpdate) -> Row:
    return {
        "object_id": event.dia_object_id,
        "closed": int(event.cause == "closed"),
        "ss_object_id": event.successor,
        "verdict": event.verdict,
        "day_obs": day_obs_of(event.visit),
        "founded": day_obs_of(unpack_dia_source_id(event.dia_object_id).visit),
    }


def _ledger_row(event: events.AlertLedgerEntry, _message: Message) -> Row:
    return {
        "alert_id": event.alert_id,
        "object_id": event.owner,
        "visit": event.visit,
        "digest": event.digest,
        "state": event.state,
        "reason": event.reason,
        "topic": event.topic,
    }


def _manifest_row(event: events.AlertManifest, message: Message) -> Row:
    return {
        "visit": event.visit,
        "expected": event.expected,
        "published": event.published,
        "quarantined": event.quarantined,
        "complete": int(event.complete),
        "digest": event.digest,
        "failed_detectors": json.dumps(event.failed_detectors),
        "latency_p50_s": event.latency_p50_s,
        "latency_p95_s": event.latency_p95_s,
        "latency_max_s": event.latency_max_s,
        "appended_unix_s": message.timestamp_s,
    }


def _quality_row(event: events.QualityMetrics, _message: Message) -> Row:
    key = str(event.visit) if event.detector is None else f"{event.visit}:{event.detector}"
    return {
        "key": key,
        "instrument": event.instrument,
        "visit": event.visit,
        "detector": event.detector,
        "band": event.band,
        "verdict": event.verdict,
        "values": json.dumps(dict(event.values), sort_keys=True),
        "reasons": json.dumps(event.reasons),
    }


def _annotation_row(event: events.Annotation, message: Message) -> Row:
    row = {name: getattr(event, name) for name in events.Annotation.__dataclass_fields__}
    return row | {"sequence": message.offset}


def _job_row(event: events.JobLedgerEntry, _message: Message) -> Row:
    return {
        "job_id": event.job_id,
        "kind": event.kind.value,
        "instrument": event.instrument,
        "visit": event.visit,
        "detectors": json.dumps(event.detectors),
        "state": event.state,
        "worker": event.worker,
        "attempts": event.attempts,
        "reason": event.reason,
        "updated_unix_s": event.updated_unix_s,
    }


_EVENTS: dict[str, tuple[Any, Table, Callable[[Any, Message], Row]]] = {
    "diaobjects": (events.DiaObjectVersion, tables.objects, _object_row),
    "alert-ledger": (events.AlertLedgerEntry, tables.ledger, _ledger_row),
    "alert-manifests": (events.AlertManifest, tables.manifests, _manifest_row),
    "quality-metrics": (events.QualityMetrics, tables.quality, _quality_row),
    "alert-annotations": (events.Annotation, tables.annotation_log, _annotation_row),
    "job-ledger": (events.JobLedgerEntry, tables.jobs, _job_row),
    "orbit-store": (events.OrbitEvent, tables.orbits, orbit_row),
    "tracklet-store": (events.TrackletState, tables.tracklets, tracklet_row),
    "daymops-log": (events.DayMopsDecision, tables.daymops_runs, run_row),
}

FOLDED_TOPICS: tuple[str, ...] = ("alert-store", "object-updates", *_EVENTS)
"""Topics that the view is made from."""

_TOMBSTONED: dict[str, tuple[Table, ...]] = {
    "alert-store": (tables.alerts, tables.packets),
    "diaobjects": (tables.objects,),
    "alert-ledger": (tables.ledger,),
    "quality-metrics": (tables.quality,),
    "job-ledger": (tables.jobs,),
    "orbit-store": (tables.orbits,),
    "tracklet-store": (tables.tracklets,),
}
"""Compacted topics, in which a tombstone takes a row away; an annotation is never taken away."""


def _primary(table: Table) -> str:
    return "alert_id" if table is tables.alerts else table.primary_key.columns.keys()[0]


def _key_of(message: Message, table: Table) -> Any:
    key = message.key or b""
    named = table in (tables.quality, tables.jobs, tables.orbits)
    if not named and not key.isdigit():
        return int.from_bytes(key, "big")
    text = key.decode("utf-8", "replace")
    return text if named else int(text)


def _replace(connection: Connection, table: Table, rows: Mapping[Any, Row | None]) -> None:
    """Put rows in the place of those with their keys; None only takes away. An annotation that is there stays."""
    column = table.c[_primary(table)]
    if table is tables.annotation_log:
        held = set(connection.execute(select(column).where(column.in_(list(rows)))).scalars())
        fresh = [row for key, row in rows.items() if key not in held and row is not None]
    else:
        if table is tables.measurements:
            rows = _uncorrected(connection, rows)
        if not rows:
            return
        connection.execute(delete(table).where(column == bindparam("old")), [{"old": key} for key in rows])
        fresh = [row for row in rows.values() if row is not None]
    if fresh:
        connection.execute(insert(table), fresh)


def _uncorrected(connection: Connection, rows: Mapping[Any, Row | None]) -> Mapping[Any, Row | None]:
    """Leave out measurements of which the table has a later correction: partitions come in any order."""
    columns = tables.measurements.c
    held: dict[int, Row | None] = {}
    identifiers = sorted(rows)
    for first in range(0, len(identifiers), _AT_ONCE):
        part = identifiers[first : first + _AT_ONCE]
        found = connection.execute(select(columns.source_id, columns.correction).where(columns.source_id.in_(part)))
        held |= {row.source_id: {"correction": row.correction} for row in found}
    return _not_older({key: row for key, row in rows.items() if row is not None}, held)


def _advance(connection: Connection, messages: Iterable[Message]) -> None:
    ends: dict[tuple[str, int], int] = {}
    for message in messages:
        ends[message.topic, message.partition] = message.offset + 1
    for (topic, partition), offset in ends.items():
        where = (tables.positions.c.topic == topic) & (tables.positions.c.partition == partition)
        connection.execute(delete(tables.positions).where(where))
        connection.execute(insert(tables.positions), {"topic": topic, "partition": partition, "next_offset": offset})


def _note_fault(connection: Connection, message: Message, reason: str) -> None:
    row = {"topic": message.topic, "partition": message.partition, "offset": message.offset, "reason": reason}
    connection.execute(insert(tables.faults), row)
