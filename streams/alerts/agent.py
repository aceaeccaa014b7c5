"""The Faust side of alert assembly: a table of each object's months, and the packets spliced from it.

Partitioned by object: more processes of the group share the partitions, each with the tables of its own. A month's block
is put again even when an update is a repetition, because the changelog may have missed the first put (streaming.md,
section 2).
"""

from __future__ import annotations

import asyncio
from typing import Any

from confluent_kafka import Producer

from infra.topics_admin import create_topics
from processors.alerts.assembly import (
    KEPT_MONTHS,
    apply_correction,
    apply_update,
    assembled_alerts,
    block_key,
    corrected_months,
    history_name,
    months_of,
)
from schemas.errors import UndecodableEventError
from schemas.events import ObjectUpdate
from schemas.topics import Cleanup, Partitions, Topic
from schemas.wire import EventCodec
from streams.bulk import BulkProducer
from streams.compose import Wiring
from streams.faust_stage import FaustSpec
from streams.stage_codec import Outgoing, StageCodec
from streams.transaction import Read

__all__ = ["SPEC", "AlertAssemblyHandler", "changelog_topic", "prepare"]

TOPIC = "object-updates"
TABLE = "object-months"

SPEC = FaustSpec(stage="alert-assembly", topic=TOPIC, settle_every=500, settle_after_s=0.05, buffered=1024, table=TABLE)
"""The stage: a commit every 500 updates bounds what a crash repeats (streaming.md, section 0)."""


def changelog_topic(stage_id: str = f"nightcast.{SPEC.stage}") -> Topic:
    """Return the row of the table's changelog, named as Faust names it."""
    return Topic(
        name=f"{stage_id}-{TABLE}-changelog",
        key="object and month",
        event=None,
        partitions=Partitions.P,
        cleanup=Cleanup.COMPACT,
        retention_days=None,
        summary="months of objects' encoded records",
    )


def prepare(wiring: Wiring) -> None:
    """Make the changelog's topic where it is missing."""
    kafka = wiring.settings.kafka
    create_topics(
        wiring.settings.bootstrap,
        partitions=kafka.partitions,
        replication=kafka.replication,
        topics=[changelog_topic()],
    )


class AlertAssemblyHandler:
    """Applies updates to the table and puts out their packets.

    Parameters
    ----------
    table
        Object and month to block: the stage's Faust table, or a dictionary.
    producer
        Writes the packets.
    codec
        Encodes packets, and decodes updates with its own event codec.
    """

    def __init__(self, table: Any, producer: Producer, codec: StageCodec) -> None:
        self._table = table
        self._outputs = BulkProducer(producer, codec)
        self._codec: EventCodec = codec.events

    @classmethod
    def wired(cls, wiring: Wiring, *, name: str, table: Any) -> AlertAssemblyHandler:
        """Make the handler of a process."""
        return cls(table, wiring.producer(name), StageCodec(wiring.registry))

    async def start(self) -> None:
        """Do nothing: the table is recovered before the stage reads."""

    async def handle(self, read: Read) -> bool:
        """Apply one update and put out its alerts."""
        if read.value is None:
            raise UndecodableEventError(f"A record without a value means nothing on {TOPIC}.")
        update = self._codec.decode(ObjectUpdate, read.value)
        if update.corrects:
            self._correct(update, read.offset)
            return False
        months = months_of(update)
        name = history_name(update)
        own = block_key(name, months[-1])
        block, applied_at = apply_update(update, read.offset, self._table.get(own))
        alerts = []
        if update.diasources:
            earlier = [self._table.get(block_key(name, month)) for month in months[:-1]]
            alerts = assembled_alerts(update, applied_at, [*earlier, block])
        self._table[own] = block
        self._forget(block_key(name, months[-1] - KEPT_MONTHS))
        records = [Outgoing(topic="alert-packets", key=one.owner, record=one) for one in alerts]
        return self._outputs.put(records) > 0

    async def settle(self) -> None:
        """Wait until the broker has the packets and the changelog."""
        await asyncio.to_thread(self._outputs.confirm)
        acknowledged = getattr(self._table, "acknowledged", None)
        if acknowledged is not None:
            await acknowledged()

    def close(self) -> None:
        """Hold nothing."""

    def _correct(self, update: ObjectUpdate, offset: int) -> None:
        """Let an object's history follow a correction; no packet is made."""
        for month in corrected_months(update):
            key = block_key(history_name(update), month)
            self._table[key] = apply_correction(update, offset, month, self._table.get(key))

    def _forget(self, key: bytes) -> None:
        if self._table.get(key) is not None:
            self._table.pop(key, None)
