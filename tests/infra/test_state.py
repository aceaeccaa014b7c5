"""Local state stores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import StateStoreError
from infra.state import Change, StateStore


def test_columns_are_apart_and_ordered(tmp_path: Path) -> None:
    with StateStore(tmp_path / "store", ("a", "b")) as store:
        store.write([Change("a", b"1", b"x"), ("b", b"2", b"z"), ("b", b"11", b"y"), ("b", b"1", b"w")])
        assert store.get("a", b"1") == b"x"
        assert store.get("a", b"2") is None
        assert list(store.iterate("b")) == [(b"1", b"w"), (b"11", b"y"), (b"2", b"z")]
        assert list(store.iterate("b", b"1")) == [(b"1", b"w"), (b"11", b"y")]
        assert list(store.iterate("b", b"3")) == []
        assert store.get_many("b", [b"2", b"none", b"1"]) == [b"z", None, b"w"]
        assert store.get_many("b", []) == []


def test_none_deletes_and_reopening_finds_the_rest(tmp_path: Path) -> None:
    with StateStore(tmp_path / "store", ("a",)) as store:
        store.write([("a", b"1", b"x"), ("a", b"2", b"")])
        store.write([("a", b"1", None)])
    with StateStore(tmp_path / "store", ("a", "new")) as store:
        assert list(store.iterate("a")) == [(b"2", b"")]
        assert list(store.iterate("new")) == []
    with StateStore(tmp_path / "store", ("new",)) as store:
        store.write([("new", b"1", b"y")])
    with StateStore(tmp_path / "store", ("a", "new")) as store:
        assert list(store.iterate("a")) == [(b"2", b"")]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with StateStore(tmp_path / "store", ("a",)), pytest.raises(StateStoreError, match="cannot be opened"):
        StateStore(tmp_path / "store", ("a",))


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom infra.state import StateStore\n"
        "store = StateStore(Path(sys.argv[1]), ('a', 'b'))\n"
        "store.write([('a', b'key', b'value'), ('b', b'offset', b'7')])\nos.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "store")], check=False)
    assert ended.returncode == -9
    with StateStore(tmp_path / "store", ("a", "b")) as store:
        assert (store.get("a", b"key"), store.get("b", b"offset")) == (b"value", b"7")


@settings(max_examples=10, deadline=None)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.binary(min_size=1, max_size=3), st.none() | st.binary(max_size=4)), max_size=8),
        max_size=4,
    )
)
def test_it_is_a_sorted_dictionary(batches: list, tmp_path_factory: pytest.TempPathFactory) -> None:
    model: dict[bytes, bytes] = {}
    with StateStore(tmp_path_factory.mktemp("state") / "store", ("a",)) as store:
        for batch in batches:
            store.write(("a", key, value) for key, value in batch)
            for key, value in batch:
                model.pop(key, None)
                if value is not None:
                    model[key] = value
        assert list(store.iterate("a")) == sorted(model.items())
