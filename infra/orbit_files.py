"""Orbit files on disk, plain or gzipped: handed out in pieces of whole lines, written through a temporary name.

What the lines mean is the processors' matter (``processors.moving_objects.orbit_import``).
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from infra.errors import OrbitFileError

__all__ = ["KINDS", "orbit_file_kind", "orbit_pieces", "write_orbit_file"]

KINDS = {"mpcorb": b"\n", "json": b"}", "csv": b"\n"}
"""Format to the byte after which a piece may end."""

PIECE_BYTES = 4_000_000
"""Of a piece: about 20,000 lines of MPCORB, small enough for the processor's cache to help."""

_GZIP_MAGIC = b"\x1f\x8b"


def orbit_file_kind(path: Path) -> str:
    """Return the format of an orbit file by its name, or by its first character when the name tells nothing.

    Raises
    ------
    OrbitFileError
        When the file cannot be read.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if suffixes and suffixes[-1] in (".json", ".csv"):
        return suffixes[-1][1:]
    if suffixes and suffixes[-1] == ".dat":
        return "mpcorb"
    first = next(orbit_pieces(path, "mpcorb"), (1, b""))[1].lstrip()
    if first.startswith((b"[", b"{")):
        return "json"
    return "csv" if b"designation" in first.partition(b"\n")[0] else "mpcorb"


def orbit_pieces(path: Path, kind: str, size: int = PIECE_BYTES) -> Iterator[tuple[int, bytes]]:
    """Yield the pieces of an orbit file: the number of the first line, and the bytes.

    A piece ends with a line, or for JSON with an object; the last with the file. Gzipped files are known by their first bytes.

    Raises
    ------
    OrbitFileError
        When the file is missing, cannot be read, or its compression is broken.
    """
    try:
        with _opened(path) as stream:
            yield from _pieces(stream, KINDS[kind], size)
    except (OSError, EOFError, zlib.error) as error:
        raise OrbitFileError(f"The orbit file {path} cannot be read: {error}.") from error


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        zipped = stream.read(2) == _GZIP_MAGIC
    return cast("BinaryIO", gzip.open(path, "rb")) if zipped else path.open("rb")


def _pieces(stream: BinaryIO, end: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    line, held = 1, b""
    while block := stream.read(size):
        whole, mark, rest = (held + block).rpartition(end)
        held = rest
        if mark:
            yield line, whole + mark
            line += whole.count(b"\n") + mark.count(b"\n")
    if held:
        yield line, held


def write_orbit_file(path: Path, text: str) -> None:
    """Write a file of orbits, gzipped when its name ends so; a reader sees the old file or the whole new one.

    Raises
    ------
    OrbitFileError
        When it cannot be written.
    """
    data = text.encode("utf-8")
    if path.suffix == ".gz":
        # No time in the header: the same orbits give the same bytes.
        data = gzip.compress(data, mtime=0)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OrbitFileError(f"The orbit file {path} cannot be written: {error}.") from error
