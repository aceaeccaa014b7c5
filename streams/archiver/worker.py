"""The archiver process: takes leased archive jobs to its pairs and reports what became of each CCD."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from typing import Protocol

from infra.logs import correlate, get_logger
from processors.control.archive import Stored, split_raft
from processors.control.errors import ChecksumError
from processors.control.plans import exposure_of
from schemas.errors import NightcastError, PermanentFailure, TransientFailure
from schemas.events import Failed, JobEvent, JobKind, Planned, Started, Succeeded, WorkerHeartbeat
from streams.archiver.holding import ArchiveHolding, ArchiveLease, fold
from streams.archiver.pair import CameraFileError
from streams.stage import Incoming, Outgoing, StageSpec

__all__ = ["ArchiveOutcome", "ArchiverWorker", "Pair", "archive_raft"]

log = get_logger(__name__)

LOST = "exposure_lost"
"""Code of a job of which no image came."""

Key = tuple[str, int]
Step = tuple[ArchiveHolding, list[Outgoing]]


class Pair(Protocol):
    """A replicator with its distributor."""

    def is_complete(self, exposure: int) -> bool:
        """Tell whether the camera has written the whole exposure."""

    def archive(self, exposure: int, detector: int) -> Stored:
        """Bring one CCD's file into the archive."""

    def release(self, exposure: int, detector: int) -> None:
        """Drop the copy of a file that the archive has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveOutcome:
    """What an archive job gave: each CCD stored or lost, or a failure of the whole that may pass."""

    stored: Mapping[int, Stored] = field(default_factory=dict)
    lost: Mapping[int, str] = field(default_factory=dict)
    failure: NightcastError | None = None


def archive_raft(pair: Pair, exposure: int, detectors: tuple[int, ...]) -> ArchiveOutcome:
    """Archive the CCDs of a raft; one that cannot be had does not keep the others out."""
    stored: dict[int, Stored] = {}
    lost: dict[int, str] = {}
    for detector in sorted(detectors):
        with correlate(visit=None, detector=detector, exposure=exposure):
            try:
                stored[detector] = pair.archive(exposure, detector)
            except (CameraFileError, ChecksumError, PermanentFailure) as error:
                log.error("image lost", code=error.code, reason=str(error))
                lost[detector] = f"{error.code}: {error}"
            except TransientFailure as error:
                return ArchiveOutcome(failure=error)
    return ArchiveOutcome(stored=stored, lost=lost)


class ArchiverWorker:
    """One archiver process.

    Parameters
    ----------
    name
        Stable name, to which leases are granted.
    instrument
        Key of what it writes.
    pair
        The replicator-distributor pair; it is used by ``pairs`` threads at once.
    executor
        Runs jobs elsewhere.
    pairs
        How many jobs run at once; twice as many leases are held (LDM-230: more than two jobs a pair spill over), and those whose
        exposure is still being taken besides.
    arrival_wait_s
        How long after its end an exposure may take to be complete in the camera's buffer.
    heartbeat_s
        Seconds between signs of life.
    """

    def __init__(
        self,
        *,
        name: str,
        instrument: str,
        pair: Pair,
        executor: Executor,
        pairs: int,
        arrival_wait_s: float,
        heartbeat_s: float,
    ) -> None:
        self._name, self._instrument, self._pair = name, instrument, pair
        self._executor, self._pairs = executor, pairs
        self._arrival_wait_s, self._heartbeat_s = arrival_wait_s, heartbeat_s
        self._running: dict[Key, Future[ArchiveOutcome]] = {}
        self._done: dict[Key, ArchiveOutcome] = {}
        self._last_heartbeat = 0.0

    def spec(self) -> StageSpec[ArchiveHolding]:
        """Return the stage that runs this process."""
        return StageSpec(
            stage="archiver",
            topics=("jobs",),
            initial=ArchiveHolding(),
            state_type=ArchiveHolding,
            handle=self.handle,
            tick=self.tick,
            tick_s=0.1,
        )

    def handle(self, state: ArchiveHolding, incoming: Incoming, now: float) -> Step:
        """Take a fact about a job in; copies of what is verifiably archived are dropped."""
        event: JobEvent = incoming.record
        if event.kind is JobKind.ARCHIVE and isinstance(event.fact, Succeeded) and event.fact.worker == self._name:
            for detector in event.detectors:
                self._release(exposure_of(event.job_id), detector)
        return fold(state, event, worker=self._name, now=now), []

    def tick(self, state: ArchiveHolding, now: float) -> Step:
        """Report finished jobs, begin those whose exposure is complete, give a sign of life."""
        outgoing: list[Outgoing] = []
        self._collect(state)
        for name, lease in sorted(state.leases.items()):
            key = name, lease.epoch
            if key in self._done:
                state, records = self._reported(state, lease, self._done[key], now)
                outgoing += records
            elif key not in self._running:
                outgoing += self._begun(key, lease, now)
        if now - self._last_heartbeat >= self._heartbeat_s:
            self._last_heartbeat = now
            outgoing.append(self._heartbeat(state, now))
        return state, outgoing

    def _collect(self, state: ArchiveHolding) -> None:
        held = {(name, lease.epoch) for name, lease in state.leases.items()}
        for key in [k for k in self._done if k not in held]:
            del self._done[key]  # its end is committed, or somebody else has the job now
        for key, future in list(self._running.items()):
            if future.done():
                self._done[key] = _outcome(future)
                del self._running[key]

    def _begun(self, key: Key, lease: ArchiveLease, now: float) -> list[Outgoing]:
        exposure = exposure_of(key[0])
        if self._pair.is_complete(exposure):
            if len(self._running) >= self._pairs:
                return []
            self._running[key] = self._executor.submit(archive_raft, self._pair, exposure, lease.job.detectors)
            return [self._event(lease, Started(worker=self._name, epoch=lease.epoch))]
        wait_s = self._arrival_wait_s + _exposure_time(lease)
        if now - lease.since_unix_s > wait_s:
            reason = f"exposure {exposure} was not complete in the camera's buffer within {wait_s:.0f} s"
            self._done[key] = ArchiveOutcome(lost=dict.fromkeys(lease.job.detectors, reason))
        return []

    def _reported(self, state: ArchiveHolding, lease: ArchiveLease, outcome: ArchiveOutcome, now: float) -> Step:
        event = self._event(lease, self._verdict(lease, outcome))
        records: list[Outgoing] = []
        if outcome.failure is None:
            images = split_raft(
                instrument=lease.job.instrument,
                visit=lease.job.visit,
                exposure=exposure_of(lease.job.job_id),
                detectors=lease.job.detectors,
                stored=outcome.stored,
                lost=outcome.lost,
            )
            records = [Outgoing(topic="exposures", key=self._instrument, record=image) for image in images]
        return fold(state, event.record, worker=self._name, now=now), [*records, event]

    def _verdict(self, lease: ArchiveLease, outcome: ArchiveOutcome) -> Succeeded | Failed:
        failed = Failed(worker=self._name, epoch=lease.epoch, code=LOST, reason="", retriable=False)
        if outcome.failure is not None:
            return replace(failed, code=outcome.failure.code, reason=str(outcome.failure), retriable=True)
        if not outcome.stored:
            return replace(failed, reason="; ".join(dict.fromkeys(outcome.lost.values())))
        metrics = {
            "bytes": float(sum(s.claim.size for s in outcome.stored.values())),
            "lost": float(len(outcome.lost)),
            "stored": float(len(outcome.stored)),
        }
        return Succeeded(worker=self._name, epoch=lease.epoch, result=None, metrics=metrics)

    def _event(self, lease: ArchiveLease, fact: Started | Succeeded | Failed) -> Outgoing:
        return Outgoing(topic="jobs", key=self._instrument, record=replace(lease.job, fact=fact))

    def _heartbeat(self, state: ArchiveHolding, now: float) -> Outgoing:
        holding = tuple(sorted(f"{name}@{lease.epoch}" for name, lease in state.leases.items()))
        beat = WorkerHeartbeat(
            worker=self._name, kind=JobKind.ARCHIVE, slots=8 * self._pairs, holding=holding, sent_unix_s=now
        )
        return Outgoing(topic="job-heartbeats", key=self._name, record=beat)

    def _release(self, exposure: int, detector: int) -> None:
        try:
            self._pair.release(exposure, detector)
        except NightcastError as error:  # the copy stays, which harms nothing
            log.warning("copy kept", exposure=exposure, detector=detector, code=error.code, reason=str(error))


def _exposure_time(lease: ArchiveLease) -> float:
    fact = lease.job.fact
    return float(fact.parameters.get("exposure_time", 0.0)) if isinstance(fact, Planned) else 0.0


def _outcome(future: Future[ArchiveOutcome]) -> ArchiveOutcome:
    error = future.exception()
    if error is None:
        return future.result()
    return ArchiveOutcome(failure=TransientFailure(f"The pair failed unexpectedly: {type(error).__name__}: {error}"))
