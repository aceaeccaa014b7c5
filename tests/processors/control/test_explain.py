"""The trail of a job."""

from __future__ import annotations

from processors.control.explain import explain
from schemas.events import (
    Expired,
    Failed,
    JobCancelled,
    JobEvent,
    JobKind,
    Leased,
    Planned,
    ResultRef,
    Started,
    Succeeded,
    Superseded,
)


def test_trail_says_what_happened_and_what_was_refused() -> None:
    ref = ResultRef(job_id="d-1-000", epoch=2, sha256="ab" * 32, partition=0, offset=7)
    facts = [
        Planned(inputs={"release": "cd" * 32}, exposures=(1, 2), priority=50, parameters={}),
        Leased(worker="w1", epoch=1),
        Started(worker="w1", epoch=1),
        Expired(worker="w1", epoch=1),
        Leased(worker="w2", epoch=2),
        Succeeded(worker="w1", epoch=1, result=None, metrics={}),
        Failed(worker="w2", epoch=2, code="io", reason="slow", retriable=True),
        Succeeded(worker="w2", epoch=2, result=ref, metrics={}),
        JobCancelled(reason="closed"),
        Superseded(by="d-1-001"),
    ]
    events = [
        (float(i), JobEvent(job_id="d-1-000", kind=JobKind.DETECTOR, instrument="S", visit=1, detectors=(0,), fact=f))
        for i, f in enumerate(facts)
    ]
    trail = explain(events)
    assert [(t.at_unix_s, t.what, t.refused) for t in trail] == [
        (0.0, "planned", False),
        (1.0, "leased", False),
        (2.0, "started", False),
        (3.0, "expired", False),
        (4.0, "leased", False),
        (5.0, "succeeded", True),
        (6.0, "failed", False),
        (7.0, "succeeded", False),
        (8.0, "cancelled", False),
        (9.0, "superseded", False),
    ]
    assert "release cdcdcdcdcdcd" in trail[0].sentence
    assert "at offset 7" in trail[7].sentence
