"""What a detector worker holds: its leases, and what has arrived for them. A pure fold of the logs it reads.

A worker learns every planned job, because any of them may be leased to it later, and every exposure of open visits, because a
lease may come after its pixels. A job is ready when each of its exposures is there or known to be lost, and, for a CCD, the
positions of known objects have come or have been waited for long enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from schemas.events import (
    Announced,
    AvailableExposure,
    Cancelled,
    Expired,
    ExposureEvent,
    Failed,
    JobCancelled,
    JobEvent,
    JobKind,
    KnownObjects,
    Leased,
    Planned,
    Succeeded,
    Superseded,
    VisitClosed,
    VisitEvent,
)

__all__ = ["Holding", "Lease", "PlannedJob", "Ready", "VisitInputs", "fold", "ready_jobs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """What the DMCS planned."""

    job_id: str
    visit: int
    detector: int
    exposures: tuple[int, ...]
    inputs: Mapping[str, str]
    parameters: Mapping[str, str]
    priority: int

    @property
    def is_wavefront(self) -> bool:
        """Whether the job is a wavefront sensor's."""
        return self.parameters.get("kind") == "WAVEFRONT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A job that is this worker's."""

    job: PlannedJob
    epoch: int
    since_unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitInputs:
    """What has arrived for one visit."""

    visit: int
    announced: Announced | None = None
    exposures: Mapping[str, ExposureEvent] = field(default_factory=dict)
    """By exposure and detector, as ``exposure:detector``."""
    known: KnownObjects | None = None
    exposures_since_unix_s: float = 0.0
    """When the newest exposure arrived."""
    closed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """State of a worker."""

    planned: Mapping[str, PlannedJob] = field(default_factory=dict)
    leases: Mapping[str, Lease] = field(default_factory=dict)
    visits: Mapping[str, VisitInputs] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A job whose inputs are there."""

    lease: Lease
    instrument: str
    announced: Announced | None
    exposures: tuple[ExposureEvent, ...]
    """In order of snaps; lost ones included."""
    known: KnownObjects | None
    notes: tuple[str, ...]


_KEPT_VISITS = 4
"""Closed visits remembered for jobs that are late."""


def fold(state: Holding, event: object, *, worker: str, now: float) -> Holding:
    """Return the state after one event of the logs."""
    if isinstance(event, JobEvent):
        return _job(state, event, worker, now) if event.kind is JobKind.DETECTOR else state
    if isinstance(event, ExposureEvent):
        inputs = _inputs(state, event.visit)
        arrived = dict(inputs.exposures) | {f"{event.exposure}:{event.detector}": event}
        return _with_visit(state, replace(inputs, exposures=arrived, exposures_since_unix_s=now))
    if isinstance(event, KnownObjects):
        return _with_visit(state, replace(_inputs(state, event.visit), known=event))
    if isinstance(event, VisitEvent):
        return _visit(state, event)
    return state


def ready_jobs(state: Holding, *, instrument: str, now: float, known_wait_s: float) -> list[Ready]:
    """Return the leased jobs that can run, most urgent first: priority, then visit, then detector.

    Parameters
    ----------
    state
        What the worker holds.
    instrument
        Name for the results.
    now
        Seconds since 1970.
    known_wait_s
        How long a CCD waits for the known objects after its last exposure came.
    """
    found = [r for lease in state.leases.values() if (r := _ready(state, lease, instrument, now, known_wait_s))]
    return sorted(found, key=lambda r: (-r.lease.job.priority, r.lease.job.visit, r.lease.job.detector))


def _ready(state: Holding, lease: Lease, instrument: str, now: float, known_wait_s: float) -> Ready | None:
    job, inputs = lease.job, _inputs(state, lease.job.visit)
    arrived = [inputs.exposures.get(f"{exposure}:{job.detector}") for exposure in job.exposures]
    exposures = tuple(sorted((e for e in arrived if e is not None), key=lambda e: e.snap))
    if len(exposures) < len(job.exposures):
        return None
    notes = [f"exposure {e.exposure} is lost" for e in exposures if not isinstance(e.fact, AvailableExposure)]
    if not job.is_wavefront and inputs.known is None and len(notes) < len(exposures):
        if now - inputs.exposures_since_unix_s < known_wait_s:
            return None
        notes.append("known objects did not come in time: no forced photometry")
    return Ready(
        lease=lease,
        instrument=instrument,
        announced=inputs.announced,
        exposures=exposures,
        known=None if job.is_wavefront else inputs.known,  # what is not waited for must not be named as an input
        notes=tuple(notes),
    )


def _job(state: Holding, event: JobEvent, worker: str, now: float) -> Holding:
    fact = event.fact
    if isinstance(fact, Planned):
        job = PlannedJob(
            job_id=event.job_id,
            visit=event.visit,
            detector=event.detectors[0],
            exposures=fact.exposures,
            inputs=fact.inputs,
            parameters=fact.parameters,
            priority=fact.priority,
        )
        return replace(state, planned=dict(state.planned) | {event.job_id: job})
    if isinstance(fact, Leased):
        return _leased(state, event.job_id, fact, worker, now)
    lease = state.leases.get(event.job_id)
    if isinstance(fact, JobCancelled | Superseded):
        return _without(state, event.job_id, forget=True)
    if isinstance(fact, Succeeded | Failed | Expired) and lease is not None and fact.epoch >= lease.epoch:
        return _without(state, event.job_id, forget=isinstance(fact, Succeeded))
    return state


def _leased(state: Holding, job_id: str, fact: Leased, worker: str, now: float) -> Holding:
    job = state.planned.get(job_id)
    if job is None or fact.worker != worker:
        return _without(state, job_id, forget=False)
    known = state.leases.get(job_id)
    if known is not None and known.epoch >= fact.epoch:
        return state
    lease = Lease(job=job, epoch=fact.epoch, since_unix_s=now)
    return replace(state, leases=dict(state.leases) | {job_id: lease})


def _without(state: Holding, job_id: str, *, forget: bool) -> Holding:
    leases = {key: lease for key, lease in state.leases.items() if key != job_id}
    planned = {key: job for key, job in state.planned.items() if key != job_id} if forget else state.planned
    if len(leases) == len(state.leases) and len(planned) == len(state.planned):
        return state
    return replace(state, leases=leases, planned=planned)


def _visit(state: Holding, event: VisitEvent) -> Holding:
    inputs = _inputs(state, event.visit)
    if isinstance(event.fact, Announced):
        return _with_visit(state, replace(inputs, announced=event.fact))
    if isinstance(event.fact, VisitClosed | Cancelled):
        return _closed(_with_visit(state, replace(inputs, closed=True)), event.visit)
    return state


def _closed(state: Holding, visit: int) -> Holding:
    """Drop what nobody will ask for: jobs of the visit not leased here, and the oldest closed visits."""
    planned = {k: job for k, job in state.planned.items() if job.visit != visit or k in state.leases}
    needed = {str(lease.job.visit) for lease in state.leases.values()}
    closed = [k for k in sorted(state.visits, key=int) if state.visits[k].closed and k not in needed]
    dropped = set(closed[: max(0, len(closed) - _KEPT_VISITS)])
    return replace(state, planned=planned, visits={k: inputs for k, inputs in state.visits.items() if k not in dropped})


def _inputs(state: Holding, visit: int) -> VisitInputs:
    return state.visits.get(str(visit)) or VisitInputs(visit=visit)


def _with_visit(state: Holding, inputs: VisitInputs) -> Holding:
    return replace(state, visits=dict(state.visits) | {str(inputs.visit): inputs})
