"""Many small records through librdkafka, confirmed together: what leaves a stage that writes outside transactions."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaError, Message, Producer

from infra.errors import KafkaUnavailableError
from infra.kafka import error_of, translated
from streams.stage_codec import Outgoing, StageCodec
from streams.transaction import Letter

__all__ = ["BulkProducer"]

CONFIRM_S = 90.0
"""Longer than librdkafka's own delivery time-out, so that each record's fate is known."""


class BulkProducer:
    """Writes records in their order and waits for all of them.

    Parameters
    ----------
    producer
        An idempotent producer outside transactions.
    codec
        Encodes events.
    """

    def __init__(self, producer: Producer, codec: StageCodec) -> None:
        self._producer, self._codec = producer, codec
        self._errors: list[KafkaError] = []
        self._last: tuple[int, int] | None = None

    def put(self, records: Iterable[Outgoing]) -> int:
        """Hand records over and return their number; ``confirm`` says whether they arrived."""
        count = 0
        for record in records:
            letter = self._codec.letter(record)
            self._produce(letter)
            count += 1
        return count

    def confirm(self) -> tuple[int, int] | None:
        """Wait until the broker has everything; return partition and offset of the record delivered last.

        Raises
        ------
        KafkaUnavailableError, KafkaRequestError
            When a record did not arrive; all since the last confirmation are to be put again.
        """
        left = self._producer.flush(CONFIRM_S)
        errors, self._errors, last = self._errors, [], self._last
        if errors:
            raise error_of(errors[0], doing="write records")
        if left:
            raise KafkaUnavailableError(f"Kafka does not answer: {left} records were not confirmed.")
        return last

    def _produce(self, letter: Letter) -> None:
        headers: list[tuple[str, str | bytes | None]] = [*letter.headers]
        while True:
            try:
                with translated(f"write to {letter.topic}"):
                    self._producer.produce(
                        letter.topic, key=letter.key, value=letter.value, headers=headers, on_delivery=self._delivered
                    )
            except BufferError:  # librdkafka's queue is full: let it deliver
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._errors.append(error)
            return
        partition, offset = message.partition(), message.offset()
        if partition is not None and offset is not None:
            self._last = partition, offset
