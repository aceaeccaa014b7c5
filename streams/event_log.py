"""Read the events of a topic from its beginning to the end it has now, each with where and when the log took it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Message

from infra.reading import place_of, read_to_end
from schemas.errors import NightcastError
from schemas.topics import topic
from schemas.wire import EventCodec

__all__ = ["Logged", "append_time", "read_events"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One event of a topic."""

    at_unix_s: float
    """When the broker appended it."""
    partition: int
    offset: int
    key: bytes | None
    event: Any


def read_events(bootstrap: str, codec: EventCodec, name: str) -> Iterator[Logged]:
    """Yield the events of a topic, each partition in order; tombstones and undecodable records are passed over.

    Parameters
    ----------
    bootstrap
        Address of the cluster.
    codec
        Decodes them.
    name
        A topic of the table that carries events of ours.

    Raises
    ------
    KafkaRequestError
        When there is no such topic.
    KafkaUnavailableError, RegistryUnavailableError
        When cluster or registry do not answer.
    """
    kind = topic(name).event
    if kind is None:
        return
    for message in read_to_end(bootstrap, name):
        value = message.value()
        if value is None:
            continue
        try:
            event: Any = codec.decode(kind, value)
        except NightcastError as error:
            if error.retriable:
                raise
            continue
        partition, offset = place_of(message)
        yield Logged(at_unix_s=append_time(message), partition=partition, offset=offset, key=message.key(), event=event)


def append_time(message: Message) -> float:
    """Return when the broker appended a record, seconds since 1970."""
    return float(message.timestamp()[1]) / 1000.0
