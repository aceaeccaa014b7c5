"""Read the head of an alert packet: its detection, without the history and the stamps that follow.

An Avro record is its fields one after the other, so a schema cut short after ``diaSource`` reads exactly the first
bytes: some hundred times quicker than decoding the whole packet.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fastavro

from schemas import public
from schemas.errors import UndecodableEventError
from schemas.wire import unframe

__all__ = ["AlertHead", "read_head"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertHead:
    """What stands first in a packet."""

    schema_id: int
    alert_id: int
    dia_source: dict[str, Any]


def read_head(message: bytes, schema: Callable[[int], str]) -> AlertHead:
    """Return the head of a framed packet.

    Parameters
    ----------
    message
        Wire header and packet.
    schema
        Returns the text of a schema by its id; asked only for versions that are not bundled.

    Raises
    ------
    UndecodableEventError
        When the bytes are no alert packet of the schema they name.
    """
    identifier, datum = unframe(message)
    writer = _bundled(identifier)
    if writer is None:
        writer = _cut_short(json.loads(schema(identifier)))
    try:
        record: Any = fastavro.schemaless_reader(io.BytesIO(datum), writer, None)
        source = record["diaSource"]
        alert_id = record.get("diaSourceId") or record.get("alertId") or source["diaSourceId"]
        return AlertHead(schema_id=identifier, alert_id=int(alert_id), dia_source=source)
    except Exception as error:  # fastavro raises whatever the broken bytes lead it into
        raise UndecodableEventError(f"These bytes are no alert packet of schema {identifier}: {error!r}.") from error


@functools.cache
def _bundled(identifier: int) -> Any:
    if divmod(identifier, 100) == public.PUBLIC_VERSION:
        return _cut_short(json.loads(public.alert_schema_json()))
    parsed = public.bundled_alert_schema(identifier)
    return None if parsed is None else _cut_short(parsed)


def _cut_short(schema: dict[str, Any]) -> Any:
    plain = {key: value for key, value in schema.items() if not key.startswith("__")}
    names = [field["name"] for field in plain["fields"]]
    return fastavro.parse_schema(plain | {"fields": plain["fields"][: names.index("diaSource") + 1]})
