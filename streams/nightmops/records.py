"""Encoded mpc_orbits of known objects: made for the objects of a field together, or ahead of the next field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.rows import encoded_mpc_orbits

__all__ = ["OrbitRecords"]

ROOM = 500_000
"""Records kept at most, some 0.3 GB: a quarter of them is made ahead."""

SLICE = 64
"""Records made at a time ahead of being asked for, some 1.5 ms: what a visit that comes meanwhile waits for."""

_LOOK = 8192
"""Objects looked at in one step ahead, most of which have their record."""


class OrbitRecords:
    """The records of a catalogue's orbits; a record is a function of its row alone, whenever it is made.

    What is kept are two generations: what was asked for or made ahead lately, and what was so before. When the younger is full
    it becomes the older, whose records go.

    Parameters
    ----------
    orbits
        Rows of ``schemas.orbits.ORBIT_ROW``.
    room
        Records kept at most, but for the last field or slice.
    """

    def __init__(self, orbits: NDArray[Any], room: int = ROOM) -> None:
        self._orbits, self._room = orbits, room
        self._young: dict[int, bytes] = {}
        self._old: dict[int, bytes] = {}

    def __len__(self) -> int:
        """Return how many records are kept."""
        return len(self._young) + sum(place not in self._young for place in self._old)

    def of(self, places: NDArray[np.int64]) -> tuple[bytes, ...]:
        """Return the records of rows of the orbits, in their order; those not kept are made together."""
        listed = places.tolist()
        found = [record for place in listed if (record := self._young.get(place)) is not None]
        if len(found) < len(listed):
            self._make([place for place in listed if not self._found(place)])
            found = [self._young[place] for place in listed]
        self._age()
        return tuple(found)

    def ahead(self, rings: Iterator[NDArray[np.int64]]) -> Iterator[None]:
        """Make the records of rows before they are asked for, a slice with each step, up to a quarter of what is kept.

        Parameters
        ----------
        rings
            Rows of the orbits, those to be asked for first at the beginning.
        """
        left = self._room // 4
        for ring in rings:
            wanted = ring[:left]
            for first in range(0, len(wanted), _LOOK):
                missing = [place for place in wanted[first : first + _LOOK].tolist() if not self._found(place)]
                for start in range(0, len(missing), SLICE):
                    self._make(missing[start : start + SLICE])
                    yield
                self._age()
                yield
            left -= len(wanted)

    def _age(self) -> None:
        # What is about the last field, a quarter, was found or made since the last time: it is never lost with the old ones.
        if len(self._young) > self._room // 2:
            self._old, self._young = self._young, {}

    def _found(self, place: int) -> bool:
        """Tell whether a record is kept; then it is among the young ones."""
        if place in self._young:
            return True
        record = self._old.get(place)
        if record is not None:
            self._young[place] = record
        return record is not None

    def _make(self, missing: list[int]) -> None:
        if missing:
            rows = np.array(missing, np.int64)
            self._young.update(zip(missing, encoded_mpc_orbits(self._orbits[rows], rows + 1), strict=True))
