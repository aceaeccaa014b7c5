"""Versions of Solar System objects: what is loaded before a night is all that the night calls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

SCRIPT = """
import sys
from numba.core.dispatcher import Dispatcher
from processors.association import ss_objects

def compiled():
    parts = [m for n, m in sorted(sys.modules.items()) if n.startswith("processors.moving_objects")]
    found = {v for m in parts for v in vars(m).values() if isinstance(v, Dispatcher)}
    return {v.py_func.__qualname__: len(v.signatures) for v in found if v.signatures}

ss_objects.warm_up()
from tests.processors.association import test_correct
real, same = test_correct.ss_object_versions, []

def watched(*arguments):
    before = compiled()
    versions = list(real(*arguments))
    same.append(bool(before) and before == compiled())
    return versions

test_correct.ss_object_versions = watched
test_correct.test_a_solar_system_object_has_a_record_of_all_its_sources()
print(*same)
"""


def test_nothing_is_compiled_for_the_first_object_that_was_not_before_the_night() -> None:
    """In a process of its own: other tests have compiled it in this one."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]
