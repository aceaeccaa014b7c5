"""The manifest of a visit: association's list of expected alerts beside what the ledger says was published.

A pure fold of three logs: `visit-events` tells when a visit was closed and which detectors failed, `association-log` which alerts
to expect, `alert-ledger` what became of each. The manifest is written when the last expected alert is in the ledger; for a visit
that still misses one two minutes after it was closed, an incomplete manifest says so, and a complete one follows if it comes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from processors.association.updates import accepted_rows
from schemas.events import (
    AlertLedgerEntry,
    AlertManifest,
    AssociationDecision,
    OutcomeStatus,
    VisitClosed,
    VisitEvent,
)
from streams.stage import Incoming, Outgoing, StageSpec

__all__ = ["ManifestState", "OpenVisit", "manifest_spec", "fold", "report_overdue"]

_KEPT_CLOSED = 50
"""Closed visits remembered, so that an alert of a late result finds its visit."""

OVERDUE_S = 120.0
"""When a missing alert is reported: the longest time that the field's requirements allow an alert (LSE-61, OTT1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVisit:
    """What is known of a visit whose alerts are not all out."""

    visit: int
    readout_unix_s: float | None = None
    failed_detectors: tuple[int, ...] = ()
    expected: tuple[int, ...] | None = None
    """Alert ids that association decided on; None before its decision."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Alert id to the digest of its packet as published, empty when it was quarantined."""
    appended_unix_s: Mapping[str, float] = field(default_factory=dict)
    """Alert id to when the broker appended it."""
    written: bool = False
    closed_unix_s: float = 0.0
    """When the log took the visit's end."""
    overdue: bool = False
    """Whether an incomplete manifest was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestState:
    """Visits by id, as text."""

    visits: Mapping[str, OpenVisit] = field(default_factory=dict)


def manifest_spec() -> StageSpec[ManifestState]:
    """Return the stage that writes manifests."""
    return StageSpec(
        stage="manifests",
        topics=("visit-events", "association-log", "alert-ledger"),
        initial=ManifestState(),
        state_type=ManifestState,
        handle=fold,
        tick=report_overdue,
        tick_s=1.0,
    )


def fold(state: ManifestState, incoming: Incoming, now: float) -> tuple[ManifestState, Sequence[Outgoing]]:
    """Take one fact in, and write the manifest of the visit that it completes."""
    record = incoming.record
    if isinstance(record, VisitEvent):
        if not isinstance(record.fact, VisitClosed):
            return state, ()
        visit = _closed(_visit(state, record.visit), record.fact, incoming.timestamp_s)
    elif isinstance(record, AssociationDecision) and record.correction is not None:
        return state, ()  # nothing in it was newly seen
    elif isinstance(record, AssociationDecision):
        visit = _expecting(_visit(state, record.visit), record)
    elif isinstance(record, AlertLedgerEntry):
        visit = _entered(_visit(state, record.visit), record, incoming.timestamp_s)
    else:
        return state, ()
    if not _complete(visit):
        return _with(state, visit), ()
    return _with(state, replace(visit, written=True)), [_outgoing(visit)]


def report_overdue(state: ManifestState, now: float) -> tuple[ManifestState, Sequence[Outgoing]]:
    """Write incomplete manifests of visits that have missed an alert for too long, each once."""
    late = [visit for visit in state.visits.values() if _overdue(visit, now)]
    for visit in late:
        state = _with(state, replace(visit, overdue=True))
    return state, [_outgoing(visit) for visit in sorted(late, key=lambda visit: visit.visit)]


def _overdue(visit: OpenVisit, now: float) -> bool:
    known = visit.readout_unix_s is not None and visit.expected is not None
    return known and not visit.written and not visit.overdue and now - visit.closed_unix_s > OVERDUE_S


def _outgoing(visit: OpenVisit) -> Outgoing:
    return Outgoing(topic="alert-manifests", key=visit.visit, record=_manifest(visit))


def _visit(state: ManifestState, visit: int) -> OpenVisit:
    return state.visits.get(str(visit)) or OpenVisit(visit=visit)


def _with(state: ManifestState, visit: OpenVisit) -> ManifestState:
    visits = dict(state.visits) | {str(visit.visit): visit}
    if len(visits) > _KEPT_CLOSED:
        done = [key for key in sorted(visits, key=int) if visits[key].written]
        for key in done[: len(visits) - _KEPT_CLOSED]:
            del visits[key]
    return ManifestState(visits=visits)


def _closed(visit: OpenVisit, fact: VisitClosed, appended_unix_s: float) -> OpenVisit:
    failed = tuple(o.detector for o in fact.outcomes if o.status is not OutcomeStatus.SUCCEEDED)
    return replace(
        visit,
        readout_unix_s=fact.last_readout_sent_unix_s,
        failed_detectors=failed,
        closed_unix_s=appended_unix_s,
    )


def _expecting(visit: OpenVisit, decision: AssociationDecision) -> OpenVisit:
    ids = accepted_rows(decision)["diaSourceId"].tolist()
    return replace(visit, expected=tuple(sorted({*(visit.expected or ()), *ids})), written=False)


def _entered(visit: OpenVisit, entry: AlertLedgerEntry, appended_unix_s: float) -> OpenVisit:
    key = str(entry.alert_id)
    digest = entry.digest if entry.state == "published" else ""
    if key in visit.digests:
        return visit
    return replace(
        visit,
        digests=dict(visit.digests) | {key: digest},
        appended_unix_s=dict(visit.appended_unix_s) | ({key: appended_unix_s} if digest else {}),
    )


def _complete(visit: OpenVisit) -> bool:
    if visit.written or visit.readout_unix_s is None or visit.expected is None:
        return False
    return all(str(alert) in visit.digests for alert in visit.expected)


def _manifest(visit: OpenVisit) -> AlertManifest:
    """Count the expected alerts only: those of a late result not decided yet belong to the manifest after this one."""
    expected = visit.expected or ()
    entered = [alert for alert in expected if str(alert) in visit.digests]
    published = [alert for alert in entered if visit.digests[str(alert)]]
    digest = hashlib.sha256("".join(visit.digests[str(alert)] for alert in published).encode()).hexdigest()
    readout = visit.readout_unix_s or 0.0
    latencies = [visit.appended_unix_s[str(alert)] - readout for alert in published] or [0.0]
    p50, p95, p98, largest = np.percentile(latencies, [50, 95, 98, 100])
    return AlertManifest(
        visit=visit.visit,
        expected=len(expected),
        published=len(published),
        quarantined=len(entered) - len(published),
        alert_ids=tuple(published),
        digest=digest,
        failed_detectors=visit.failed_detectors,
        complete=len(published) == len(expected),
        latency_p50_s=float(p50),
        latency_p95_s=float(p95),
        latency_max_s=float(largest),
        latency_p98_s=float(p98),
    )
