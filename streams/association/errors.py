"""Errors of the association stage.

PermanentFailure
└── NeverClosedError       a late result names a visit that was never closed
TransientFailure
└── ResultNotThereError    an accepted result is not in the log yet
"""

from __future__ import annotations

from schemas.errors import PermanentFailure, TransientFailure

__all__ = ["NeverClosedError", "ResultNotThereError"]


class NeverClosedError(PermanentFailure):
    """A late result names a visit that was never closed."""

    code = "never_closed"


class ResultNotThereError(TransientFailure):
    """An accepted result is not in the log yet."""

    code = "result_not_there"
