"""The counting stage, or a prompt passing one where that shall crash, as a process: ``python -m tests.support.counting_process BOOTSTRAP REGISTRY SOURCE TARGET FAULTS CRASH``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from infra.faults import CrashPoints
from infra.registry.client import RegistryClient
from streams.stage import TransactionalStage
from tests.support.stages import counting_spec, passing_spec, started


def main() -> int:
    """Run until asked to end, or until a call of the client hangs; return the exit code."""
    bootstrap, registry, source, target, faults, crash = sys.argv[1:]
    stage = TransactionalStage(
        passing_spec(source, target, batch=7, prompt=lambda *_: True)
        if crash == "passing"
        else counting_spec("counting", source, target, batch=7),
        name=target,
        bootstrap=bootstrap,
        registry=RegistryClient(registry),
        faults=CrashPoints(Path(faults), [crash]),
    )
    signal.signal(signal.SIGTERM, lambda *_: stage.stop())
    thread, failures = started(stage)
    while thread.is_alive():
        thread.join(0.5)
        if stage.hung:
            os._exit(3)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
