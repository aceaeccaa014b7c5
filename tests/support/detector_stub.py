"""A detector worker that does no science: it waits for its exposures like the real one and gives an empty result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from schemas.events import (
    AvailableExposure,
    DetectorResult,
    ExposureEvent,
    Failed,
    JobEvent,
    JobKind,
    Leased,
    Planned,
    ResultRef,
    Started,
    Succeeded,
    WorkerHeartbeat,
)
from schemas.tables import Table
from streams.stage import Delivered, Incoming, Outgoing, StageSpec

__all__ = ["StubState", "detector_stub"]

EMPTY = Table.from_array(np.zeros(0, [("x", "f8")]))


@dataclass(frozen=True, slots=True, kw_only=True)
class StubState:
    """Plans, leases by job and epoch, exposures seen."""

    plans: Mapping[str, JobEvent] = field(default_factory=dict)
    leases: Mapping[str, int] = field(default_factory=dict)
    images: Mapping[str, bool] = field(default_factory=dict)
    """Whether an exposure of a detector is available, by ``exposure:detector``."""
    beaten: float = 0.0


def detector_stub(name: str) -> StageSpec[StubState]:
    """Return the stage."""

    def handle(state: StubState, incoming: Incoming, now: float) -> tuple[StubState, list[Outgoing]]:
        event = incoming.record
        if isinstance(event, ExposureEvent):
            there = isinstance(event.fact, AvailableExposure)
            return replace(state, images=dict(state.images) | {f"{event.exposure}:{event.detector}": there}), []
        if event.kind is JobKind.DETECTOR and isinstance(event.fact, Planned):
            return replace(state, plans=dict(state.plans) | {event.job_id: event}), []
        if event.kind is JobKind.DETECTOR and isinstance(event.fact, Leased) and event.fact.worker == name:
            return replace(state, leases=dict(state.leases) | {event.job_id: event.fact.epoch}), []
        return state, []

    def tick(state: StubState, now: float) -> tuple[StubState, list[Outgoing]]:
        outgoing: list[Outgoing] = []
        for job_id, epoch in state.leases.items():
            plan = state.plans[job_id]
            assert isinstance(plan.fact, Planned)
            images = [state.images.get(f"{e}:{plan.detectors[0]}") for e in plan.fact.exposures]
            if None not in images:
                outgoing += _ended(plan, name, epoch, any(images))
                state = replace(state, leases={k: v for k, v in state.leases.items() if k != job_id})
        if now - state.beaten > 1.0:
            holding = tuple(f"{job}@{epoch}" for job, epoch in sorted(state.leases.items()))
            beat = WorkerHeartbeat(worker=name, kind=JobKind.DETECTOR, slots=50, holding=holding, sent_unix_s=now)
            outgoing.append(Outgoing(topic="job-heartbeats", key=name, record=beat))
            state = replace(state, beaten=now)
        return state, outgoing

    return StageSpec(
        stage="detector-stub",
        topics=("jobs", "exposures"),
        handle=handle,
        tick=tick,
        initial=StubState(),
        state_type=StubState,
        tick_s=0.1,
    )


def _ended(plan: JobEvent, worker: str, epoch: int, any_image: bool) -> list[Outgoing]:
    def event(fact: Any) -> Outgoing:
        return Outgoing(topic="jobs", key=plan.instrument, record=replace(plan, fact=fact))

    started = event(Started(worker=worker, epoch=epoch))
    if not any_image:
        failed = Failed(worker=worker, epoch=epoch, code="no_exposure", reason="nothing came", retriable=False)
        return [started, event(failed)]

    def succeeded(delivered: Delivered) -> list[Outgoing]:
        ref = ResultRef(
            job_id=plan.job_id,
            epoch=epoch,
            sha256=delivered.sha256,
            partition=delivered.partition,
            offset=delivered.offset,
        )
        return [event(Succeeded(worker=worker, epoch=epoch, result=ref, metrics={}))]

    result = DetectorResult(
        instrument=plan.instrument,
        visit=plan.visit,
        detector=plan.detectors[0],
        job_id=plan.job_id,
        band="r",
        midpoint_mjd_tai=0.0,
        exposure_time=0.0,
        diasources=EMPTY,
        forced=EMPTY,
        metrics={},
        cutouts=None,
        calibrated=None,
        inputs={},
        notes=(),
    )
    return [started, Outgoing(topic="detector-results", key=plan.instrument, record=result, then=succeeded)]
