"""The DMCS's visit saga: it plans the jobs of a visit, follows them, and alone closes the visit.

The saga is a fold. Each function takes the state, one event (or the time, for timers) and gives the next state and the facts to
be logged. Only the set of facts before a visit's end matters, not the order in which topics were read nor repetitions, with
two exceptions that the log itself orders: what comes after ``closed`` is late, and a newer lease fences older ones.

Sequence of a visit: ``announced`` plans one job per detector; ``integration started`` plans the archive jobs of the
exposure, announced or not; an exposure that does not start in time is declared lost; when every detector is
terminal and every exposure read out or lost, or some time after the last of them, the visit is closed; visits close in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

from processors.control.closing import closing_event, closing_reason, late_result
from processors.control.errors import StaleAnnouncementError
from processors.control.plans import EXHAUSTED, EXPOSURE_LOST, archive_jobs, detector_job_id, detector_jobs, exposure_of
from processors.control.visit_state import DetectorState, ExposureState, SagaState, VisitState
from schemas.camera import load_camera
from schemas.events import (
    Announced,
    Cancelled,
    Expired,
    ExposureEvent,
    Failed,
    IntegrationStarted,
    JobCancelled,
    JobEvent,
    JobKind,
    Leased,
    LostExposure,
    OutcomeStatus,
    PredictedSsObjects,
    ReadoutEnded,
    Succeeded,
    VisitClosed,
    VisitEvent,
)

__all__ = ["Fact", "SagaRules", "fold_job", "fold_prediction", "fold_visit", "tick"]

Fact = VisitEvent | JobEvent | ExposureEvent
"""What the saga logs."""

SECONDS_PER_DAY = 86_400.0
NEVER_STARTED = "the exposure did not start in time"


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaRules:
    """The instrument and the times of the saga, in seconds."""

    instrument: str
    camera: str
    """Description for exposures that nobody announced."""
    close_after_s: float = 40.0
    """After the last end of read-out (architecture.md, section 2, step 7)."""
    notice_s: float = 30.0
    """From announcement to first exposure, where the telescope's clock is not known yet (LSE-72: at least 20 s)."""
    grace_s: float = 15.0
    """How late an exposure may start before it is declared lost."""
    exposure_time_s: float = 30.0
    """Of exposures that nobody announced."""
    readout_s: float = 10.0
    """From the end of an exposure to the end of its read-out, where its event does not come."""
    prediction_wait_s: float = 0.0
    """How long a complete visit waits for its predicted moving objects after the last read-out."""
    kept_visits: int = 64
    """How many closed visits are kept for late results."""


Step = tuple[SagaState, list[Fact]]


def fold_visit(state: SagaState, event: VisitEvent, at: float, rules: SagaRules, inputs: Mapping[str, str]) -> Step:
    """Fold a fact about a visit.

    Parameters
    ----------
    state
        The saga so far.
    event
        The fact.
    at
        When the log took it, seconds since 1970.
    rules
        Instrument and times.
    inputs
        Inputs that a job planned now is given: name to sha256.

    Raises
    ------
    StaleAnnouncementError
        When a visit is announced after a later one was closed.
    CameraDescriptionError
        When the announcement names an unknown camera or detector.
    """
    if event.visit <= state.forgotten_through:
        if isinstance(event.fact, Announced):
            raise _stale(event.visit, state)
        return state, []
    visit, facts = _apply_visit(event.fact, state, state.visit(event.visit), at, rules, inputs)
    state = state.with_visit(visit)
    if isinstance(event.fact, ReadoutEnded):
        ahead = event.fact.end_mjd_tai * SECONDS_PER_DAY - event.fact.sent_unix_s
        state = replace(state, telescope_ahead_s=ahead)
    if isinstance(event.fact, VisitClosed):
        state = replace(state, closed_through=max(state.closed_through, event.visit))
    return _close_ready(state, facts, at, rules)


def fold_job(state: SagaState, event: JobEvent, at: float, rules: SagaRules) -> Step:
    """Fold a fact about a job; only detector jobs move a visit, and an archive job given up loses its images.

    A result is accepted from the newest lease alone, and only while that lease holds. After the visit was closed without it,
    it makes a ``late-result``.
    """
    if event.kind is JobKind.ARCHIVE:
        return state, _given_up(event)
    if event.visit <= state.forgotten_through:
        return state, []
    visit, facts = state.visit(event.visit), list[Fact]()
    for identifier in event.detectors:
        before = visit.detector(identifier)
        after = _apply_job(event.fact, before)
        if after is before:
            continue
        if visit.closed and after.status is OutcomeStatus.SUCCEEDED:
            facts.append(late_result(rules.instrument, visit, after))
        visit = visit.with_detector(after)
    if visit == state.visit(event.visit):
        return state, facts
    return _close_ready(state.with_visit(visit), facts, at, rules)


