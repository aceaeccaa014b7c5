"""The public alert packet, schema v11.1: its Avro schemas, and numpy types for its tables.

The files under ``avro/public/v11_1`` are the truth: each field has a type, a unit and a sentence. Everything here is
made from them, so that a field can be added in one place. The compact files of older versions are there to read
packets written by others.

Nulls in numpy rows: NaN in floats, -1 in nullable integers and booleans, 0 in nullable identifiers, '' in text.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from typing import Any, cast

import fastavro
import numpy as np

from schemas.errors import SchemaError, UnknownSchemaError

__all__ = [
    "BUNDLED_VERSIONS",
    "NULLABLE_IDS",
    "PUBLIC_VERSION",
    "RECORD_NAMES",
    "alert_schema",
    "alert_schema_json",
    "bundled_alert_schema",
    "dia_object_dtype",
    "dia_source_dtype",
    "field_docs",
    "field_units",
    "fields_of",
    "forced_source_dtype",
    "from_public_records",
    "null_rows",
    "record_dtype",
    "record_schema",
    "schema_id",
    "to_public_record",
    "to_public_records",
]

PUBLIC_VERSION = (11, 1)
"""Version of the packet that we publish (major, minor)."""

BUNDLED_VERSIONS = ((9, 0), (10, 0), (11, 0), PUBLIC_VERSION)
"""Versions whose packets can be read with nothing but this package."""

RECORD_NAMES = ("alert", "diaSource", "diaForcedSource", "diaObject", "ssSource", "mpc_orbits", "ssObject")
"""Records of the packet; ``ssObject`` is defined by the version but no alert carries it."""

NULLABLE_IDS = frozenset({"diaObjectId", "ssObjectId", "parentDiaSourceId"})
"""Nullable integers that are identifiers: their null is 0, since no identifier is 0."""

_DTYPES = {"long": "<i8", "int": "<i4", "float": "<f4", "double": "<f8", "boolean": "i1", "string": "<U16"}

Record = dict[str, Any]


def schema_id(version: tuple[int, int] = PUBLIC_VERSION) -> int:
    """Return the registry's id of a version: 100 times the major number plus the minor (1101 for v11.1)."""
    major, minor = version
    return 100 * major + minor


@functools.cache
def record_schema(record_name: str) -> Record:
    """Return one record's schema as its file has it: other records by name, ``unit`` and ``doc`` on every field.

    Raises
    ------
    UnknownSchemaError
        When the packet has no such record.
    """
    if record_name not in RECORD_NAMES:
        raise UnknownSchemaError(f"The alert packet has no record '{record_name}'; it has {', '.join(RECORD_NAMES)}.")
    return _load(PUBLIC_VERSION, record_name)


@functools.cache
def alert_schema() -> Record:
    """Return the alert's schema, parsed by fastavro, every record it refers to written out at its first use."""
    return cast("Record", fastavro.parse_schema(_resolved_alert()))


@functools.cache
def alert_schema_json() -> str:
    """Return the alert's schema as the registry serves it: one JSON text, always the same bytes."""
    return json.dumps(_resolved_alert(), separators=(",", ":"))


@functools.cache
def bundled_alert_schema(identifier: int) -> Record | None:
    """Return the parsed alert schema that a registry id (900, 1000, 1100, 1101) means, or None when it is not here."""
    version = divmod(identifier, 100)
    if version == PUBLIC_VERSION:
        return alert_schema()
    if version not in BUNDLED_VERSIONS:
        return None
    return cast("Record", fastavro.parse_schema(_load(version, "alert")))


def field_units(record_name: str) -> dict[str, str]:
    """Return the unit of each field: a unit astropy reads, '1' for pure numbers, 'none' for ids, flags and text."""
    return {field["name"]: field["unit"] for field in record_schema(record_name)["fields"]}


def field_docs(record_name: str) -> dict[str, str]:
    """Return the sentence that explains each field."""
    return {field["name"]: field["doc"] for field in record_schema(record_name)["fields"]}


@functools.cache
def record_dtype(record_name: str) -> np.dtype[Any]:
    """Return the numpy type of a record's rows, fields in the schema's order.

    Raises
    ------
    SchemaError
        When a field is of no type that a column can have (the alert itself, ``mpc_orbits``' time stamps).
    """
    return np.dtype([(name, _column_type(record_name, name, base)) for name, base, _ in fields_of(record_name)])


def dia_source_dtype() -> np.dtype[Any]:
    """Return the numpy type of DIASource rows."""
    return record_dtype("diaSource")


def forced_source_dtype() -> np.dtype[Any]:
    """Return the numpy type of DIAForcedSource rows."""
    return record_dtype("diaForcedSource")


def dia_object_dtype() -> np.dtype[Any]:
    """Return the numpy type of DIAObject rows."""
    return record_dtype("diaObject")


