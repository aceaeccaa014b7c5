"""Errors of replay.

PermanentFailure
└── ReplayError                 a night cannot be recorded, replayed or compared
    └── RecordingError          a file is no recording, or what it names is gone
TransientFailure
└── ReplayStalledError          a replay stands still
"""

from __future__ import annotations

from schemas.errors import PermanentFailure, TransientFailure

__all__ = ["RecordingError", "ReplayError", "ReplayStalledError"]


class ReplayError(PermanentFailure):
    """A night cannot be recorded, replayed or compared as asked."""

    code = "replay"


class RecordingError(ReplayError):
    """A file is no recording of a night, or what it names is gone."""

    code = "recording"


class ReplayStalledError(TransientFailure):
    """Nothing happened in a replay for too long."""

    code = "replay_stalled"
