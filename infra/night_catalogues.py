"""Files of a night's known objects: written whole or not at all, mapped into memory by every process that reads them."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["map_catalogue", "write_catalogue"]


def write_catalogue(path: Path, chunks: Iterable[memoryview]) -> str:
    """Write the pieces of a catalogue to a file and return the sha256 of all its bytes.

    The file appears under its name only when it is complete; a process that has the old one mapped keeps reading that.
    """
    digest = hashlib.sha256()
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return digest.hexdigest()


def map_catalogue(path: Path) -> memoryview:
    """Map a catalogue's file into memory, read only; its pages are shared by all processes."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
