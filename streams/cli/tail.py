"""Follow the public topic as any broker's program would: a confluent-kafka consumer and the stock Avro deserializer.

Nothing here looks behind the public topic and the registry, so what it shows is what subscribers get.
"""

from __future__ import annotations

import json
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import fastavro
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, Message, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.errors import KafkaRequestError, KafkaUnavailableError
from infra.kafka import consumer, error_of, translated

__all__ = ["Follower", "asked_to_end", "line_of"]


class Follower:
    """Reads a public topic from now on or from its beginning.

    Parameters
    ----------
    bootstrap
        Address of the cluster.
    registry_url
        Address of the schema registry.
    topic
        Public topic.
    from_beginning
        Whether what is there already is read too.
    """

    def __init__(self, bootstrap: str, registry_url: str, topic: str, *, from_beginning: bool) -> None:
        self._topic = topic
        self._from_beginning = from_beginning
        self._registry = SchemaRegistryClient({"url": registry_url})
        self._decode = AvroDeserializer(self._registry)
        self._client = consumer(bootstrap, f"alerts-tail-{uuid.uuid4().hex[:12]}", extra={"enable.partition.eof": True})
        self._open: set[int] = set()

    def start(self, timeout_s: float = 5.0) -> None:
        """Find the topic's partitions and begin to read.

        Raises
        ------
        KafkaUnavailableError
            When the cluster does not answer.
        KafkaRequestError
            When it has no such topic.
        """
        with translated(f"look up the topic {self._topic}"):
            found = self._client.list_topics(self._topic, timeout=timeout_s).topics[self._topic]
        if found.error is not None or not found.partitions:
            raise KafkaRequestError(f"The cluster has no topic {self._topic}; `nightcast up` makes it.")
        begin = OFFSET_BEGINNING if self._from_beginning else OFFSET_END
        self._open = set(found.partitions)
        self._client.assign([TopicPartition(self._topic, number, begin) for number in sorted(found.partitions)])

    def alerts(self, ended: threading.Event, *, until_end: bool = False) -> Iterator[tuple[Message, dict[str, Any]]]:
        """Yield each message with its decoded alert until asked to end, or until the end of the topic where wanted."""
        while not ended.is_set() and not (until_end and not self._open):
            message = self._client.poll(0.25)
            if message is None:
                continue
            error = message.error()
            if error is None:
                yield message, self._decoded(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._open.discard(message.partition() or 0)
            elif error.code() != KafkaError._ALL_BROKERS_DOWN and not error.retriable():
                raise error_of(error, doing=f"read the topic {self._topic}")

    def schema(self, message: Message) -> dict[str, Any]:
        """Return the parsed schema that a message was written with."""
        identifier = int.from_bytes((message.value() or b"")[1:5], "big")
        text = self._registry.get_schema(identifier).schema_str
        parsed = fastavro.parse_schema(json.loads(text or "null"))
        assert isinstance(parsed, dict)
        return parsed

    def close(self) -> None:
        """Leave the cluster."""
        self._client.close()

    def _decoded(self, message: Message) -> dict[str, Any]:
        context = SerializationContext(self._topic, MessageField.VALUE)
        try:
            record = self._decode(message.value(), context)
        except OSError as error:
            raise KafkaUnavailableError(f"The schema registry does not answer: {error}.") from error
        assert isinstance(record, dict)
        return record


def line_of(record: dict[str, Any], size: int) -> str:
    """Return an alert as one line of text."""
    source = record["diaSource"]
    flux, error, snr = source.get("psfFlux"), source.get("psfFluxErr"), source.get("snr")
    brightness = "no flux" if flux is None else f"{flux:9.0f} ± {error or 0:5.0f} nJy"
    earlier = len(record.get("prvDiaSources") or ()) + len(record.get("prvDiaForcedSources") or ())
    owner = source.get("diaObjectId") or source.get("ssObjectId") or 0
    significance = "     –" if snr is None else f"{snr:6.1f}"
    return (
        f"{source['midpointMjdTai']:.5f}  {record['diaSourceId']}  object {owner}  {source.get('band') or '?'}  "
        f"{brightness}  S/N {significance}  {source['ra']:.6f} {source['dec']:+.6f}  "
        f"history {earlier}  {size / 1000:.0f} kB"
    )


def asked_to_end(install: Callable[[int, Any], Any] = signal.signal) -> threading.Event:
    """Return an event that SIGINT and SIGTERM set.

    A shell starts background commands with SIGINT ignored, and Python then leaves it so; both signals get a handler here,
    so that either ends the command cleanly however it was started.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        install(number, lambda *_: ended.set())
    return ended
