"""Makes the detector worker and its pool."""

from __future__ import annotations

from contextlib import ExitStack

from streams.compose import Wiring
from streams.detectors.holding import Holding
from streams.detectors.pool import JobPool
from streams.detectors.work import initialise, run
from streams.detectors.worker import DetectorWorker
from streams.stage import StageSpec

__all__ = ["build"]


def build(wiring: Wiring, name: str, on_exit: ExitStack) -> StageSpec[Holding]:
    """Start and warm the pool, and return the stage of the worker of that name."""
    settings = wiring.settings
    pool = JobPool(
        settings.detectors.processes,
        initialise=initialise,
        run=run,
        arguments=(settings.model_dump_json(), name),
    )
    on_exit.callback(pool.close)
    pool.start()
    worker = DetectorWorker(
        name=name,
        instrument=settings.night.instrument,
        pool=pool,
        known_wait_s=settings.control.known_objects_wait_s,
        heartbeat_s=settings.control.heartbeat_s,
    )
    return worker.spec()
