"""When a visit may close, and what its closing says."""

from __future__ import annotations

from dataclasses import replace

from processors.control.visit_state import DetectorState, ExposureState, VisitState
from schemas.events import Announced, DetectorOutcome, LateResult, OutcomeStatus, VisitClosed, VisitEvent

__all__ = ["CANCELLED", "COMPLETE", "DEADLINE", "closing_event", "closing_reason", "late_result"]

COMPLETE, DEADLINE, CANCELLED = "complete", "deadline", "cancelled"
"""Why a visit was closed."""

SECONDS_PER_DAY = 86_400.0


def closing_reason(
    visit: VisitState,
    announced: Announced,
    now: float,
    *,
    close_after_s: float,
    readout_s: float,
    prediction_wait_s: float = 0.0,
) -> str | None:
    """Tell why the visit may be closed now, or None while it may not.

    Parameters
    ----------
    visit, announced
        The visit and its announcement.
    now
        Seconds since 1970.
    close_after_s
        How long detectors are waited for after the last exposure was read out or lost.
    readout_s
        How long after its expected end an exposure counts as read out although its event did not come.
    prediction_wait_s
        How long a complete visit waits for NightMOPS after the last exposure was read out or lost.
    """
    if visit.cancelled is not None:
        return CANCELLED
    ends = [_over_at(e, announced, readout_s) for e in visit.exposures]
    resolved = all(e.resolved for e in visit.exposures)
    waits = prediction_wait_s > 0 and visit.predicted is None
    predicted = not waits or now >= max(ends, default=0.0) + prediction_wait_s
    if resolved and predicted and all(d.terminal for d in visit.detectors):
        return COMPLETE
    if all(end > 0 for end in ends) and now >= max(ends) + close_after_s:
        return DEADLINE
    return None


def closing_event(
    instrument: str, visit: VisitState, announced: Announced, reason: str
) -> tuple[VisitState, VisitEvent]:
    """Close the visit: every announced detector gets its outcome, in order of detectors."""
    detectors = tuple(_final(d, reason, visit.cancelled) for d in visit.detectors if d.detector in announced.detectors)
    closed = replace(visit, detectors=detectors, closed=True)
    ended = [e for e in visit.exposures if e.ended_unix_s]
    planned_end = announced.start_mjd_tai + announced.duration / SECONDS_PER_DAY
    fact = VisitClosed(
        outcomes=tuple(_outcome(d) for d in detectors),
        last_readout_mjd_tai=max((e.end_mjd_tai for e in ended), default=planned_end),
        last_readout_sent_unix_s=max((e.sent_unix_s for e in ended), default=0.0),
        reason=reason,
        predicted=visit.predicted,
    )
    return closed, VisitEvent(instrument=instrument, visit=visit.visit, fact=fact)


def late_result(instrument: str, visit: VisitState, detector: DetectorState) -> VisitEvent:
    """Return the event that brings in a result after its visit was closed."""
    end = max((e.end_mjd_tai for e in visit.exposures if e.ended_unix_s), default=0.0)
    fact = LateResult(outcome=_outcome(detector), last_readout_mjd_tai=end, predicted=visit.predicted)
    return VisitEvent(instrument=instrument, visit=visit.visit, fact=fact)


def _over_at(exposure: ExposureState, announced: Announced, readout_s: float) -> float:
    """Return when the exposure was over, or 0 where it may still come."""
    if exposure.ended_unix_s:
        return exposure.ended_unix_s
    if exposure.lost_unix_s:
        return exposure.lost_unix_s
    if exposure.started_unix_s:
        return exposure.started_unix_s + announced.exposure_time + readout_s
    return 0.0


def _final(detector: DetectorState, reason: str, cancelled: str | None) -> DetectorState:
    if reason == CANCELLED:
        return replace(detector, status=OutcomeStatus.LOST, result=None, reason=f"visit cancelled: {cancelled}")
    if detector.terminal:
        return detector
    return replace(detector, status=OutcomeStatus.LATE, reason="no result in time")


def _outcome(detector: DetectorState) -> DetectorOutcome:
    return DetectorOutcome(
        detector=detector.detector,
        status=detector.status or OutcomeStatus.LATE,
        result=detector.result,
        reason=detector.reason,
    )
