"""What the DMCS knows of the visits in hand: values only, stored with the offsets they belong to."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field, replace

from schemas.events import Announced, OutcomeStatus, ResultRef
from schemas.tables import Claim

__all__ = ["DetectorState", "ExposureState", "SagaState", "VisitState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureState:
    """One exposure of a visit. Instants in ``unix_s`` are when the log took the event, seconds since 1970; 0 = not yet."""

    exposure: int
    snap: int
    started_unix_s: float = 0.0
    ended_unix_s: float = 0.0
    end_mjd_tai: float = 0.0
    """End of read-out in the telescope's time."""
    sent_unix_s: float = 0.0
    """When the OCS sent the end of read-out."""
    lost_unix_s: float = 0.0

    @property
    def resolved(self) -> bool:
        """Whether it was read out or given up."""
        return self.ended_unix_s > 0 or self.lost_unix_s > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorState:
    """One detector job of a visit."""

    detector: int
    epoch: int = 0
    """Newest lease seen; results of older ones are refused."""
    lapsed: bool = False
    """Whether that lease expired: its result is refused as well."""
    status: OutcomeStatus | None = None
    result: ResultRef | None = None
    reason: str = ""

    @property
    def terminal(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.status is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitState:
    """One visit."""

    visit: int
    announced: Announced | None = None
    announced_unix_s: float = 0.0
    cancelled: str | None = None
    """Why it was cancelled."""
    exposures: tuple[ExposureState, ...] = ()
    """In order of their ids."""
    detectors: tuple[DetectorState, ...] = ()
    """In order of their ids."""
    closed: bool = False
    predicted: Claim | None = None
    """What NightMOPS predicted for it, until it is closed."""

    def exposure(self, identifier: int) -> ExposureState | None:
        """Return an exposure, or None where nothing was heard of it."""
        return next((e for e in self.exposures if e.exposure == identifier), None)

    def detector(self, identifier: int) -> DetectorState:
        """Return a detector's job; a new one where nothing was heard of it."""
        return next((d for d in self.detectors if d.detector == identifier), DetectorState(detector=identifier))

    def with_exposure(self, exposure: ExposureState) -> VisitState:
        """Return the visit with that exposure put in its place."""
        rest = [e for e in self.exposures if e.exposure != exposure.exposure]
        return replace(self, exposures=tuple(sorted([*rest, exposure], key=lambda e: e.exposure)))

    def with_detector(self, detector: DetectorState) -> VisitState:
        """Return the visit with that detector's job put in its place."""
        rest = [d for d in self.detectors if d.detector != detector.detector]
        return replace(self, detectors=tuple(sorted([*rest, detector], key=lambda d: d.detector)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaState:
    """All visits in hand, in order of their ids, and the ends of those that are not kept."""

    visits: tuple[VisitState, ...] = ()
    closed_through: int = 0
    """Latest visit closed; an earlier one can no longer be announced."""
    forgotten_through: int = 0
    """Latest visit no longer kept; what comes of it, or of earlier ones, is ignored."""
    telescope_ahead_s: float | None = field(default=None)
    """The telescope's clock (TAI, seconds) less ours, by the last end of read-out."""

    def visit(self, identifier: int) -> VisitState:
        """Return a visit; a new one where nothing was heard of it."""
        index = bisect.bisect_left(self.visits, identifier, key=_identifier)
        if index < len(self.visits) and self.visits[index].visit == identifier:
            return self.visits[index]
        return VisitState(visit=identifier)

    def with_visit(self, visit: VisitState) -> SagaState:
        """Return the state with that visit put in its place."""
        index = bisect.bisect_left(self.visits, visit.visit, key=_identifier)
        known = index < len(self.visits) and self.visits[index].visit == visit.visit
        visits = (*self.visits[:index], visit, *self.visits[index + known :])
        return replace(self, visits=visits)


def _identifier(visit: VisitState) -> int:
    return visit.visit
