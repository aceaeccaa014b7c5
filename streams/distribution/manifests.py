"""The manifest of a visit: association's list of expected alerts beside what the ledger says was published.

A pure fold of three logs: `visit-events` tells when a visit was closed and which detectors failed, `association-log` which alerts
to expect, `alert-ledger` what became of each. The manifest is written when the last expected alert is in the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from schemas.events import (
    AlertLedgerEntry,
    AlertManifest,
    AssociationDecision,
    OutcomeStatus,
    VisitClosed,
    VisitEvent,
)
from streams.stage import Incoming, Outgoing, StageSpec

__all__ = ["ManifestState", "OpenVisit", "manifest_spec"]

_KEPT_CLOSED = 500
"""Closed visits remembered, so that an alert of a late result finds its visit."""


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
    )


def fold(state: ManifestState, incoming: Incoming, now: float) -> tuple[ManifestState, Sequence[Outgoing]]:
    """Take one fact in, and write the manifest of the visit that it completes."""
    record = incoming.record
    if isinstance(record, VisitEvent):
        if not isinstance(record.fact, VisitClosed):
            return state, ()
        visit = _closed(_visit(state, record.visit), record.fact)
    elif isinstance(record, AssociationDecision):
        visit = _expecting(_visit(state, record.visit), record)
    elif isinstance(record, AlertLedgerEntry):
        visit = _entered(_visit(state, record.visit), record, incoming.timestamp_s)
    else:
        return state, ()
    if not _complete(visit):
        return _with(state, visit), ()
    manifest = _manifest(visit)
    return _with(state, replace(visit, written=True)), [
        Outgoing(topic="alert-manifests", key=visit.visit, record=manifest)
    ]


def _visit(state: ManifestState, visit: int) -> OpenVisit:
    return state.visits.get(str(visit)) or OpenVisit(visit=visit)


def _with(state: ManifestState, visit: OpenVisit) -> ManifestState:
    visits = dict(state.visits) | {str(visit.visit): visit}
    if len(visits) > _KEPT_CLOSED:
        done = [key for key in sorted(visits, key=int) if visits[key].written]
        for key in done[: len(visits) - _KEPT_CLOSED]:
            del visits[key]
    return ManifestState(visits=visits)


def _closed(visit: OpenVisit, fact: VisitClosed) -> OpenVisit:
    failed = tuple(o.detector for o in fact.outcomes if o.status is not OutcomeStatus.SUCCEEDED)
    return replace(visit, readout_unix_s=fact.last_readout_sent_unix_s, failed_detectors=failed)


def _expecting(visit: OpenVisit, decision: AssociationDecision) -> OpenVisit:
    ids = decision.diasources.to_array()["diaSourceId"].tolist() if decision.diasources.rows else []
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
    published = sorted(int(key) for key, digest in visit.digests.items() if digest)
    digest = hashlib.sha256("".join(visit.digests[str(alert)] for alert in published).encode()).hexdigest()
    readout = visit.readout_unix_s or 0.0
    latencies = [at - readout for at in visit.appended_unix_s.values()] or [0.0]
    p50, p95, largest = np.percentile(latencies, [50, 95, 100])
    expected = visit.expected or ()
    return AlertManifest(
        visit=visit.visit,
        expected=len(expected),
        published=len(published),
        quarantined=len(visit.digests) - len(published),
        alert_ids=tuple(published),
        digest=digest,
        failed_detectors=visit.failed_detectors,
        complete=set(published) == set(expected),
        latency_p50_s=float(p50),
        latency_p95_s=float(p95),
        latency_max_s=float(largest),
    )
