"""Open the view of some settings: its database, the folder of messages and the reader that follows Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from infra.registry.client import RegistryClient
from infra.settings import Settings
from schemas.wire import EventCodec
from streams.views.database import database_url, open_database, rebuild_database
from streams.views.fold import Folder
from streams.views.reader import ViewReader

__all__ = ["View", "open_view"]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The view and what keeps it true."""

    engine: Engine
    reader: ViewReader
    codec: EventCodec
    registry: RegistryClient

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection whose questions all see the same state."""
        with self.engine.begin() as connection:
            yield connection

    def rebuild(self, timeout_s: float = 600.0) -> int:
        """Empty the view, fold the topics from their beginning, and return how many messages went in."""
        rebuild_database(self.engine)
        return self.reader.catch_up(timeout_s)


def open_view(
    settings: Settings, *, on_change: Callable[[], None] = lambda: None, registry_patience_s: float = 5.0
) -> View:
    """Open the view of these settings, its database made when missing.

    Parameters
    ----------
    settings
        Where Kafka, the registry and the data directory are.
    on_change
        Called after each change of the view.
    registry_patience_s
        How long a registry that does not answer is asked again.
    """
    registry = RegistryClient(settings.registry_url, patience_s=registry_patience_s)
    codec = EventCodec(registry)
    engine = open_database(database_url(settings))
    reader = ViewReader(engine, Folder(codec, registry.schema), bootstrap=settings.bootstrap, on_change=on_change)
    return View(engine=engine, reader=reader, codec=codec, registry=registry)
