"""Makes the archiver's stage."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from infra.settings import Settings
from schemas.ids import day_obs_of
from streams.archiver.holding import ArchiveHolding
from streams.archiver.pair import ArchivePair, Store
from streams.archiver.worker import ArchiverWorker
from streams.compose import Wiring
from streams.stage import StageSpec

__all__ = ["build", "make_pair"]

PAIRS = 2
"""Pairs of one process; more processes bring more."""


def make_pair(settings: Settings, store: Store) -> ArchivePair:
    """Return a pair between the camera's buffer and the object store."""
    return ArchivePair(
        buffer_of=lambda exposure: settings.camera_buffer(day_obs_of(exposure)),
        outage=settings.outage_dir,
        store=store,
    )


def build(wiring: Wiring, name: str, on_exit: ExitStack) -> StageSpec[ArchiveHolding]:
    """Return the stage that archives."""
    settings = wiring.settings
    executor = ThreadPoolExecutor(PAIRS, thread_name_prefix="pair")
    on_exit.callback(executor.shutdown, wait=True, cancel_futures=True)
    worker = ArchiverWorker(
        name=name,
        instrument=settings.night.instrument,
        pair=make_pair(settings, wiring.objects),
        executor=executor,
        pairs=PAIRS,
        arrival_wait_s=settings.control.arrival_wait_s,
        heartbeat_s=settings.control.heartbeat_s,
    )
    return worker.spec()