def null_rows(record_name: str, rows: int) -> np.ndarray[Any, Any]:
    """Return rows in which every nullable field is null and every other is 0 or ''.

    Parameters
    ----------
    record_name
        Name of the record, such as ``diaSource``.
    rows
        Number of rows, 0 allowed.
    """
    array = np.zeros(rows, dtype=record_dtype(record_name))
    for name, base, nullable in fields_of(record_name):
        if nullable:
            array[name] = _null(name, base)
    return array


def to_public_record(row: np.void | Mapping[str, Any], record_name: str) -> Record:
    """Return one row as the plain record that Avro encodes, with None where the row has a null.

    Parameters
    ----------
    row
        One element of an array of the record's dtype, or a mapping with the same names and nulls (None is kept).
    record_name
        Name of the record, such as ``diaSource``.
    """
    values = row.item() if isinstance(row, np.void) else [row[name] for name, _, _ in fields_of(record_name)]
    return _record(values, _converters(record_name))


def to_public_records(rows: np.ndarray[Any, Any], record_name: str) -> list[Record]:
    """Return all rows of a table as plain records, in their order."""
    converters = _converters(record_name)
    return [_record(values, converters) for values in rows.tolist()]


def from_public_records(records: Iterable[Mapping[str, Any]], record_name: str) -> np.ndarray[Any, Any]:
    """Return plain records as rows, nulls as the sentinels of this module; fields not present become null.

    Raises
    ------
    SchemaError
        When a text does not fit its column, which would lose characters.
    """
    listed = list(records)
    array = null_rows(record_name, len(listed))
    for name, base, _ in fields_of(record_name):
        values = [record.get(name) for record in listed]
        if base == "string" and any(len(value) > 16 for value in values if value is not None):
            raise SchemaError(f"A text of {record_name}.{name} is longer than the 16 characters of its column.")
        null = _null(name, base)
        array[name] = [null if value is None else value for value in values]
    return array


def _record(values: Iterable[Any], converters: tuple[tuple[str, Callable[[Any], Any]], ...]) -> Record:
    return {name: convert(value) for (name, convert), value in zip(converters, values, strict=True)}


@functools.cache
def _converters(record_name: str) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    return tuple((name, _converter(name, base, nullable)) for name, base, nullable in fields_of(record_name))


def _converter(name: str, base: str, nullable: bool) -> Callable[[Any], Any]:
    if base in ("float", "double"):
        return _float_or_none if nullable else float
    if base == "boolean":
        return _bool_or_none if nullable else bool
    if base == "string":
        return _text_or_none if nullable else str
    if not nullable:
        return int
    return _id_or_none if name in NULLABLE_IDS else _int_or_none


def _float_or_none(value: float | None) -> float | None:
    return None if value is None or value != value else float(value)  # noqa: PLR0124 - the quickest test for NaN


def _bool_or_none(value: int | None) -> bool | None:
    return None if value is None or value < 0 else bool(value)


def _text_or_none(value: str | None) -> str | None:
    return str(value) if value else None


def _id_or_none(value: int | None) -> int | None:
    return int(value) if value else None


def _int_or_none(value: int | None) -> int | None:
    return None if value is None or value == -1 else int(value)


def _null(name: str, base: str) -> Any:
    if base in ("float", "double"):
        return np.nan
    if base == "string":
        return ""
    return 0 if name in NULLABLE_IDS else -1


@functools.cache
def fields_of(record_name: str) -> tuple[tuple[str, Any, bool], ...]:
    """Return name, type without its null branch, and whether there is one, for each field in the schema's order."""
    fields = []
    for field in record_schema(record_name)["fields"]:
        nullable = isinstance(field["type"], list)
        fields.append((field["name"], field["type"][1] if nullable else field["type"], nullable))
    return tuple(fields)


def _column_type(record_name: str, name: str, base: Any) -> str:
    if not isinstance(base, str) or base not in _DTYPES:
        raise SchemaError(f"Field {record_name}.{name} cannot be a column: its type is {base}.")
    return _DTYPES[base]


def _resolved_alert() -> Record:
    return cast("Record", _inline(record_schema("alert"), set()))


def _inline(node: Any, written: set[str]) -> Any:
    """Write each named record out where it is first used, as the Avro specification asks of one self-contained text."""
    if isinstance(node, list):
        return [_inline(branch, written) for branch in node]
    if isinstance(node, dict):
        inner = {key: _inline(node[key], written) for key in ("type", "items", "fields") if key in node}
        return {key: inner.get(key, value) for key, value in node.items()}
    prefix = "lsst.v{}_{}.".format(*PUBLIC_VERSION)
    if isinstance(node, str) and node.startswith(prefix) and node not in written:
        written.add(node)
        return _inline(record_schema(node.removeprefix(prefix)), written)
    return node


def _load(version: tuple[int, int], record_name: str) -> Record:
    name = "v{}_{}".format(*version)
    path = resources.files("schemas") / "avro" / "public" / name / f"lsst.{name}.{record_name}.avsc"
    return cast("Record", json.loads(path.read_text(encoding="utf-8")))
