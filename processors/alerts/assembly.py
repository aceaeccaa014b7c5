"""An object's twelve months as records encoded once in their life, and the packets spliced from them.

An object's records lie in blocks of a month (30 days). A record remembers the position in the log of updates at which it was
first applied, so an update that comes again, for whatever reason, finds its records there, changes nothing and gives the same
packets as the first time, even when the object's history has gone on since.

A correction moves DIASources from one object's history to another's: the one gets their records, the other a record that they were
released, which takes effect for packets made from then on. It makes no packet itself, and no packet that was made changes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from processors.alerts.errors import MalformedPacketError
from processors.alerts.packet import PacketParts, assemble_parts, in_a_row
from schemas.events import AssembledAlert, ObjectUpdate
from schemas.ids import unpack_dia_source_id
from schemas.tables import Claim

__all__ = [
    "HISTORY_DAYS",
    "Record",
    "Reading",
    "apply_correction",
    "apply_update",
    "assembled_alerts",
    "block_key",
    "corrected_months",
    "history_name",
    "months_of",
    "month_of",
    "pack_block",
    "unpack_block",
]

HISTORY_DAYS = 365.25
"""Twelve months: how far a packet's history goes back."""

KEPT_MONTHS = 15
"""Months of blocks kept: the packet's history, and as much as an update may be repeated late."""

_MONTH_DAYS = 30.0
_KEY = struct.Struct(">qi")
_HEADER = struct.Struct("<qI")
_RECORD = struct.Struct("<BqqidqI")
_SOURCE, _FORCED, _RELEASED = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One encoded record of an object's history."""

    kind: int
    """0 for a DIASource, 1 for a forced source, 2 for a DIASource that was released from the object."""
    identifier: int
    """The DIASource's identifier, or the forced source's place in its update."""
    visit: int
    sequence: int
    midpoint_mjd_tai: float
    applied_at: int
    """Offset of the update that brought it."""
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A block as it is stored."""

    last_offset: int
    """Offset of the last update applied to the block."""
    records: tuple[Record, ...]


def block_key(object_id: int, month: int) -> bytes:
    """Return the key of an object's month."""
    return _KEY.pack(object_id, month)


def history_name(update: ObjectUpdate) -> int:
    """Return the number that an object's blocks go by: a Solar System object's is negative, so that it is no DIAObject's."""
    return update.dia_object_id or -update.ss_object_id


