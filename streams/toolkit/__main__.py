"""Serve the toolkit: ``python -m streams.toolkit``, with the settings of the environment, until SIGTERM."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import uvicorn

from infra.logs import configure_logging
from infra.ports import require_free
from infra.settings import load_settings
from schemas.errors import NightcastError
from streams.toolkit.app import create_app
from streams.toolkit.live import Changes
from streams.toolkit.notes import KafkaAnnotationLog
from streams.toolkit.service import Toolkit
from streams.views.view import open_view

__all__ = ["main"]

_GRACE_S = 3
"""How long a request may still take after the process was asked to end."""


class _Server(uvicorn.Server):
    """Ends the streams of news first, because uvicorn waits for open requests before it ends."""

    def __init__(self, config: uvicorn.Config, changes: Changes) -> None:
        super().__init__(config)
        self._changes = changes

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Wake the streams, which then end, and go on as uvicorn does."""
        self._changes.close()
        super().handle_exit(sig, frame)


def main() -> int:
    """Serve until the end and return the exit code."""
    try:
        settings = load_settings()
        configure_logging("toolkit", level=settings.log.level)
        require_free(settings.web.port, what="web page", setting="web.port", host=settings.web.host)
        changes = Changes()
        view = open_view(settings, on_change=changes.ring)
    except NightcastError as error:
        sys.stderr.write(f"{error.sentence}\n")
        return 1
    log = KafkaAnnotationLog(settings.bootstrap, view.codec)
    app = create_app(Toolkit(settings=settings, view=view, log=log, changes=changes))
    config = uvicorn.Config(
        app,
        host=settings.web.host,
        port=settings.web.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn sends itself the signal once more when it has ended; the process shall still exit with 0
        signal.signal(number, lambda *_: None)
    _Server(config, changes).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
