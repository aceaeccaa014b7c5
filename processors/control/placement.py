"""Where a job goes, whose place it may take, and which jobs go when the queue is too long."""

from __future__ import annotations

from collections.abc import Mapping

from processors.control.lease_state import JobRecord, LeaseState, Phase
from schemas.events import JobKind

__all__ = ["preempted", "shed", "worker_for"]


def worker_for(state: LeaseState, job: JobRecord, held: Mapping[str, int], *, now: float, alive_s: float) -> str | None:
    """Return the living worker of the job's kind with the most room, or None.

    Of workers with equal room the first by name is taken, but one that had this job before comes last: it may be the cause of
    the failure.

    Parameters
    ----------
    state
        Jobs and workers.
    job
        The job to be placed.
    held
        How many leases each worker has.
    now
        Seconds since 1970.
    alive_s
        A worker not heard of for longer gets nothing.
    """
    room = [
        (w.slots - held.get(w.name, 0), w.name)
        for w in state.workers
        if w.kind is job.kind and now <= w.seen_unix_s + alive_s
    ]
    free = [(name == job.worker, -slots, name) for slots, name in room if slots > 0]
    return min(free)[2] if free else None


def preempted(state: LeaseState, job: JobRecord) -> JobRecord | None:
    """Return the rerun whose place a job may take: leased, of the same kind and lower priority, the lowest of them.

    Only jobs that ran before can be pre-empted (LDM-230: a re-run job is pre-emptible by the current visit).
    """
    lower = [
        j
        for j in state.jobs
        if j.phase is Phase.LEASED and j.kind is job.kind and j.attempts > 1 and j.priority < job.priority
    ]
    return min(lower, key=lambda j: (j.priority, j.visit, j.job_id), default=None)


def shed(state: LeaseState, limit: int) -> list[JobRecord]:
    """Return the waiting detector jobs that go because more than ``limit`` wait: the oldest (LDM-230)."""
    waiting = [j for j in state.jobs if j.phase is Phase.WAITING and j.kind is JobKind.DETECTOR]
    surplus = len(waiting) - limit
    return sorted(waiting, key=lambda j: (j.visit, j.job_id))[:surplus] if surplus > 0 else []
