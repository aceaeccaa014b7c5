"""The first query of a NightMOPS that was started anew takes no longer than the others: nothing is compiled or loaded for it."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streams.nightmops.ephemerides import EphemerisBench
from tests.streams.nightmops.test_ephemerides import DAY_OBS, Site

STARTED = """
import gc, json, pickle, sys
from pathlib import Path

from numba.core.dispatcher import Dispatcher
from numba.core.event import install_recorder

from infra.objects import ObjectStore
from streams.nightmops.ephemerides import EphemerisBench

OURS = ("processors", "infra", "streams", "schemas")


def loaded():
    ours = (d for d in gc.get_objects() if isinstance(d, Dispatcher) and d.py_func.__module__.partition(".")[0] in OURS)
    return {f"{d.py_func.__module__}.{d.py_func.__name__}{s}" for d in ours for s in d.signatures}


folder = Path(sys.argv[1])
catalogue, visit, announced = pickle.loads((folder / "asked").read_bytes())
bench = EphemerisBench("Sim", "X05", objects=ObjectStore.local(folder / "objects", fsync=False), folder=folder / sys.argv[2])
with install_recorder("numba:compile") as compiled:
    bench.warm(catalogue.day_obs)
warm = loaded()
bench.open(catalogue)
prediction = bench.predict(catalogue, visit, announced)
bench.work_ahead()
print(json.dumps([len(compiled.buffer), sorted(warm), sorted(loaded() - warm), prediction.count]))
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a night's ephemerides and the question of a visit; all that they call is compiled, and in the cache."""
    folder = tmp_path_factory.mktemp("first")
    site = Site(folder)
    visit = site.visits[0]
    (folder / "asked").write_bytes(pickle.dumps((site.catalogue, visit.visit, site.announced(visit))))
    EphemerisBench("Sim", "X05", objects=site.objects, folder=folder / "maps").warm(DAY_OBS)
    site.predict(visit)
    return folder


def started(folder: Path, name: str) -> list[Any]:
    """Return what a process of its own compiled while it warmed, which kernels it had then, which came later, and its answer."""
    command = [sys.executable, "-c", STARTED, str(folder), name]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def test_a_warm_nightmops_compiles_and_loads_nothing_for_its_first_visit(asked: Path) -> None:
    compiled, kernels, late, known = started(asked, "warm")
    if compiled:
        # Two processes that write to numba's cache at once may lose an entry: it is there after this one.
        compiled, kernels, late, known = started(asked, "again")
    assert compiled == 0
    assert any("nightly_query._write_seen" in kernel for kernel in kernels)
    assert not late, "\n".join(late)
    assert known > 0
