"""Records made ahead are the bytes that would be made when asked for, and no more are kept than there is room for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from processors.moving_objects.nightly_covariance import covariances_of
from processors.moving_objects.rows import encoded_mpc_orbits
from schemas.orbits import STATE_COLUMNS, orbit_rows, set_covariances
from streams.nightmops import records
from streams.nightmops.records import OrbitRecords
from tests.support.solar_system import large_population

COUNT = 2000


@pytest.fixture(scope="module")
def orbits() -> NDArray[Any]:
    drawn = large_population(COUNT, 77, epoch_mjd_tdb=61000.0)
    rows = orbit_rows(COUNT)
    rows["designation"], rows["epoch_mjd_tdb"] = np.arange(1, COUNT + 1).astype("U16"), drawn.epoch_mjd_tdb
    for column, name in enumerate(STATE_COLUMNS):
        rows[name] = drawn.states[:, column]
    rows["h"], rows["g"] = drawn.h, drawn.slope
    set_covariances(rows, covariances_of(drawn.factors))
    return rows


@pytest.fixture(scope="module")
def one_by_one(orbits: NDArray[Any]) -> list[bytes]:
    return [encoded_mpc_orbits(orbits[k : k + 1], np.array([k + 1]))[0] for k in range(0, COUNT, 7)]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of all records that were made, in their order."""
    numbers: list[int] = []

    def noted(rows: NDArray[Any], ids: NDArray[np.int64]) -> list[bytes]:
        numbers.extend(ids.tolist())
        return encoded_mpc_orbits(rows, ids)

    monkeypatch.setattr(records, "encoded_mpc_orbits", noted)
    return numbers


def rings(*ends: int) -> Iterator[NDArray[np.int64]]:
    """Rows from zero to each end, one after the other."""
    return iter([np.arange(a, b) for a, b in zip((0, *ends), ends, strict=False)])


def test_a_record_is_the_same_however_and_whenever_it_was_made(
    orbits: NDArray[Any], one_by_one: list[bytes], made: list[int]
) -> None:
    whole = OrbitRecords(orbits)
    list(whole.ahead(rings(300, 1000)))
    assert sorted(made) == list(range(1, 1001))
    places = np.arange(0, COUNT, 7)
    assert whole.of(places) == tuple(one_by_one)
    assert len(made) == 1000 + np.count_nonzero(places >= 1000)
    assert whole.of(places[::-1]) == tuple(one_by_one[::-1])
    assert len(set(made)) == len(made)


def test_each_step_ahead_makes_a_bounded_number(orbits: NDArray[Any], made: list[int]) -> None:
    counts = [0, *(len(made) for _ in OrbitRecords(orbits).ahead(rings(1500)))]
    assert counts[-1] == 1500
    assert max(np.diff(counts)) == records.SLICE


def test_no_more_are_kept_than_there_is_room_for(orbits: NDArray[Any], made: list[int]) -> None:
    room = 800
    few = OrbitRecords(orbits, room)
    for first in range(0, COUNT, 100):
        few.of(np.arange(first, first + 100))
        assert len(few) <= room + 100
    list(few.ahead(rings(COUNT)))
    assert len(few) <= room + records.SLICE
    assert made[-1] <= COUNT


def test_what_lies_about_the_last_field_is_never_the_first_to_go(orbits: NDArray[Any], made: list[int]) -> None:
    few = OrbitRecords(orbits, 800)
    for first in range(1000, COUNT, 100):
        list(few.ahead(rings(150)))
        few.of(np.arange(first, first + 100))
    made.clear()
    few.of(np.arange(150))
    assert made == []


def test_nothing_asked_is_nothing_made(orbits: NDArray[Any], made: list[int]) -> None:
    empty = OrbitRecords(orbits)
    assert empty.of(np.empty(0, np.int64)) == ()
    assert list(empty.ahead(iter(()))) == []
    assert (len(empty), made) == (0, [])
