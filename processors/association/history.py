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

from processors.association.errors import CorruptHistoryError, UnknownVisitError
from schemas.ids import unpack_dia_source_id

__all__ = [
    "FORCED_ROW",
    "HEAD_ROW",
    "LIVE",
    "MOVING_ROW",
    "OWNER_ROW",
    "SOURCE_ROW",
    "STORAGE_ORDER",
    "Blocks",
    "Changes",
    "FoldedDecision",
    "History",
    "MemoryBlocks",
    "month_of",
    "moving_key",
    "orbit_key",
    "owners_key",
    "pack_decisions",
    "pack_rows",
    "head_key",
    "month_key",
    "object_key",
    "ChangedBlocks",
    "pack_number",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedDecision:
    """One decision of a visit, as the state remembers it."""

    sequence: int
    number: int
    """Its place among all decisions of the instrument, from 0."""
    detectors: tuple[int, ...]
    """Detectors whose results it took in."""


class History:
    """Typed reading of the blocks.

    Parameters
    ----------
    blocks
        Where they are kept.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    def decisions(self) -> int:
        """Return how many decisions are folded."""
        (value,) = self._blocks.get_many([COUNT_KEY])
        return 0 if value is None else int(_PIXEL.unpack(value)[0])

    def folded(self, visit: int) -> tuple[FoldedDecision, ...]:
        """Return the decisions of a visit that are folded, in order of their sequence."""
        (value,) = self._blocks.get_many([visit_key(visit)])
        return () if value is None else _unpack_decisions(value)

    def number_of(self, visit: int, sequence: int) -> int:
        """Return the place of a folded decision among all.

        Raises
        ------
        UnknownVisitError
            When the decision is not folded.
        """
        for one in self.folded(visit):
            if one.sequence == sequence:
                return one.number
        raise UnknownVisitError(f"Decision {sequence} of visit {visit} is not folded.")

    def pixels_of(self, object_ids: Array) -> Array:
        """Return the pixel in which each object was founded, -1 for objects that are not known."""
        values = self._blocks.get_many([object_key(identifier) for identifier in object_ids.tolist()])
        return np.array([-1 if value is None else _PIXEL.unpack(value)[0] for value in values], np.int64)

    def heads(self, pixels: Array) -> Array:
        """Return the heads of all objects founded in the pixels, in order of their identifiers."""
        wanted = np.unique(pixels[pixels >= 0]).tolist()
        rows = _join(self._blocks.get_many([head_key(pixel) for pixel in wanted]), HEAD_ROW)
        return rows[np.argsort(rows["diaObjectId"], kind="stable")]

    def alive(self, object_ids: Array) -> Array:
        """Tell which objects exist: they were founded and have not been closed."""
        pixels = self.pixels_of(object_ids)
        return np.isin(object_ids, self.heads(pixels)["diaObjectId"])

    def sources(self, pixels: Array, first_mjd: float, last_mjd: float, *, number: int | None = None) -> Array:
        """Return the DIASources of the pixels' objects between two times (both taken in), in canonical order.

        They are those that the objects have now, or had once the decision of the given number was folded.
        """
        return _standing(self._rows(b"s", SOURCE_ROW, "diaSourceId", (pixels, first_mjd, last_mjd)), number)

    def forced(self, pixels: Array, first_mjd: float, last_mjd: float) -> Array:
        """Return the forced sources of the pixels' objects between two times (both taken in), in canonical order."""
        return self._rows(b"f", FORCED_ROW, "diaForcedSourceId", (pixels, first_mjd, last_mjd))

    def moving(self, ss_object_ids: Array, *, number: int | None = None) -> Array:
        """Return all DIASources of Solar System objects, now or once a decision was folded, in order of object, time, identifier."""
        rows = _join(
            self._blocks.get_many([moving_key(identifier) for identifier in ss_object_ids.tolist()]), MOVING_ROW
        )
        rows = _standing(rows, number)
        return rows[np.lexsort((rows["diaSourceId"], rows["mjd"], rows["ssObjectId"]))]

    def orbits(self, ss_object_ids: Array) -> dict[int, bytes]:
        """Return the newest encoded mpc_orbits record of each Solar System object that has one."""
        values = self._blocks.get_many([orbit_key(identifier) for identifier in ss_object_ids.tolist()])
        return {
            identifier: value
            for identifier, value in zip(ss_object_ids.tolist(), values, strict=True)
            if value is not None
        }

    def owners(self, source_ids: Array) -> Array:
        """Return whose DIASources are now, rows of OWNER_ROW in order of their identifiers; unknown ones are left out."""
        wanted = np.unique(source_ids[source_ids > 0])
        visits = sorted({unpack_dia_source_id(identifier).visit for identifier in wanted.tolist()})
        rows = _join(self._blocks.get_many([owners_key(visit) for visit in visits]), OWNER_ROW)
        rows = rows[np.isin(rows["diaSourceId"], wanted)]
        return rows[np.argsort(rows["diaSourceId"], kind="stable")]

    def block(self, key: bytes, dtype: np.dtype[Any]) -> Array:
        """Return the rows of one block, none where there is no block."""
        return _join(self._blocks.get_many([key]), dtype)

    def blocks(self, keys: Sequence[bytes], dtype: np.dtype[Any]) -> list[Array]:
        """Return the rows of several blocks."""
        return [_join([value], dtype) for value in self._blocks.get_many(keys)]

    def _rows(self, kind: bytes, dtype: np.dtype[Any], identifier: str, where: tuple[Array, float, float]) -> Array:
        pixels, first_mjd, last_mjd = where
        months = range(month_of(first_mjd), month_of(last_mjd) + 1)
        wanted = np.unique(pixels[pixels >= 0]).tolist()
        keys = [month_key(kind, pixel, month) for pixel in wanted for month in months]
        rows = _join(self._blocks.get_many(keys), dtype)
        rows = rows[(rows["mjd"] >= first_mjd) & (rows["mjd"] <= last_mjd)]
        return rows[np.lexsort((rows[identifier], rows["mjd"], rows["diaObjectId"]))]


def _standing(rows: Array, number: int | None) -> Array:
    if number is None:
        return np.asarray(rows[rows["released"] == LIVE])
    return rows[(rows["decision"] <= number) & (rows["released"] > number)]


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


def _unpack_decisions(value: bytes) -> tuple[FoldedDecision, ...]:
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


def _join(values: Iterable[bytes | None], dtype: np.dtype[Any]) -> Array:
    """Return the rows of several blocks as one array."""
    bodies = [memoryview(_checked(value, dtype))[_HEADER.size :] for value in values if value is not None]
    if not bodies:
        return np.zeros(0, dtype)
    return np.frombuffer(b"".join(bodies), dtype).copy()


def _checked(value: bytes, dtype: np.dtype[Any]) -> bytes:
    size = len(value) - _HEADER.size
    if value[:4] != _MARKS[dtype] or size < 0 or size % dtype.itemsize:
        raise CorruptHistoryError("A block of association's state is damaged; fold the log again.")
    return value


class ChangedBlocks:
    """Blocks as they will be once changes are applied."""

    def __init__(self, blocks: Blocks, changes: Mapping[bytes, bytes | None]) -> None:
        self._blocks, self._changes = blocks, changes

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        below = [key for key in keys if key not in self._changes]
        values = iter(self._blocks.get_many(below))
        return [self._changes[key] if key in self._changes else next(values) for key in keys]
