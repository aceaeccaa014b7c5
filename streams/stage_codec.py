"""How a stage's messages become events and its events become records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import NightcastError, UndecodableEventError
from schemas.events import DeadLetter
from schemas.topics import Cleanup, Topic
from schemas.topics import topic as topic_row
from schemas.wire import EventCodec, SchemaSource
from streams.errors import OutgoingTooLargeError
from streams.transaction import Delivered, Letter, Read

__all__ = ["Incoming", "Outgoing", "StageCodec", "dead_letter"]

MARGIN_BYTES = 4096
"""Left of a topic's limit for keys, headers and the batch's own header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A decoded message."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    record: Any
    """The event; bytes where the topic has no event of ours; None for a tombstone."""
    timestamp_s: float
    """When the broker appended it, seconds since 1970: the same in every replay of this log."""
    headers: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A record to be written."""

    topic: str
    key: str | int | bytes | None
    record: Any
    """An event, bytes as they shall be written, or None for a tombstone."""
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None
    then: Callable[[Delivered], Sequence[Outgoing]] | None = None
    """Makes further records of the same transaction that must name where this one lies."""


class StageCodec:
    """Decodes what a stage reads and encodes what it writes.

    Parameters
    ----------
    registry
        Where schemas are.
    decode
        Decodes a payload of a topic whose events are not in the topic table; its bytes are handed on without it.
    """

    def __init__(self, registry: SchemaSource, decode: Callable[[str, bytes], Any] | None = None) -> None:
        self.events = EventCodec(registry)
        self._foreign = decode

    def incoming(self, read: Read) -> Incoming:
        """Decode a record.

        Raises
        ------
        UndecodableEventError, UnknownSchemaError
            When it is no event of its topic.
        """
        return Incoming(
            topic=read.topic,
            partition=read.partition,
            offset=read.offset,
            key=read.key,
            record=self._record(read.topic, read.value),
            timestamp_s=read.timestamp_s,
            headers=read.headers,
        )

    def letter(self, outgoing: Outgoing) -> Letter:
        """Encode a record to be written.

        Raises
        ------
        SchemaError
            When the event does not fit its schema.
        OutgoingTooLargeError
            When it exceeds what its topic takes.
        """
        record, follow = outgoing.record, outgoing.then
        value = record if record is None or isinstance(record, bytes) else self.events.encode(outgoing.topic, record)
        row = _row(outgoing.topic)
        limit = (row.max_message_mb if row else 8) * 1024 * 1024 - MARGIN_BYTES
        if value is not None and len(value) > limit:
            raise OutgoingTooLargeError(
                f"An event of {len(value)} bytes for {outgoing.topic} exceeds the {limit} bytes that the topic takes."
            )
        return Letter(
            topic=outgoing.topic,
            key=_key(outgoing.key),
            value=value,
            headers=outgoing.headers,
            partition=outgoing.partition,
            then=None if follow is None else lambda delivered: [self.letter(o) for o in follow(delivered)],
        )

    def _record(self, topic: str, payload: bytes | None) -> Any:
        row = _row(topic)
        if payload is None:
            if row is not None and row.cleanup is Cleanup.COMPACT:
                return None
            raise UndecodableEventError(f"A record without a value means nothing on {topic}.")
        if row is None or row.event is None:
            return payload if self._foreign is None else self._foreign(topic, payload)
        return self.events.decode(row.event, payload)


def dead_letter(read: Read, error: Exception, *, stage: str, target: str, attempts: int, now: float) -> Outgoing | None:
    """Return the dead letter of a refused message, or None where the target topic is not in the table."""
    row = _row(target.removeprefix("dlq."))
    if row is None or not row.dead_letters:
        return None
    known = isinstance(error, NightcastError)
    letter = DeadLetter(
        origin_topic=read.topic,
        origin_partition=read.partition,
        origin_offset=read.offset,
        key=read.key,
        payload=read.value,
        stage=stage,
        code=error.code if isinstance(error, NightcastError) else "unexpected",
        reason=str(error) if known else f"{type(error).__name__}: {error}",
        attempts=attempts,
        failed_unix_s=now,
    )
    return Outgoing(topic=target, key=read.key, record=letter)


def _row(name: str) -> Topic | None:
    try:
        return topic_row(name)
    except KeyError:
        return None


def _key(key: str | int | bytes | None) -> bytes | None:
    if isinstance(key, int):
        return key.to_bytes(8, "big")
    return key.encode() if isinstance(key, str) else key
