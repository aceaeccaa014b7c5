"""Errors of Alert Generation.

ProcessingError
└── AlertError
    ├── CutoutError           a stamp cannot be made from these pixels
    ├── MalformedPacketError  bytes are not one alert packet of our version
    └── OversizeError         not even the bare detection fits the limit
"""

from __future__ import annotations

from processors.errors import ProcessingError

__all__ = ["AlertError", "CutoutError", "MalformedPacketError", "OversizeError"]


class AlertError(ProcessingError):
    """An alert cannot be made or changed as asked."""

    code = "alert"


class CutoutError(AlertError):
    """A stamp cannot be made from these pixels."""

    code = "cutout"


class MalformedPacketError(AlertError):
    """Bytes are not one alert packet of our version."""

    code = "malformed_packet"


class OversizeError(AlertError):
    """Not even the bare detection fits the limit."""

    code = "oversize"
