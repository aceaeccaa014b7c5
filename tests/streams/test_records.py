"""Offsets in the headers of a snapshot."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.records import offsets_as_headers, offsets_of_headers

NAMES = st.text("abc.-/0", min_size=1, max_size=8)


@given(st.dictionaries(st.tuples(NAMES, st.integers(0, 99)), st.integers(0, 1 << 60)))
def test_offsets_survive_headers(offsets: dict[tuple[str, int], int]) -> None:
    assert offsets_of_headers(dict(offsets_as_headers(offsets))) == offsets
