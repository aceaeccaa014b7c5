"""One log line format: JSON, one object per line, with the correlation ids of what is being worked on.

Bind ids with `correlate`: every line written inside it, by any module, carries them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import structlog

__all__ = ["configure_logging", "correlate", "get_logger"]


def configure_logging(process: str, *, level: str = "info", stream: TextIO | None = None) -> None:
    """Send every log line of this process to a stream as JSON.

    Parameters
    ----------
    process
        Name of the process, put into every line.
    level
        The least severe level that is written.
    stream
        Where lines go; standard error when not given.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        _add_process(process),
    ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(sort_keys=True, default=str),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


@contextmanager
def correlate(
    *, visit: int | None = None, detector: int | None = None, job: str | None = None, **others: object
) -> Iterator[None]:
    """Put correlation ids into every log line written in this context.

    Parameters
    ----------
    visit, detector, job
        The ids; those that are None are left as they are.
    **others
        Further values for the lines.
    """
    ids = {"visit": visit, "detector": detector, "job": job, **others}
    with structlog.contextvars.bound_contextvars(**{name: value for name, value in ids.items() if value is not None}):
        yield


def _add_process(process: str) -> Any:
    def add(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return event | {"process": process}

    return add
