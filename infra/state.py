"""Local state stores: RocksDB through rocksdict, in raw bytes, with named columns and atomic batches.

A stage keeps what it folds from the log here. Everything written by one `StateStore.write` is there after a crash, or
nothing of it is; so the offset of the last applied event, written in the same batch, always tells the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from infra.errors import DiskFullError, StateStoreError

__all__ = ["Change", "StateStore"]

WRITE_BUFFER_BYTES = 4 << 20
"""Memory before a column is flushed. RocksDB's own 64 MiB would let a dozen stages hold a gigabyte."""

BLOCK_CACHE_BYTES = 8 << 20
"""Read cache of one store, shared by its columns."""


class Change(NamedTuple):
    """One write: a value for a key of a column, or None to delete it."""

    column: str
    key: bytes
    value: bytes | None


class StateStore(AbstractContextManager["StateStore"]):
    """An ordered key-value store in a folder, opened by one process at a time.

    Parameters
    ----------
    path
        Folder of the store; made when missing.
    columns
        Names of its columns. Columns found on disk beside them stay as they are.

    Raises
    ------
    StateStoreError
        When another process has the store open, or its files are damaged.
    """

    def __init__(self, path: Path, columns: Iterable[str]) -> None:
        self._path = path
        self._cache = Cache(BLOCK_CACHE_BYTES)
        path.parent.mkdir(parents=True, exist_ok=True)
        wanted = sorted(set(columns))
        try:
            on_disk = set(Rdict.list_cf(str(path))) if (path / "CURRENT").exists() else set()
            families = {name: self._options() for name in sorted(on_disk | set(wanted)) if name != "default"}
            self._database = Rdict(str(path), options=self._options(), column_families=families)
        except Exception as error:
            raise StateStoreError(f"The state store {path} cannot be opened: {error}.") from error
        self._columns = {name: self._database.get_column_family(name) for name in wanted}
        self._handles = {name: self._database.get_column_family_handle(name) for name in wanted}

    def get(self, column: str, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        value: bytes | None = self._columns[column].get(key)
        return value

    def get_many(self, column: str, keys: list[bytes]) -> list[bytes | None]:
        """Return the values of several keys in their order, None for those that are not there."""
        return [] if not keys else list(self._columns[column].get([*keys]) or [])

    def iterate(self, column: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values of a column in the order of the keys, those only that begin with a prefix."""
        cursor = self._columns[column].iter()
        cursor.seek(prefix)
        while cursor.valid():
            key = cursor.key()
            if not key.startswith(prefix):
                return
            yield key, cursor.value()
            cursor.next()

    def write(self, changes: Iterable[Change | tuple[str, bytes, bytes | None]]) -> None:
        """Apply changes, all or none.

        Raises
        ------
        DiskFullError
            When no space is left; nothing is applied then.
        StateStoreError
            When the store fails otherwise.
        """
        batch = WriteBatch(raw_mode=True)
        for column, key, value in changes:
            if value is None:
                batch.delete(key, self._handles[column])
            else:
                batch.put(key, value, self._handles[column])
        try:
            self._database.write(batch)
        except Exception as error:
            if "No space left" in str(error):
                raise DiskFullError(f"The disk is full: cannot write to {self._path}; free some space.") from error
            raise StateStoreError(f"The state store {self._path} cannot be written: {error}.") from error

    def close(self) -> None:
        """Flush and close; the store may be opened again afterwards."""
        for family in self._columns.values():
            family.close()
        self._columns.clear()
        self._handles.clear()  # a handle that is still referred to would keep the files locked
        self._database.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close the store."""
        self.close()

    def _options(self) -> Options:
        table = BlockBasedOptions()
        table.set_block_cache(self._cache)
        table.set_bloom_filter(10, False)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.create_missing_column_families(True)
        options.set_block_based_table_factory(table)
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_max_write_buffer_number(2)
        options.set_max_background_jobs(2)
        options.set_keep_log_file_num(2)
        options.set_max_total_wal_size(4 * WRITE_BUFFER_BYTES)
        return options
