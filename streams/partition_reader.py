"""Reading one partition by offset: what a state folds again, and records that other events name by where they lie."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from infra import kafka
from infra.errors import KafkaUnavailableError
from infra.reading import place_of

__all__ = ["PartitionReader"]

PATIENCE_S = 30.0


class PartitionReader:
    """Reads committed records of one partition from any offset; not for several threads at once.

    Parameters
    ----------
    bootstrap
        Address of the cluster.
    topic
        Name of the topic.
    partition
        Number of the partition.
    """

    def __init__(self, bootstrap: str, topic: str, partition: int = 0) -> None:
        self._bootstrap, self._topic, self._partition = bootstrap, topic, partition
        self._open: Consumer | None = None

    def end(self) -> int:
        """Return the offset after the last record.

        Raises
        ------
        KafkaUnavailableError
            When the cluster does not answer.
        """
        with kafka.translated(f"look up the end of {self._topic}"):
            _, high = self._consumer().get_watermark_offsets(self._place(0), timeout=PATIENCE_S)
        return int(high)

    def records(self, first: int, end: int | None = None) -> Iterator[Message]:
        """Give the records from an offset up to another (not taken in), or to the end the partition has meanwhile.

        Offsets that hold no record, such as transactions' markers, are passed over.

        Raises
        ------
        KafkaUnavailableError
            When nothing comes for half a minute.
        """
        if end is not None and first >= end:
            return
        client = self._consumer()
        with kafka.translated(f"read {self._topic}"):
            client.assign([self._place(first)])
        deadline = time.monotonic() + PATIENCE_S
        while True:
            message = client.poll(0.5)
            if message is None:
                self._check(deadline)
                continue
            deadline = time.monotonic() + PATIENCE_S
            error = message.error()
            if error is not None:
                if error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET):
                    return
                if not error.retriable():
                    raise kafka.error_of(error, doing=f"read {self._topic}")
                continue
            _, offset = place_of(message)
            if end is not None and offset >= end:
                return
            yield message
            if end is not None and offset + 1 >= end:
                return

    def at(self, offset: int) -> Message | None:
        """Return the record at an offset, None where there is none."""
        return next(iter(self.records(offset, offset + 1)), None)

    def close(self) -> None:
        """Close the connection; the reader may be used again."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _consumer(self) -> Consumer:
        if self._open is None:
            extra: dict[str, Any] = {"enable.partition.eof": True, "auto.offset.reset": "error"}
            self._open = kafka.consumer(self._bootstrap, f"reader-{uuid.uuid4()}", extra=extra)
        return self._open

    def _place(self, offset: int) -> TopicPartition:
        return TopicPartition(self._topic, self._partition, offset)

    def _check(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise KafkaUnavailableError(f"Topic {self._topic} cannot be read: nothing came for {PATIENCE_S:.0f} s.")
