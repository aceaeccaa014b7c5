"""A crash point kills its process once, and leaves proof."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from infra.faults import CrashPoints

PROGRAM = """
import pathlib, sys
from infra.faults import CrashPoints
CrashPoints(pathlib.Path(sys.argv[1]), sys.argv[2].split(",")).reach("dmcs", {"read": {"jobs/0": 7}})
print("went on")
"""


def run(folder: Path, armed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), armed], capture_output=True, text=True, check=False
    )


def test_an_armed_point_fires_once_and_its_marker_says_what_was_read(tmp_path: Path) -> None:
    first = run(tmp_path, "dmcs,quality")
    assert first.returncode == -signal.SIGKILL
    marker = CrashPoints(tmp_path).fired("dmcs")
    assert marker is not None
    assert marker["read"] == {"jobs/0": 7}
    second = run(tmp_path, "dmcs,quality")
    assert (second.returncode, second.stdout) == (0, "went on\n")


def test_a_point_that_is_not_armed_is_quiet(tmp_path: Path) -> None:
    assert run(tmp_path, "quality").returncode == 0
    assert CrashPoints(tmp_path).fired("dmcs") is None
