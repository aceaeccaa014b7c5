"""Take a datum apart for people: tables into columns of values, encoded public records into their fields."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from enum import Enum
from typing import Any

import fastavro

from schemas import avro
from schemas.errors import NightcastError
from schemas.public import alert_schema
from schemas.public_avro import decode_record
from schemas.tables import Table
from schemas.topics import topic

__all__ = ["readable"]

_PUBLIC_FIELDS: Mapping[str, Mapping[str, str]] = {
    "object-updates": {"diasources": "diaSource", "forced": "diaForcedSource", "dia_object": "diaObject"},
    "diasources": {"record": "diaSource"},
    "diaobjects": {"record": "diaObject"},
    "ssobjects": {"record": "ssObject"},
}
"""Topic to its fields that hold encoded public records, and what these are."""


def readable(name: str, datum: bytes) -> Any:
    """Return a record of a topic as a tree of mappings, lists and plain values; the bytes where they do not decode.

    Parameters
    ----------
    name
        Name of the topic.
    datum
        The record without its wire header.
    """
    kind = topic(name).event
    try:
        if kind is None:
            return fastavro.schemaless_reader(io.BytesIO(datum), alert_schema(), None)
        tree = _plain(avro.decode(kind, datum))
        for field, record in _PUBLIC_FIELDS.get(name, {}).items():
            tree[field] = _records(tree[field], record)
    except (NightcastError, EOFError, IndexError, ValueError):
        return datum
    return tree


def _records(value: Any, record: str) -> Any:
    if isinstance(value, bytes):
        return decode_record(value, record)
    return [decode_record(item, record) for item in value]


def _plain(value: Any) -> Any:
    if isinstance(value, Table):
        array = value.to_array()
        return {column: array[column].tolist() for column in array.dtype.names or ()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value
