"""What an archiver process holds: plans of archive jobs and its own leases. A pure fold of the log of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from processors.control.plans import EXHAUSTED
from schemas.events import (
    Expired,
    Failed,
    JobCancelled,
    JobEvent,
    JobKind,
    Leased,
    Planned,
    Succeeded,
    Superseded,
)

__all__ = ["ArchiveHolding", "ArchiveLease", "fold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLease:
    """A job that is this process's."""

    job: JobEvent
    """Its plan."""
    epoch: int
    since_unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveHolding:
    """State of an archiver process: jobs that are not ended, and leases, by name of job."""

    planned: Mapping[str, JobEvent] = field(default_factory=dict)
    leases: Mapping[str, ArchiveLease] = field(default_factory=dict)


def fold(state: ArchiveHolding, event: JobEvent, *, worker: str, now: float) -> ArchiveHolding:
    """Return the state after one fact about a job."""
    if event.kind is not JobKind.ARCHIVE:
        return state
    fact, name = event.fact, event.job_id
    if isinstance(fact, Planned):
        return replace(state, planned=dict(state.planned) | {name: event})
    if isinstance(fact, Leased):
        return _leased(state, name, fact, worker, now)
    if isinstance(fact, JobCancelled | Superseded) or _ends(fact):
        return _without(state, name, forget=True)
    lease = state.leases.get(name)
    if isinstance(fact, Failed | Expired) and lease is not None and fact.epoch >= lease.epoch:
        return _without(state, name, forget=False)
    return state


def _ends(fact: object) -> bool:
    return isinstance(fact, Succeeded) or (isinstance(fact, Failed) and (not fact.retriable or fact.code == EXHAUSTED))


def _leased(state: ArchiveHolding, name: str, fact: Leased, worker: str, now: float) -> ArchiveHolding:
    plan = state.planned.get(name)
    if plan is None or fact.worker != worker:
        return _without(state, name, forget=False)
    known = state.leases.get(name)
    if known is not None and known.epoch >= fact.epoch:
        return state
    lease = ArchiveLease(job=plan, epoch=fact.epoch, since_unix_s=now)
    return replace(state, leases=dict(state.leases) | {name: lease})


def _without(state: ArchiveHolding, name: str, *, forget: bool) -> ArchiveHolding:
    leases = {k: v for k, v in state.leases.items() if k != name}
    planned = {k: v for k, v in state.planned.items() if k != name} if forget else state.planned
    if len(leases) == len(state.leases) and len(planned) == len(state.planned):
        return state
    return replace(state, leases=leases, planned=planned)
