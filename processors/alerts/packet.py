"""Alert packets, put together from records that are already encoded.

A record's Avro bytes do not depend on what stands around them, so an array of history is its count, the records'
bytes one after the other, and a zero. The packet made so is, byte for byte, what a plain encoder makes of the same
values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from processors.alerts.errors import MalformedPacketError
from processors.alerts.layout import History, PacketLayout, locate
from schemas.events import CutoutSet
from schemas.public_avro import encode_long, encode_record

__all__ = [
    "PacketParts",
    "assemble",
    "assemble_parts",
    "delta",
    "encode_dia_object",
    "encode_dia_source",
    "encode_forced",
    "in_a_row",
    "kept",
    "lite",
    "parts_of",
    "with_cutouts",
]

_NULL, _SECOND_BRANCH = b"\x00", b"\x02"
_NO_STAMPS = 3 * _NULL


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketParts:
    """What a packet is made of; None is null."""

    dia_source: bytes
    """Encoded DIASource that causes the alert."""
    prv_sources: tuple[int, bytes] | None = None
    """Number of earlier DIASources, and their bytes in a row, oldest first."""
    prv_forced: tuple[int, bytes] | None = None
    """Number of forced sources, and their bytes in a row, oldest first."""
    dia_object: bytes | None = None
    ss_source: bytes | None = None
    mpc_orbits: bytes | None = None
    cutouts: tuple[bytes | None, bytes | None, bytes | None] = (None, None, None)
    """Stamps: difference, science, template."""
    observation_reason: str | None = None
    target_name: str | None = None


def encode_dia_source(record: Mapping[str, Any]) -> bytes:
    """Return the Avro bytes of one DIASource."""
    return encode_record(record, "diaSource")


def encode_forced(record: Mapping[str, Any]) -> bytes:
    """Return the Avro bytes of one forced source."""
    return encode_record(record, "diaForcedSource")


def encode_dia_object(record: Mapping[str, Any]) -> bytes:
    """Return the Avro bytes of one DIAObject."""
    return encode_record(record, "diaObject")


def assemble(
    dia_source: bytes,
    prv_sources: Iterable[bytes] | None,
    prv_forced: Iterable[bytes] | None,
    dia_object: bytes | None,
    cutouts: CutoutSet | None = None,
) -> bytes:
    """Return the packet of an alert on a DIAObject.

    Parameters
    ----------
    dia_source
        Encoded DIASource that causes the alert.
    prv_sources, prv_forced
        Encoded history, oldest first; empty gives an empty array and None gives null.
    dia_object
        Encoded DIAObject, or None.
    cutouts
        The three stamps, or None for a packet that gets them later.
    """
    return assemble_parts(
        PacketParts(
            dia_source=dia_source,
            prv_sources=in_a_row(prv_sources),
            prv_forced=in_a_row(prv_forced),
            dia_object=dia_object,
            cutouts=(None, None, None) if cutouts is None else _stamps(cutouts),
        )
    )


def assemble_parts(parts: PacketParts) -> bytes:
    """Return the packet of any alert, Solar System objects' included."""
    pieces = (
        _identifier(parts.dia_source),
        _nullable_text(parts.observation_reason),
        _nullable_text(parts.target_name),
        parts.dia_source,
        _nullable_array(parts.prv_sources),
        _nullable_array(parts.prv_forced),
        _nullable(parts.dia_object),
        _nullable(parts.ss_source),
        _nullable(parts.mpc_orbits),
        *(_nullable_bytes(stamp) for stamp in parts.cutouts),
    )
    return b"".join(pieces)


def with_cutouts(packet: bytes | PacketLayout, cutouts: CutoutSet) -> bytes:
    """Return a packet made without stamps with them; nothing else of it is touched.

    Raises
    ------
    MalformedPacketError
        When the packet already has stamps, or is none of our version.
    """
    layout = locate(packet)
    if layout.cutouts != (None, None, None):
        raise MalformedPacketError(f"The packet of alert {layout.alert_id} already has stamps.")
    stamps = (_nullable_bytes(stamp) for stamp in _stamps(cutouts))
    return b"".join([layout.packet[: -len(_NO_STAMPS)], *stamps])


