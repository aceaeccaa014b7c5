from __future__ import annotations

import subprocess
import sys

import pytest

from infra.memory import give_back_memory, keep_freed_memory

SCRIPT = """
import resource
from infra.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        bytearray(b"x" * (32 << 20))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
given_back = faults()
kept = keep_freed_memory()
faults()
print(given_back, kept, faults())
"""


HOLES = """
import numpy as np
from infra.memory import give_back_memory, keep_freed_memory

def resident():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmRSS")]
    return int(line.split()[1]) // 1024

keep_freed_memory()
images = [np.ones(1 << 20) for _ in range(20)]
del images[::2]
before = resident()
print(before, give_back_memory(), before - resident(), float(sum(image.sum() for image in images)) == 10 * 2**20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is asked")
def test_holes_between_what_lives_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    _, given, less, whole = done.stdout.split()
    assert (given, whole) == ("True", "True")
    assert int(less) > 70  # of ten images of 8 MB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is asked")
def test_freed_memory_is_not_cleared_again() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    given_back, kept, left = done.stdout.split()
    assert kept == "True"
    assert int(given_back) > 1000
    assert int(left) < int(given_back) / 20


def test_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
    assert not give_back_memory()
