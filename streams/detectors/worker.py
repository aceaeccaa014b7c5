"""The detector worker: folds the logs into what it holds, runs ready jobs in its pool, reports what they gave."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from infra.logs import get_logger
from schemas.events import (
    AvailableExposure,
    Failed,
    JobEvent,
    JobKind,
    ResultRef,
    Started,
    Succeeded,
    WorkerHeartbeat,
)
from streams.detectors.holding import Holding, Lease, Ready, fold, ready_jobs
from streams.detectors.pool import product_of
from streams.detectors.task import JobFailure, JobProduct, JobTask
from streams.stage import Delivered, Incoming, Outgoing, StageSpec

__all__ = ["DetectorWorker", "Pool"]

TOPICS = ("visit-events", "jobs", "exposures", "known-objects")

log = get_logger(__name__)

Key = tuple[str, int]
"""A job and the epoch of its lease."""


class Pool(Protocol):
    """Runs tasks somewhere else."""

    processes: int

    def submit(self, task: JobTask) -> Future[JobProduct]:
        """Queue a task."""


class DetectorWorker:
    """One worker of the detectors' stage.

    Parameters
    ----------
    name
        Stable name, to which leases are granted.
    instrument
        Name that results carry.
    pool
        Where jobs run.
    known_wait_s
        How long a CCD waits for known objects after its last exposure came.
    heartbeat_s
        Seconds between signs of life.
    """

    def __init__(self, *, name: str, instrument: str, pool: Pool, known_wait_s: float, heartbeat_s: float) -> None:
        self._name, self._instrument, self._pool = name, instrument, pool
        self._known_wait_s, self._heartbeat_s = known_wait_s, heartbeat_s
        self._running: dict[Key, Future[JobProduct]] = {}
        self._done: dict[Key, JobProduct] = {}
        self._last_heartbeat = 0.0

    def spec(self) -> StageSpec[Holding]:
        """Return the stage that runs this worker."""
        return StageSpec(
            stage="detectors",
            topics=TOPICS,
            initial=Holding(),
            state_type=Holding,
            handle=self.handle,
            tick=self.tick,
            tick_s=0.1,
        )

    def handle(self, state: Holding, incoming: Incoming, now: float) -> tuple[Holding, Sequence[Outgoing]]:
        """Take one event in."""
        return fold(state, incoming.record, worker=self._name, now=now), ()

    def tick(self, state: Holding, now: float) -> tuple[Holding, Sequence[Outgoing]]:
        """Report finished jobs, start ready ones, give a sign of life."""
        self._collect(state)
        outgoing: list[Outgoing] = []
        for key, product in list(self._done.items()):
            lease = state.leases.get(key[0])
            if lease is None or lease.epoch != key[1]:
                del self._done[key]  # its end is committed, or somebody else has the job now
                continue
            state, records = self._reported(state, lease, product, now)
            outgoing += records
        for ready in ready_jobs(state, instrument=self._instrument, now=now, known_wait_s=self._known_wait_s):
            outgoing += self._started(ready)
        if now - self._last_heartbeat >= self._heartbeat_s:
            self._last_heartbeat = now
            outgoing.append(self._heartbeat(state, now))
        return state, outgoing

    def _collect(self, state: Holding) -> None:
        held = {(lease.job.job_id, lease.epoch) for lease in state.leases.values()}
        for key, future in list(self._running.items()):
            if key not in held:
                future.cancel()
                del self._running[key]
            elif future.done():
                self._done[key] = product_of(future)
                del self._running[key]

    def _started(self, ready: Ready) -> list[Outgoing]:
        key = ready.lease.job.job_id, ready.lease.epoch
        if key in self._running or key in self._done or len(self._running) >= 2 * self._pool.processes:
            return []
        task = _task(ready)
        if not task.raws:
            reason = f"No exposure of detector {task.detector} came: {'; '.join(ready.notes)}."
            self._done[key] = JobProduct(failure=JobFailure(code="no_exposure", reason=reason, retriable=False))
            return []
        self._running[key] = self._pool.submit(task)
        return [self._job_event(ready.lease, Started(worker=self._name, epoch=ready.lease.epoch))]

    def _reported(
        self, state: Holding, lease: Lease, product: JobProduct, now: float
    ) -> tuple[Holding, list[Outgoing]]:
        if product.failure is not None or product.result is None:
            failure = product.failure or JobFailure(code="no_result", reason="The job gave nothing.", retriable=True)
            log.error("job failed", job=lease.job.job_id, code=failure.code, reason=failure.reason)
            fact = Failed(
                worker=self._name,
                epoch=lease.epoch,
                code=failure.code,
                reason=failure.reason,
                retriable=failure.retriable,
            )
            event = self._job_event(lease, fact)
            return fold(state, event.record, worker=self._name, now=now), [event]

        def succeeded(delivered: Delivered) -> list[Outgoing]:
            result = ResultRef(
                job_id=lease.job.job_id,
                epoch=lease.epoch,
                sha256=delivered.sha256,
                partition=delivered.partition,
                offset=delivered.offset,
            )
            metrics = {**(product.result.metrics if product.result else {}), **product.metrics}
            return [
                self._job_event(lease, Succeeded(worker=self._name, epoch=lease.epoch, result=result, metrics=metrics))
            ]

        record = Outgoing(topic="detector-results", key=self._instrument, record=product.result, then=succeeded)
        ended = Succeeded(worker=self._name, epoch=lease.epoch, result=None, metrics={})
        return fold(state, self._job_event(lease, ended).record, worker=self._name, now=now), [record]

    def _job_event(self, lease: Lease, fact: Started | Succeeded | Failed) -> Outgoing:
        event = JobEvent(
            job_id=lease.job.job_id,
            kind=JobKind.DETECTOR,
            instrument=self._instrument,
            visit=lease.job.visit,
            detectors=(lease.job.detector,),
            fact=fact,
        )
        return Outgoing(topic="jobs", key=self._instrument, record=event)

    def _heartbeat(self, state: Holding, now: float) -> Outgoing:
        holding = tuple(sorted(f"{lease.job.job_id}@{lease.epoch}" for lease in state.leases.values()))
        beat = WorkerHeartbeat(
            worker=self._name, kind=JobKind.DETECTOR, slots=4 * self._pool.processes, holding=holding, sent_unix_s=now
        )
        return Outgoing(topic="job-heartbeats", key=self._name, record=beat)


def _task(ready: Ready) -> JobTask:
    job, parameters = ready.lease.job, ready.lease.job.parameters
    return JobTask(
        job_id=job.job_id,
        epoch=ready.lease.epoch,
        instrument=ready.instrument,
        visit=job.visit,
        detector=job.detector,
        is_wavefront=job.is_wavefront,
        camera=parameters["camera"],
        band=parameters["band"],
        n_snaps=int(parameters["n_snaps"]),
        raws=tuple(e.fact.raw for e in ready.exposures if isinstance(e.fact, AvailableExposure)),
        release_sha256=job.inputs["release"],
        known_objects=ready.known.positions if ready.known else None,
        notes=ready.notes,
    )
