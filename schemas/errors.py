"""Errors of the contract room, and the two classes every other room's errors descend from.

NightcastError
├── PermanentFailure   doing it again cannot help
│   └── SchemaError
│       ├── UndecodableEventError
│       ├── UnknownSchemaError
│       ├── InvalidIdError
│       └── CameraDescriptionError
└── TransientFailure   doing it again may help
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CameraDescriptionError",
    "InvalidIdError",
    "NightcastError",
    "PermanentFailure",
    "SchemaError",
    "TransientFailure",
    "UndecodableEventError",
    "UnknownSchemaError",
]


class NightcastError(Exception):
    """Base of every error of ours: one sentence, a stable code, and whether trying again may help.

    Parameters
    ----------
    sentence
        What is wrong and, where one can say, what to do about it.
    """

    code: ClassVar[str] = "nightcast"
    retriable: ClassVar[bool] = False

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def __str__(self) -> str:
        """Return the sentence."""
        return self.sentence


class PermanentFailure(NightcastError):
    """Doing it again cannot help: the input itself is wrong."""

    code = "permanent"


class TransientFailure(NightcastError):
    """Doing it again may help: something outside was missing or slow."""

    code = "transient"
    retriable = True


class SchemaError(PermanentFailure):
    """An event, record or description breaks the contract."""

    code = "schema"


class UndecodableEventError(SchemaError):
    """The bytes of an event do not decode with the schema they name."""

    code = "undecodable_event"


class UnknownSchemaError(SchemaError):
    """The schema an event names is not known to the registry."""

    code = "unknown_schema"


class InvalidIdError(SchemaError):
    """A visit, detector or rank does not fit the identifier that packs it."""

    code = "invalid_id"


class CameraDescriptionError(SchemaError):
    """A camera description is unknown or contradicts itself."""

    code = "camera_description"
