"""Errors of control.

ProcessingError
├── StaleAnnouncementError   a visit was announced after a later one was closed
└── TransferError            a file from the camera cannot be archived as it is
    ├── ChecksumError        its bytes do not have the digest that the camera gave
    └── ConflictingCopyError another file of the same name is archived already
"""

from __future__ import annotations

from processors.errors import ProcessingError

__all__ = ["ChecksumError", "ConflictingCopyError", "StaleAnnouncementError", "TransferError"]


class StaleAnnouncementError(ProcessingError):
    """A visit was announced after a later one was closed: visits close in order, so it cannot be processed tonight."""

    code = "stale_announcement"


class TransferError(ProcessingError):
    """A file from the camera cannot be archived as it is."""

    code = "transfer"


class ChecksumError(TransferError):
    """A file's bytes do not have the digest that the camera gave for them."""

    code = "checksum"


class ConflictingCopyError(TransferError):
    """A file of the same name and other bytes is archived already."""

    code = "conflicting_copy"
