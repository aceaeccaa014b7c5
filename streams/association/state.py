"""The local store of association: blocks of history, and how far the log of decisions is folded into them.

Both change in one atomic batch, so after a crash the store is exactly the fold of the log up to the offset it names. A store that
is lost, damaged, or ahead of the log is thrown away and folded anew.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

from infra.errors import StateStoreError
from infra.logs import get_logger
from infra.state import Change, StateStore
from processors.association.blocks import Changes
from processors.association.history import History

__all__ = ["LocalState"]

_HISTORY, _LOG = "history", "log"
_NEXT_OFFSET, _EMITTED, _FORMAT = b"next", b"emitted", b"format"
_FORMAT_NOW = b"2"
"""Of the blocks; a store of another format is folded anew."""
_NUMBER = struct.Struct(">q")
_DECISION = struct.Struct(">qi")
_LOGGER = get_logger(__name__)


class LocalState:
    """The blocks of one instrument, kept in RocksDB.

    Parameters
    ----------
    path
        Folder of the store.

    Raises
    ------
    StateStoreError
        When another process has it open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store = self._opened()

    @property
    def view(self) -> History:
        """The history, for reading."""
        return History(self)

    @property
    def next_offset(self) -> int:
        """Offset of the first decision in the log that is not folded."""
        value = self._store.get(_LOG, _NEXT_OFFSET)
        return 0 if value is None else int(_NUMBER.unpack(value)[0])

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return the block of each key, None where there is none."""
        return self._store.get_many(_HISTORY, list(keys))

    def offset_of(self, visit: int, sequence: int) -> int | None:
        """Return where a folded decision lies in the log."""
        value = self._store.get(_LOG, _DECISION.pack(visit, sequence))
        return None if value is None else int(_NUMBER.unpack(value)[0])

    @property
    def next_to_emit(self) -> int | None:
        """Offset of the first decision whose events are not known to have been put out; None where that is not known."""
        value = self._store.get(_LOG, _EMITTED)
        return None if value is None else int(_NUMBER.unpack(value)[0])

    def emitted(self, offset: int) -> None:
        """Remember that the events of the decision at an offset, and of all before it, are put out."""
        self._store.write([Change(_LOG, _EMITTED, _NUMBER.pack(offset + 1))])

    def apply(self, changes: Changes, *, offset: int, decision: tuple[int, int] | None) -> None:
        """Write what folding the log's record at an offset changes, all or nothing.

        Parameters
        ----------
        changes
            Blocks to write; none for a record of another instrument.
        offset
            Where the record lies.
        decision
            Visit and sequence of the decision that was folded, None when nothing was.
        """
        batch = [Change(_HISTORY, key, value) for key, value in changes.items()]
        batch.append(Change(_LOG, _NEXT_OFFSET, _NUMBER.pack(offset + 1)))
        if decision is not None:
            batch.append(Change(_LOG, _DECISION.pack(*decision), _NUMBER.pack(offset)))
        self._store.write(batch)

    def reset(self) -> None:
        """Throw everything away."""
        _LOGGER.warning("local state is folded anew", path=str(self._path))
        self._store.close()
        shutil.rmtree(self._path, ignore_errors=True)
        self._store = self._opened()

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _opened(self) -> StateStore:
        store = self._store_there()
        if store.get(_LOG, _FORMAT) != _FORMAT_NOW:
            if store.get(_LOG, _NEXT_OFFSET) is not None:
                _LOGGER.warning("local state is of another format", path=str(self._path))
                store.close()
                shutil.rmtree(self._path, ignore_errors=True)
                store = self._store_there()
            store.write([Change(_LOG, _FORMAT, _FORMAT_NOW)])
        return store

    def _store_there(self) -> StateStore:
        try:
            return StateStore(self._path, (_HISTORY, _LOG))
        except StateStoreError as error:
            if "lock" in str(error).lower():  # another process has it: its files are not ours to remove
                raise
            _LOGGER.warning("local state is damaged", path=str(self._path), reason=str(error))
            shutil.rmtree(self._path, ignore_errors=True)
            return StateStore(self._path, (_HISTORY, _LOG))
