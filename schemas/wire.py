"""Confluent wire format: a zero byte, the schema's id as four big-endian bytes, then one Avro datum."""

from __future__ import annotations

import json
import struct
from typing import Any, Protocol, TypeVar

import fastavro

from schemas import avro
from schemas.errors import UndecodableEventError

__all__ = ["EventCodec", "SchemaSource", "frame", "unframe"]

_HEADER = struct.Struct(">bI")
T = TypeVar("T")


class SchemaSource(Protocol):
    """What the codec asks of a schema registry."""

    def register(self, subject: str, schema: str) -> int:
        """Return the id of a schema under a subject, registering it where it is new."""

    def schema(self, identifier: int) -> str:
        """Return the text of a schema, or raise UnknownSchemaError."""


def frame(identifier: int, datum: bytes) -> bytes:
    """Put the wire header before a datum."""
    return _HEADER.pack(0, identifier) + datum


def unframe(message: bytes) -> tuple[int, bytes]:
    """Take the wire header off and return the schema's id and the datum.

    Raises
    ------
    UndecodableEventError
        When the message is too short or does not begin with the zero byte.
    """
    if len(message) < _HEADER.size or message[0] != 0:
        raise UndecodableEventError(
            "A framed event starts with a zero byte and a four-byte schema id; this one does not."
        )
    return _HEADER.unpack_from(message)[1], message[_HEADER.size :]


class EventCodec:
    """Encodes and decodes events in the wire format; ids and foreign schemas are asked for once.

    Parameters
    ----------
    registry
        Where schemas are registered and looked up.
    """

    def __init__(self, registry: SchemaSource) -> None:
        self._registry = registry
        self._ids: dict[tuple[str, type], int] = {}
        self._writers: dict[int, Any] = {}

    def encode(self, topic: str, event: Any) -> bytes:
        """Encode an event for a topic (subject ``<topic>-value``)."""
        key = topic, type(event)
        if key not in self._ids:
            self._ids[key] = self._registry.register(f"{topic}-value", avro.schema_text(type(event)))
        return frame(self._ids[key], avro.encode(event))

    def decode(self, event: type[T], message: bytes) -> T:
        """Decode a framed message as that event, whatever version of its schema it was written with.

        Raises
        ------
        UndecodableEventError
            When the bytes break the framing or the schema.
        UnknownSchemaError
            When the registry does not know the id.
        """
        identifier, datum = unframe(message)
        if identifier not in self._writers:
            text = self._registry.schema(identifier)
            same = text == avro.schema_text(event)
            self._writers[identifier] = None if same else fastavro.parse_schema(json.loads(text))
        return avro.decode(event, datum, self._writers[identifier])
