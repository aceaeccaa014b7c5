"""The registry's one writer: decides on the folded state, records the decision, folds it; one change at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from infra.registry.journal import Journal
from infra.registry.store import Entry, Registered, SchemaStore, Submission

__all__ = ["RegistryService"]

T = TypeVar("T")


class RegistryService:
    """Reads go to `store`; every change goes through here.

    Parameters
    ----------
    journal
        Read to its end at once; then every change is appended before it takes effect.
    """

    def __init__(self, journal: Journal) -> None:
        self.store = SchemaStore()
        self._journal = journal
        self._lock = threading.Lock()
        for key, value in journal.read():
            self.store.apply(key, value)

    def register(self, subject: str, submission: Submission) -> Registered:
        """Register a schema under a subject, or find it there."""
        return self._change(lambda: self.store.decide_register(subject, submission))

    def delete(self, subject: str, version: str | int | None = None, *, permanent: bool = False) -> list[int]:
        """Delete a version, or all of a subject, and return the numbers of those deleted."""
        return self._change(lambda: self.store.decide_delete(subject, version, permanent=permanent))

    def set_level(self, subject: str | None, level: str | None) -> None:
        """Set or unset a compatibility level."""
        self._change(lambda: (None, self.store.decide_level(subject, level)))

    def set_mode(self, subject: str | None, mode: str | None) -> None:
        """Set or unset a mode."""
        self._change(lambda: (None, self.store.decide_mode(subject, mode)))

    def _change(self, decide: Callable[[], tuple[T, list[Entry]]]) -> T:
        with self._lock:
            result, entries = decide()
            if entries:
                self._journal.append(entries)
                for key, value in entries:
                    self.store.apply(key, value)
            return result
