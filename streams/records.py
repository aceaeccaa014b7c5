"""Records as they are read from the log and written to it: encoded, with where they lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Message

from infra.reading import headers_of, place_of

__all__ = ["Delivered", "Letter", "Place", "Read", "offsets_as_headers", "offsets_of_headers", "read_of"]

Place = tuple[str, int]
"""A topic and one of its partitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One committed record as it was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_s: float
    """When the broker appended it, seconds since 1970: the same in every replay of this log."""
    headers: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Where a record was appended inside the open transaction."""

    topic: str
    partition: int
    offset: int
    sha256: str
    """Digest of the record's bare Avro datum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One encoded record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None
    then: Callable[[Delivered], Sequence[Letter]] | None = None
    """Further records of the same transaction that must name where this one lies."""


def read_of(message: Message) -> Read:
    """Return what a consumed message says."""
    partition, offset = place_of(message)
    return Read(
        topic=str(message.topic()),
        partition=partition,
        offset=offset,
        key=message.key(),
        value=message.value(),
        timestamp_s=message.timestamp()[1] / 1000.0,
        headers=headers_of(message),
    )


def offsets_as_headers(offsets: Mapping[Place, int]) -> tuple[tuple[str, bytes], ...]:
    """Write offsets as headers of a snapshot, in order of topics and partitions."""
    return tuple(
        (f"{topic}/{partition}", str(offset).encode()) for (topic, partition), offset in sorted(offsets.items())
    )


def offsets_of_headers(headers: Mapping[str, bytes]) -> dict[Place, int]:
    """Read offsets that `offsets_as_headers` wrote."""
    places = {name.rpartition("/"): offset for name, offset in headers.items()}
    return {(topic, int(partition)): int(offset) for (topic, _, partition), offset in places.items()}
