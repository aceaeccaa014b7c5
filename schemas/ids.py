"""Deterministic identifiers: visits, exposures, DIASources, forced sources.

A visit and an exposure are named by night and sequence number (``YYYYMMDDnnnnn``). A DIASource's identifier packs
38 bits of visit and detector (Rubin's division: 1 bit visit definition, 14 bits days since 2010-01-01, 15 bits
sequence, 8 bits detector), 5 bits of processing version and 20 bits of rank in canonical order: 63 bits, so that it
is a positive signed 64-bit integer. Identifiers never pass through floating point.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import NamedTuple

from schemas.errors import InvalidIdError

__all__ = [
    "PROCESSING_VERSION",
    "DiaSourceId",
    "day_obs_of",
    "day_visit",
    "exposure_id",
    "forced_source_id",
    "pack_dia_source_id",
    "sequence_of",
    "unpack_dia_source_id",
    "visit_id",
]

PROCESSING_VERSION = 1
"""Version of the processing that goes into every identifier; a reprocessing that supersedes gets the next."""

_EPOCH = dt.date(2010, 1, 1)
_DAY_BITS, _SEQ_BITS, _DETECTOR_BITS, _VERSION_BITS, _RANK_BITS = 14, 15, 8, 5, 20


class DiaSourceId(NamedTuple):
    """What a DIASource identifier packs."""

    visit: int
    detector: int
    version: int
    rank: int


def visit_id(day_obs: int, sequence: int) -> int:
    """Return the visit's identifier ``YYYYMMDDnnnnn``: that of its first exposure."""
    return exposure_id(day_obs, sequence)


def exposure_id(day_obs: int, sequence: int) -> int:
    """Return the exposure's identifier ``YYYYMMDDnnnnn``.

    Raises
    ------
    InvalidIdError
        When the night is no date after 2010 or the sequence number is outside 1 to 32767.
    """
    _check(_days_since_epoch(day_obs), _DAY_BITS, "night")
    _check(sequence, _SEQ_BITS, "sequence number")
    if sequence < 1:
        raise InvalidIdError(f"A sequence number starts at 1 and is not {sequence}.")
    return day_obs * 100_000 + sequence


def day_obs_of(visit: int) -> int:
    """Return the night (``YYYYMMDD``) of a visit or exposure."""
    return visit // 100_000


def day_visit(day_obs: int) -> int:
    """Return the number 0 of a night, which no visit has: it stands for what is decided of the night by day."""
    return day_obs * 100_000


def sequence_of(visit: int) -> int:
    """Return the sequence number within the night of a visit or exposure."""
    return visit % 100_000


def pack_dia_source_id(visit: int, detector: int, rank: int, version: int = PROCESSING_VERSION) -> int:
    """Pack a DIASource's identifier (63 bits, positive).

    Raises
    ------
    InvalidIdError
        When a part does not fit its bits.
    """
    days = _days_since_epoch(day_obs_of(visit))
    _check(days, _DAY_BITS, "night")
    _check(sequence_of(visit), _SEQ_BITS, "sequence number")
    _check(detector, _DETECTOR_BITS, "detector")
    _check(version, _VERSION_BITS, "processing version")
    _check(rank, _RANK_BITS, "rank")
    packed = (days << _SEQ_BITS) | sequence_of(visit)
    packed = (packed << _DETECTOR_BITS) | detector
    return (((packed << _VERSION_BITS) | version) << _RANK_BITS) | rank


def unpack_dia_source_id(identifier: int) -> DiaSourceId:
    """Take a DIASource's identifier apart."""
    if not 0 < identifier < 1 << 63:
        raise InvalidIdError(f"A DIASource identifier has 63 bits and is positive, which {identifier} is not.")
    rest, rank = divmod(identifier, 1 << _RANK_BITS)
    rest, version = divmod(rest, 1 << _VERSION_BITS)
    rest, detector = divmod(rest, 1 << _DETECTOR_BITS)
    days, sequence = divmod(rest, 1 << _SEQ_BITS)
    date = _EPOCH + dt.timedelta(days=days)
    return DiaSourceId(int(date.strftime("%Y%m%d")) * 100_000 + sequence, detector, version, rank)


def forced_source_id(dia_object_id: int, visit: int, detector: int) -> int:
    """Return the identifier of an object's forced source on one detector of one visit (63 bits of a BLAKE2 hash)."""
    text = f"forced:{dia_object_id}:{visit}:{detector}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1 or 1


def _days_since_epoch(day_obs: int) -> int:
    try:
        date = dt.datetime.strptime(str(day_obs), "%Y%m%d").date()
    except ValueError:
        raise InvalidIdError(f"A night is named YYYYMMDD, which {day_obs} is not.") from None
    return (date - _EPOCH).days


def _check(value: int, bits: int, name: str) -> None:
    if not 0 <= value < 1 << bits:
        raise InvalidIdError(f"The {name} {value} does not fit its {bits} bits.")
