"""Avro bytes of single public records: from dictionaries one at a time, or from the rows of a table at once.

A record is encoded once in its life and from then on spliced into packets as bytes. Rows are encoded column by column
with no dictionary in between, which costs a third of the generic way and gives the same bytes.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping
from typing import Any, cast

import fastavro
import numpy as np

from schemas.errors import SchemaError, UndecodableEventError
from schemas.public import NULLABLE_IDS, fields_of, record_dtype, record_schema

__all__ = ["decode_record", "encode_long", "encode_record", "encode_rows"]

_NULL = b"\x00"
_SECOND_BRANCH = b"\x02"


def encode_long(value: int) -> bytes:
    """Return an integer in Avro's variable-length zig-zag form (Avro specification, "Binary encoding")."""
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append((rest & 0x7F) | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def encode_record(record: Mapping[str, Any], record_name: str) -> bytes:
    """Return one record's Avro datum.

    Parameters
    ----------
    record
        Values by field name; fields with a default may be left out.
    record_name
        Name of the record, such as ``diaSource``.

    Raises
    ------
    SchemaError
        When a value is missing or not of its field's type.
    """
    buffer = io.BytesIO()
    try:
        fastavro.schemaless_writer(buffer, _parsed(record_name), record)
    except (TypeError, ValueError, KeyError, OverflowError, AttributeError) as error:
        raise SchemaError(f"A {record_name} record does not fit its schema: {error}.") from error
    return buffer.getvalue()


def decode_record(datum: bytes, record_name: str) -> dict[str, Any]:
    """Return the values of one record's Avro datum.

    Raises
    ------
    UndecodableEventError
        When the bytes end too early or are not of that record.
    """
    try:
        record = fastavro.schemaless_reader(io.BytesIO(datum), _parsed(record_name), None)
    except (EOFError, ValueError, IndexError, TypeError, OverflowError) as error:
        raise UndecodableEventError(f"The bytes of a {record_name} record do not decode: {error}.") from error
    return cast("dict[str, Any]", record)


def encode_rows(rows: np.ndarray[Any, Any], record_name: str) -> list[bytes]:
    """Return the Avro datum of each row of a table; nulls are the sentinels of `schemas.public`.

    Parameters
    ----------
    rows
        Array of `schemas.public.record_dtype` of that record; may be empty.
    record_name
        Name of the record, such as ``diaSource``.

    Raises
    ------
    SchemaError
        When the table has other columns.
    """
    if rows.dtype.names != record_dtype(record_name).names:
        raise SchemaError(f"The table's columns are not those of {record_name}.")
    columns = [_column(rows[name], name, base, nullable) for name, base, nullable in fields_of(record_name)]
    return [b"".join(pieces) for pieces in zip(*columns, strict=True)]


def _column(values: np.ndarray[Any, Any], name: str, base: Any, nullable: bool) -> list[bytes]:
    if base in ("float", "double"):
        return _floats(values, "<f4" if base == "float" else "<f8", nullable)
    return _through_cache(values.tolist(), _scalar_encoder(name, base, nullable))


def _floats(values: np.ndarray[Any, Any], dtype: str, nullable: bool) -> list[bytes]:
    rows, width, lead = len(values), np.dtype(dtype).itemsize, int(nullable)
    block = np.full((rows, lead + width), _SECOND_BRANCH[0], dtype=np.uint8)
    block[:, lead:] = np.ascontiguousarray(values, dtype=dtype).view(np.uint8).reshape(rows, width)
    data, step = block.tobytes(), lead + width
    pieces = [data[start : start + step] for start in range(0, rows * step, step)]
    if nullable:
        for row in np.flatnonzero(np.isnan(values)).tolist():
            pieces[row] = _NULL
    return pieces


def _through_cache(values: list[Any], encode: Callable[[Any], bytes]) -> list[bytes]:
    """Encode each distinct value once: most columns that are no floats hold few of them."""
    known = {value: encode(value) for value in dict.fromkeys(values)}
    return [known[value] for value in values]


def _scalar_encoder(name: str, base: str, nullable: bool) -> Callable[[Any], bytes]:
    special: dict[str, Callable[[Any], bytes]] = {"boolean": _encode_boolean, "string": _encode_text}
    plain = special.get(base, encode_long)
    if not nullable:
        return plain
    is_null = _null_test(name, base)
    return lambda value: _NULL if is_null(value) else _SECOND_BRANCH + plain(value)


def _null_test(name: str, base: str) -> Callable[[Any], bool]:
    if base == "boolean":
        return lambda value: bool(value < 0)
    if base == "string" or name in NULLABLE_IDS:
        return lambda value: not value
    return lambda value: bool(value == -1)


def _encode_boolean(value: int) -> bytes:
    return b"\x01" if value else b"\x00"


def _encode_text(value: str) -> bytes:
    raw = value.encode()
    return encode_long(len(raw)) + raw


@functools.cache
def _parsed(record_name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", fastavro.parse_schema(record_schema(record_name)))
