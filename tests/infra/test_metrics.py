"""Figures of stages."""

from __future__ import annotations

from prometheus_client import REGISTRY

from infra.metrics import StageMetrics


def test_a_stage_counts_under_its_name() -> None:
    metrics = StageMetrics("a-stage")
    metrics.taken("jobs", 2)
    metrics.taken("jobs")
    metrics.emitted("exposures")
    metrics.dead_letter("undecodable_event")
    metrics.failure("disk_full")
    metrics.seconds(0.2)
    metrics.latency(12)
    metrics.in_flight(4)
    label = {"stage": "a-stage"}
    assert REGISTRY.get_sample_value("nightcast_events_total", label | {"topic": "jobs"}) == 3
    assert REGISTRY.get_sample_value("nightcast_emitted_total", label | {"topic": "exposures"}) == 1
    assert REGISTRY.get_sample_value("nightcast_dead_letters_total", label | {"code": "undecodable_event"}) == 1
    assert REGISTRY.get_sample_value("nightcast_failures_total", label | {"code": "disk_full"}) == 1
    assert REGISTRY.get_sample_value("nightcast_event_seconds_count", label) == 1
    assert REGISTRY.get_sample_value("nightcast_latency_seconds_bucket", label | {"le": "20.0"}) == 1
    assert REGISTRY.get_sample_value("nightcast_in_flight", label) == 4
