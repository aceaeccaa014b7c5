"""The real publisher, run in a test on the real broker."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from confluent_kafka import Message, TopicPartition

from infra import kafka
from infra.objects import ObjectStore
from infra.reading import partitions_of, read_to_end
from infra.registry import RegistryClient
from infra.settings import Settings
from schemas.events import AssembledAlert
from schemas.wire import EventCodec
from streams.distribution.ledger import AlertLedger
from streams.distribution.publisher import INPUT_TOPIC, Publisher
from streams.stage import TransactionalStage
from tests.support.assembled import Counted
from tests.support.stages import eventually, running

__all__ = ["publish_all", "publisher"]


def publish_all(settings: Settings, alerts: Iterable[AssembledAlert], objects: ObjectStore) -> dict[int, Message]:
    """Publish alerts and return, by alert id, the message of each on the public topic."""
    listed = list(alerts)
    ids = {alert.alert_id for alert in listed}
    with publisher(settings, objects) as counted:
        _send(settings, listed)
        eventually(lambda: len(counted.outcomes) >= len(listed))
    found = {}
    for message in read_to_end(settings.bootstrap, settings.alerts.topic):
        alert = int(dict(message.headers() or ()).get("alert_id", b"0"))
        if alert in ids:
            found[alert] = message
    return found


@contextmanager
def publisher(settings: Settings, objects: ObjectStore) -> Iterator[Counted]:
    """Run a publisher that takes in what is assembled from now on, and tell what becomes of each alert."""
    counted, group = Counted(), f"publisher-{uuid.uuid4().hex}"
    registry = RegistryClient(settings.registry_url)
    worker = Publisher(
        objects=objects,
        ledger=AlertLedger(settings.bootstrap, EventCodec(registry)),
        public_topic=settings.alerts.topic,
        count=counted,
    )
    _begin_at_the_end(settings, group)
    stage = TransactionalStage(
        replace(worker.spec(), group=group), name=group, bootstrap=settings.bootstrap, registry=registry
    )
    with running(stage):
        yield counted


def _begin_at_the_end(settings: Settings, group: str) -> None:
    client = kafka.consumer(settings.bootstrap, group)
    places = [TopicPartition(INPUT_TOPIC, number) for number in partitions_of(settings.bootstrap, INPUT_TOPIC)]
    ends = [client.get_watermark_offsets(place, timeout=10)[1] for place in places]
    offsets = [TopicPartition(p.topic, p.partition, end) for p, end in zip(places, ends, strict=True)]
    client.commit(offsets=offsets, asynchronous=False)
    client.close()


def _send(settings: Settings, alerts: Iterable[AssembledAlert]) -> None:
    codec = EventCodec(RegistryClient(settings.registry_url))
    producer = kafka.producer(settings.bootstrap, client_id="test")
    for alert in alerts:
        producer.produce(INPUT_TOPIC, codec.encode(INPUT_TOPIC, alert), alert.dia_object_id.to_bytes(8, "big"))
    assert producer.flush(20) == 0
