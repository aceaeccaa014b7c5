"""Rows as Parquet: back as they were, and what is no such file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.parquet import ParquetError, from_parquet, rows_from_table, table_of_rows, to_parquet
from schemas.orbits import ORBIT_ROW, orbit_rows

KINDS = np.dtype(
    [("name", "<U8"), ("big", "<i8"), ("small", "u1"), ("single", "<f4"), ("double", "<f8"), ("flag", "?")]
)


def rows() -> np.ndarray[Any, Any]:
    made = np.zeros(4, KINDS)
    made["name"] = ["", "a", "ünïcode", "8 letter"]
    made["big"] = [0, -1, 2**63 - 1, -(2**63)]
    made["small"] = [0, 1, 200, 255]
    made["single"] = [np.nan, -0.0, np.inf, 1 / 3]
    made["double"] = [np.nan, 5e-324, -np.inf, 1 / 3]
    made["flag"] = [True, False, True, True]
    return made


def test_rows_come_back_bit_by_bit() -> None:
    made = rows()
    back = from_parquet(to_parquet(made), KINDS)
    assert back.dtype == KINDS
    assert back.tobytes() == made.tobytes()


def test_the_same_rows_give_the_same_bytes() -> None:
    assert to_parquet(rows()) == to_parquet(rows().copy())


def test_no_rows_come_back_as_none() -> None:
    back = from_parquet(to_parquet(rows()[:0]), KINDS)
    assert (len(back), back.dtype) == (0, KINDS)


def test_rows_of_a_slice_with_strides_are_those_rows() -> None:
    assert from_parquet(to_parquet(rows()[::2]), KINDS).tobytes() == rows()[::2].tobytes()


def test_orbits_with_all_nulls_come_back() -> None:
    made = orbit_rows(3)
    made["designation"] = ["433", "2014 AA3", "C/1995 O1"]
    assert from_parquet(to_parquet(made), ORBIT_ROW).tobytes() == made.tobytes()


def test_a_file_is_read_as_its_bytes_are(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(to_parquet(rows()))
    assert from_parquet(path, KINDS).tobytes() == rows().tobytes()


def test_units_are_in_the_metadata_where_there_is_one() -> None:
    table = table_of_rows(rows(), {"double": "au", "big": "1", "single": ""})
    units = {field.name: field.metadata for field in table.schema}
    assert units["double"] == {b"unit": b"au"}
    assert [units[name] for name in ("big", "single", "name")] == [None, None, None]
    read = pq.read_table(pa.BufferReader(to_parquet(rows(), {"double": "au"})))
    assert read.schema.field("double").metadata[b"unit"] == b"au"


def test_further_columns_are_left_out_and_the_order_does_not_matter() -> None:
    few = np.dtype([("double", "<f8"), ("big", "<i8")])
    back = from_parquet(to_parquet(rows()), few)
    assert back["big"].tolist() == rows()["big"].tolist()
    assert back["double"].tobytes() == rows()["double"].tobytes()


def test_a_missing_column_is_told_by_its_name() -> None:
    wanted = np.dtype([*KINDS.descr, ("more", "<f8")])
    with pytest.raises(ParquetError, match="no column more"):
        from_parquet(to_parquet(rows()), wanted)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"nonsense" * 20, to_parquet(rows())[:-20], to_parquet(rows())[20:]])
def test_what_is_no_parquet_is_told(data: bytes) -> None:
    with pytest.raises(ParquetError, match="cannot be read as Parquet"):
        from_parquet(data, KINDS)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(ParquetError):
        from_parquet(tmp_path / "none.parquet", KINDS)
    with pytest.raises(ParquetError):
        from_parquet(tmp_path, KINDS)


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pa.array(["x", "y"]), "<f8"),
        (pa.array(["x", "y"]), "<i4"),
        (pa.array([1.5, 2.0]), "<i8"),
        (pa.array([1, 300]), "u1"),
        (pa.array([-1, 2]), "u1"),
        (pa.array([1, None]), "<i8"),
        (pa.array(["longer than four", "b"]), "<U4"),
        (pa.array([1, 2]), "<U4"),
        (pa.array([[1], [2]]), "<f8"),
        (pa.array(["1", "2"]), "<f8"),
        (pa.array([2**53 + 1, 0]), "<f8"),
        (pa.array([None, "b"]), "<U4"),
        (pa.array([True, None]), "?"),
    ],
)
def test_a_column_that_does_not_fit_its_type_is_told_and_not_bent(column: pa.Array, wanted: str) -> None:
    with pytest.raises(ParquetError, match="Column value is not of type"):
        rows_from_table(pa.table({"value": column}), np.dtype([("value", wanted)]))


@pytest.mark.parametrize(
    ("column", "wanted", "expected"),
    [
        (pa.array([1, 2], pa.int32()), "<i8", [1, 2]),
        (pa.array([1, 2], pa.int64()), "u1", [1, 2]),
        (pa.array([1, 2], pa.int64()), "<f8", [1.0, 2.0]),
        (pa.array([1.5, 2.5], pa.float32()), "<f8", [1.5, 2.5]),
        (pa.array([0.1, 2.5], pa.float64()), "<f4", [np.float32(0.1), 2.5]),
        (pa.array(["a", "b"], pa.large_string()), "<U4", ["a", "b"]),
        (pa.chunked_array([[1], [2]]), "<i8", [1, 2]),
    ],
)
def test_a_column_of_a_kindred_type_fits(column: Any, wanted: str, expected: list[Any]) -> None:
    back = rows_from_table(pa.table({"value": column}), np.dtype([("value", wanted)]))
    assert back["value"].tolist() == expected


def test_a_null_of_a_float_is_nan() -> None:
    back = rows_from_table(pa.table({"value": pa.array([None, 1.5])}), np.dtype([("value", "<f8")]))
    assert np.isnan(back["value"][0])
    assert back["value"][1] == 1.5


READING = """
import os, sys
import numpy as np
from infra.parquet import from_parquet, to_parquet
from pathlib import Path

made = np.zeros(3, [("a", "<f8"), ("b", "<i8")])
data, path = to_parquet(made), Path(sys.argv[1])
path.write_bytes(data)
before = len(os.listdir("/proc/self/task"))
assert len(from_parquet(data, made.dtype)) == len(from_parquet(path, made.dtype)) == 3
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_reading_starts_no_threads_that_could_end_after_the_interpreter(tmp_path: Path) -> None:
    """In a process of its own: threads of other tests run in this one."""
    command = [sys.executable, "-c", READING, str(tmp_path / "rows.parquet")]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]
