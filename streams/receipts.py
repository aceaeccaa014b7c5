"""What became of records handed to a transactional producer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from confluent_kafka import KafkaError, Message

from streams.records import Delivered, Letter

__all__ = ["AbortRequiredError", "Receipt"]

WIRE_HEADER_BYTES = 5
"""Zero byte and schema id before the datum (schemas.wire)."""


class AbortRequiredError(Exception):
    """The open transaction can only be aborted."""


@dataclass(slots=True)
class Receipt:
    """Hears what became of one record."""

    error: str | None = "not written in time"
    partition: int = -1
    offset: int = -1

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """Note what the broker said."""
        self.error = None if error is None else error.str()
        self.partition, self.offset = _int(message.partition()), _int(message.offset())

    def delivered(self, letter: Letter) -> Delivered:
        """Return where the record lies.

        Raises
        ------
        AbortRequiredError
            When it was not written.
        """
        if self.error is not None:
            raise AbortRequiredError(f"a record for {letter.topic} was not written: {self.error}")
        datum = letter.value[WIRE_HEADER_BYTES:] if letter.then is not None and letter.value else b""
        digest = hashlib.sha256(datum).hexdigest()
        return Delivered(topic=letter.topic, partition=self.partition, offset=self.offset, sha256=digest)


def _int(value: int | None) -> int:
    return -1 if value is None else value
