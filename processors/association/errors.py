"""Errors of association.

ProcessingError
├── CorruptHistoryError     a block of the state cannot be read: the state must be folded again from the log
└── UnknownVisitError       something refers to a visit that was never decided
"""

from __future__ import annotations

from processors.errors import ProcessingError

__all__ = ["CorruptHistoryError", "UnknownVisitError"]


class CorruptHistoryError(ProcessingError):
    """A block of the state cannot be read: the state must be folded again from the log."""

    code = "corrupt_history"


class UnknownVisitError(ProcessingError):
    """Something refers to a visit that was never decided."""

    code = "unknown_visit"
