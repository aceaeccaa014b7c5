"""Link the detections of a folder and say what that cost: ``python -m tests.benchmarks._linking_process FOLDER batch``.

`_survey_linking` starts it: a process that has loaded nothing but the search tells the search's memory. The second word is ``batch`` or
``nightly``; night by night only a night's detections are read, as they would come. The answer is JSON on the standard output.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from processors.moving_objects.detections import night_numbers
from processors.moving_objects.linking_batch import link_detections
from processors.moving_objects.linking_nightly import begin, link_night

__all__ = ["DETECTIONS", "OBSERVERS", "Cost", "by_night", "forget_peak", "in_batch", "memory_mb", "night_by_night"]

Array = np.ndarray[Any, Any]
Cost = dict[str, Any]

DETECTIONS, OBSERVERS = "detections.npy", "observers.npy"
"""Beside a survey's tables: rows of ``DETECTION`` and where Rubin was at each, without Parquet and the ephemerides in memory."""


def in_batch(detections: Array, observers: Array) -> tuple[list[Array], Cost]:
    """Return the detection_id of each link of the whole window, and the cost and the pool left by each family."""
    families: list[dict[str, Any]] = []
    last = [started := time.process_time()]

    def note(name: str, links: int, pool: int) -> None:
        now = time.process_time()
        families.append({"name": name, "links": links, "pool": pool, "cpu_s": now - last[0]})
        last[0] = now

    links = link_detections(detections, observers, progress=note)
    return list(links.members), {"cpu_s": time.process_time() - started, "families": families}


def night_by_night(nights: Iterable[tuple[Array, Array]]) -> tuple[list[Array], Cost]:
    """Return the links after the last night, and what each night cost and left."""
    state, costs = begin(), []
    for detections, observers in nights:
        started = time.process_time()
        state, _ = link_night(state, detections, observers)
        cpu = time.process_time() - started
        left = {"links": len(state.links), "pool": len(state.tracklets), "peak_mb": memory_mb("VmHWM")}
        costs.append({"cpu_s": cpu, "detections": len(detections), **left})
    return state.members(), {"cpu_s": sum(n["cpu_s"] for n in costs), "nights": costs}


def by_night(detections: Array, observers: Array) -> Iterator[tuple[Array, Array]]:
    """Yield the detections of each night and the observers at them."""
    number = night_numbers(detections["midpoint_mjd_tai"])
    for night in np.unique(number):
        own = np.flatnonzero(number == night)
        yield detections[own], observers[own]


def _stored_nights(folder: Path) -> Iterator[tuple[Array, Array]]:
    """Yield the same of a folder; a file is mapped no longer than a night is copied from it."""
    number = night_numbers(np.load(folder / DETECTIONS, mmap_mode="r")["midpoint_mjd_tai"])
    for night in np.unique(number):
        own = np.flatnonzero(number == night)
        yield tuple(np.array(np.load(folder / name, mmap_mode="r")[own]) for name in (DETECTIONS, OBSERVERS))


def forget_peak() -> None:
    """Let the kernel count this process's greatest memory anew."""
    Path("/proc/self/clear_refs").write_text("5")


def memory_mb(what: str) -> float:
    """Return the memory of the process, MB: ``VmRSS`` now, ``VmHWM`` at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(what)) * 1024e-6


def main(folder: str, way: str) -> None:
    """Link, and print members, cost and memory."""
    modules = memory_mb("VmRSS")
    if way == "batch":
        members, cost = in_batch(*(np.load(Path(folder) / name) for name in (DETECTIONS, OBSERVERS)))
    else:
        members, cost = night_by_night(_stored_nights(Path(folder)))
    memory = {"peak_mb": round(memory_mb("VmHWM")), "modules_mb": round(modules)}
    print(json.dumps({"members": [m.tolist() for m in members], "cost": {**memory, **cost}}))


if __name__ == "__main__":
    main(*sys.argv[1:])
