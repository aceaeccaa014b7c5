"""The manifest is the same whatever order the three logs are read in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import public
from schemas.events import (
    AlertLedgerEntry,
    AlertManifest,
    AssociationDecision,
    DetectorOutcome,
    OutcomeStatus,
    VisitClosed,
    VisitEvent,
)
from schemas.tables import Table
from streams.distribution.manifests import OVERDUE_S, ManifestState, fold, report_overdue
from streams.stage import Incoming
from tests.support.assembled import incoming

VISIT = 2027011500010
READOUT = 5000.0


def closed(visit: int = VISIT, failed: tuple[int, ...] = ()) -> Incoming:
    outcomes = tuple(
        DetectorOutcome(detector=d, status=OutcomeStatus.FAILED if d in failed else OutcomeStatus.SUCCEEDED)
        for d in range(4)
    )
    fact = VisitClosed(
        outcomes=outcomes, last_readout_mjd_tai=61400.0, last_readout_sent_unix_s=READOUT, reason="complete"
    )
    return incoming(VisitEvent(instrument="i", visit=visit, fact=fact), topic="visit-events", at=READOUT + 20)


def decided(*ids: int, sequence: int = 0, visit: int = VISIT) -> Incoming:
    rows = public.null_rows("diaSource", len(ids))
    rows["diaSourceId"] = ids
    decision = AssociationDecision(
        instrument="i",
        visit=visit,
        sequence=sequence,
        day_obs=20270115,
        band="r",
        processed_mjd_tai=61400.0,
        diasources=Table.from_array(rows),
        forced=Table.from_array(public.null_rows("diaForcedSource", 0)),
        new_objects=(),
        quarantined={},
        cutouts={},
        details={},
    )
    return incoming(decision, topic="association-log")


def entered(alert: int, state: str = "published", visit: int = VISIT) -> Incoming:
    entry = AlertLedgerEntry(
        alert_id=alert, dia_object_id=9, visit=visit, digest=f"digest-{alert}", state=state, reason="", topic="t"
    )
    return incoming(entry, topic="alert-ledger", at=READOUT + alert)


def after(
    messages: Iterable[Incoming], state: ManifestState | None = None
) -> tuple[ManifestState, list[AlertManifest]]:
    state, manifests = state or ManifestState(), []
    for message in messages:
        state, out = fold(state, message, 0.0)
        assert [item.topic for item in out] == ["alert-manifests"] * len(out)
        manifests += [item.record for item in out]
    return state, manifests


def expected_manifest(**changes: Any) -> AlertManifest:
    latencies = np.percentile([10, 20, 30], [50, 95, 98, 100])
    fields: dict[str, Any] = {
        "visit": VISIT,
        "expected": 4,
        "published": 3,
        "quarantined": 1,
        "alert_ids": (10, 20, 30),
        "digest": hashlib.sha256(b"digest-10digest-20digest-30").hexdigest(),
        "failed_detectors": (2,),
        "complete": False,
        "latency_p50_s": latencies[0],
        "latency_p95_s": latencies[1],
        "latency_p98_s": latencies[2],
        "latency_max_s": latencies[3],
    }
    return AlertManifest(**(fields | changes))


@st.composite
def interleaved(draw: st.DrawFn, *logs: list[Incoming]) -> list[Incoming]:
    """Draw an order in which a reader may get several logs, each of them in its own order."""
    turns = draw(st.permutations([number for number, log in enumerate(logs) for _ in log]))
    queues = [iter(log) for log in logs]
    return [next(queues[turn]) for turn in turns]


ENTRIES = [entered(10), entered(20), entered(30), entered(25, "quarantined")]
LATE = [entered(40), entered(41)]


@given(interleaved([closed(failed=(2,))], [decided(30, 10, 25, 20)], *[[entry] for entry in ENTRIES]))
def test_any_order_of_the_logs_gives_one_and_the_same_manifest(order: list[Incoming]) -> None:
    _, manifests = after(order)
    assert manifests == [expected_manifest()]


@given(
    interleaved(
        [closed(failed=(2,))],
        [decided(30, 10, 25, 20), decided(41, 40, sequence=1)],
        *[[entry] for entry in (*ENTRIES, *LATE)],
    )
)
@settings(max_examples=200)
def test_a_late_result_gives_a_second_manifest_and_the_last_one_is_always_the_same(order: list[Incoming]) -> None:
    _, manifests = after(order)
    assert 1 <= len(manifests) <= 2
    assert manifests[-1].alert_ids == (10, 20, 30, 40, 41)
    assert (manifests[-1].expected, manifests[-1].quarantined) == (6, 1)
    if len(manifests) == 2:
        assert manifests[0] == expected_manifest()


@given(interleaved([closed()], [decided(10, 20)], [entered(10), entered(10)], [entered(20), entered(20)]))
def test_what_the_ledger_says_twice_counts_once(order: list[Incoming]) -> None:
    _, manifests = after(order)
    assert [(m.published, m.complete) for m in manifests] == [(2, True)]


def test_visits_do_not_mix() -> None:
    other = VISIT + 2
    _, manifests = after(
        [closed(), closed(other), decided(10), entered(10), decided(50, visit=other), entered(50, visit=other)]
    )
    assert [(m.visit, m.alert_ids) for m in manifests] == [(VISIT, (10,)), (other, (50,))]


def test_a_visit_without_detections_has_an_empty_manifest() -> None:
    _, manifests = after([closed(), decided()])
    assert [(m.expected, m.published, m.complete, m.latency_max_s) for m in manifests] == [(0, 0, True, 0.0)]


def test_a_missing_alert_is_reported_once_and_the_whole_manifest_follows_when_it_comes() -> None:
    state, manifests = after([closed(), decided(10, 20), entered(10)])
    assert manifests == []
    appended = READOUT + 20
    state, out = report_overdue(state, appended + OVERDUE_S - 1)
    assert out == []
    state, out = report_overdue(state, appended + OVERDUE_S + 1)
    assert [(item.record.complete, item.record.published, item.record.expected) for item in out] == [(False, 1, 2)]
    state, out = report_overdue(state, appended + OVERDUE_S + 2)
    assert out == []
    _, manifests = after([entered(20)], state)
    assert [(m.complete, m.published) for m in manifests] == [(True, 2)]


def test_old_visits_are_forgotten_and_unfinished_ones_are_not() -> None:
    unfinished = decided(1, visit=VISIT)
    done = [m for k in range(1, 70) for m in (closed(VISIT + k), decided(visit=VISIT + k))]
    state, _ = after([unfinished, *done])
    assert len(state.visits) == 50
    assert str(VISIT) in state.visits
