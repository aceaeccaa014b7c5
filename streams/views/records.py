"""Decode single records of the public packet, as our own events carry them."""

from __future__ import annotations

import functools
import io
from typing import Any, cast

import fastavro

from schemas import public
from schemas.errors import UndecodableEventError

__all__ = ["decode_record"]


def decode_record(record: bytes, name: str) -> dict[str, Any]:
    """Return a record from its Avro bytes.

    Parameters
    ----------
    record
        The bare datum.
    name
        Name of the record in the packet, such as ``diaObject``.

    Raises
    ------
    UndecodableEventError
        When the bytes are no such record.
    """
    try:
        return cast("dict[str, Any]", fastavro.schemaless_reader(io.BytesIO(record), _schema(name), None))
    except Exception as error:  # fastavro raises whatever the broken bytes lead it into
        raise UndecodableEventError(f"These bytes are no {name} record: {error!r}.") from error


@functools.cache
def _schema(name: str) -> Any:
    return fastavro.parse_schema(dict(public.record_schema(name)))
