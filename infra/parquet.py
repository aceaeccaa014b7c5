"""Rows of structured arrays as Parquet, with units, and back."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas.errors import PermanentFailure

__all__ = ["ParquetError", "from_parquet", "rows_from_table", "table_of_rows", "to_parquet"]

NO_UNIT = frozenset({"", "none", "1"})


class ParquetError(PermanentFailure):
    """A file is no Parquet, or lacks a column."""

    code = "parquet"


def table_of_rows(rows: NDArray[Any], units: Mapping[str, str] | None = None) -> pa.Table:
    """Return the fields of a one-dimensional structured array as columns, each with its unit in the metadata."""
    units, fields, columns = units or {}, [], []
    for name in rows.dtype.names or ():
        column = pa.array(np.ascontiguousarray(rows[name]))
        unit = units.get(name, "none")
        metadata = None if unit in NO_UNIT else {"unit": unit}
        fields.append(pa.field(name, column.type, metadata=metadata))
        columns.append(column)
    return pa.table(columns, schema=pa.schema(fields))


def to_parquet(rows: NDArray[Any], units: Mapping[str, str] | None = None) -> bytes:
    """Return rows as the bytes of a Parquet file; the same rows give the same bytes with the same pyarrow."""
    buffer = io.BytesIO()
    pq.write_table(table_of_rows(rows, units), buffer, compression="zstd")
    return buffer.getvalue()


def rows_from_table(table: pa.Table, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the columns of a table that a type names, as rows; other columns are left out.

    Raises
    ------
    ParquetError
        When a column is missing, or has values that the type does not hold: nothing is cut, rounded to integers or wrapped.
    """
    rows = np.zeros(table.num_rows, dtype)
    for name in dtype.names or ():
        if name not in table.column_names:
            raise ParquetError(f"The table has no column {name}.")
        try:
            rows[name] = _values(table[name], dtype[name])
        except (ValueError, TypeError, NotImplementedError) as error:
            raise ParquetError(f"Column {name} is not of type {dtype[name]}: {error}.") from error
    return rows


def _values(column: pa.ChunkedArray, kind: np.dtype[Any]) -> NDArray[Any]:
    """Return a column's values for a type, or raise ValueError, TypeError or NotImplementedError; a null is NaN in floats."""
    if column.null_count and kind.kind != "f":
        raise ValueError(f"it has {column.null_count} nulls")
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if is_text != (kind.kind == "U"):
        raise TypeError(f"it is of type {column.type}")
    if not is_text:
        return np.asarray(column.cast(pa.from_numpy_dtype(kind)).to_numpy())
    longest = pc.max(pc.utf8_length(column)).as_py() or 0
    if longest * np.dtype("U1").itemsize > kind.itemsize:
        raise ValueError(f"it has a text of {longest} characters")
    return np.asarray(column.to_numpy())


def from_parquet(source: bytes | Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Read rows from a Parquet file or its bytes.

    Raises
    ------
    ParquetError
        When it is no Parquet file, or a column is missing or of another type.
    """
    try:
        # Nothing is read ahead: Arrow's threads would outlive the call, and one that lets go of our bytes while the interpreter
        # ends takes the process down with it (arrow issue 33975).
        file = pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source, pre_buffer=False)
        table = file.read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise ParquetError(f"This cannot be read as Parquet: {str(error).splitlines()[0]}.") from error
    return rows_from_table(table, dtype)