def lite(packet: bytes | PacketLayout) -> bytes:
    """Return the small form: detection, object and Solar System circumstances, without history, orbit and stamps.

    Raises
    ------
    MalformedPacketError
        When the bytes are not a packet of our version.
    """
    layout = locate(packet)
    parts = PacketParts(
        dia_source=layout.dia_source,
        dia_object=layout.dia_object,
        ss_source=layout.ss_source,
        observation_reason=layout.observation_reason,
        target_name=layout.target_name,
    )
    return assemble_parts(parts)


def delta(packet: bytes | PacketLayout, since_mjd_tai: float | None = None) -> bytes:
    """Return the packet with only the history that was made after the object's last alert.

    Parameters
    ----------
    packet
        A packet, with stamps or without; stamps stay, since they are new.
    since_mjd_tai
        Processing time of the last alert, MJD TAI. By default that of the newest earlier DIASource, each of which was an
        alert; an object without any has had none, and its history is all new.

    Raises
    ------
    MalformedPacketError
        When the bytes are not a packet of our version.
    """
    layout = locate(packet)
    earlier = layout.prv_sources
    since = since_mjd_tai
    if since is None:
        since = -np.inf if earlier is None or len(earlier) == 0 else float(earlier.processed_mjd_tai.max())
    sources, forced = (
        None if history is None else kept(layout, history, history.processed_mjd_tai > since)
        for history in (earlier, layout.prv_forced)
    )
    return assemble_parts(replace(parts_of(layout), prv_sources=sources, prv_forced=forced))


def kept(layout: PacketLayout, history: History, keep: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[int, bytes]:
    """Return the number and bytes of the history records to keep, in their order."""
    starts, ends = history.starts[keep], history.ends[keep]
    if len(starts) and (ends[:-1] == starts[1:]).all():
        return len(starts), layout.packet[starts[0] : ends[-1]]
    spans = zip(starts.tolist(), ends.tolist(), strict=True)
    return len(starts), b"".join([layout.packet[start:end] for start, end in spans])


def parts_of(packet: bytes | PacketLayout) -> PacketParts:
    """Return a packet's parts.

    Raises
    ------
    MalformedPacketError
        When the bytes are not a packet of our version.
    """
    layout = locate(packet)
    return PacketParts(
        dia_source=layout.dia_source,
        prv_sources=_whole(layout, layout.prv_sources),
        prv_forced=_whole(layout, layout.prv_forced),
        dia_object=layout.dia_object,
        ss_source=layout.ss_source,
        mpc_orbits=layout.mpc_orbits,
        cutouts=layout.cutouts,
        observation_reason=layout.observation_reason,
        target_name=layout.target_name,
    )


def _whole(layout: PacketLayout, history: History | None) -> tuple[int, bytes] | None:
    return None if history is None else kept(layout, history, np.ones(len(history), dtype=np.bool_))


def _identifier(dia_source: bytes) -> bytes:
    """Return the bytes of a DIASource's first field, its id, which is the packet's first field as well."""
    for end, byte in enumerate(dia_source[:10], start=1):
        if byte < 0x80:
            return dia_source[:end]
    raise MalformedPacketError("The bytes of the DIASource do not begin with its id.")


def in_a_row(records: Iterable[bytes] | None) -> tuple[int, bytes] | None:
    """Return the number of records and their bytes one after the other; None stays None."""
    if records is None:
        return None
    listed = list(records)
    return len(listed), b"".join(listed)


def _stamps(cutouts: CutoutSet) -> tuple[bytes, bytes, bytes]:
    return cutouts.difference, cutouts.science, cutouts.template


def _nullable(record: bytes | None) -> bytes:
    return _NULL if record is None else _SECOND_BRANCH + record


def _nullable_bytes(value: bytes | None) -> bytes:
    return _NULL if value is None else _SECOND_BRANCH + encode_long(len(value)) + value


def _nullable_text(text: str | None) -> bytes:
    return _nullable_bytes(None if text is None else text.encode())


def _nullable_array(array: tuple[int, bytes] | None) -> bytes:
    if array is None:
        return _NULL
    count, records = array
    return _SECOND_BRANCH + (encode_long(count) + records if count else b"") + _NULL
