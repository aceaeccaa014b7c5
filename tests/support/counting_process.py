"""The counting stage as a process: ``python -m tests.support.counting_process BOOTSTRAP REGISTRY SOURCE TARGET FAULTS CRASH``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from infra.faults import CrashPoints
from infra.registry.client import RegistryClient
from streams.stage import TransactionalStage
from tests.support.stages import counting_spec


def main() -> None:
    bootstrap, registry, source, target, faults, crash = sys.argv[1:]
    stage = TransactionalStage(
        counting_spec("counting", source, target, batch=7),
        name=target,
        bootstrap=bootstrap,
        registry=RegistryClient(registry),
        faults=CrashPoints(Path(faults), [crash]),
    )
    signal.signal(signal.SIGTERM, lambda *_: stage.stop())
    stage.run()


if __name__ == "__main__":
    main()
