"""The archiver process: leases in, claims out; waiting, losing, failing and being fenced."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Any

import pytest

from infra.errors import DiskFullError
from processors.control.archive import Stored
from processors.control.plans import archive_jobs
from schemas import avro
from schemas.camera import load_camera
from schemas.events import (
    AvailableExposure,
    Expired,
    ExposureEvent,
    Failed,
    JobEvent,
    JobKind,
    Leased,
    LostExposure,
    Started,
    Succeeded,
    WorkerHeartbeat,
)
from schemas.tables import Claim
from streams.archiver.holding import ArchiveHolding, fold
from streams.archiver.pair import CameraFileError
from streams.archiver.worker import ArchiverWorker
from streams.stage import Incoming, Outgoing

VISIT = 2027011500001
PLAN = archive_jobs("Sim", VISIT, VISIT + 1, load_camera("demo"), exposure_time=3.0)[0]
CLAIM = Claim(uri="u", sha256="ab" * 32, size=10)


class InlineExecutor(Executor):
    """Runs at once."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class ScriptedPair:
    """Gives what the test says for each detector."""

    def __init__(self, *, complete: bool = True, errors: dict[int, Exception] | None = None) -> None:
        self.complete, self.errors = complete, errors or {}
        self.released: list[tuple[int, int]] = []

    def is_complete(self, exposure: int) -> bool:
        return self.complete

    def archive(self, exposure: int, detector: int) -> Stored:
        if detector in self.errors:
            raise self.errors[detector]
        return Stored(claim=CLAIM, header={"DETECTOR": str(detector)})

    def release(self, exposure: int, detector: int) -> None:
        self.released.append((exposure, detector))


def worker(pair: ScriptedPair) -> ArchiverWorker:
    return ArchiverWorker(
        name="a1",
        instrument="Sim",
        pair=pair,
        executor=InlineExecutor(),
        pairs=2,
        arrival_wait_s=20.0,
        heartbeat_s=1000.0,
    )


def incoming(event: JobEvent) -> Incoming:
    return Incoming(topic="jobs", partition=0, offset=0, key=None, record=event, timestamp_s=0.0)


def fact(value: Any) -> JobEvent:
    import dataclasses

    return dataclasses.replace(PLAN, fact=value)


def held(subject: ArchiverWorker, now: float = 0.0) -> ArchiveHolding:
    state = ArchiveHolding()
    for event in (PLAN, fact(Leased(worker="a1", epoch=1))):
        state, _ = subject.handle(state, incoming(event), now)
    return state


def ticks(subject: ArchiverWorker, state: ArchiveHolding, now: float, count: int = 3) -> list[Any]:
    records: list[Outgoing] = []
    for _ in range(count):
        state, outgoing = subject.tick(state, now)
        records += outgoing
    return [o.record for o in records if not isinstance(o.record, WorkerHeartbeat)]


def image(detector: int, what: AvailableExposure | LostExposure) -> ExposureEvent:
    return ExposureEvent(instrument="Sim", visit=VISIT, exposure=VISIT + 1, snap=1, detector=detector, fact=what)


def available(detector: int) -> ExposureEvent:
    return image(detector, AvailableExposure(raw=CLAIM, header={"DETECTOR": str(detector)}))


def test_raft_is_archived_once_and_its_ccds_published_before_the_verdict() -> None:
    subject = worker(ScriptedPair())
    records = ticks(subject, held(subject), 1.0)
    metrics = {"bytes": 10.0 * len(PLAN.detectors), "lost": 0.0, "stored": float(len(PLAN.detectors))}
    assert records == [
        fact(Started(worker="a1", epoch=1)),
        *(available(d) for d in PLAN.detectors),
        fact(Succeeded(worker="a1", epoch=1, result=None, metrics=metrics)),
    ]


def test_exposure_is_waited_for_and_then_lost() -> None:
    pair = ScriptedPair(complete=False)
    subject = worker(pair)
    state = held(subject)
    assert ticks(subject, state, 22.9) == []
    records = ticks(subject, state, 23.1)
    assert [type(r.fact) for r in records] == [LostExposure] * len(PLAN.detectors) + [Failed]
    assert not records[-1].fact.retriable


def test_one_lost_ccd_does_not_keep_the_others_out() -> None:
    first = PLAN.detectors[0]
    subject = worker(ScriptedPair(errors={first: CameraFileError("gone")}))
    records = ticks(subject, held(subject), 1.0)
    assert records[1] == image(first, LostExposure(reason="camera_file: gone"))
    assert records[2:-1] == [available(d) for d in PLAN.detectors[1:]]
    assert isinstance(records[-1].fact, Succeeded)


@pytest.mark.parametrize("error", [DiskFullError("full"), ZeroDivisionError()])
def test_failure_that_may_pass_publishes_nothing(error: Exception) -> None:
    subject = worker(ScriptedPair(errors={PLAN.detectors[-1]: error}))
    records = ticks(subject, held(subject), 1.0)
    assert [type(r.fact) for r in records] == [Started, Failed]
    assert records[-1].fact.retriable


def test_restarted_process_does_its_leases_again() -> None:
    subject = worker(ScriptedPair())
    state = avro.decode(ArchiveHolding, avro.encode(held(subject)))
    again = worker(ScriptedPair())
    assert isinstance(ticks(again, state, 1.0)[-1].fact, Succeeded)


def test_copies_are_released_when_the_verdict_is_committed() -> None:
    pair = ScriptedPair()
    subject = worker(pair)
    subject.handle(held(subject), incoming(fact(Succeeded(worker="a1", epoch=1, result=None, metrics={}))), 2.0)
    assert pair.released == [(VISIT + 1, d) for d in PLAN.detectors]


@pytest.mark.parametrize("end", [Expired(worker="a1", epoch=1), Leased(worker="a2", epoch=2)])
def test_lost_lease_ends_the_work_but_the_plan_is_remembered(end: Any) -> None:
    state = held(worker(ScriptedPair()))
    state = fold(state, fact(end), worker="a1", now=1.0)
    assert (list(state.leases), list(state.planned)) == ([], [PLAN.job_id])


def test_heartbeat_names_kind_slots_and_leases() -> None:
    subject = worker(ScriptedPair(complete=False))
    _, (outgoing,) = subject.tick(held(subject), 1001.0)
    beat = outgoing.record
    assert (beat.kind, beat.slots, beat.holding) == (JobKind.ARCHIVE, 16, (f"{PLAN.job_id}@1",))
