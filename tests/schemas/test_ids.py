"""Identifiers pack and unpack without loss, in 63 bits."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import ids
from schemas.errors import InvalidIdError

NIGHTS = st.dates(dt.date(2010, 1, 1), dt.date(2054, 11, 1)).map(lambda d: int(d.strftime("%Y%m%d")))


@given(NIGHTS, st.integers(1, 2**15 - 1), st.integers(0, 255), st.integers(0, 31), st.integers(0, 2**20 - 1))
def test_a_packed_id_unpacks_to_what_went_in(night: int, seq: int, detector: int, version: int, rank: int) -> None:
    visit = ids.visit_id(night, seq)
    packed = ids.pack_dia_source_id(visit, detector, rank, version)
    assert 0 <= packed < 2**63
    assert ids.unpack_dia_source_id(packed or 1) == (visit, detector, version, rank) or packed == 0


@pytest.mark.parametrize("arguments", [(20261340, 1), (20260101, 0), (20260101, 2**15), (19991231, 1)])
def test_what_does_not_fit_is_refused(arguments: tuple[int, int]) -> None:
    with pytest.raises(InvalidIdError):
        ids.visit_id(*arguments)


def test_ids_order_as_visits_do() -> None:
    visits = [ids.visit_id(20261129, 1), ids.visit_id(20261129, 2), ids.visit_id(20261130, 1)]
    packed = [ids.pack_dia_source_id(v, 5, 9) for v in visits]
    assert packed == sorted(packed)


def test_forced_ids_differ_by_object_visit_and_detector() -> None:
    made = {ids.forced_source_id(o, v, d) for o in (1, 2) for v in (3, 4) for d in (5, 6)}
    assert len(made) == 8
    assert all(0 < i < 2**63 for i in made)


@given(st.integers(max_value=0))
def test_an_id_that_is_not_positive_is_refused(identifier: int) -> None:
    with pytest.raises(InvalidIdError):
        ids.unpack_dia_source_id(identifier)
