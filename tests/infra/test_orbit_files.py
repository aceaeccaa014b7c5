"""Orbit files on disk: pieces, compression, kinds, and what cannot be read."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from infra.errors import OrbitFileError
from infra.orbit_files import orbit_file_kind, orbit_pieces, write_orbit_file

TEXT = b"".join(b"line %d\n" % k for k in range(1, 101))


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
@pytest.mark.parametrize("zipped", [False, True])
def test_pieces_are_whole_lines_with_their_numbers(tmp_path: Path, size: int, zipped: bool) -> None:
    path = tmp_path / "orbits.dat"
    path.write_bytes(gzip.compress(TEXT) if zipped else TEXT)
    pieces = list(orbit_pieces(path, "mpcorb", size))
    assert b"".join(data for _, data in pieces) == TEXT
    assert all(data.startswith(b"line %d\n" % line) for line, data in pieces)


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    path = tmp_path / "orbits.dat"
    path.write_bytes(b"one\ntwo")
    assert list(orbit_pieces(path, "mpcorb")) == [(1, b"one\n"), (2, b"two")]


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_pieces_of_json_are_whole_objects(tmp_path: Path, size: int) -> None:
    path = tmp_path / "orbits.json"
    path.write_bytes(b'[{"a": 1,\n "b": 2},\n{"a": 3}]\n')
    pieces = list(orbit_pieces(path, "json", size))
    assert b"".join(data for _, data in pieces) == path.read_bytes()
    assert all(data.count(b"{") == data.count(b"}") for _, data in pieces)
    assert next(line for line, data in pieces if b'"a": 3' in data) in (1, 2)


def test_an_empty_file_has_no_pieces(tmp_path: Path) -> None:
    (tmp_path / "empty.dat").write_bytes(b"")
    assert not list(orbit_pieces(tmp_path / "empty.dat", "mpcorb"))


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("MPCORB.DAT", b"", "mpcorb"),
        ("MPCORB.DAT.gz", b"", "mpcorb"),
        ("mpcorb_extended.json.gz", b"", "json"),
        ("states.csv", b"", "csv"),
        ("orbits", b" [{", "json"),
        ("orbits", b"h,designation\n", "csv"),
        ("orbits.txt", b"00001    3.34\n", "mpcorb"),
    ],
)
def test_the_kind_is_told_by_name_or_by_content(tmp_path: Path, name: str, data: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert orbit_file_kind(tmp_path / name) == kind


@pytest.mark.parametrize("name", ["states.csv", "states.csv.gz"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    write_orbit_file(tmp_path / name, "a\nb\n")
    first = (tmp_path / name).read_bytes()
    assert list(orbit_pieces(tmp_path / name, "csv")) == [(1, b"a\nb\n")]
    write_orbit_file(tmp_path / name, "a\nb\n")
    assert (tmp_path / name).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_files_that_cannot_be_read_or_written_are_told(tmp_path: Path) -> None:
    with pytest.raises(OrbitFileError, match="missing"):
        list(orbit_pieces(tmp_path / "missing.dat", "mpcorb"))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(TEXT * 50)[:-20])
    with pytest.raises(OrbitFileError, match="cut"):
        list(orbit_pieces(tmp_path / "cut.gz", "mpcorb"))
    with pytest.raises(OrbitFileError, match="nowhere"):
        write_orbit_file(tmp_path / "nowhere" / "x.csv", "")
