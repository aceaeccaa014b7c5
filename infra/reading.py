"""Read a topic from its beginning to the end it has now: for tables that are folds of topics, reports and tests.

Only committed records are given. The end is found by librdkafka's end-of-partition event, because markers of transactions and
compaction leave gaps in the offsets. A commit returns to its producer before the coordinator has marked every partition of
the transaction; a reader that stopped at the last stable record would miss what was committed a moment ago. So it goes on
to where the log ended when it began, which waits for transactions that were open then: they end by themselves in seconds.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, IsolationLevel, KafkaError, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from infra.errors import KafkaUnavailableError
from infra.kafka import admin, consumer, error_of, translated
from infra.retry import retried

__all__ = ["headers_of", "partitions_of", "place_of", "read_to_end"]

_PATIENCE_S = 30.0
_QUICK_END = {"enable.partition.eof": True, "fetch.wait.max.ms": 10}


def place_of(message: Message) -> tuple[int, int]:
    """Return the partition and offset of a consumed message, which always has both."""
    partition, offset = message.partition(), message.offset()
    if partition is None or offset is None:
        raise KafkaUnavailableError("A message without partition and offset was not consumed from Kafka.")
    return partition, offset


def headers_of(message: Message) -> dict[str, bytes]:
    """Return a message's headers; one without a value is empty."""
    headers: Any = message.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return {str(name): value if isinstance(value, bytes) else str(value or "").encode() for name, value in pairs}


def partitions_of(bootstrap: str, topic: str) -> list[int]:
    """Return the numbers of a topic's partitions.

    Raises
    ------
    KafkaRequestError
        When there is no such topic.
    KafkaUnavailableError
        When the cluster does not answer.
    """
    client = consumer(bootstrap, f"reader-{uuid.uuid4()}")
    try:
        return _partitions(client, topic)
    finally:
        client.close()


def read_to_end(
    bootstrap: str, topic: str, partitions: Sequence[int] | None = None, *, settled: bool = True
) -> Iterator[Message]:
    """Give every committed message of a topic, each partition in order, and stop at the end it has meanwhile.

    Parameters
    ----------
    bootstrap
        Address of the cluster.
    topic
        Name of the topic.
    partitions
        Only these; all when not given.
    settled
        Whether to wait for the end of transactions that are open now; without it, what they write may be missing.

    Raises
    ------
    KafkaUnavailableError
        When nothing comes for half a minute.
    """
    client = consumer(bootstrap, f"reader-{uuid.uuid4()}", extra=_QUICK_END)
    try:
        present = _partitions(client, topic)  # asked in any case: a client that knows no broker yet loses half a second
        wanted = present if partitions is None else list(partitions)
        # a broker that has just started, or just made the topic, may not know yet that it leads a partition
        ends = retried(lambda: _ends(bootstrap, topic, wanted), for_s=_PATIENCE_S) if settled else {}
        with translated(f"read topic {topic}"):
            client.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in wanted])
        yield from _messages(client, {partition: ends.get(partition, 0) for partition in wanted}, topic)
    finally:
        client.close()


def _partitions(client: Any, topic: str) -> list[int]:
    with translated(f"look up topic {topic}"):
        metadata = client.list_topics(topic, timeout=_PATIENCE_S).topics[topic]
    if metadata.error is not None:
        raise error_of(metadata.error, doing=f"look up topic {topic}")
    return sorted(metadata.partitions)


def _ends(bootstrap: str, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """Return where each partition ends, records of open transactions included."""
    latest: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(topic, partition): latest for partition in partitions}
    if not asked:
        return {}
    client = admin(bootstrap)  # kept: a client that is collected never answers
    with translated(f"find the end of topic {topic}"):
        answers = client.list_offsets(
            asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_PATIENCE_S
        )
        return {place.partition: answer.result().offset for place, answer in answers.items()}


def _messages(client: Any, ends: dict[int, int], topic: str) -> Iterator[Message]:
    """Give messages until every partition was read to its end, which lies at these offsets or beyond."""
    open_partitions = set(ends)
    deadline = time.monotonic() + _PATIENCE_S
    while open_partitions:
        for message in client.consume(num_messages=500, timeout=0.02):  # it waits so long for a full batch
            deadline = time.monotonic() + _PATIENCE_S
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                partition, offset = place_of(message)
                if offset >= ends[partition]:
                    open_partitions.discard(partition)
            elif not error.retriable():
                raise error_of(error, doing=f"read topic {topic}")
        if time.monotonic() > deadline:
            raise KafkaUnavailableError(
                f"Topic {topic} cannot be read to its end: nothing came for {_PATIENCE_S:.0f} s."
            )
