"""The Orchestration Manager's rules: which worker does which job, for how long, and how often.

A job is given to one worker at a time under a lease with a fencing epoch: each grant has a larger one, and whoever follows the log
refuses results of smaller ones. A lease holds while its worker says that it holds it. A lease that
expired, and a failure that may pass, are granted again, at lower priority, up to a number of attempts and, for detector jobs,
only until their visit is closed. A failure of the application itself is never tried again (LDM-230, failure modes).
Everything is a fold: state and event, or time, in; state and facts out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from processors.control.lease_state import JobRecord, LeaseState, Phase, Worker
from processors.control.placement import preempted, shed, worker_for
from processors.control.plans import EXHAUSTED
from schemas.events import (
    Expired,
    Failed,
    JobCancelled,
    JobEvent,
    JobFact,
    JobKind,
    Leased,
    Planned,
    Started,
    Succeeded,
    Superseded,
    VisitClosed,
    VisitEvent,
    WorkerHeartbeat,
)

__all__ = ["LeaseRules", "fold_heartbeat", "fold_job", "fold_visit", "tick"]

RERUN_PENALTY = 10
"""By how much each further attempt lowers a job's priority, so that work that never failed goes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRules:
    """Times, in seconds, and bounds."""

    lease_s: float = 8.0
    """How long a lease holds after its worker's last sign of life."""
    attempts: int = 3
    """How often a detector job is granted."""
    archive_attempts: int = 5
    """How often an archive job is granted: an image must not be lost."""
    queue_limit: int = 2000
    """Waiting detector jobs above which the oldest are cancelled."""
    kept_visits: int = 16
    """For how many visits after the last one closed ended jobs are remembered."""


Step = tuple[LeaseState, list[JobEvent]]


def fold_job(state: LeaseState, event: JobEvent, now: float, rules: LeaseRules) -> Step:
    """Fold a fact about a job. ``now``: seconds since 1970."""
    if isinstance(event.fact, Planned):
        return _assign(_plan(state, event, event.fact), now, rules)
    job = state.job(event.job_id)
    if job is None or job.phase is Phase.ENDED:
        return state, []
    changed, facts = _advance(job, event.fact, state, rules)
    if changed is job:
        return state, []
    return _assign(state.with_job(changed), now, rules, facts)


def fold_visit(state: LeaseState, event: VisitEvent, now: float, rules: LeaseRules) -> Step:
    """After a visit was closed its detector jobs are not granted again; those that began may still come in late."""
    if not isinstance(event.fact, VisitClosed) or event.visit <= state.closed_through:
        return state, []
    state = replace(state, closed_through=event.visit)
    facts: list[JobEvent] = []
    for job in state.jobs:
        idle = job.phase is Phase.WAITING or (job.phase is Phase.LEASED and not job.started)
        if job.kind is JobKind.DETECTOR and job.visit <= event.visit and idle:
            ended = job.ended("the visit was closed before the job began")
            state = state.with_job(ended)
            facts.append(ended.event(JobCancelled(reason=ended.reason)))
    return _assign(_forget(state, rules), now, rules, facts)


def fold_heartbeat(state: LeaseState, beat: WorkerHeartbeat, now: float, rules: LeaseRules) -> Step:
    """Renew what the worker says it holds, and give it more where it has room."""
    worker = Worker(name=beat.worker, kind=beat.kind, slots=beat.slots, seen_unix_s=now)
    state = state.with_worker(worker)
    for token in beat.holding:
        job_id, _, epoch = token.rpartition("@")
        job = state.job(job_id)
        if job is not None and job.phase is Phase.LEASED and (job.worker, str(job.epoch)) == (beat.worker, epoch):
            state = state.with_job(replace(job, expires_unix_s=now + rules.lease_s))
    return _assign(state, now, rules)


def tick(state: LeaseState, now: float, rules: LeaseRules) -> Step:
    """Let leases expire whose workers are silent, cancel what the queue cannot bear, and grant what can be granted."""
    facts: list[JobEvent] = []
    for job in state.jobs:
        if job.phase is Phase.LEASED and now > job.expires_unix_s:
            facts.append(job.event(Expired(worker=job.worker, epoch=job.epoch)))
            changed, more = _again(job, f"lease of {job.worker} expired", state, rules)
            state, facts = state.with_job(changed), facts + more
    gone = [w for w in state.workers if now > w.seen_unix_s + 4 * rules.lease_s]
    if gone:
        state = replace(state, workers=tuple(w for w in state.workers if w not in gone))
    for job in shed(state, rules.queue_limit):
        ended = job.ended("the queue is too long: the oldest jobs go first")
        state = state.with_job(ended)
        facts.append(ended.event(JobCancelled(reason=ended.reason)))
    return _assign(state, now, rules, facts)


