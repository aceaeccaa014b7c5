"""Avro schemas of our events, derived from their dataclasses, and the codec between the two.

The ``.avsc`` files in ``schemas/avro/internal`` are written from the dataclasses by ``python -m schemas.avro`` and are what
the registry is given; a test holds the two together.

==========================  ==================================
annotation                  Avro
==========================  ==================================
int, float, str, bytes      long, double, string, bytes
bool                        boolean
X | None                    union of null and X, default null
A | B (dataclasses)         union of records
tuple[X, ...]               array
Mapping[str, X]             map, written in order of its keys
StrEnum                     string
dataclass                   record in namespace ``nightcast``
==========================  ==================================

A field with a value for a default has it in Avro as well, so that what was written before the field existed can be read.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import io
import itertools
import json
import types
import typing
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import fastavro

from schemas.errors import SchemaError, UndecodableEventError

__all__ = [
    "NAMESPACE",
    "decode",
    "encode",
    "from_record",
    "parsed",
    "schema_of",
    "schema_text",
    "to_record",
    "write_schema_files",
]

NAMESPACE = "nightcast"
"""Namespace of every internal record."""

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def _cached(function: F) -> F:
    """Remember a function's results for ever, keeping its type."""
    return typing.cast("F", functools.cache(function))


_PRIMITIVES = {int: "long", float: "double", str: "string", bytes: "bytes", bool: "boolean"}


def schema_of(event: type) -> dict[str, Any]:
    """Return the Avro schema of an event's dataclass, as a document."""
    schema = _record_schema(event, set())
    if not isinstance(schema, dict):
        raise SchemaError(f"{event.__name__} has no schema of its own.")
    return schema


@_cached
def schema_text(event: type) -> str:
    """Return the Avro schema of an event's dataclass as compact JSON, the form that is registered."""
    return json.dumps(schema_of(event), separators=(",", ":"))


@_cached
def parsed(event: type) -> Any:
    """Return the parsed schema that fastavro writes and reads with."""
    return fastavro.parse_schema(schema_of(event))


def encode(event: Any) -> bytes:
    """Encode one event as a bare Avro datum (no header); equal events give equal bytes."""
    buffer = io.BytesIO()
    try:
        fastavro.schemaless_writer(buffer, parsed(type(event)), to_record(event))
    except (TypeError, ValueError, AttributeError, OverflowError, IndexError) as error:
        raise SchemaError(f"This {type(event).__name__} does not fit its schema: {error}.") from error
    return buffer.getvalue()


def decode(event: type[T], datum: bytes, writer: Any = None) -> T:
    """Decode one bare Avro datum.

    Parameters
    ----------
    event
        The dataclass to give back.
    datum
        Bytes after the wire header.
    writer
        Parsed schema it was written with, where that is another than ours.

    Raises
    ------
    UndecodableEventError
        When the bytes do not decode.
    """
    try:
        reader = parsed(event)
        record = fastavro.schemaless_reader(
            io.BytesIO(datum), writer or reader, reader if writer else None, return_record_name=True
        )
        return from_record(event, record)
    except Exception as error:  # fastavro raises whatever the broken bytes lead it into
        raise UndecodableEventError(f"These bytes are no {event.__name__}: {error or type(error).__name__}.") from error


def to_record(event: Any) -> dict[str, Any]:
    """Turn an event into the mapping that fastavro writes."""
    return typing.cast("dict[str, Any]", _writer(type(event))(event))


def from_record(event: type[T], record: Any) -> T:
    """Turn a mapping that fastavro read (with record names) back into an event."""
    return typing.cast("T", _reader(event)(record))


def _name(event: type) -> str:
    return f"{NAMESPACE}.{event.__name__}"


