from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from infra.turns import warm_in_turns

PATIENCE_S = 120.0


@pytest.fixture(autouse=True)
def unfrozen() -> object:
    """The collector looks at everything again afterwards."""
    yield
    gc.unfreeze()


def test_one_process_calls_every_part_in_order(tmp_path: Path) -> None:
    called: list[str] = []
    parts = {name: lambda name=name: called.append(name) for name in ("b", "a", "c")}
    warm_in_turns(parts, tmp_path / "new" / "locks")
    assert called == ["b", "a", "c"]


def test_two_begin_with_different_parts_and_each_ends_with_both(tmp_path: Path) -> None:
    """The first is held in part a until the second has called b; the second cannot call a before the first is done with it."""
    calls: list[str] = []
    in_a, b_done = threading.Event(), threading.Event()

    def first_a() -> None:
        in_a.set()
        assert b_done.wait(PATIENCE_S)
        calls.append("first a")

    def second_b() -> None:
        calls.append("second b")
        b_done.set()

    first = {"a": first_a, "b": lambda: calls.append("first b")}
    second = {"a": lambda: calls.append("second a"), "b": second_b}
    thread = threading.Thread(target=warm_in_turns, args=(first, tmp_path))
    thread.start()
    assert in_a.wait(PATIENCE_S)
    warm_in_turns(second, tmp_path)
    thread.join(PATIENCE_S)
    assert sorted(calls) == ["first a", "first b", "second a", "second b"]
    assert calls[:2] == ["second b", "first a"]
    assert calls.index("first a") < calls.index("second a")


def _die(folder: Path) -> None:
    warm_in_turns({"a": lambda: os.kill(os.getpid(), signal.SIGKILL)}, folder)


def test_the_lock_of_a_process_that_dies_is_free(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_die, args=(tmp_path,))
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == -signal.SIGKILL
    called: list[str] = []
    warm_in_turns({"a": lambda: called.append("a")}, tmp_path)
    assert called == ["a"]


def test_what_a_part_raises_is_raised_and_leaves_no_lock_and_no_threshold(tmp_path: Path) -> None:
    before = gc.get_threshold()
    with pytest.raises(ZeroDivisionError):
        warm_in_turns({"a": lambda: 1 / 0}, tmp_path)
    assert gc.get_threshold() == before
    warm_in_turns({"a": lambda: None}, tmp_path)


def test_what_lives_afterwards_is_not_looked_at_again(tmp_path: Path) -> None:
    frozen = gc.get_freeze_count()
    warm_in_turns({}, tmp_path)
    assert gc.get_freeze_count() > frozen
