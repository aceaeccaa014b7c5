"""Errors of the application, drawn as a tree; each system adds its leaves here.

NightcastError (schemas)
├── PermanentFailure
│   ├── StageError                 a stage cannot go on
│   │   ├── StageFencedError       another process with the same name took its place
│   │   └── OutgoingTooLargeError  an event is larger than its topic takes
│   └── RefusedMessageError        the observatory sent what we cannot use
│       ├── MalformedMessageError
│       ├── UnknownInstrumentError
│       └── StaleMessageError
└── TransientFailure
    └── StageInterruptedError      Kafka failed in a way that a restart of the stage mends
"""

from __future__ import annotations

from schemas.errors import PermanentFailure, TransientFailure

__all__ = [
    "MalformedMessageError",
    "OutgoingTooLargeError",
    "RefusedMessageError",
    "StageError",
    "StageFencedError",
    "StageInterruptedError",
    "StaleMessageError",
    "UnknownInstrumentError",
]


class StageError(PermanentFailure):
    """A stage cannot go on."""

    code = "stage"


class StageFencedError(StageError):
    """Another process with the same transactional id has taken this one's place."""

    code = "stage_fenced"


class OutgoingTooLargeError(StageError):
    """An event is larger than its topic takes."""

    code = "outgoing_too_large"


class RefusedMessageError(PermanentFailure):
    """The observatory sent a message that cannot be used."""

    code = "refused_message"


class MalformedMessageError(RefusedMessageError):
    """A field of the message is missing, out of range or contradicts another."""

    code = "malformed_message"


class UnknownInstrumentError(RefusedMessageError):
    """The message is of an instrument that this system does not serve."""

    code = "unknown_instrument"


class StaleMessageError(RefusedMessageError):
    """The message is older than anything that could still be acted upon."""

    code = "stale_message"


class StageInterruptedError(TransientFailure):
    """Kafka failed in a way that only a restart of the stage mends; its supervisor starts it again."""

    code = "stage_interrupted"