def fold_prediction(state: SagaState, event: PredictedSsObjects, at: float, rules: SagaRules) -> Step:
    """Fold what NightMOPS predicted for a visit: the first answer counts, and only until the visit is closed.

    A prediction that comes before its announcement is kept; the closing names the one that was used, so a replay uses the same.
    """
    if event.visit <= state.forgotten_through:
        return state, []
    visit = state.visit(event.visit)
    if visit.closed or visit.predicted is not None:
        return state, []
    return _close_ready(state.with_visit(replace(visit, predicted=event.predicted)), [], at, rules)


def tick(state: SagaState, now: float, rules: SagaRules) -> Step:
    """Declare exposures lost whose time is over, and close what is due. ``now``: seconds since 1970."""
    facts: list[Fact] = []
    for visit in state.visits:
        if visit.announced is None or visit.closed or visit.cancelled is not None:
            continue
        changed = _lose_overdue(state, visit, visit.announced, now, rules)
        for exposure in changed.exposures:
            if exposure not in visit.exposures:
                facts += _losses(
                    rules.instrument, visit.visit, exposure.exposure, visit.announced.detectors, NEVER_STARTED
                )
        if changed is not visit:
            state = state.with_visit(changed)
    return _close_ready(state, facts, now, rules)


def _stale(visit: int, state: SagaState) -> StaleAnnouncementError:
    return StaleAnnouncementError(
        f"Visit {visit} was announced after visit {state.closed_through} was closed; visits close in order."
    )


@singledispatch
def _apply_visit(
    fact: Any, state: SagaState, visit: VisitState, at: float, rules: SagaRules, inputs: Mapping[str, str]
) -> tuple[VisitState, list[Fact]]:
    """Apply a fact; those that the saga logs itself change nothing."""
    return visit, []


@_apply_visit.register
def _(
    fact: Announced, state: SagaState, visit: VisitState, at: float, rules: SagaRules, inputs: Mapping[str, str]
) -> tuple[VisitState, list[Fact]]:
    if visit.announced is not None:
        return visit, []
    if visit.visit <= state.closed_through:
        raise _stale(visit.visit, state)
    plans = detector_jobs(rules.instrument, visit.visit, fact, load_camera(fact.camera), inputs)
    visit = replace(visit, announced=fact, announced_unix_s=at)
    for identifier in fact.detectors:
        visit = visit.with_detector(visit.detector(identifier))
    for snap in range(fact.n_snaps):
        known = visit.exposure(visit.visit + snap)
        visit = visit.with_exposure(known or ExposureState(exposure=visit.visit + snap, snap=snap))
    return visit, [] if visit.cancelled is not None else list(plans)


@_apply_visit.register
def _(
    fact: Cancelled, state: SagaState, visit: VisitState, at: float, rules: SagaRules, inputs: Mapping[str, str]
) -> tuple[VisitState, list[Fact]]:
    if visit.closed or visit.cancelled is not None:
        return visit, []
    cancelled: list[Fact] = [
        JobEvent(
            job_id=detector_job_id(visit.visit, d.detector),
            kind=JobKind.DETECTOR,
            instrument=rules.instrument,
            visit=visit.visit,
            detectors=(d.detector,),
            fact=JobCancelled(reason=f"visit cancelled: {fact.reason}"),
        )
        for d in visit.detectors
        if not d.terminal
    ]
    return replace(visit, cancelled=fact.reason), cancelled


@_apply_visit.register
def _(
    fact: IntegrationStarted,
    state: SagaState,
    visit: VisitState,
    at: float,
    rules: SagaRules,
    inputs: Mapping[str, str],
) -> tuple[VisitState, list[Fact]]:
    exposure = visit.exposure(fact.exposure) or ExposureState(exposure=fact.exposure, snap=fact.snap)
    if exposure.started_unix_s:
        return visit, []
    announced = visit.announced
    camera = load_camera(announced.camera if announced is not None else rules.camera)
    seconds = announced.exposure_time if announced is not None else rules.exposure_time_s
    jobs = archive_jobs(rules.instrument, visit.visit, fact.exposure, camera, exposure_time=seconds)
    plans: list[Fact] = list(jobs)
    return visit.with_exposure(replace(exposure, started_unix_s=at)), plans


@_apply_visit.register
def _(
    fact: ReadoutEnded, state: SagaState, visit: VisitState, at: float, rules: SagaRules, inputs: Mapping[str, str]
) -> tuple[VisitState, list[Fact]]:
    exposure = visit.exposure(fact.exposure) or ExposureState(exposure=fact.exposure, snap=fact.snap)
    if exposure.ended_unix_s:
        return visit, []
    ended = replace(exposure, ended_unix_s=at, end_mjd_tai=fact.end_mjd_tai, sent_unix_s=fact.sent_unix_s)
    return visit.with_exposure(ended), []


