"""Assembled alerts as the stage before distribution hands them on, made from built packets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from infra.objects import ObjectStore
from schemas import avro
from schemas.events import AssembledAlert, CutoutPack, CutoutSet
from streams.stage import Incoming
from tests.support.packets import BuiltAlert, frame_packet

STAMPS = ("cutoutDifference", "cutoutScience", "cutoutTemplate")


def bare_packet(record: dict[str, Any]) -> bytes:
    """Return the packet of a record with its three stamps null, without the wire header."""
    return frame_packet(record | dict.fromkeys(STAMPS))[5:]


def stamps_of(built: BuiltAlert) -> CutoutSet:
    """Return a built alert's stamps."""
    difference, science, template = (built.record[name] for name in STAMPS)
    return CutoutSet(dia_source_id=built.alert_id, difference=difference, science=science, template=template)


def assembled(built: BuiltAlert, objects: ObjectStore | None = None, **changes: Any) -> AssembledAlert:
    """Return the alert without stamps; they are put into the object store where one is given."""
    claim = None
    if objects is not None:
        pack = CutoutPack(visit=built.visit, detector=built.detector, stamps=(stamps_of(built),))
        claim = objects.put(avro.encode(pack))
    fields: dict[str, Any] = {
        "alert_id": built.alert_id,
        "dia_object_id": built.object_id,
        "visit": built.visit,
        "detector": built.detector,
        "packet": bare_packet(built.record),
        "cutouts": claim,
        "last_readout_sent_unix_s": 1000.0,
    }
    return AssembledAlert(**(fields | changes))


def incoming(
    record: Any, *, topic: str = "alert-packets", offset: int = 0, at: float = 1000.0, **rest: Any
) -> Incoming:
    """Return a message as a stage's handler gets it."""
    fields: dict[str, Any] = {"partition": 0, "key": b"key"}
    return Incoming(topic=topic, offset=offset, record=record, timestamp_s=at, **(fields | rest))


@dataclass
class Counted:
    """Remembers the outcomes it is told."""

    outcomes: list[str] = field(default_factory=list)

    def __call__(self, outcome: str, latency_s: float) -> None:
        self.outcomes.append(outcome)


@dataclass
class LedgerInMemory:
    """A ledger that is a dictionary."""

    entries: dict[tuple[int, int], Any] = field(default_factory=dict)
    loaded: list[int] = field(default_factory=list)

    def load(self, partition: int) -> None:
        self.loaded.append(partition)

    def forget_all(self) -> None:
        self.entries.clear()

    def get(self, partition: int, alert_id: int) -> Any:
        return self.entries.get((partition, alert_id))

    def put(self, partition: int, entry: Any) -> None:
        self.entries[partition, entry.alert_id] = entry
