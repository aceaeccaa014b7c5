"""Avro schemas as the registry sees them: parsed, compared, and checked for compatibility.

The rule of reader and writer is that of the Avro specification, as ``avro.compatibility`` implements it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum

from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.errors import AvroException
from avro.name import Names
from avro.schema import Schema, make_avsc_object

from infra.errors import RegistryRefusedError

__all__ = ["Level", "canonical", "incompatibilities", "parse"]


class Level(StrEnum):
    """Which earlier versions a new one is held against, and in which direction."""

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"

    @property
    def transitive(self) -> bool:
        """Whether all earlier versions count, not the last alone."""
        return self.value.endswith("_TRANSITIVE")

    @property
    def backward(self) -> bool:
        """Whether the new schema must read what the old ones wrote."""
        return self.value.startswith(("BACKWARD", "FULL"))

    @property
    def forward(self) -> bool:
        """Whether the old schemas must read what the new one writes."""
        return self.value.startswith(("FORWARD", "FULL"))


def parse(text: str, references: Iterable[str] = ()) -> Schema:
    """Parse a schema after those it refers to.

    Raises
    ------
    RegistryRefusedError
        Code 42201 when one of them is no Avro schema.
    """
    names = Names()
    try:
        for reference in references:
            make_avsc_object(json.loads(reference), names)
        return make_avsc_object(json.loads(text), names)
    except (AvroException, ValueError, TypeError, AttributeError, KeyError) as error:
        raise RegistryRefusedError(f"Invalid Avro schema: {error}", error_code=42201) from error


def canonical(text: str) -> str:
    """Return a form that is equal for two schema texts that differ only in white space or the order of attributes."""
    try:
        return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    except ValueError:
        return text.strip()


def incompatibilities(new: Schema, earlier: Sequence[Schema], level: Level) -> list[str]:
    """Return what forbids a new version beside earlier ones (oldest first), by a level; nothing when it is allowed."""
    held_against = earlier if level.transitive else earlier[-1:]
    found: list[str] = []
    for old in held_against:
        if level.backward:
            found += _unreadable(reader=new, writer=old, direction="the new schema cannot read the old one's data")
        if level.forward:
            found += _unreadable(reader=old, writer=new, direction="the old schema cannot read the new one's data")
    return found


def _unreadable(*, reader: Schema, writer: Schema, direction: str) -> list[str]:
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    result = checker.get_compatibility(reader, writer)
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    kinds = ", ".join(sorted(kind.value for kind in result.incompatibilities))
    places = ", ".join(sorted(result.locations))
    return [f"{direction}: {kinds} at {places} ({'; '.join(sorted(result.messages))})"]
