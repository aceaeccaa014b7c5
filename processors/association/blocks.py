"""The state of association: twelve months of every object, as blocks of columns under keys.

====================================  =========================================================================
key                                   block
====================================  =========================================================================
``h`` pixel                           heads: one row per object founded in the pixel
``s`` pixel month                     DIASources of those objects, rows in order of object, time, identifier
``f`` pixel month                     forced sources, the same
``i`` object                          the pixel in which the object was founded, which never changes
``m`` Solar System object             its DIASources, of all times, rows in order of time, identifier
``o`` Solar System object             its newest public mpc_orbits record, encoded
``d`` visit                           owners: whose each DIASource of the visit is now, rows in order of identifiers
``v`` instrument's visit              decisions folded for the visit
``n``                                 number of decisions folded
====================================  =========================================================================

A pixel is a nested HEALPix pixel of order 10 (3.4 arcminutes); a month has 30 days. Every block begins with the number of
the last decision folded into it, and every row of a source carries the number of the decision that brought it and of the one
that took it away again, so that any earlier state can be told from a later one. An object is alive while it has a head.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from processors.association.errors import CorruptHistoryError

__all__ = [
    "COUNT_KEY",
    "FORCED_ROW",
    "HEAD_ROW",
    "LIVE",
    "MOVING_ROW",
    "OWNER_ROW",
    "SOURCE_ROW",
    "STORAGE_ORDER",
    "Blocks",
    "ChangedBlocks",
    "Changes",
    "FoldedDecision",
    "MemoryBlocks",
    "head_key",
    "joined_rows",
    "month_key",
    "month_of",
    "moving_key",
    "object_key",
    "orbit_key",
    "owners_key",
    "pack_decisions",
    "pack_number",
    "pack_rows",
    "unpack_decisions",
    "unpack_number",
    "visit_key",
]

Array = np.ndarray[Any, Any]
Changes = dict[bytes, bytes | None]
"""What a fold writes: a value for each key, None to delete it; all of it or nothing is applied."""

STORAGE_ORDER = 10
"""HEALPix order of the blocks."""

MONTH_DAYS = 30.0

LIVE = np.iinfo(np.int32).max
"""In a row's ``released``: no decision has taken it away."""

HEAD_ROW = np.dtype(
    [
        ("diaObjectId", "<i8"),
        ("ra", "<f8"),
        ("dec", "<f8"),
        ("raErr", "<f4"),
        ("decErr", "<f4"),
        ("detections", "<i4"),
        ("last_visit", "<i8"),
    ]
)
"""What matching must know of an object: mean position and its errors (degrees), visits with a detection."""

SOURCE_ROW = np.dtype(
    [
        ("diaObjectId", "<i8"),
        ("mjd", "<f8"),
        ("diaSourceId", "<i8"),
        ("visit", "<i8"),
        ("decision", "<i4"),
        ("released", "<i4"),
        ("band", "S1"),
        ("ra", "<f8"),
        ("dec", "<f8"),
        ("raErr", "<f4"),
        ("decErr", "<f4"),
        ("ra_dec_Cov", "<f4"),
        ("snr", "<f4"),
        ("psfFlux", "<f4"),
        ("psfFluxErr", "<f4"),
        ("scienceFlux", "<f4"),
        ("scienceFluxErr", "<f4"),
    ]
)
"""What statistics must know of a DIASource; names and units of the public schema, ``mjd`` is its midpoint."""

MOVING_ROW = np.dtype(
    [
        ("ssObjectId", "<i8"),
        ("mjd", "<f8"),
        ("diaSourceId", "<i8"),
        ("visit", "<i8"),
        ("decision", "<i4"),
        ("released", "<i4"),
        ("band", "S1"),
        ("psfFlux", "<f4"),
        ("psfFluxErr", "<f4"),
        ("extendedness", "<f4"),
        ("phaseAngle", "<f4"),
        ("helioRange", "<f4"),
        ("topoRange", "<f4"),
    ]
)
"""What the record of a Solar System object must know of its DIASource; names and units of diaSource and ssSource."""

OWNER_ROW = np.dtype([("diaSourceId", "<i8"), ("diaObjectId", "<i8"), ("ssObjectId", "<i8"), ("mjd", "<f8")])
"""Whose a DIASource is: one of the two objects is 0; ``mjd`` is its midpoint."""

FORCED_ROW = np.dtype(
    [
        ("diaObjectId", "<i8"),
        ("mjd", "<f8"),
        ("diaForcedSourceId", "<i8"),
        ("visit", "<i8"),
        ("decision", "<i4"),
        ("band", "S1"),
        ("detector", "<i2"),
        ("psfFlux", "<f4"),
        ("psfFluxErr", "<f4"),
    ]
)
"""What statistics must know of a forced source."""

