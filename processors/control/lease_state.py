"""What the Orchestration Manager knows of jobs and workers: values only, stored with the offsets they belong to."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, replace
from enum import StrEnum

from schemas.events import JobEvent, JobFact, JobKind

__all__ = ["JobRecord", "LeaseState", "Phase", "Worker"]


class Phase(StrEnum):
    """Where a job is between its plan and its end."""

    WAITING = "waiting"
    LEASED = "leased"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job."""

    job_id: str
    kind: JobKind
    instrument: str
    visit: int
    detectors: tuple[int, ...]
    priority: int
    """Larger runs first; falls with every attempt."""
    phase: Phase = Phase.WAITING
    worker: str = ""
    """Who has or last had it."""
    epoch: int = 0
    attempts: int = 0
    """How often it was granted."""
    expires_unix_s: float = 0.0
    started: bool = False
    succeeded: bool = False
    reason: str = ""
    """Why it waits again, or ended without a result."""

    def ended(self, reason: str) -> JobRecord:
        """Return the job at its end."""
        return replace(self, phase=Phase.ENDED, reason=reason)

    def event(self, fact: JobFact) -> JobEvent:
        """Return a fact about this job, for the log."""
        return JobEvent(
            job_id=self.job_id,
            kind=self.kind,
            instrument=self.instrument,
            visit=self.visit,
            detectors=self.detectors,
            fact=fact,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker process."""

    name: str
    kind: JobKind
    slots: int
    """Leases it can hold at once."""
    seen_unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseState:
    """All jobs, in order of their names, and all workers, in order of theirs."""

    jobs: tuple[JobRecord, ...] = ()
    workers: tuple[Worker, ...] = ()
    closed_through: int = 0
    """Latest visit closed: detector jobs of it and of earlier ones are not granted any more."""
    forgotten_through: int = 0
    """Plans of this visit and earlier ones are repetitions of ended jobs."""

    def job(self, job_id: str) -> JobRecord | None:
        """Return the job of that name, or None."""
        index = bisect.bisect_left(self.jobs, job_id, key=_job_id)
        return self.jobs[index] if index < len(self.jobs) and self.jobs[index].job_id == job_id else None

    def with_job(self, job: JobRecord) -> LeaseState:
        """Return the state with that job put in its place."""
        index = bisect.bisect_left(self.jobs, job.job_id, key=_job_id)
        known = index < len(self.jobs) and self.jobs[index].job_id == job.job_id
        return replace(self, jobs=(*self.jobs[:index], job, *self.jobs[index + known :]))

    def with_worker(self, worker: Worker) -> LeaseState:
        """Return the state with that worker put in its place."""
        rest = [w for w in self.workers if w.name != worker.name]
        return replace(self, workers=tuple(sorted([*rest, worker], key=lambda w: w.name)))

    def held_by(self, worker: str) -> int:
        """Return how many leases a worker has."""
        return sum(job.phase is Phase.LEASED and job.worker == worker for job in self.jobs)


def _job_id(job: JobRecord) -> str:
    return job.job_id
