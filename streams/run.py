"""Run transactional stages in one process, a thread each: ``python -m streams.run STAGE... --name NAME``.

The process ends when it is asked to (SIGTERM), or when one of its stages does or hangs: the supervisor then starts all of them
anew, each from what it last committed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from infra.kernel_caches import discard_stale_kernels
from infra.logs import configure_logging, get_logger
from infra.metrics import StageMetrics
from infra.settings import load_settings
from infra.supervisor import mark_ready
from schemas.errors import NightcastError
from streams.compose import Wiring
from streams.stage import StageSpec, StageWatcher, TransactionalStage

__all__ = ["BUILDERS", "main"]

BUILDERS: Mapping[str, str] = {
    "ocs-bridge": "streams.ocs_bridge.build",
    "dmcs": "streams.dmcs.build",
    "orchestration": "streams.orchestration.build",
    "archiver": "streams.archiver.build",
    "detectors": "streams.detectors.build",
    "distribution": "streams.distribution.build",
    "nightmops": "streams.nightmops.build",
    "daymops": "streams.daymops.build",
    "manifests": "streams.distribution.build_manifests",
    "quality": "streams.quality.build",
}
"""Stage to the module whose ``build(wiring, name, on_exit)`` makes its `StageSpec`."""

HANG_CHECK_S = 1.0
"""Seconds between looks at whether a stage hangs."""

Build = Callable[[Wiring, str, ExitStack], StageSpec[Any]]
log = get_logger("streams.run")


class _Watcher(StageWatcher):
    """Makes metrics of what a stage does, and tells when all of a process's stages are ready."""

    def __init__(self, stage: str, on_ready: Callable[[str], None]) -> None:
        self._stage, self._on_ready = stage, on_ready
        self._metrics = StageMetrics(stage)

    def ready(self) -> None:
        """Pass it on."""
        self._on_ready(self._stage)

    def committed(self, *, consumed: int, produced: int, seconds: float) -> None:
        """Count events and time."""
        self._metrics.taken("all", consumed)
        self._metrics.emitted("all", produced)
        self._metrics.seconds(seconds)

    def refused(self, *, topic: str, code: str) -> None:
        """Count a dead letter."""
        self._metrics.dead_letter(code)

    def aborted(self) -> None:
        """Count an aborted transaction."""
        self._metrics.failure("transaction_aborted")


class _Process:
    """The stages of this process and its end."""

    def __init__(self, wiring: Wiring, name: str, stages: Sequence[str]) -> None:
        self._wiring, self._name = wiring, name
        self._waiting = set(stages)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._failed = False
        self._stages: list[TransactionalStage[Any]] = []

    def run(self, stages: Sequence[str]) -> int:
        """Run until the end and return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ended.set())
        with ExitStack() as on_exit:
            self._stages = [self._stage(stage, on_exit) for stage in stages]
            threads = [
                threading.Thread(target=self._run, args=(name, stage), name=name)
                for name, stage in zip(stages, self._stages, strict=True)
            ]
            for thread in threads:
                thread.start()
            while not self._ended.wait(HANG_CHECK_S):
                self._end_if_hung(stages)
            for stage in self._stages:
                stage.stop()
            for thread in threads:
                thread.join()
        return int(self._failed)

    def _end_if_hung(self, names: Sequence[str]) -> None:
        hung = [name for name, stage in zip(names, self._stages, strict=True) if stage.hung]
        if hung:
            log.error("stage ended", stage=", ".join(hung), code="hung", reason="a call to Kafka does not come back")
            os._exit(1)  # nothing can interrupt the call; the supervisor starts the process anew

    def _stage(self, stage: str, on_exit: ExitStack) -> TransactionalStage[Any]:
        build: Build = importlib.import_module(BUILDERS[stage]).build
        own_name = self._name if len(self._waiting) == 1 else stage
        return TransactionalStage(
            build(self._wiring, own_name, on_exit),
            name=own_name,
            bootstrap=self._wiring.settings.bootstrap,
            registry=self._wiring.registry,
            watcher=_Watcher(stage, self._ready),
            faults=self._wiring.crash_points,
            transaction_timeout_s=self._wiring.settings.kafka.transaction_timeout_s,
        )

    def _run(self, name: str, stage: TransactionalStage[Any]) -> None:
        try:
            stage.run()
        except NightcastError as error:
            log.error("stage ended", stage=name, code=error.code, reason=str(error))
            self._failed = True
        except Exception:
            log.exception("stage ended", stage=name)
            self._failed = True
        finally:
            self._ended.set()

    def _ready(self, stage: str) -> None:
        with self._lock:
            self._waiting.discard(stage)
            if not self._waiting:
                mark_ready(self._wiring.settings, self._name)
                log.info("ready", stages=len(self._stages))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages that the arguments name and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m streams.run", description=__doc__)
    parser.add_argument("stages", nargs="+", choices=sorted(BUILDERS), metavar="STAGE", help=", ".join(BUILDERS))
    parser.add_argument("--name", required=True, help="stable name of this process")
    chosen = parser.parse_args(arguments)
    discard_stale_kernels()
    settings = load_settings()
    configure_logging(chosen.name, level=settings.log.level)
    return _Process(Wiring(settings), chosen.name, chosen.stages).run(chosen.stages)


if __name__ == "__main__":
    sys.exit(main())
