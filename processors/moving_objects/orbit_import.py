"""A file of orbits from its pieces: which format, the header, every piece, each designation once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from processors.moving_objects.errors import CatalogueTooLargeError, InvalidOrbitsError
from processors.moving_objects.mpc_json import parse_extended_json
from processors.moving_objects.mpcorb import after_header, parse_mpcorb
from processors.moving_objects.orbit_csv import csv_columns, parse_orbit_csv
from processors.moving_objects.orbit_table import ORBIT, OrbitTable, joined
from schemas.orbits import ORBIT_ROW

__all__ = ["BYTES_PER_ORBIT", "FORMATS", "import_orbits"]


BYTES_PER_ORBIT = 2 * ORBIT.itemsize + ORBIT_ROW.itemsize
"""What an orbit takes while a file is read: in its piece, in the whole table, and as a row to store."""


def import_orbits(kind: str, pieces: Iterable[tuple[int, bytes]], *, memory_limit_bytes: float = 8e9) -> OrbitTable:
    """Read the orbits of a file.

    Parameters
    ----------
    kind
        One of ``FORMATS``.
    pieces
        Number of the first line and the bytes, whole lines (``json``: whole objects) in the order of the file, the header in
        the first piece.
    memory_limit_bytes
        What reading may take, at ``BYTES_PER_ORBIT`` an orbit.

    Raises
    ------
    InvalidOrbitsError
        When the format is unknown or the header of a table lacks columns. A line that gives no orbit raises nothing: it is
        one of the result's problems.
    CatalogueTooLargeError
        When the file has more orbits than memory allows; it is left as soon as that is seen.
    """
    if kind not in FORMATS:
        raise InvalidOrbitsError(f"There is no orbit format {kind!r}; there are {', '.join(FORMATS)}.")
    parts, count = [], 0
    for part in FORMATS[kind](pieces):
        parts.append(part)
        count += len(part.orbits)
        if count * BYTES_PER_ORBIT > memory_limit_bytes:
            raise CatalogueTooLargeError(
                f"The file has more than {count} orbits, {count * BYTES_PER_ORBIT / 1e9:.1f} GB, and "
                f"{memory_limit_bytes / 1e9:.1f} GB are allowed: raise the limit or split the file."
            )
    return joined(parts)


def _mpcorb(pieces: Iterable[tuple[int, bytes]]) -> Iterable[OrbitTable]:
    for k, (line, data) in enumerate(pieces):
        begin = after_header(data) if k == 0 else 0
        yield parse_mpcorb(data[begin:], line + data.count(b"\n", 0, begin))


def _json(pieces: Iterable[tuple[int, bytes]]) -> Iterable[OrbitTable]:
    for line, data in pieces:
        yield parse_extended_json(data, line)


def _csv(pieces: Iterable[tuple[int, bytes]]) -> Iterable[OrbitTable]:
    columns: tuple[str, ...] = ()
    for line, data in pieces:
        if columns:
            yield parse_orbit_csv(data, columns, line)
            continue
        header, _, rest = data.partition(b"\n")
        columns = csv_columns(header.decode("utf-8-sig", errors="replace"))
        yield parse_orbit_csv(rest, columns, line + 1)


FORMATS: dict[str, Callable[[Iterable[tuple[int, bytes]]], Iterable[OrbitTable]]] = {
    "mpcorb": _mpcorb,
    "json": _json,
    "csv": _csv,
}
"""Formats of orbit files: MPCORB.DAT, the extended JSON of the Minor Planet Center, Cartesian states with commas."""