def month_of(mjd: float) -> int:
    """Return the month that a time in MJD lies in."""
    return int(mjd // _MONTH_DAYS)


def months_of(update: ObjectUpdate) -> range:
    """Return the months that the packets of an update reach into, its own last."""
    last = update.midpoint_mjd_tai
    return range(month_of(last - HISTORY_DAYS), month_of(last) + 1)


def apply_update(update: ObjectUpdate, offset: int, block: bytes | None) -> tuple[bytes, int]:
    """Put an update's records into the block of its month.

    Parameters
    ----------
    update
        The update.
    offset
        Where it was read.
    block
        The month's block, None where there is none yet.

    Returns
    -------
    tuple[bytes, int]
        The block, which is to be stored again even when nothing is new, and the offset at which the update was first applied.

    Raises
    ------
    MalformedPacketError
        When the block is damaged.
    """
    return _applied(update, offset, block, _records(update, offset))


def corrected_months(update: ObjectUpdate) -> list[int]:
    """Return the months in which a correction's update changes the object's history, ascending."""
    return sorted({month_of(mjd) for mjd in update.midpoints_mjd_tai})


def apply_correction(update: ObjectUpdate, offset: int, month: int, block: bytes | None) -> bytes:
    """Put what a correction's update changes in a month into its block.

    Parameters
    ----------
    update
        The update; ``update.corrects`` holds.
    offset
        Where it was read.
    month
        One of ``corrected_months(update)``.
    block
        The month's block, None where there is none yet.

    Raises
    ------
    MalformedPacketError
        When the block is damaged.
    """
    changed = [record for record in _corrected(update, offset) if month_of(record.midpoint_mjd_tai) == month]
    return _applied(update, offset, block, changed)[0]


def _applied(update: ObjectUpdate, offset: int, block: bytes | None, records: list[Record]) -> tuple[bytes, int]:
    before = Reading(last_offset=-1, records=()) if block is None else unpack_block(block)
    same = [r for r in before.records if (r.visit, r.sequence) == (update.visit, update.sequence)]
    last = max(before.last_offset, offset)
    if same:
        return pack_block(last, before.records), same[0].applied_at
    return pack_block(last, (*before.records, *records)), offset


def assembled_alerts(update: ObjectUpdate, applied_at: int, blocks: Iterable[bytes | None]) -> list[AssembledAlert]:
    """Return the alert of each DIASource of an update, without stamps, in order of their identifiers.

    The history holds what had been applied before the update: DIASources of earlier times, and forced sources up to the
    update's own, oldest first.

    Parameters
    ----------
    update
        The update.
    applied_at
        Offset at which it was first applied.
    blocks
        The blocks of ``months_of(update)``, the update applied.
    """
    seen = update.midpoint_mjd_tai
    records = [
        record
        for block in blocks
        if block is not None
        for record in unpack_block(block).records
        if record.applied_at <= applied_at and record.midpoint_mjd_tai >= seen - HISTORY_DAYS
    ]
    records.sort(key=lambda r: (r.midpoint_mjd_tai, r.visit, r.sequence, r.identifier))
    sources = [r.data for r in _owned(records) if r.midpoint_mjd_tai < seen]
    forced = [r.data for r in records if r.kind == _FORCED and r.midpoint_mjd_tai <= seen]
    parts = PacketParts(
        dia_source=b"",
        prv_sources=in_a_row(sources),
        prv_forced=in_a_row(forced) if update.dia_object_id else None,
        dia_object=update.dia_object or None,
        mpc_orbits=update.mpc_orbits or None,
    )
    alerts = []
    for place, (identifier, data) in enumerate(zip(update.dia_source_ids, update.diasources, strict=True)):
        circumstances = update.circumstances[place] if update.circumstances else None
        detector = unpack_dia_source_id(identifier).detector
        alerts.append(
            AssembledAlert(
                alert_id=identifier,
                dia_object_id=update.dia_object_id,
                ss_object_id=update.ss_object_id,
                visit=update.visit,
                detector=detector,
                packet=assemble_parts(replace(parts, dia_source=data, ss_source=circumstances)),
                cutouts=_pack_of(update.cutouts, detector),
                last_readout_sent_unix_s=update.last_readout_sent_unix_s,
            )
        )
    return alerts


def pack_block(last_offset: int, records: Iterable[Record]) -> bytes:
    """Return a block's bytes."""
    listed = tuple(records)
    parts = [_HEADER.pack(last_offset, len(listed))]
    for r in listed:
        head = r.kind, r.identifier, r.visit, r.sequence, r.midpoint_mjd_tai, r.applied_at, len(r.data)
        parts += [_RECORD.pack(*head), r.data]
    return b"".join(parts)


def unpack_block(block: bytes) -> Reading:
    """Return what a block holds.

    Raises
    ------
    MalformedPacketError
        When its bytes are cut short or go on.
    """
    try:
        last_offset, count = _HEADER.unpack_from(block)
        at, records = _HEADER.size, []
        for _ in range(count):
            kind, identifier, visit, sequence, mjd, applied_at, length = _RECORD.unpack_from(block, at)
            at += _RECORD.size + length
            records.append(
                Record(
                    kind=kind,
                    identifier=identifier,
                    visit=visit,
                    sequence=sequence,
                    midpoint_mjd_tai=mjd,
                    applied_at=applied_at,
                    data=block[at - length : at],
                )
            )
    except struct.error:
        at = -1
    if at != len(block):
        raise MalformedPacketError("A block of an object's history is damaged; rebuild it from its changelog.")
    return Reading(last_offset=last_offset, records=tuple(records))


def _owned(records: Iterable[Record]) -> list[Record]:
    """Return the DIASources that the object has, in the order given: came and was not released, or came again."""
    newest: dict[int, Record] = {}
    for record in records:
        if record.kind != _FORCED and record.applied_at >= newest.get(record.identifier, record).applied_at:
            newest[record.identifier] = record
    return [r for r in records if r.kind == _SOURCE and newest[r.identifier] is r]


def _corrected(update: ObjectUpdate, offset: int) -> list[Record]:
    named = [(_SOURCE, *pair) for pair in zip(update.dia_source_ids, update.diasources, strict=True)]
    named += [(_RELEASED, identifier, b"") for identifier in update.released]
    return [
        Record(
            kind=kind,
            identifier=identifier,
            visit=update.visit,
            sequence=update.sequence,
            midpoint_mjd_tai=mjd,
            applied_at=offset,
            data=data,
        )
        for (kind, identifier, data), mjd in zip(named, update.midpoints_mjd_tai, strict=True)
    ]


def _records(update: ObjectUpdate, offset: int) -> list[Record]:
    named = [(_SOURCE, *pair) for pair in zip(update.dia_source_ids, update.diasources, strict=True)]
    named += [(_FORCED, place, data) for place, data in enumerate(update.forced)]
    return [
        Record(
            kind=kind,
            identifier=identifier,
            visit=update.visit,
            sequence=update.sequence,
            midpoint_mjd_tai=update.midpoint_mjd_tai,
            applied_at=offset,
            data=data,
        )
        for kind, identifier, data in named
    ]


def _pack_of(cutouts: Mapping[str, Claim], detector: int) -> Claim | None:
    return cutouts.get(f"{detector:03d}")
