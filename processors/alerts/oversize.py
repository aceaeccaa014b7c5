"""What to leave out of a packet that is larger than the broker takes.

Forced sources go first, then earlier detections, the oldest first in each; then, so that the alert itself is never
lost, the stamps of template, science and difference image. What went is told in a header.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from processors.alerts.errors import OversizeError
from processors.alerts.layout import History, PacketLayout, locate
from processors.alerts.packet import PacketParts, assemble_parts, kept, parts_of

__all__ = ["TRIMMED_HEADER", "Trimming", "fit"]

TRIMMED_HEADER = "trimmed"
"""Name of the message header that says what was left out."""

_STAMP_NAMES = ("difference", "science", "template")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trimming:
    """What was left out of a packet."""

    forced: int
    """Forced sources left out."""
    forced_total: int
    sources: int
    """Earlier DIASources left out."""
    sources_total: int
    stamps: tuple[str, ...]
    """Stamps left out."""
    original_size: int
    """Size of the whole packet in bytes."""

    def header_value(self) -> bytes:
        """Return the header's text, such as ``forced=395/395;sources=12/345;stamps=;bytes=1261617``."""
        stamps = ",".join(self.stamps)
        text = f"forced={self.forced}/{self.forced_total};sources={self.sources}/{self.sources_total};stamps={stamps}"
        return f"{text};bytes={self.original_size}".encode()


def fit(packet: bytes, limit: int) -> tuple[bytes, Trimming | None]:
    """Return a packet that fits, and what had to go; None when nothing had to.

    Parameters
    ----------
    packet
        Whole packet of our version, stamps included.
    limit
        Largest size in bytes, the caller having taken off what the wire header and message headers need.

    Raises
    ------
    OversizeError
        When not even the detection and the object fit.
    MalformedPacketError
        When the bytes are not a packet of our version.
    """
    if len(packet) <= limit:
        return packet, None
    layout = locate(packet)
    excess = len(packet) - limit
    forced, excess = _oldest_to_go(layout.prv_forced, excess)
    sources, excess = _oldest_to_go(layout.prv_sources, excess)
    stamps: list[int] = []
    for position in (2, 1, 0):
        stamp = layout.cutouts[position]
        if excess > 0 and stamp is not None:
            stamps.append(position)
            excess -= len(stamp)
    if excess > 0:
        raise OversizeError(f"Alert {layout.alert_id} does not fit {limit} bytes even without history and stamps.")
    return assemble_parts(_without(layout, forced, sources, stamps)), Trimming(
        forced=forced,
        forced_total=_length(layout.prv_forced),
        sources=sources,
        sources_total=_length(layout.prv_sources),
        stamps=tuple(_STAMP_NAMES[position] for position in sorted(stamps)),
        original_size=len(packet),
    )


def _without(layout: PacketLayout, forced: int, sources: int, stamps: list[int]) -> PacketParts:
    difference, science, template = (
        None if position in stamps else stamp for position, stamp in enumerate(layout.cutouts)
    )
    return replace(
        parts_of(layout),
        prv_forced=_tail(layout, layout.prv_forced, forced),
        prv_sources=_tail(layout, layout.prv_sources, sources),
        cutouts=(difference, science, template),
    )


def _oldest_to_go(history: History | None, excess: int) -> tuple[int, int]:
    """Return how many of the oldest records must go, and the excess that is left then."""
    if excess <= 0 or history is None or len(history) == 0:
        return 0, excess
    freed = np.cumsum((history.ends - history.starts)[_by_age(history)])
    count = min(int(np.searchsorted(freed, excess)) + 1, len(freed))
    return count, excess - int(freed[count - 1])


def _tail(layout: PacketLayout, history: History | None, gone: int) -> tuple[int, bytes] | None:
    if history is None:
        return None
    keep = np.ones(len(history), dtype=np.bool_)
    keep[_by_age(history)[:gone]] = False
    return kept(layout, history, keep)


def _by_age(history: History) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.argsort(history.midpoint_mjd_tai, kind="stable")


def _length(history: History | None) -> int:
    return 0 if history is None else len(history)
