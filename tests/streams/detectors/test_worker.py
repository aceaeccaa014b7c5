"""The worker starts what is ready, reports what it gave, and never reports a lease it no longer has."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from schemas import events
from schemas.public import dia_source_dtype, forced_source_dtype
from schemas.tables import Claim, Table
from streams.detectors.holding import Holding
from streams.detectors.task import JobFailure, JobProduct, JobTask
from streams.detectors.worker import DetectorWorker
from streams.stage import Incoming, Outgoing
from streams.transaction import Delivered

VISIT = 2026112900001
CLAIM = Claim(uri="u", sha256="s", size=1)
RESULT = events.DetectorResult(
    instrument="i",
    visit=VISIT,
    detector=3,
    job_id="d-1",
    band="r",
    midpoint_mjd_tai=1.0,
    exposure_time=30.0,
    diasources=Table.from_array(np.zeros(0, dia_source_dtype())),
    forced=Table.from_array(np.zeros(0, forced_source_dtype())),
    metrics={"psf_stars": 20.0},
    cutouts=None,
    calibrated=None,
    inputs={},
    notes=(),
)


class HeldPool:
    """Keeps tasks until the test says what became of them."""

    processes = 1

    def __init__(self) -> None:
        self.tasks: list[tuple[JobTask, Future[JobProduct]]] = []

    def submit(self, task: JobTask) -> Future[JobProduct]:
        future: Future[JobProduct] = Future()
        self.tasks.append((task, future))
        return future


class Rig:
    """A worker with its pool and state."""

    def __init__(self) -> None:
        self.pool = HeldPool()
        self.worker = DetectorWorker(name="w", instrument="i", pool=self.pool, known_wait_s=15.0, heartbeat_s=1000.0)
        self.state = Holding()
        self.worker.tick(self.state, 1000.0)  # the first sign of life

    def hear(self, *happened: Any) -> None:
        for event in happened:
            incoming = Incoming(topic="t", partition=0, offset=0, key=None, record=event, timestamp_s=0.0)
            self.state, outgoing = self.worker.handle(self.state, incoming, 1000.0)
            assert not outgoing

    def tick(self) -> list[Outgoing]:
        self.state, outgoing = self.worker.tick(self.state, 1000.0)
        return list(outgoing)


def job(fact: Any) -> events.JobEvent:
    return events.JobEvent(
        job_id="d-1", kind=events.JobKind.DETECTOR, instrument="i", visit=VISIT, detectors=(3,), fact=fact
    )


def planned(kind: str = "WAVEFRONT") -> events.JobEvent:
    parameters = {"kind": kind, "camera": "tiny", "band": "r", "n_snaps": "1"}
    return job(events.Planned(inputs={"release": "r"}, exposures=(VISIT,), priority=0, parameters=parameters))


def leased(epoch: int) -> events.JobEvent:
    return job(events.Leased(worker="w", epoch=epoch))


def exposure(fact: Any) -> events.ExposureEvent:
    return events.ExposureEvent(instrument="i", visit=VISIT, exposure=VISIT, snap=0, detector=3, fact=fact)


AVAILABLE = exposure(events.AvailableExposure(raw=CLAIM, header={}))


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.hear(planned(), leased(1), AVAILABLE)
    return made


def facts(outgoing: list[Outgoing]) -> list[Any]:
    return [o.record.fact for o in outgoing if o.topic == "jobs"]


def test_a_ready_job_is_started_once_with_the_claims_it_needs(rig: Rig) -> None:
    assert facts(rig.tick()) == [events.Started(worker="w", epoch=1)]
    assert rig.tick() == []
    ((task, _),) = rig.pool.tasks
    assert (task.raws, task.release_sha256, task.is_wavefront) == ((CLAIM,), "r", True)


def test_a_result_is_followed_by_a_success_that_says_where_it_lies(rig: Rig) -> None:
    rig.tick()
    rig.pool.tasks[0][1].set_result(JobProduct(result=RESULT, metrics={"cpu_read_s": 0.5}))
    (record,) = rig.tick()
    assert record.topic == "detector-results"
    assert record.then is not None
    (success,) = record.then(Delivered(topic="detector-results", partition=0, offset=42, sha256="abc"))
    assert success.record.fact == events.Succeeded(
        worker="w",
        epoch=1,
        result=events.ResultRef(job_id="d-1", epoch=1, sha256="abc", partition=0, offset=42),
        metrics={"psf_stars": 20.0, "cpu_read_s": 0.5},
    )
    assert not rig.state.leases


def test_an_aborted_transaction_reports_the_same_result_again(rig: Rig) -> None:
    rig.tick()
    before = rig.state
    rig.pool.tasks[0][1].set_result(JobProduct(result=RESULT))
    first = rig.tick()
    rig.state = before
    again = rig.tick()
    assert [o.record for o in first] == [o.record for o in again] == [RESULT]
    assert len(rig.pool.tasks) == 1


def test_a_failure_is_reported_with_its_code_and_whether_it_may_pass(rig: Rig) -> None:
    rig.tick()
    failure = JobFailure(code="too_few_stars", reason="Only 2.", retriable=False)
    rig.pool.tasks[0][1].set_result(JobProduct(failure=failure))
    assert facts(rig.tick()) == [
        events.Failed(worker="w", epoch=1, code="too_few_stars", reason="Only 2.", retriable=False)
    ]


def test_a_process_that_died_is_a_failure_that_may_pass(rig: Rig) -> None:
    rig.tick()
    rig.pool.tasks[0][1].set_exception(BrokenProcessPool("gone"))
    (failed,) = facts(rig.tick())
    assert (failed.code, failed.retriable) == ("worker_process_died", True)


def test_a_result_of_a_lease_that_went_elsewhere_is_dropped(rig: Rig) -> None:
    rig.tick()
    rig.hear(job(events.Leased(worker="other", epoch=2)))
    rig.pool.tasks[0][1].set_result(JobProduct(result=RESULT))
    assert rig.tick() == []


def test_a_job_leased_anew_runs_anew(rig: Rig) -> None:
    rig.tick()
    rig.hear(leased(2))
    assert facts(rig.tick()) == [events.Started(worker="w", epoch=2)]
    assert [task.epoch for task, _ in rig.pool.tasks] == [1, 2]


def test_a_job_without_any_exposure_fails_for_good_and_says_so() -> None:
    rig = Rig()
    rig.hear(planned(), leased(1), exposure(events.LostExposure(reason="r")))
    rig.tick()
    (failed,) = facts(rig.tick())
    assert (failed.code, failed.retriable) == ("no_exposure", False)
    assert "is lost" in failed.reason
    assert not rig.pool.tasks


def test_only_twice_as_many_jobs_as_processes_are_handed_out() -> None:
    rig = Rig()
    for detector in range(5):
        rig.hear(
            replace(planned(), job_id=f"d-{detector}", detectors=(detector,)),
            replace(leased(1), job_id=f"d-{detector}", detectors=(detector,)),
            replace(AVAILABLE, detector=detector),
        )
    rig.tick()
    assert len(rig.pool.tasks) == 2


def test_signs_of_life_name_the_leases() -> None:
    rig = Rig()
    rig.hear(planned(), leased(4))
    _, outgoing = rig.worker.tick(rig.state, 5000.0)
    (beat,) = [o.record for o in outgoing if o.topic == "job-heartbeats"]
    assert beat.holding == ("d-1@4",)
