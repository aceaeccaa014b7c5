"""The log of decisions: the only memory of association that matters; the local store is a fold of it."""

from __future__ import annotations

from collections.abc import Iterator

from infra.errors import KafkaUnavailableError
from infra.reading import place_of
from schemas.events import AssociationDecision
from schemas.wire import EventCodec
from streams.bulk import BulkProducer
from streams.partition_reader import PartitionReader
from streams.stage_codec import Outgoing

__all__ = ["TOPIC", "DecisionLog"]

TOPIC = "association-log"


class DecisionLog:
    """Reads and writes decisions of all instruments.

    Parameters
    ----------
    reader
        Of the log's one partition.
    producer
        Writes to it.
    codec
        Decodes decisions.
    """

    def __init__(self, reader: PartitionReader, producer: BulkProducer, codec: EventCodec) -> None:
        self._reader, self._producer, self._codec = reader, producer, codec

    def end(self) -> int:
        """Return the offset after the last decision."""
        return self._reader.end()

    def since(self, offset: int) -> Iterator[tuple[int, AssociationDecision]]:
        """Give each decision from an offset on, with its offset, to the end that the log has meanwhile."""
        for message in self._reader.records(offset):
            value = message.value()
            if value is not None:
                yield place_of(message)[1], self._codec.decode(AssociationDecision, value)

    def at(self, offset: int) -> AssociationDecision | None:
        """Return the decision at an offset, None where the log holds none."""
        message = self._reader.at(offset)
        value = None if message is None else message.value()
        return None if value is None else self._codec.decode(AssociationDecision, value)

    def append(self, decision: AssociationDecision) -> int:
        """Write a decision, wait until the broker has it, and return its offset."""
        self._producer.put([Outgoing(topic=TOPIC, key=decision.instrument, record=decision)])
        last = self._producer.confirm()
        if last is None:
            raise KafkaUnavailableError("Kafka confirmed a decision without saying where it lies.")
        return last[1]

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()
