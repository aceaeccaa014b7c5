"""What the workers of a test run share: each kernel is compiled by one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

KERNELS = """
import numba

@numba.njit(cache=True)
def inner(x):
    return x + 1

@numba.njit(cache=True)
def outer(x, times):
    return x if times == 0 else outer(inner(x), times - 1)
"""

SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from tests.support.compile_once import compile_once
compile_once(Path(sys.argv[2]) / "locks")
print("ready", flush=True)
sys.stdin.readline()
import kernels
assert kernels.outer(1, 3) == 4
print(*(sum(one.stats.cache_misses.values()) for one in (kernels.inner, kernels.outer)))
"""


def test_two_that_begin_together_compile_each_kernel_once(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text(KERNELS)
    command = [sys.executable, "-c", SCRIPT, str(ROOT), str(tmp_path)]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    workers = [subprocess.Popen(command, **pipes) for _ in range(2)]
    assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 2
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    found = [worker.communicate()[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    misses = [sum(int(worker[k]) for worker in found) for k in range(2)]
    assert misses == [1, 1]
