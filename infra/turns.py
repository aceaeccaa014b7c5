"""Warm processes in turns: of what several processes compile when they start, each part is compiled by one of them.

numba keeps what it has compiled on disk, but processes that start together for the first time find nothing there, and each would
compile everything. Here each begins with a part that no other has begun, and loads from disk what others did meanwhile.
"""

from __future__ import annotations

import fcntl
import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["warm_in_turns"]

RARE_COLLECTIONS = (100_000, 20, 100)
"""Thresholds of the garbage collector while compiling, whose many small objects live long: a tenth of the CPU less than with
Python's own (700, 10, 10), measured with the kernels of ephemerides."""


def warm_in_turns(parts: Mapping[str, Callable[[], object]], folder: Path) -> None:
    """Call every part once, those first that no other process of this folder is calling; then wait for the others' to be done.

    All that is alive afterwards is taken for lasting: the garbage collector does not look at it again.

    Parameters
    ----------
    parts
        Name to what compiles, or loads from disk, a part of the kernels; parts must not need one another.
    folder
        Where the locks lie, made when it is not there; the system releases those of a process that dies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _rare_collections():
        left = {name: part for name, part in parts.items() if not _call(part, folder / name, wait=False)}
        for name, part in left.items():
            _call(part, folder / name, wait=True)
    gc.collect()
    gc.freeze()


def _call(part: Callable[[], object], lock: Path, *, wait: bool) -> bool:
    """Call a part while holding its lock, and tell whether it could be had."""
    with lock.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        part()
        return True


@contextmanager
def _rare_collections() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*RARE_COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
