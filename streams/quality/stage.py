"""The quality stage: a pure fold of jobs, closed visits, associations and manifests into `quality-metrics`.

Each accepted detector job gives the quality of its detector at once. A visit's is written when the visit is closed and again,
with the clock as its known asteroids see it, when it is associated, and with latencies, when its manifest comes; the topic is
compacted, so the newest stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from processors.quality.metrics import VISIT_THRESHOLDS, judge, summarise_visit
from schemas.events import (
    AlertManifest,
    Announced,
    AssociationDecision,
    JobEvent,
    JobKind,
    OutcomeStatus,
    QualityMetrics,
    Succeeded,
    VisitClosed,
    VisitEvent,
)
from streams.quality.clock import NightClock, checked
from streams.stage import Incoming, Outgoing, StageSpec

__all__ = ["QualityState", "VisitQuality", "quality_spec", "fold"]

_KEPT_VISITS = 50
TOPIC = "quality-metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitQuality:
    """What is known of one visit."""

    instrument: str
    visit: int
    band: str = ""
    planned: int = 0
    detectors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Detector to its metrics."""
    closed: bool = False
    latencies: Mapping[str, float] = field(default_factory=dict)
    clock: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityState:
    """Recent visits by id, as text."""

    visits: Mapping[str, VisitQuality] = field(default_factory=dict)
    clock: NightClock = field(default_factory=NightClock)


def quality_spec(instrument: str) -> StageSpec[QualityState]:
    """Return the stage."""

    def handle(state: QualityState, incoming: Incoming, now: float) -> tuple[QualityState, Sequence[Outgoing]]:
        return fold(state, incoming.record, instrument)

    return StageSpec(
        stage="quality",
        topics=("visit-events", "jobs", "association-log", "alert-manifests"),
        initial=QualityState(),
        state_type=QualityState,
        handle=handle,
    )


def fold(state: QualityState, event: object, instrument: str) -> tuple[QualityState, list[Outgoing]]:
    """Take one event in and return what it says about quality."""
    if isinstance(event, VisitEvent) and isinstance(event.fact, Announced):
        visit = replace(_visit(state, event.visit, instrument), band=event.fact.band, planned=len(event.fact.detectors))
        return _with(state, visit), []
    if isinstance(event, VisitEvent) and isinstance(event.fact, VisitClosed):
        visit = _closed(_visit(state, event.visit, instrument), event.fact)
        return _with(state, visit), [_of_visit(visit)]
    if isinstance(event, JobEvent) and event.kind is JobKind.DETECTOR and isinstance(event.fact, Succeeded):
        visit = _measured(_visit(state, event.visit, instrument), event.detectors[0], event.fact)
        return _with(state, visit), [_of_detector(visit, event.detectors[0])]
    if isinstance(event, AssociationDecision) and event.correction is None:
        return _associated(state, event, instrument)
    if isinstance(event, AlertManifest):
        visit = _visit(state, event.visit, instrument)
        latencies = {
            "alerts": float(event.published),
            "latency_p50_s": event.latency_p50_s,
            "latency_p95_s": event.latency_p95_s,
            "latency_p98_s": event.latency_p98_s,
            "latency_max_s": event.latency_max_s,
        }
        visit = replace(visit, latencies=latencies)
        return _with(state, visit), [_of_visit(visit)]
    return state, []


def _visit(state: QualityState, visit: int, instrument: str) -> VisitQuality:
    return state.visits.get(str(visit)) or VisitQuality(instrument=instrument, visit=visit)


def _with(state: QualityState, visit: VisitQuality) -> QualityState:
    visits = dict(state.visits) | {str(visit.visit): visit}
    for key in sorted(visits, key=int)[: max(0, len(visits) - _KEPT_VISITS)]:
        del visits[key]
    return replace(state, visits=visits)


def _associated(
    state: QualityState, decision: AssociationDecision, instrument: str
) -> tuple[QualityState, list[Outgoing]]:
    clock, metrics = checked(state.clock, decision)
    state = replace(state, clock=clock)
    if not metrics:
        return state, []
    visit = replace(_visit(state, decision.visit, instrument), clock=metrics)
    return _with(state, visit), [_of_visit(visit)]


def _measured(visit: VisitQuality, detector: int, fact: Succeeded) -> VisitQuality:
    return replace(visit, detectors=dict(visit.detectors) | {str(detector): dict(fact.metrics)})


def _closed(visit: VisitQuality, fact: VisitClosed) -> VisitQuality:
    accepted = {str(o.detector) for o in fact.outcomes if o.status is OutcomeStatus.SUCCEEDED}
    kept = {key: metrics for key, metrics in visit.detectors.items() if key in accepted}
    return replace(visit, planned=len(fact.outcomes), detectors=kept, closed=True)


def _of_detector(visit: VisitQuality, detector: int) -> Outgoing:
    values = visit.detectors[str(detector)]
    verdict = judge(values)
    record = QualityMetrics(
        instrument=visit.instrument,
        visit=visit.visit,
        detector=detector,
        band=visit.band,
        values=values,
        verdict=verdict.verdict,
        reasons=verdict.reasons,
    )
    return Outgoing(topic=TOPIC, key=f"{visit.visit}:{detector}", record=record)


def _of_visit(visit: VisitQuality) -> Outgoing:
    detectors = [visit.detectors[key] for key in sorted(visit.detectors, key=int)]
    values = summarise_visit(detectors, planned=visit.planned) | dict(visit.latencies) | dict(visit.clock)
    verdict = judge(values, VISIT_THRESHOLDS)
    record = QualityMetrics(
        instrument=visit.instrument,
        visit=visit.visit,
        detector=None,
        band=visit.band,
        values=values,
        verdict=verdict.verdict,
        reasons=verdict.reasons,
    )
    return Outgoing(topic=TOPIC, key=str(visit.visit), record=record)
