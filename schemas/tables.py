"""Columns inside events: numpy structured arrays as Avro values, exact to the byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.errors import SchemaError

__all__ = ["NO_ROWS", "Claim", "Column", "Table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Claim check: where content-addressed bytes are, and how to know them again."""

    uri: str
    """Key in the object store, such as sha256/ab/abcd..."""
    sha256: str
    """Hexadecimal digest of the bytes."""
    size: int
    """Number of bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table."""

    name: str
    """Name of the column."""
    dtype: str
    """Little-endian numpy type, such as <f8."""
    data: bytes
    """The values, row after row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of named, typed columns."""

    rows: int
    """Number of rows."""
    columns: tuple[Column, ...]
    """Columns in the order of the array's fields."""

    @classmethod
    def from_array(cls, array: np.ndarray[Any, Any]) -> Table:
        """Take the columns of a one-dimensional structured array."""
        if array.dtype.names is None or array.ndim != 1:
            raise SchemaError("A table is made from a one-dimensional structured array.")
        columns = []
        for name in array.dtype.names:
            values = np.ascontiguousarray(array[name])
            little = values.astype(values.dtype.newbyteorder("<"), copy=False)
            columns.append(Column(name=name, dtype=little.dtype.str, data=little.tobytes()))
        return cls(rows=len(array), columns=tuple(columns))

    def to_array(self) -> np.ndarray[Any, Any]:
        """Return the rows as a structured array that owns its memory.

        Raises
        ------
        SchemaError
            When a column's bytes do not hold the number of rows.
        """
        dtype = np.dtype([(column.name, column.dtype) for column in self.columns])
        array = np.zeros(self.rows, dtype=dtype)
        for column in self.columns:
            values = np.frombuffer(column.data, dtype=column.dtype)
            if len(values) != self.rows:
                raise SchemaError(f"Column {column.name} holds {len(values)} values where the table has {self.rows}.")
            array[column.name] = values
        return array


NO_ROWS = Table(rows=0, columns=())
"""A table without rows, of no columns."""
