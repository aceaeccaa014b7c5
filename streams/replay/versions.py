"""Records of a log in today's form, whatever version of its schema each was written with.

A log outlives the code: a result of last month lacks the fields that came since. It is read with the schema that the log's own
registry keeps for it, so that it is compared by what it says, and a field it did not have yet has its default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import fastavro

from infra.errors import KafkaRequestError
from infra.reading import read_to_end
from infra.registry.journal import TOPIC
from schemas import avro
from schemas.errors import UndecodableEventError
from schemas.wire import unframe

__all__ = ["Versions", "read_versions"]


class Versions:
    """Decodes events of any version of their schema.

    Parameters
    ----------
    schemas
        Text of each schema by its id; what has an id that is not there is taken for today's version.
    """

    def __init__(self, schemas: Mapping[int, str]) -> None:
        self._schemas = schemas
        self._writers: dict[tuple[int, type], Any] = {}

    def event(self, kind: type, message: bytes) -> Any:
        """Return the event of a framed message.

        Raises
        ------
        UndecodableEventError
            When the bytes are none of that kind.
        """
        identifier, datum = unframe(message)
        return avro.decode(kind, datum, self._writer(identifier, kind))

    def datum(self, kind: type, message: bytes) -> bytes:
        """Return the bare datum of a framed message in today's version: its own bytes where it was written so.

        Raises
        ------
        UndecodableEventError
            When the bytes are none of that kind.
        """
        identifier, datum = unframe(message)
        writer = self._writer(identifier, kind)
        return datum if writer is None else avro.encode(avro.decode(kind, datum, writer))

    def _writer(self, identifier: int, kind: type) -> Any:
        """The parsed schema of an id, None where it is today's."""
        key = identifier, kind
        if key not in self._writers:
            text = self._schemas.get(identifier)
            same = text is None or json.loads(text) == json.loads(avro.schema_text(kind))
            self._writers[key] = None if text is None or same else _parsed(text)
        return self._writers[key]


def read_versions(bootstrap: str) -> Versions:
    """Return the schemas in the journal of a cluster's registry; none where the registry is elsewhere.

    Raises
    ------
    KafkaUnavailableError
        When the cluster does not answer.
    """
    schemas: dict[int, str] = {}
    try:
        for message in read_to_end(bootstrap, TOPIC):
            entry = json.loads(message.value() or b"{}")
            if "schema" in entry:
                schemas[int(entry["id"])] = str(entry["schema"])
    except KafkaRequestError:
        return Versions({})
    return Versions(schemas)


def _parsed(text: str) -> Any:
    try:
        return fastavro.parse_schema(json.loads(text))
    except Exception as error:  # fastavro raises whatever the schema leads it into
        raise UndecodableEventError(f"The schema that a record names cannot be read: {error}.") from error
