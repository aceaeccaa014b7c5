"""Compiled kernels on disk that no longer fit the code.

numba keeps what it compiled beside a module and compiles again when that module's file changes. But a kernel holds the code of the
kernels it calls and the constants it uses, whatever module they come from, and of those numba sees nothing: after an update a
process would go on computing with a part of the old code.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["OUR_ROOMS", "discard_stale_kernels"]

OUR_ROOMS = tuple(Path(__file__).parents[1] / room for room in ("schemas", "processors", "infra", "streams"))
"""Folders of our packages."""

_STAMP = "kernels.json"


def discard_stale_kernels(rooms: Sequence[Path] = OUR_ROOMS) -> tuple[str, ...]:
    """Remove the compiled kernels of modules that, or of which something imported, changed since this was last called.

    Some milliseconds when nothing changed. What was compiled before the first call is of unknown origin and is removed. To be called
    by a process before it uses a kernel. Where the folders cannot be written numba keeps its files elsewhere, and nothing is done.

    Parameters
    ----------
    rooms
        Folders of packages that import one another.

    Returns
    -------
    tuple
        Dotted names of the modules whose kernels were removed, sorted.
    """
    files = {_name(room, path): path for room in rooms for path in room.rglob("*.py")}
    seen = _fingerprint(files)
    try:
        with _stamp(rooms[0] / "__pycache__") as stamp:
            known = _read(stamp)
            if known.get("seen") == seen:
                return ()
            keys = _keys(files)
            before = known.get("modules", {})
            stale = tuple(
                sorted(name for name, key in keys.items() if before.get(name) != key and _remove(files[name]))
            )
            stamp.write_text(json.dumps({"seen": seen, "modules": keys}, sort_keys=True))
            return stale
    except OSError:
        return ()


def _name(room: Path, path: Path) -> str:
    parts = path.relative_to(room.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _fingerprint(files: Mapping[str, Path]) -> str:
    """Return what changes when a file is touched: cheap, so that it can be asked at every start."""
    states = [(name, path.stat()) for name, path in sorted(files.items())]
    return hashlib.sha256(repr([(name, s.st_mtime_ns, s.st_size) for name, s in states]).encode()).hexdigest()


@contextmanager
def _stamp(folder: Path) -> Iterator[Path]:
    """Give the file that says what kernels were compiled from, to one process at a time."""
    folder.mkdir(exist_ok=True)
    with (folder / f"{_STAMP}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / _STAMP


def _read(stamp: Path) -> dict[str, Any]:
    try:
        found = json.loads(stamp.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _keys(files: Mapping[str, Path]) -> dict[str, str]:
    """Return, for each module with kernels, the digest of all code that it may hold."""
    texts = {name: path.read_bytes() for name, path in files.items()}
    imports = {name: _imports(name, text, files) for name, text in texts.items()}
    digests = {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    return {
        name: hashlib.sha256("".join(digests[one] for one in sorted(_reached(name, imports))).encode()).hexdigest()
        for name, text in texts.items()
        if b"numba" in text
    }


def _imports(name: str, text: bytes, files: Mapping[str, Path]) -> frozenset[str]:
    """Return which of our modules a module imports, by absolute names as everywhere here."""
    found = set[str]()
    for node in ast.walk(ast.parse(text, name)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(found & files.keys())


def _reached(name: str, imports: Mapping[str, frozenset[str]]) -> set[str]:
    """Return a module and all that it imports, one over another."""
    reached, coming = {name}, [name]
    while coming:
        further = imports[coming.pop()] - reached
        reached |= further
        coming += further
    return reached


def _remove(path: Path) -> bool:
    """Remove a module's compiled kernels; tell whether there were any."""
    kernels = list((path.parent / "__pycache__").glob(f"{path.stem}.*.nb[ic]"))
    for kernel in kernels:
        kernel.unlink(missing_ok=True)
    return bool(kernels)
