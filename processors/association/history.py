"""The state of association read by type: objects, their sources, and whose each source is, now or after an earlier decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from processors.association.blocks import (
    COUNT_KEY,
    FORCED_ROW,
    HEAD_ROW,
    LIVE,
    MOVING_ROW,
    OWNER_ROW,
    SOURCE_ROW,
    Blocks,
    FoldedDecision,
    head_key,
    joined_rows,
    month_key,
    month_of,
    moving_key,
    object_key,
    orbit_key,
    owners_key,
    unpack_decisions,
    unpack_number,
    visit_key,
)
from processors.association.errors import UnknownVisitError
from schemas.ids import unpack_dia_source_id

__all__ = ["History"]

Array = np.ndarray[Any, Any]


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
        return 0 if value is None else unpack_number(value)

    def folded(self, visit: int) -> tuple[FoldedDecision, ...]:
        """Return the decisions of a visit that are folded, in order of their sequence."""
        (value,) = self._blocks.get_many([visit_key(visit)])
        return () if value is None else unpack_decisions(value)

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
        return np.array([-1 if value is None else unpack_number(value) for value in values], np.int64)

    def heads(self, pixels: Array) -> Array:
        """Return the heads of all objects founded in the pixels, in order of their identifiers."""
        wanted = np.unique(pixels[pixels >= 0]).tolist()
        rows = joined_rows(self._blocks.get_many([head_key(pixel) for pixel in wanted]), HEAD_ROW)
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
        rows = joined_rows(
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
        rows = joined_rows(self._blocks.get_many([owners_key(visit) for visit in visits]), OWNER_ROW)
        rows = rows[np.isin(rows["diaSourceId"], wanted)]
        return rows[np.argsort(rows["diaSourceId"], kind="stable")]

    def block(self, key: bytes, dtype: np.dtype[Any]) -> Array:
        """Return the rows of one block, none where there is no block."""
        return joined_rows(self._blocks.get_many([key]), dtype)

    def blocks(self, keys: Sequence[bytes], dtype: np.dtype[Any]) -> list[Array]:
        """Return the rows of several blocks."""
        return [joined_rows([value], dtype) for value in self._blocks.get_many(keys)]

    def _rows(self, kind: bytes, dtype: np.dtype[Any], identifier: str, where: tuple[Array, float, float]) -> Array:
        pixels, first_mjd, last_mjd = where
        months = range(month_of(first_mjd), month_of(last_mjd) + 1)
        wanted = np.unique(pixels[pixels >= 0]).tolist()
        keys = [month_key(kind, pixel, month) for pixel in wanted for month in months]
        rows = joined_rows(self._blocks.get_many(keys), dtype)
        rows = rows[(rows["mjd"] >= first_mjd) & (rows["mjd"] <= last_mjd)]
        return rows[np.lexsort((rows[identifier], rows["mjd"], rows["diaObjectId"]))]


def _standing(rows: Array, number: int | None) -> Array:
    if number is None:
        return np.asarray(rows[rows["released"] == LIVE])
    return rows[(rows["decision"] <= number) & (rows["released"] > number)]
