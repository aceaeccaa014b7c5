"""Compiled kernels of an older version are not used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.kernel_caches import discard_stale_kernels

INNER = "import numba\nfrom room.numbers import SCALE\n@numba.njit(cache=True)\ndef inner(x):\n    return SCALE * x\n"
OUTER = "import numba\nfrom room.inner import inner\n@numba.njit(cache=True)\ndef outer(x):\n    return inner(x) + 1\n"
OTHER = "import numba\n@numba.njit(cache=True)\ndef other(x):\n    return x\n"


@pytest.fixture
def room(tmp_path: Path) -> Path:
    folder = tmp_path / "room"
    folder.mkdir()
    texts = {"__init__": "", "numbers": "SCALE = 2\n", "inner": INNER, "outer": OUTER, "other": OTHER}
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def kernels(room: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in (room / "__pycache__").glob("*.nbi")}


def pretend_compiled(room: Path) -> None:
    for name in ("inner", "outer", "other"):
        for suffix in ("nbi", "1.nbc"):
            (room / "__pycache__").mkdir(exist_ok=True)
            (room / "__pycache__" / f"{name}.{name}-3.py311.{suffix}").write_bytes(b"kernel")


def test_what_holds_changed_code_goes_and_the_rest_stays(room: Path) -> None:
    assert discard_stale_kernels([room]) == ()
    pretend_compiled(room)
    assert discard_stale_kernels([room]) == ()
    (room / "numbers.py").write_text("SCALE = 30\n")
    assert discard_stale_kernels([room]) == ("room.inner", "room.outer")
    assert kernels(room) == {"other"}
    pretend_compiled(room)
    assert discard_stale_kernels([room]) == ()
    (room / "numbers.py").touch()
    assert discard_stale_kernels([room]) == ()
    assert kernels(room) == {"inner", "outer", "other"}


def test_what_was_compiled_before_anybody_kept_account_goes(room: Path) -> None:
    pretend_compiled(room)
    assert discard_stale_kernels([room]) == ("room.inner", "room.other", "room.outer")
    assert kernels(room) == set()


@pytest.mark.parametrize("account", ["", "[]", "{", '{"seen": 3}'])
def test_an_account_that_says_nothing_is_begun_anew(room: Path, account: str) -> None:
    pretend_compiled(room)
    (room / "__pycache__" / "kernels.json").write_text(account)
    assert len(discard_stale_kernels([room])) == 3
    assert discard_stale_kernels([room]) == ()


def test_a_folder_that_cannot_be_written_is_left_alone(room: Path) -> None:
    (room / "__pycache__").write_bytes(b"no folder")
    assert discard_stale_kernels([room]) == ()


def test_numba_itself_goes_on_with_old_code_and_no_longer_does_then(room: Path) -> None:
    """The damage, then our result."""
    environment = {**os.environ, "PYTHONPATH": str(room.parent)}

    def answer() -> str:
        command = [sys.executable, "-c", "from room.outer import outer; print(outer(10))"]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    discard_stale_kernels([room])
    assert answer() == "21"
    (room / "numbers.py").write_text("SCALE = 30\n")
    assert answer() == "21"
    assert discard_stale_kernels([room]) == ("room.inner", "room.outer")
    assert answer() == "301"