def _plan(state: LeaseState, event: JobEvent, plan: Planned) -> LeaseState:
    if state.job(event.job_id) is not None or event.visit <= state.forgotten_through:
        return state
    job = JobRecord(
        job_id=event.job_id,
        kind=event.kind,
        instrument=event.instrument,
        visit=event.visit,
        detectors=event.detectors,
        priority=plan.priority,
    )
    return state.with_job(job)


def _advance(job: JobRecord, fact: JobFact, state: LeaseState, rules: LeaseRules) -> tuple[JobRecord, list[JobEvent]]:
    if isinstance(fact, JobCancelled | Superseded):
        reason = fact.reason if isinstance(fact, JobCancelled) else f"superseded by {fact.by}"
        return job.ended(reason), []
    if job.phase is Phase.LEASED and isinstance(fact, Started | Succeeded | Failed) and fact.epoch == job.epoch:
        return _advance_leased(job, fact, state, rules)
    return job, []


def _advance_leased(
    job: JobRecord, fact: Started | Succeeded | Failed, state: LeaseState, rules: LeaseRules
) -> tuple[JobRecord, list[JobEvent]]:
    if isinstance(fact, Started):
        return replace(job, started=True), []
    if isinstance(fact, Succeeded):
        return replace(job.ended(""), succeeded=True), []
    if fact.retriable:
        return _again(job, f"{fact.code}: {fact.reason}", state, rules)
    return job.ended(f"{fact.code}: {fact.reason}"), []


def _again(job: JobRecord, reason: str, state: LeaseState, rules: LeaseRules) -> tuple[JobRecord, list[JobEvent]]:
    """Put a job back into the queue, or end it where its attempts or its visit are over."""
    detector = job.kind is JobKind.DETECTOR
    limit = rules.attempts if detector else rules.archive_attempts
    if detector and job.visit <= state.closed_through:
        ended = job.ended(f"not tried again after its visit was closed: {reason}")
        return ended, [ended.event(JobCancelled(reason=ended.reason))]
    if job.attempts >= limit:
        ended = job.ended(f"{EXHAUSTED}: {reason}")
        fact = Failed(worker=job.worker, epoch=job.epoch, code=EXHAUSTED, reason=reason, retriable=False)
        # The lease itself is over, so the verdict is the manager's own, one epoch later: nobody can have fenced it.
        final = replace(ended, epoch=job.epoch + 1)
        return final, [final.event(replace(fact, epoch=final.epoch, worker="orchestration"))]
    waiting = replace(job, phase=Phase.WAITING, priority=job.priority - RERUN_PENALTY, started=False, reason=reason)
    return waiting, []


def _assign(state: LeaseState, now: float, rules: LeaseRules, facts: Iterable[JobEvent] = ()) -> Step:
    """Grant waiting jobs, most urgent first, while there is room."""
    granted = list(facts)
    waiting = sorted((j for j in state.jobs if j.phase is Phase.WAITING), key=_urgency)
    held = Counter(j.worker for j in state.jobs if waiting and j.phase is Phase.LEASED)
    for job in waiting:
        worker = worker_for(state, job, held, now=now, alive_s=rules.lease_s)
        if worker is None:
            victim = preempted(state, job)
            if victim is None:
                continue
            worker = victim.worker
            granted.append(victim.event(Expired(worker=worker, epoch=victim.epoch)))
            state = state.with_job(replace(victim, phase=Phase.WAITING, started=False, reason="pre-empted"))
            held[worker] -= 1
        lease = _granted(job, worker, now + rules.lease_s)
        held[worker] += 1
        state = state.with_job(lease)
        granted.append(lease.event(Leased(worker=worker, epoch=lease.epoch)))
    return state, granted


def _granted(job: JobRecord, worker: str, expires_unix_s: float) -> JobRecord:
    return replace(
        job,
        phase=Phase.LEASED,
        worker=worker,
        epoch=job.epoch + 1,
        attempts=job.attempts + 1,
        expires_unix_s=expires_unix_s,
    )


def _urgency(job: JobRecord) -> tuple[int, int, str]:
    return -job.priority, job.visit, job.job_id


def _forget(state: LeaseState, rules: LeaseRules) -> LeaseState:
    """Drop ended jobs of visits long closed; the ledger topic keeps them."""
    visits = sorted({j.visit for j in state.jobs if j.visit <= state.closed_through})
    if len(visits) <= rules.kept_visits:
        return state
    last = visits[-rules.kept_visits - 1]
    kept = tuple(j for j in state.jobs if j.visit > last or j.phase is not Phase.ENDED)
    return replace(state, jobs=kept, forgotten_through=max(state.forgotten_through, last))