def _record_schema(event: type, seen: set[type]) -> Any:
    if event in seen:
        return _name(event)
    seen.add(event)
    docs, defaults = _field_docs(event), _defaults(event)
    fields = []
    for name, annotation in _hints(event).items():
        field: dict[str, Any] = {"name": name, "type": _type_schema(annotation, seen)}
        if isinstance(field["type"], list) and field["type"][0] == "null":
            field["default"] = None
        elif name in defaults:
            field["default"] = defaults[name]
        if name in docs:
            field["doc"] = docs[name]
        fields.append(field)
    doc = inspect.cleandoc(event.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    return {"type": "record", "name": event.__name__, "namespace": NAMESPACE, "doc": doc, "fields": fields}


def _type_schema(annotation: Any, seen: set[type]) -> Any:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _PRIMITIVES:
        return _PRIMITIVES[annotation]
    if origin in (typing.Union, types.UnionType):
        rest = [a for a in args if a is not type(None)]
        members = [_type_schema(a, seen) for a in rest]
        return ["null", *members] if len(rest) < len(args) else members
    if origin is tuple:
        return {"type": "array", "items": _type_schema(args[0], seen)}
    if origin in (dict, Mapping):
        return {"type": "map", "values": _type_schema(args[1], seen)}
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return "string"
    if dataclasses.is_dataclass(annotation):
        return _record_schema(typing.cast("type", annotation), seen)
    raise SchemaError(f"An event cannot carry a {annotation}.")


def _defaults(event: type) -> dict[str, Any]:
    """Return the defaults of fields that have a value for one, as JSON: what a reader takes where a writer knew no such field."""
    named = {f.name: f.default for f in dataclasses.fields(event) if f.default is not dataclasses.MISSING}
    return {name: _as_json(value) for name, value in named.items() if not isinstance(value, StrEnum)}


def _as_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value


@_cached
def _hints(event: type) -> dict[str, Any]:
    hints = typing.get_type_hints(event)
    return {field.name: hints[field.name] for field in dataclasses.fields(event)}


def _field_docs(event: type) -> dict[str, str]:
    """Return the strings that stand under fields in the class's source."""
    import ast

    body = typing.cast("ast.ClassDef", ast.parse(inspect.getsource(event).strip()).body[0]).body
    docs = {}
    for field, after in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            docs[field.target.id] = inspect.cleandoc(str(after.value.value)).replace("\n", " ")
    return docs


@_cached
def _writer(annotation: Any) -> Callable[[Any], Any]:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _union_writer(args)
    if origin is tuple:
        item = _writer(args[0])
        return lambda values: [item(v) for v in values]
    if origin in (dict, Mapping):
        value = _writer(args[1])
        return lambda mapping: {key: value(mapping[key]) for key in sorted(mapping)}
    if dataclasses.is_dataclass(annotation):
        plan = [(name, _writer(hint)) for name, hint in _hints(typing.cast("type", annotation)).items()]
        return lambda event: {name: write(getattr(event, name)) for name, write in plan}
    if annotation in _PRIMITIVES:
        return _PRIMITIVE_WRITERS.get(annotation, _same)
    return str


def _same(value: Any) -> Any:
    return value


_PRIMITIVE_WRITERS: dict[Any, Callable[[Any], Any]] = {int: int, float: float, bool: bool}


def _union_writer(args: tuple[Any, ...]) -> Callable[[Any], Any]:
    members = {a: _writer(a) for a in args if a is not type(None)}
    if len(members) == 1:
        (only,) = members.values()
        return lambda value: None if value is None else only(value)
    return lambda value: None if value is None else (_name(type(value)), members[type(value)](value))


@_cached
def _reader(annotation: Any) -> Callable[[Any], Any]:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _union_reader(args)
    if origin is tuple:
        item = _reader(args[0])
        return lambda values: tuple(item(v) for v in values)
    if origin in (dict, Mapping):
        value = _reader(args[1])
        return lambda mapping: {key: value(v) for key, v in mapping.items()}
    if dataclasses.is_dataclass(annotation):
        return _record_reader(typing.cast("type", annotation))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return annotation
    return _same


def _record_reader(event: type) -> Callable[[Any], Any]:
    plan = [(name, _reader(hint)) for name, hint in _hints(event).items()]

    def read(record: Any) -> Any:
        if isinstance(record, tuple):  # fastavro names a record that it read from a union
            record = record[1]
        return event(**{name: convert(record[name]) for name, convert in plan})

    return read


def _union_reader(args: tuple[Any, ...]) -> Callable[[Any], Any]:
    members = [a for a in args if a is not type(None)]
    if len(members) == 1:
        only = _reader(members[0])
        return lambda value: None if value is None else only(value)
    by_name = {_name(a): _reader(a) for a in members}
    return lambda value: None if value is None else by_name[value[0]](value[1])


def write_schema_files(folder: Path) -> list[Path]:
    """Write the schema of every event with a topic to ``folder`` and return the files."""
    from schemas.topics import TOPICS

    written = []
    for event in dict.fromkeys(topic.event for topic in TOPICS if topic.event is not None):
        path = folder / f"{event.__name__}.avsc"
        path.write_text(json.dumps(schema_of(event), indent=2) + "\n")
        written.append(path)
    return written


if __name__ == "__main__":
    for file in write_schema_files(Path(__file__).parent / "avro" / "internal"):
        print(file.name)