_HEADER = struct.Struct("<4sq")
_PIXEL = struct.Struct(">q")
_MONTH = struct.Struct(">qi")
_FOLDED = struct.Struct("<iqH")
_DETECTOR = struct.Struct("<H")
_MARKS = {HEAD_ROW: b"HD01", SOURCE_ROW: b"SR02", FORCED_ROW: b"FR01", MOVING_ROW: b"MR01", OWNER_ROW: b"OW01"}
COUNT_KEY = b"n"
"""Key of the number of decisions folded."""


class Blocks(Protocol):
    """Where the blocks are kept."""

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return the value of each key, None where there is none."""


class MemoryBlocks:
    """Blocks in a dictionary, for notebooks and tests."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return the value of each key, None where there is none."""
        return [self.values.get(key) for key in keys]

    def apply(self, changes: Changes) -> None:
        """Take the changes of a fold."""
        for key, value in changes.items():
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value


class ChangedBlocks:
    """Blocks as they will be once changes are applied."""

    def __init__(self, blocks: Blocks, changes: Mapping[bytes, bytes | None]) -> None:
        self._blocks, self._changes = blocks, changes

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return the value that each key will have, None where there will be none."""
        below = [key for key in keys if key not in self._changes]
        values = iter(self._blocks.get_many(below))
        return [self._changes[key] if key in self._changes else next(values) for key in keys]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedDecision:
    """One decision of a visit, as the state remembers it."""

    sequence: int
    number: int
    """Its place among all decisions of the instrument, from 0."""
    detectors: tuple[int, ...]
    """Detectors whose results it took in."""


def month_of(mjd: float) -> int:
    """Return the month, 30 days each, that a time in MJD lies in."""
    return int(np.floor(mjd / MONTH_DAYS))


def head_key(pixel: int) -> bytes:
    """Return the key of a pixel's heads."""
    return b"h" + _PIXEL.pack(pixel)


def month_key(kind: bytes, pixel: int, month: int) -> bytes:
    """Return the key of a pixel's month of sources (kind ``s``) or forced sources (``f``)."""
    return kind + _MONTH.pack(pixel, month)


def object_key(identifier: int) -> bytes:
    """Return the key of an object's pixel."""
    return b"i" + _PIXEL.pack(identifier)


def moving_key(ss_object_id: int) -> bytes:
    """Return the key of a Solar System object's DIASources."""
    return b"m" + _PIXEL.pack(ss_object_id)


def orbit_key(ss_object_id: int) -> bytes:
    """Return the key of a Solar System object's orbit."""
    return b"o" + _PIXEL.pack(ss_object_id)


def owners_key(visit: int) -> bytes:
    """Return the key of the owners of a visit's DIASources."""
    return b"d" + _PIXEL.pack(visit)


def visit_key(visit: int) -> bytes:
    """Return the key of a visit's folded decisions."""
    return b"v" + _PIXEL.pack(visit)


def pack_number(value: int) -> bytes:
    """Return the value of a key that holds one number."""
    return _PIXEL.pack(value)


def unpack_number(value: bytes) -> int:
    """Return the number of a key that holds one."""
    return int(_PIXEL.unpack(value)[0])


def pack_rows(rows: Array, number: int) -> bytes:
    """Return a block of rows, last changed by that decision."""
    return _HEADER.pack(_MARKS[rows.dtype], number) + rows.tobytes()


def pack_decisions(decisions: Iterable[FoldedDecision]) -> bytes:
    """Return the value of a visit's key."""
    parts = []
    for decision in decisions:
        parts.append(_FOLDED.pack(decision.sequence, decision.number, len(decision.detectors)))
        parts.extend(_DETECTOR.pack(detector) for detector in decision.detectors)
    return b"".join(parts)


def unpack_decisions(value: bytes) -> tuple[FoldedDecision, ...]:
    """Return the decisions of a visit's key.

    Raises
    ------
    CorruptHistoryError
        When the value is cut short.
    """
    found, at = [], 0
    try:
        while at < len(value):
            sequence, number, count = _FOLDED.unpack_from(value, at)
            at += _FOLDED.size
            detectors = struct.unpack_from(f"<{count}H", value, at)
            at += 2 * count
            found.append(FoldedDecision(sequence=sequence, number=number, detectors=detectors))
    except struct.error:
        raise CorruptHistoryError("The state's record of a visit is cut short; fold the log again.") from None
    return tuple(found)


def joined_rows(values: Iterable[bytes | None], dtype: np.dtype[Any]) -> Array:
    """Return the rows of several blocks as one array; where there is no block there are none.

    Raises
    ------
    CorruptHistoryError
        When a block is damaged, or of another kind.
    """
    bodies = [memoryview(_checked(value, dtype))[_HEADER.size :] for value in values if value is not None]
    if not bodies:
        return np.zeros(0, dtype)
    return np.frombuffer(b"".join(bodies), dtype).copy()


def _checked(value: bytes, dtype: np.dtype[Any]) -> bytes:
    size = len(value) - _HEADER.size
    if value[:4] != _MARKS[dtype] or size < 0 or size % dtype.itemsize:
        raise CorruptHistoryError("A block of association's state is damaged; fold the log again.")
    return value
