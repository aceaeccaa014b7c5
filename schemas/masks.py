"""Bit values of the pixel mask planes that every image of ours carries (dtype uint16).

The names follow the planes of the Rubin pipelines, so that a reader of their products knows ours.
"""

from __future__ import annotations

from enum import IntFlag

__all__ = ["MaskPlane"]


class MaskPlane(IntFlag):
    """One bit a plane; several may be set on one pixel."""

    BAD = 1
    SAT = 2
    INTRP = 4
    CR = 8
    EDGE = 16
    DETECTED = 32
    DETECTED_NEGATIVE = 64
    SUSPECT = 128
    NO_DATA = 256
    STREAK = 512
    CROSSTALK = 1024
    INJECTED = 2048
    SAT_TEMPLATE = 4096
    HIGH_VARIANCE = 8192
