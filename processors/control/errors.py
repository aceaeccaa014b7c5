"""Errors of control.

PermanentFailure
└── ProcessingError
    ├── StaleAnnouncementError   a visit was announced after a later one was closed
    └── ConflictingCopyError     another file of the same name is archived already
TransientFailure
└── ChecksumError                a file's bytes do not have the digest that the camera gave: fetch it again
"""

from __future__ import annotations

from processors.errors import ProcessingError
from schemas.errors import TransientFailure

__all__ = ["ChecksumError", "ConflictingCopyError", "StaleAnnouncementError"]


class StaleAnnouncementError(ProcessingError):
    """A visit was announced after a later one was closed: visits close in order, so it cannot be processed tonight."""

    code = "stale_announcement"


class ChecksumError(TransientFailure):
    """A file's bytes do not have the digest that the camera gave for them; fetching it again may help."""

    code = "checksum"


class ConflictingCopyError(ProcessingError):
    """A file of the same name and other bytes is archived already."""

    code = "conflicting_copy"
