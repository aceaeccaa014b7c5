"""Where the registry's entries are kept: the compacted topic ``_schemas``, or memory for tests.

Each call of `append` is one Kafka transaction, under a transactional id of the topic: a second registry on the same cluster
takes the topic over, and the first one's next write is refused instead of giving an id twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Protocol

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition
from confluent_kafka.cimpl import NewTopic

from infra.errors import KafkaUnavailableError
from infra.kafka import admin, consumer, error_of, producer, translated
from infra.registry.store import Entry

__all__ = ["Journal", "KafkaJournal", "MemoryJournal"]

TOPIC = "_schemas"
TIMEOUT_S = 15.0


class Journal(Protocol):
    """An ordered record of entries."""

    def read(self) -> Iterator[Entry]:
        """Yield every entry, oldest first."""

    def append(self, entries: Sequence[Entry]) -> None:
        """Record entries, all or none, durably."""


class MemoryJournal:
    """A journal that lives as long as the process."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def read(self) -> Iterator[Entry]:
        """Yield every entry, oldest first."""
        yield from self.entries

    def append(self, entries: Sequence[Entry]) -> None:
        """Record entries."""
        self.entries.extend(entries)


class KafkaJournal:
    """The journal in a compacted topic of one partition, which is created when missing.

    Parameters
    ----------
    bootstrap
        Address of the cluster.
    topic
        Name of the topic.
    replication
        Its replication factor when it is created.

    Raises
    ------
    KafkaUnavailableError
        When the cluster does not answer.
    """

    def __init__(self, bootstrap: str, *, topic: str = TOPIC, replication: int = 1) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._create(replication)
        self._producer = producer(
            bootstrap, client_id="nightcast-registry", transactional_id=f"nightcast-registry-{topic}"
        )
        with translated("open the schema journal"):
            self._producer.init_transactions(TIMEOUT_S)

    def read(self) -> Iterator[Entry]:
        """Yield every entry, oldest first, up to the end as it is when the reading begins."""
        reader = consumer(self._bootstrap, "nightcast-registry-reader", extra={"enable.partition.eof": True})
        try:
            with translated("read the schema journal"):
                reader.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
                while True:
                    message = reader.poll(TIMEOUT_S)
                    if message is None:
                        raise KafkaUnavailableError("Kafka does not answer: cannot read the schema journal.")
                    error = message.error()
                    if error is not None and error.code() == KafkaError._PARTITION_EOF:
                        return
                    if error is not None:
                        raise error_of(error, doing="read the schema journal")
                    value = message.value()
                    yield json.loads(message.key() or b"{}"), None if value is None else json.loads(value)
        finally:
            reader.close()

    def append(self, entries: Sequence[Entry]) -> None:
        """Record entries in one transaction.

        Raises
        ------
        KafkaFencedError
            When another registry has taken the topic over.
        KafkaUnavailableError
            When the cluster does not answer; nothing is recorded then.
        """
        self._producer.begin_transaction()
        try:
            for key, value in entries:
                self._producer.produce(self._topic, _encoded(value), _encoded(key), partition=0)
            self._producer.commit_transaction(TIMEOUT_S)
        except KafkaException as error:
            failure = error_of(error, doing="write the schema journal")
            if error.args[0].txn_requires_abort():
                with translated("abort a write of the schema journal"):
                    self._producer.abort_transaction(TIMEOUT_S)
            raise failure from error

    def _create(self, replication: int) -> None:
        client = admin(self._bootstrap)
        with translated("create the schema journal"):
            new = NewTopic(self._topic, 1, replication, config={"cleanup.policy": "compact"})
            try:
                client.create_topics([new], operation_timeout=TIMEOUT_S, request_timeout=TIMEOUT_S)[
                    self._topic
                ].result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise


def _encoded(value: object) -> bytes | None:
    return None if value is None else json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
