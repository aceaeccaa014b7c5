"""What processes of a pool do in its tests; apart, because each process imports it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from streams.detectors.task import JobProduct, JobTask

__all__ = ["do_nothing", "fail_to_warm", "warm_unequally"]


def warm_unequally(folder: str) -> None:
    """Initialise a process: the first is warm at once, the others have more to do, and leave a mark when it is done."""
    try:
        (Path(folder) / "first").touch(exist_ok=False)
    except FileExistsError:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000)
    (Path(folder) / f"warm-{os.getpid()}").touch()


def fail_to_warm(folder: str) -> None:
    """Refuse to be initialised."""
    raise RuntimeError(folder)


def do_nothing(task: JobTask) -> JobProduct:
    """Return an empty product."""
    return JobProduct()
