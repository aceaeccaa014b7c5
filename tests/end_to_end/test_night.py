"""A night of three visits on the real system, through the command line: the whole way from raw pixels to alerts."""

from __future__ import annotations

import pytest

from schemas.events import Announced, OutcomeStatus, VisitClosed
from streams.night.summary import KEYS
from tests.end_to_end.conftest import VISITS, ObservedNight
from tests.support.nights import events_of

pytestmark = pytest.mark.broker


def test_the_summary_has_the_documented_keys(night: ObservedNight) -> None:
    assert set(night.summary) == set(KEYS)
    assert night.summary == night.printed
    assert night.summary["day_obs"] == night.home.settings.night.day_obs


def test_every_visit_closes_whole_and_every_source_becomes_one_alert(night: ObservedNight) -> None:
    announced = [event.visit for event in night.visit_events if isinstance(event.fact, Announced)]
    closings = [event for event in night.visit_events if isinstance(event.fact, VisitClosed)]
    assert [event.visit for event in closings] == announced
    outcomes = [o for event in closings if isinstance(event.fact, VisitClosed) for o in event.fact.outcomes]
    assert len(outcomes) == 3 * VISITS
    assert {o.status for o in outcomes} == {OutcomeStatus.SUCCEEDED}
    counts = {name: night.summary[name] for name in ("visits", "detectors_done", "detectors_failed", "wavefront_done")}
    assert counts == {"visits": VISITS, "detectors_done": 2 * VISITS, "detectors_failed": 0, "wavefront_done": VISITS}
    assert night.summary["alerts"] == night.summary["diasources"] == len(night.published) > 10
    assert set(night.published.values()) == {1}
    rows = [identifier for identifier, visit, _ in night.logs.logs["diasources"].values if visit in announced]
    assert len(rows) == len(set(rows))
    assert set(rows) == set(night.published)


def test_the_night_is_judged_against_the_truth(night: ObservedNight) -> None:
    assert night.summary["true_changes"] >= 15
    assert 0.9 <= night.summary["completeness_snr8"] <= 1.0
    assert 0.0 <= night.summary["false_positives_per_ccd"] <= 5.0
    latency = night.summary["latency_s"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p98"] <= latency["max"]
    assert night.summary["cpu_s_per_ccd"]["total"] > 0
    assert night.summary["peak_rss_mb"] > 500


def test_every_alert_keeps_the_rules_of_the_gate(night: ObservedNight) -> None:
    assert night.answers["alerts validate --all"] == {"alerts": night.summary["alerts"], "violations": []}
    assert {int(row["alert_id"]) for row in night.answers["alerts list"]} <= set(night.published)
    assert night.answers["dlq list"] == []
    assert night.summary["dead_letters"] == night.summary["quarantined"] == 0


def test_the_running_system_is_well(night: ObservedNight) -> None:
    status = night.answers["status"]
    assert status["state"] == "running"
    assert {row["state"] for row in status["processes"]} == {"ready", "done"}
    assert {row["restarts"] for row in status["processes"]} == {0}
    ill = [finding["sentence"] for finding in night.answers["doctor"] if not finding["ok"]]
    assert ill == []
    jobs = night.answers["jobs list"]
    assert {job["state"] for job in jobs} == {"succeeded"}


def test_one_endpoint_has_the_metrics_of_every_stage(night: ObservedNight) -> None:
    lines = [line for line in night.metrics.splitlines() if line.startswith("nightcast_")]
    for stage in ("dmcs", "detectors", "association", "alert-assembly", "distribution", "quality"):
        assert any(f'"{stage}"' in line for line in lines), stage
    injected, found = (
        sum(float(line.split()[-1]) for line in lines if line.startswith(f"nightcast_fakes_{what}{{"))
        for what in ("injected", "found")
    )
    assert 0 < found < injected
    assert any(line.startswith("nightcast_completeness_snr50{") for line in lines)


def test_down_leaves_no_process_and_is_quick(night: ObservedNight) -> None:
    assert night.left == []
    assert night.down_s < 30


def test_a_second_start_continues_the_data(night: ObservedNight) -> None:
    home = night.home
    home.run("up")
    try:
        stored = home.json("alerts", "validate", "--all")
        assert stored == {"alerts": night.summary["alerts"], "violations": []}
        assert events_of(home.settings.bootstrap, "visit-events") == night.visit_events
    finally:
        home.run("down")
    assert home.processes() == []
