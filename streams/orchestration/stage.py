"""The Orchestration Manager's stage: leases on the log of jobs, and the last state of each job in its ledger."""

from __future__ import annotations

from collections.abc import Iterable

from processors.control import leases
from processors.control.lease_state import JobRecord, LeaseState, Phase
from processors.control.leases import LeaseRules
from schemas.events import JobEvent, JobLedgerEntry, VisitEvent
from streams.stage import Incoming, Outgoing, StageSpec

__all__ = ["ledger_entry", "orchestration_spec"]

Step = tuple[LeaseState, list[Outgoing]]


def orchestration_spec(rules: LeaseRules) -> StageSpec[LeaseState]:
    """Return the stage."""

    def handle(state: LeaseState, incoming: Incoming, now: float) -> Step:
        event = incoming.record
        if isinstance(event, JobEvent):
            return _written(state, leases.fold_job(state, event, now, rules), now)
        if isinstance(event, VisitEvent):
            return _written(state, leases.fold_visit(state, event, now, rules), now)
        return _written(state, leases.fold_heartbeat(state, event, incoming.timestamp_s, rules), now)

    def tick(state: LeaseState, now: float) -> Step:
        return _written(state, leases.tick(state, now, rules), now)

    return StageSpec(
        stage="orchestration",
        topics=("jobs", "job-heartbeats", "visit-events"),
        handle=handle,
        tick=tick,
        initial=LeaseState(),
        state_type=LeaseState,
        tick_s=0.5,
    )


def ledger_entry(job: JobRecord, now: float) -> JobLedgerEntry:
    """Return what the ledger says of a job."""
    return JobLedgerEntry(
        job_id=job.job_id,
        kind=job.kind,
        instrument=job.instrument,
        visit=job.visit,
        detectors=job.detectors,
        state=_state(job),
        worker=job.worker,
        epoch=job.epoch,
        attempts=job.attempts,
        reason=job.reason,
        updated_unix_s=now,
    )


def _written(before: LeaseState, step: tuple[LeaseState, list[JobEvent]], now: float) -> Step:
    after, facts = step
    outgoing = [Outgoing(topic="jobs", key=fact.instrument, record=fact) for fact in facts]
    for job in _changed(before, after):
        outgoing.append(Outgoing(topic="job-ledger", key=job.job_id, record=ledger_entry(job, now)))
    return after, outgoing


def _changed(before: LeaseState, after: LeaseState) -> Iterable[JobRecord]:
    if before.jobs is after.jobs:
        return
    known = {job.job_id: job for job in before.jobs}
    for job in after.jobs:
        old = known.get(job.job_id)
        if old is not job and (old is None or _told(old) != _told(job)):
            yield job


def _told(job: JobRecord) -> tuple[str, str, int, int, str]:
    return _state(job), job.worker, job.epoch, job.attempts, job.reason


def _state(job: JobRecord) -> str:
    if job.phase is Phase.ENDED:
        return "succeeded" if job.succeeded else "ended"
    if job.phase is Phase.LEASED:
        return "started" if job.started else "leased"
    return "waiting"
