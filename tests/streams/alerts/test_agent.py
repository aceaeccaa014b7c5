"""Alert assembly's handler on a dictionary and a producer that remembers."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from infra.errors import KafkaUnavailableError
from schemas import avro
from schemas.errors import UndecodableEventError
from schemas.events import AssembledAlert, ObjectUpdate
from schemas.wire import unframe
from streams.alerts.agent import AlertAssemblyHandler, changelog_topic
from streams.stage_codec import StageCodec
from streams.transaction import Read
from tests.support.association_night import plan_night, plan_night_updates


class Registry:
    """Gives every subject the same id and knows the schema of updates."""

    def register(self, subject: str, schema: str) -> int:
        """Return the id."""
        return 7

    def schema(self, identifier: int) -> str:
        """Return the schema of updates."""
        return avro.schema_text(ObjectUpdate)


class RememberingProducer:
    """Delivers at once, or never."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes, bytes]] = []
        self.undelivered = 0

    def produce(self, topic: str, *, key: bytes, value: bytes, headers: Any, on_delivery: Callable[..., None]) -> None:
        """Remember the record."""
        self.records.append((topic, key, value))

    def poll(self, timeout: float) -> int:
        """Do nothing."""
        return 0

    def flush(self, timeout: float) -> int:
        """Return how many records did not arrive."""
        return self.undelivered


class AcknowledgedTable(dict[bytes, bytes]):
    """A table that counts how often its changelog was awaited."""

    awaited = 0

    async def acknowledged(self) -> None:
        """Count."""
        self.awaited += 1


@pytest.fixture
def producer() -> RememberingProducer:
    return RememberingProducer()


@pytest.fixture
def table() -> AcknowledgedTable:
    return AcknowledgedTable()


@pytest.fixture
def handler(table: AcknowledgedTable, producer: RememberingProducer) -> AlertAssemblyHandler:
    return AlertAssemblyHandler(table, producer, StageCodec(Registry()))  # type: ignore[arg-type]


def read(value: bytes | None, offset: int = 0) -> Read:
    return Read(topic="object-updates", partition=0, offset=offset, key=None, value=value, timestamp_s=0.0, headers={})


def test_a_night_of_updates_gives_its_alerts_keyed_by_object(
    handler: AlertAssemblyHandler, producer: RememberingProducer
) -> None:
    codec = StageCodec(Registry()).events
    updates = plan_night_updates()
    alive = [
        asyncio.run(handler.handle(read(codec.encode("object-updates", update), offset)))
        for offset, update in enumerate(updates)
    ]
    assert alive == [bool(update.diasources) for update in updates]
    _, expected = plan_night()
    got: dict[int, Any] = {}
    for topic, key, value in producer.records:
        alert = avro.decode(AssembledAlert, unframe(value)[1])
        got[alert.alert_id] = unframe(value)[1]
        assert (topic, key) == ("alert-packets", alert.dia_object_id.to_bytes(8, "big"))
    assert got == expected.alerts


def test_settling_waits_for_packets_and_changelog(
    handler: AlertAssemblyHandler, producer: RememberingProducer, table: AcknowledgedTable
) -> None:
    asyncio.run(handler.settle())
    assert table.awaited == 1
    producer.undelivered = 3
    with pytest.raises(KafkaUnavailableError, match="3 records"):
        asyncio.run(handler.settle())


def test_months_that_nothing_reaches_any_more_are_dropped(
    handler: AlertAssemblyHandler, table: AcknowledgedTable
) -> None:
    codec, update = StageCodec(Registry()).events, plan_night_updates()[0]
    for days in (0.0, 450.0):
        later = dataclasses.replace(
            update, midpoint_mjd_tai=update.midpoint_mjd_tai + days, visit=update.visit + int(days)
        )
        asyncio.run(handler.handle(read(codec.encode("object-updates", later), int(days))))
        assert len(table) == 1


def test_a_correction_changes_histories_and_makes_no_alert(
    handler: AlertAssemblyHandler, producer: RememberingProducer, table: AcknowledgedTable
) -> None:
    codec, update = StageCodec(Registry()).events, plan_night_updates()[0]
    asyncio.run(handler.handle(read(codec.encode("object-updates", update), 0)))
    made, before = list(producer.records), dict(table)
    taken = dataclasses.replace(
        update,
        visit=update.visit // 100_000 * 100_000,
        cause="closed",
        diasources=(),
        dia_source_ids=(),
        released=update.dia_source_ids,
        midpoints_mjd_tai=(update.midpoint_mjd_tai,) * len(update.dia_source_ids),
    )
    assert asyncio.run(handler.handle(read(codec.encode("object-updates", taken), 1))) is False
    assert producer.records == made
    assert table.keys() == before.keys()
    assert table != before


def test_what_is_no_update_is_refused(handler: AlertAssemblyHandler) -> None:
    for value in (None, b"", b"\x00\x00\x00\x00\x07rubbish"):
        with pytest.raises(UndecodableEventError):
            asyncio.run(handler.handle(read(value)))


def test_the_changelog_is_named_as_faust_names_it() -> None:
    assert changelog_topic().name == "nightcast.alert-assembly-object-months-changelog"