@_apply_visit.register
def _(
    fact: VisitClosed, state: SagaState, visit: VisitState, at: float, rules: SagaRules, inputs: Mapping[str, str]
) -> tuple[VisitState, list[Fact]]:
    """Take over a closing that another life of this saga logged."""
    if visit.closed:
        return visit, []
    for o in fact.outcomes:
        visit = visit.with_detector(
            replace(visit.detector(o.detector), status=o.status, result=o.result, reason=o.reason)
        )
    return replace(visit, closed=True, predicted=fact.predicted), []


def _apply_job(fact: Any, job: DetectorState) -> DetectorState:
    if isinstance(fact, Leased) and fact.epoch > job.epoch:
        return replace(job, epoch=fact.epoch, lapsed=False)
    if isinstance(fact, Expired) and fact.epoch == job.epoch and not job.lapsed:
        return replace(job, lapsed=True)
    if isinstance(fact, Succeeded) and job.status in {None, OutcomeStatus.LATE} and _holds(job, fact.epoch):
        return replace(job, epoch=fact.epoch, status=OutcomeStatus.SUCCEEDED, result=fact.result, reason="")
    return job if job.terminal else _apply_end(fact, job)


def _apply_end(fact: Any, job: DetectorState) -> DetectorState:
    """Apply a fact that ends a job without a result."""
    if isinstance(fact, Failed) and not fact.retriable and _holds(job, fact.epoch):
        status = OutcomeStatus.LOST if fact.code == EXPOSURE_LOST else OutcomeStatus.FAILED
        return replace(job, status=status, reason=f"{fact.code}: {fact.reason}")
    if isinstance(fact, JobCancelled):
        return replace(job, status=OutcomeStatus.FAILED, reason=fact.reason)
    return job


def _holds(job: DetectorState, epoch: int) -> bool:
    return epoch > job.epoch or (epoch == job.epoch and not job.lapsed)


def _lose_overdue(
    state: SagaState, visit: VisitState, announced: Announced, now: float, rules: SagaRules
) -> VisitState:
    """Declare lost what has not started in time."""
    first = visit.announced_unix_s + rules.notice_s
    if state.telescope_ahead_s is not None:
        first = max(visit.announced_unix_s, announced.start_mjd_tai * SECONDS_PER_DAY - state.telescope_ahead_s)
    first = min(first, visit.announced_unix_s + 20 * rules.notice_s)
    for exposure in visit.exposures:
        due = first + exposure.snap * (announced.exposure_time + rules.readout_s) + rules.grace_s
        if not exposure.started_unix_s and not exposure.resolved and now >= due:
            visit = visit.with_exposure(replace(exposure, lost_unix_s=now))
    return visit


def _given_up(event: JobEvent) -> list[Fact]:
    if not isinstance(event.fact, Failed) or event.fact.code != EXHAUSTED:
        return []
    return _losses(event.instrument, event.visit, exposure_of(event.job_id), event.detectors, event.fact.reason)


def _losses(instrument: str, visit: int, exposure: int, detectors: tuple[int, ...], reason: str) -> list[Fact]:
    return [
        ExposureEvent(
            instrument=instrument,
            visit=visit,
            exposure=exposure,
            snap=exposure - visit,
            detector=detector,
            fact=LostExposure(reason=reason),
        )
        for detector in sorted(detectors)
    ]


def _close_ready(state: SagaState, facts: list[Fact], now: float, rules: SagaRules) -> Step:
    """Close visits in order, up to the first that is not due."""
    for visit in state.visits:
        if visit.closed or (visit.announced is None and visit.cancelled is None):
            continue
        if visit.announced is None:  # cancelled, and never announced: nobody waits for it
            continue
        reason = closing_reason(
            visit,
            visit.announced,
            now,
            close_after_s=rules.close_after_s,
            readout_s=rules.readout_s,
            prediction_wait_s=rules.prediction_wait_s,
        )
        if reason is None:
            break
        closed, event = closing_event(rules.instrument, visit, visit.announced, reason)
        facts.append(event)
        state = replace(state.with_visit(closed), closed_through=max(state.closed_through, visit.visit))
    return _forget(state, rules), facts


def _forget(state: SagaState, rules: SagaRules) -> SagaState:
    past = [v.visit for v in state.visits if v.visit <= state.closed_through]
    if len(past) <= rules.kept_visits:
        return state
    last = past[len(past) - rules.kept_visits - 1]
    kept = tuple(v for v in state.visits if v.visit > last)
    return replace(state, visits=kept, forgotten_through=max(state.forgotten_through, last))
