"""What happens during a night, visit by visit: a pure fold of the logs that people watch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from schemas.events import (
    AlertManifest,
    Announced,
    AvailableExposure,
    Cancelled,
    DetectorOutcome,
    ExposureEvent,
    Failed,
    IntegrationStarted,
    JobEvent,
    JobKind,
    OutcomeStatus,
    ReadoutEnded,
    Succeeded,
    VisitClosed,
    VisitEvent,
)

__all__ = ["NightView", "VisitView", "fold", "night_ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitView:
    """What is known of one visit."""

    visit: int
    day_obs: int = 0
    band: str = ""
    n_snaps: int = 0
    detectors: int = 0
    integrations: int = 0
    readouts: int = 0
    frames: int = 0
    """Raw frames of single detectors in the archive."""
    succeeded: frozenset[int] = frozenset()
    failed: frozenset[int] = frozenset()
    outcomes: tuple[DetectorOutcome, ...] = ()
    closed: str = ""
    """Reason of the closing; empty while open."""
    cancelled: bool = False
    manifest: AlertManifest | None = None
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    """CPU seconds by step, summed over detectors."""

    @property
    def stage(self) -> str:
        """The furthest stage the visit has reached, in a word or two."""
        if self.cancelled:
            return "cancelled"
        if self.manifest is not None:
            return "published"
        if self.closed:
            return "associating"
        if self.readouts and self.readouts >= self.n_snaps:
            return "processing"
        if self.integrations:
            return "observing"
        return "announced"

    @property
    def ended(self) -> bool:
        """Whether nothing more is expected of the visit."""
        return self.cancelled or self.manifest is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class NightView:
    """Visits of one night by id."""

    day_obs: int
    visits: Mapping[int, VisitView] = field(default_factory=dict)


def fold(view: NightView, event: object) -> NightView:
    """Return the view after one event; events of other nights change nothing."""
    visit = getattr(event, "visit", None)
    if not isinstance(visit, int) or visit // 100_000 != view.day_obs:
        return view
    before = view.visits.get(visit) or VisitView(visit=visit)
    after = _visit(before, event)
    return view if after is before else replace(view, visits=dict(view.visits) | {visit: after})


def night_ended(view: NightView, *, planned: int) -> bool:
    """Whether all planned visits have ended."""
    return len(view.visits) >= planned and all(v.ended for v in view.visits.values())


def _visit(visit: VisitView, event: object) -> VisitView:
    if isinstance(event, VisitEvent):
        return _of_visit_event(visit, event.fact)
    if isinstance(event, ExposureEvent) and isinstance(event.fact, AvailableExposure):
        return replace(visit, frames=visit.frames + 1)
    if isinstance(event, JobEvent) and event.kind is JobKind.DETECTOR:
        return _of_job(visit, event)
    if isinstance(event, AlertManifest):
        return replace(visit, manifest=event)
    return visit


def _of_visit_event(visit: VisitView, fact: object) -> VisitView:
    if isinstance(fact, Announced):
        return replace(visit, day_obs=fact.day_obs, band=fact.band, n_snaps=fact.n_snaps, detectors=len(fact.detectors))
    if isinstance(fact, IntegrationStarted):
        return replace(visit, integrations=visit.integrations + 1)
    if isinstance(fact, ReadoutEnded):
        return replace(visit, readouts=visit.readouts + 1)
    if isinstance(fact, Cancelled):
        return replace(visit, cancelled=True)
    if isinstance(fact, VisitClosed):
        failed = frozenset(o.detector for o in fact.outcomes if o.status is not OutcomeStatus.SUCCEEDED)
        return replace(visit, closed=fact.reason, outcomes=fact.outcomes, failed=failed)
    return visit


def _of_job(visit: VisitView, event: JobEvent) -> VisitView:
    detector = event.detectors[0]
    if isinstance(event.fact, Succeeded):
        if detector in visit.succeeded:
            return visit
        cpu = {k: v for k, v in event.fact.metrics.items() if k.startswith("cpu_") and k.endswith("_s")}
        sums = {k: visit.cpu_s.get(k, 0.0) + v for k, v in cpu.items()}
        return replace(visit, succeeded=visit.succeeded | {detector}, cpu_s=dict(visit.cpu_s) | sums)
    if isinstance(event.fact, Failed) and not event.fact.retriable:
        return replace(visit, failed=visit.failed | {detector})
    return visit
