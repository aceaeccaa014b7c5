"""Errors of the science room, drawn as a tree; each stage adds its own leaves in its own package.

NightcastError
├── PermanentFailure
│   └── ProcessingError          the input cannot be processed, now or later
│       └── InputError           a value given to a function breaks its contract
└── TransientFailure
    └── MissingInputError        something needed is not there yet
"""

from __future__ import annotations

from schemas.errors import PermanentFailure, TransientFailure

__all__ = ["InputError", "MissingInputError", "ProcessingError"]


class ProcessingError(PermanentFailure):
    """The input cannot be processed, now or later."""

    code = "processing"


class InputError(ProcessingError):
    """A value given to a function breaks the function's contract."""

    code = "input"


class MissingInputError(TransientFailure):
    """Something a stage needs is not there yet."""

    code = "missing_input"
