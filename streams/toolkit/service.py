"""What pages and API share: packets opened, stamps on their common stretch, light curves, the state of the night."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from infra.settings import Settings
from schemas import public
from schemas.wire import unframe
from streams.alert_files import OpenedAlert, export_json, open_alert_bytes, registry_lookup, stamps
from streams.toolkit.lightcurve import Measurement, light_curve
from streams.toolkit.live import Changes
from streams.toolkit.notes import AnnotationLog
from streams.toolkit.stamps import ROLES, Stamp, Stretch, read_stamp, stretches
from streams.views import nights, queries
from streams.views.errors import NotInViewError, RequestError
from streams.views.head import read_head
from streams.views.records import decode_record
from streams.views.rows import AlertRow, FateRow, ObjectRow, VisitRow
from streams.views.view import View

__all__ = ["Epoch", "History", "Toolkit", "decode_object", "readable_stamps", "record_as_json"]

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One alert of an object with its stamps, ready to be shown."""

    alert: AlertRow
    stamps: Mapping[str, Stamp]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything known of an object."""

    object_id: int
    now: ObjectRow | None
    """Newest version; None while it has not reached the view, or after it was merged or withdrawn."""
    record: Mapping[str, Any] | None
    epochs: Sequence[Epoch]
    """Oldest first."""
    stretch: Mapping[str, Stretch]
    points: Sequence[Measurement]
    newest: OpenedAlert | None
    fate: FateRow | None = None
    """What DayMOPS made of it."""

    @property
    def position(self) -> tuple[float, float]:
        """ICRS right ascension and declination, degrees."""
        place = self.now or self.epochs[-1].alert
        return place.ra, place.dec


class Toolkit:
    """The use cases of the toolkit.

    Parameters
    ----------
    settings
        Settings of the process.
    view
        The folded topics.
    log
        Where annotations are written.
    changes
        Rings when the view changes.
    """

    def __init__(self, *, settings: Settings, view: View, log: AnnotationLog, changes: Changes) -> None:
        self.settings = settings
        self.view = view
        self.log = log
        self.changes = changes
        self._stamps: _Recent[int, dict[str, Stamp]] = _Recent(600)
        self._stretches: _Recent[tuple[int, ...], dict[str, Stretch]] = _Recent(200)

    def packet(self, alert_id: int) -> bytes:
        """Return an alert's message as sent."""
        with self.view.reading() as connection:
            return queries.packet(connection, alert_id)

    def opened(self, alert_id: int) -> OpenedAlert:
        """Return an alert decoded with the schema it was written with."""
        return self.open_bytes(self.packet(alert_id))[0]

    def open_bytes(self, data: bytes) -> list[OpenedAlert]:
        """Open alerts that anyone made: bundled schemas first, the registry for others."""
        if data[:1] == b"\x00" and public.bundled_alert_schema(unframe(data)[0]) is None:
            return open_alert_bytes(data, [registry_lookup(self.view.registry)])
        return open_alert_bytes(data)

    def stamps_of(self, alert_id: int) -> dict[str, Stamp]:
        """Return an alert's stamps by role; those that cannot be read are left out."""
        return self._stamps.get(alert_id, lambda: readable_stamps(self.opened(alert_id)))

    def stamp_file(self, alert_id: int, role: str) -> bytes:
        """Return one stamp's FITS file exactly as it was sent."""
        data = stamps(self.opened(alert_id)).get(role) if role in ROLES else None
        if data is None:
            raise NotInViewError(f"Alert {alert_id} has no {role} stamp.")
        return data

    def stretch_of(self, alert_ids: Sequence[int]) -> dict[str, Stretch]:
        """Return the stretch that is common to the stamps of some alerts."""
        key = tuple(alert_ids)
        return self._stretches.get(key, lambda: stretches([self.stamps_of(alert_id) for alert_id in key]))

    def history(self, object_id: int) -> History:
        """Return everything known of an object.

        Raises
        ------
        NotInViewError
            When neither a version of it nor an alert is in the view.
        """
        with self.view.reading() as connection:
            rows = queries.alerts_of_object(connection, object_id)
            record = queries.dia_object_record(connection, object_id)
            now = queries.dia_object(connection, object_id) if record is not None else None
            fate = queries.fate_of(connection, object_id)
        if now is None and not rows:
            raise NotInViewError(f"Neither an object nor an alert has the number {object_id}.")
        newest = self.opened(rows[-1].alert_id) if rows else None
        return History(
            object_id=object_id,
            now=now,
            record=None if record is None else decode_object(record),
            epochs=[Epoch(alert=row, stamps=self.stamps_of(row.alert_id)) for row in rows],
            stretch=self.stretch_of([row.alert_id for row in rows]),
            points=self._points(object_id, rows, newest),
            newest=newest,
            fate=fate,
        )

    def light_curve(self, object_id: int) -> list[Measurement]:
        """Return an object's light curve, without opening its stamps."""
        with self.view.reading() as connection:
            rows = queries.alerts_of_object(connection, object_id)
            if not rows:
                queries.dia_object(connection, object_id)
        return self._points(object_id, rows, self.opened(rows[-1].alert_id) if rows else None)

    def night(self, day_obs: int | None = None) -> tuple[int | None, list[VisitRow]]:
        """Return a night, the latest when none is named, and its visits."""
        with self.view.reading() as connection:
            chosen = nights.latest_night(connection) if day_obs is None else day_obs
            return chosen, [] if chosen is None else nights.visits_of_night(connection, chosen)

    def provenance(self, alert: AlertRow) -> dict[str, Any]:
        """Return where an alert came from and whether its bytes are those that the ledger names."""
        with self.view.reading() as connection:
            entry = queries.ledger_of(connection, alert.alert_id)
            message = queries.packet(connection, alert.alert_id)
        digest = hashlib.sha256(unframe(message)[1]).hexdigest()
        return {
            "digest": digest,
            "ledger": entry,
            "verified": None if entry is None else entry["digest"] == digest,
            "job_id": f"d-{alert.visit}-{alert.detector:03d}",
        }

    def _points(self, object_id: int, rows: Sequence[AlertRow], newest: OpenedAlert | None) -> list[Measurement]:
        """Join what the newest packet tells with what came after it and what no packet tells any more."""
        record = newest.record if newest is not None else {}
        told = {row["diaSourceId"] for row in record.get("prvDiaSources") or ()}
        detections, forced = self._published(object_id)
        detections += [
            read_head(self.packet(row.alert_id), self.view.registry.schema).dia_source
            for row in rows
            if row.alert_id not in told
        ]
        return light_curve(
            [*(record.get("prvDiaSources") or ()), *detections],
            [*(record.get("prvDiaForcedSources") or ()), *forced],
            held=[row.alert_id for row in rows],
        )

    def _published(self, object_id: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        with self.view.reading() as connection:
            found = queries.measurements_of(connection, object_id)
        detections = [decode_record(record, "diaSource") for kind, record in found if kind == "detection"]
        return detections, [decode_record(record, "diaForcedSource") for kind, record in found if kind == "forced"]


class _Recent(OrderedDict[K, V]):
    """The values used last, made when they are missing; safe to use from several threads.

    Parameters
    ----------
    size
        How many are kept.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._lock = threading.Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:  # type: ignore[override]
        """Return the value of a key, making it when it is not kept."""
        with self._lock:
            if key in self:
                self.move_to_end(key)
                return self[key]
        value = make()
        with self._lock:
            self[key] = value
            while len(self) > self._size:
                self.popitem(last=False)
        return value


def readable_stamps(opened: OpenedAlert) -> dict[str, Stamp]:
    """Return the stamps of an opened alert that can be read, in order of display."""
    files = stamps(opened)
    found = {}
    for role in ROLES:
        if role in files:
            try:
                found[role] = read_stamp(files[role])
            except RequestError:
                continue
    return found


def decode_object(record: bytes) -> dict[str, Any]:
    """Return a DIAObject's record from its Avro bytes."""
    return decode_record(record, "diaObject")


def record_as_json(opened: OpenedAlert) -> dict[str, Any]:
    """Return an alert's record as values that JSON has: identifiers as text, stamps as their sizes."""
    return cast("dict[str, Any]", json.loads(export_json(opened)))
