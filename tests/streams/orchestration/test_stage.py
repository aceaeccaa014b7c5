"""The Orchestration Manager's stage: leases to the log, and to the ledger only what changed."""

from __future__ import annotations

from typing import Any

from processors.control.lease_state import LeaseState
from processors.control.leases import LeaseRules
from schemas.events import JobEvent, JobKind, JobLedgerEntry, Leased, Planned, Started, Succeeded, WorkerHeartbeat
from streams.orchestration.stage import orchestration_spec
from streams.stage import Incoming

SPEC = orchestration_spec(LeaseRules())


def incoming(record: Any) -> Incoming:
    return Incoming(topic="t", partition=0, offset=0, key=None, record=record, timestamp_s=10.0)


def job(fact: Any) -> JobEvent:
    return JobEvent(job_id="d-1-000", kind=JobKind.DETECTOR, instrument="S", visit=1, detectors=(0,), fact=fact)


def run(records: list[Any]) -> list[list[tuple[str, Any]]]:
    state, outputs = LeaseState(), []
    for record in records:
        state, outgoing = SPEC.handle(state, incoming(record), 10.0)
        outputs.append([(o.topic, o.record) for o in outgoing])
    return outputs


def entry(state: str, worker: str = "w", epoch: int = 1, attempts: int = 1) -> tuple[str, JobLedgerEntry]:
    return "job-ledger", JobLedgerEntry(
        job_id="d-1-000",
        kind=JobKind.DETECTOR,
        instrument="S",
        visit=1,
        detectors=(0,),
        state=state,
        worker=worker,
        epoch=epoch,
        attempts=attempts,
        reason="",
        updated_unix_s=10.0,
    )


def test_life_of_a_job_in_log_and_ledger() -> None:
    beat = WorkerHeartbeat(worker="w", kind=JobKind.DETECTOR, slots=1, holding=(), sent_unix_s=0.0)
    renewal = WorkerHeartbeat(worker="w", kind=JobKind.DETECTOR, slots=1, holding=("d-1-000@1",), sent_unix_s=0.0)
    lease = job(Leased(worker="w", epoch=1))
    outputs = run(
        [
            job(Planned(inputs={}, exposures=(1,), priority=50, parameters={})),
            beat,
            lease,
            renewal,
            job(Started(worker="w", epoch=1)),
            job(Succeeded(worker="w", epoch=1, result=None, metrics={})),
        ]
    )
    assert outputs == [
        [entry("waiting", worker="", epoch=0, attempts=0)],
        [("jobs", lease), entry("leased")],
        [],
        [],
        [entry("started")],
        [entry("succeeded")],
    ]
