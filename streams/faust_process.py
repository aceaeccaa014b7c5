"""The main program of a Faust stage's process."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from infra.errors import KafkaUnavailableError
from infra.kafka import admin, translated
from infra.logs import configure_logging, get_logger
from infra.retry import retried
from infra.settings import load_settings
from schemas.errors import NightcastError
from streams.compose import Wiring
from streams.faust_stage import FaustHandler, FaustSpec, FaustStage

__all__ = ["run_stage"]

BROKER_PATIENCE_S = 60.0
"""How long a broker that does not answer is waited for; Faust itself would end at once."""

Build = Callable[[Wiring, str, FaustStage], FaustHandler]
log = get_logger(__name__)


def run_stage(
    spec: FaustSpec,
    build: Build,
    *,
    prepare: Callable[[Wiring], None] | None = None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a stage until it is asked to end, and return the exit code.

    Parameters
    ----------
    spec
        What the stage is.
    build
        Makes its handler.
    prepare
        Called when the broker answers, before anything of the stage is made.
    arguments
        Arguments of the command line; those of the process when not given.
    """
    parser = argparse.ArgumentParser(prog=f"nightcast {spec.stage}")
    parser.add_argument("--name", "--worker-name", default=spec.stage, help="stable name of this process")
    name = str(parser.parse_args(arguments).name)
    settings = load_settings()
    configure_logging(name, level=settings.log.level)
    wiring = Wiring(settings)
    try:
        retried(lambda: _ask(wiring), for_s=BROKER_PATIENCE_S)
        if prepare is not None:
            prepare(wiring)
        stage = FaustStage(spec, name=name, wiring=wiring)
        return stage.run(build(wiring, name, stage))
    except NightcastError as error:
        log.error("stage cannot start", code=error.code, reason=str(error))
        return 1


def _ask(wiring: Wiring) -> None:
    client = admin(wiring.settings.bootstrap)
    with translated("list the topics"):
        if not client.list_topics(timeout=5.0).brokers:
            raise KafkaUnavailableError("Kafka does not answer: it names no brokers.")
