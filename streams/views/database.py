"""The view's database: a SQLite file with a write-ahead log by default, any other that SQLAlchemy knows by its URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect, text

from infra.settings import Settings
from streams.views import tables

__all__ = ["database_url", "open_database", "rebuild_database"]


def database_url(settings: Settings) -> str:
    """Return the SQLAlchemy URL of the view of these settings."""
    return f"sqlite:///{settings.state_dir / 'toolkit' / 'view.sqlite'}"


def open_database(url: str) -> Engine:
    """Open the view, making its file and tables when they are missing or of another version.

    Parameters
    ----------
    url
        SQLAlchemy URL; ``sqlite://`` is one in memory.
    """
    engine = create_engine(_with_folder(url))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_immediately)
    if _stored_version(engine) != tables.VERSION:
        rebuild_database(engine)
    return engine


def rebuild_database(engine: Engine) -> None:
    """Drop every table and make it empty again, so that the next reading folds the topics from their beginning."""
    with engine.begin() as connection:
        tables.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS view_version"))
        tables.metadata.create_all(connection)
        connection.execute(text("CREATE TABLE view_version (version INTEGER NOT NULL)"))
        connection.execute(text("INSERT INTO view_version VALUES (:version)"), {"version": tables.VERSION})


def _with_folder(url: str) -> str:
    path = url.removeprefix("sqlite:///")
    if path != url and path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    return url


def _stored_version(engine: Engine) -> int | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("view_version"):
            return None
        return connection.execute(text("SELECT version FROM view_version")).scalar()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, see _begin_immediately
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=15000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediately(connection: Any) -> None:
    """Take the write lock at the start where we will write, so that two folding processes queue up and never collide."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
