"""Workers of one test run compile each kernel once: who comes second waits, and loads it from numba's cache on disk."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

__all__ = ["compile_once"]


def compile_once(folder: Path) -> None:
    """Let this process compile no cached kernel while another of the same folder does; for the life of the process.

    A kernel is locked inside those that call it, and none calls itself by a detour: nobody waits in a circle.
    """
    folder.mkdir(parents=True, exist_ok=True)
    compiled, held = Dispatcher.compile, set[Path]()

    def compile_alone(self: Any, sig: Any) -> Any:
        if not isinstance(self._cache, FunctionCache):
            return compiled(self, sig)
        name = f"{self.py_func.__module__}.{self.py_func.__qualname__}"
        lock = folder / hashlib.sha256(name.encode()).hexdigest()[:16]
        with global_compiler_lock, _locked(lock, held):
            return compiled(self, sig)

    Dispatcher.compile = compile_alone


@contextmanager
def _locked(lock: Path, held: set[Path]) -> Iterator[None]:
    if lock in held:
        yield
        return
    with lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        held.add(lock)
        try:
            yield
        finally:
            held.discard(lock)
