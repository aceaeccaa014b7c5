"""Serve the schema registry: ``python -m infra.registry``."""

from __future__ import annotations

import sys

import uvicorn

from infra.logs import configure_logging, get_logger
from infra.registry.app import create_app
from infra.registry.journal import KafkaJournal
from infra.registry.service import RegistryService
from infra.retry import retried
from infra.settings import load_settings
from schemas.errors import NightcastError

OPEN_FOR_S = 30.0


def main() -> int:
    """Read the journal and serve until asked to end; return the exit code."""
    settings = load_settings()
    configure_logging("registry", level=settings.log.level)
    try:
        journal = retried(
            lambda: KafkaJournal(settings.bootstrap, replication=settings.kafka.replication), for_s=OPEN_FOR_S
        )
        app = create_app(RegistryService(journal))
    except NightcastError as error:
        get_logger("infra.registry").error("registry_not_started", code=error.code, reason=str(error))
        return 1
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=settings.registry.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
