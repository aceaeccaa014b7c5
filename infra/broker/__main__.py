"""Resolve the broker's jars again and write the lock file: ``python -m infra.broker``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from infra.broker.jars import resolve_lock, write_lock

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        write_lock(resolve_lock(Path(scratch)))
