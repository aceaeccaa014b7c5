"""A worker holds what the logs say it holds, whatever order they come in."""

from __future__ import annotations

import itertools

import pytest

from schemas import events
from schemas.tables import Claim
from streams.detectors.holding import Holding, fold, ready_jobs

VISIT, DETECTOR, WORKER = 2026112900001, 3, "detectors-1"
CLAIM = Claim(uri="u", sha256="s", size=1)


def job(fact: object, kind: events.JobKind = events.JobKind.DETECTOR) -> events.JobEvent:
    return events.JobEvent(
        job_id="d-1",
        kind=kind,
        instrument="i",
        visit=VISIT,
        detectors=(DETECTOR,),
        fact=fact,  # type: ignore[arg-type]
    )


def planned(kind: str = "SCIENCE") -> events.JobEvent:
    parameters = {"kind": kind, "camera": "tiny", "band": "r", "n_snaps": "2"}
    return job(events.Planned(inputs={"release": "r"}, exposures=(VISIT, VISIT + 1), priority=0, parameters=parameters))


def leased(epoch: int = 1, worker: str = WORKER) -> events.JobEvent:
    return job(events.Leased(worker=worker, epoch=epoch))


def exposure(snap: int, *, lost: bool = False) -> events.ExposureEvent:
    fact = events.LostExposure(reason="r") if lost else events.AvailableExposure(raw=CLAIM, header={})
    return events.ExposureEvent(
        instrument="i", visit=VISIT, exposure=VISIT + snap, snap=snap, detector=DETECTOR, fact=fact
    )


KNOWN = events.KnownObjects(instrument="i", visit=VISIT, as_of_visit=None, count=0, positions=CLAIM)


def after(*happened: object, state: Holding | None = None) -> Holding:
    state = state or Holding()
    for event in happened:
        state = fold(state, event, worker=WORKER, now=100.0)
    return state


def ready(state: Holding, now: float = 100.0) -> list[tuple[str, int, tuple[str, ...]]]:
    jobs = ready_jobs(state, instrument="i", now=now, known_wait_s=15.0)
    return [(r.lease.job.job_id, r.lease.epoch, r.notes) for r in jobs]


def test_a_job_is_ready_when_its_lease_exposures_and_known_objects_are_there_in_any_order() -> None:
    arrivals = [leased(), exposure(0), exposure(1), KNOWN]
    for order in itertools.permutations(arrivals):
        state = after(planned(), *order[:-1])
        assert ready(state) == []
        assert ready(after(order[-1], state=state)) == [("d-1", 1, ())]


def test_a_lost_snap_is_noted_and_not_waited_for() -> None:
    state = after(planned(), leased(), exposure(0), exposure(1, lost=True), KNOWN)
    assert ready(state) == [("d-1", 1, (f"exposure {VISIT + 1} is lost",))]


def test_known_objects_are_waited_for_only_so_long() -> None:
    state = after(planned(), leased(), exposure(0), exposure(1))
    assert ready(state, now=114.0) == []
    assert ready(state, now=116.0)[0][2] == ("known objects did not come in time: no forced photometry",)


def test_a_wavefront_sensor_needs_no_known_objects() -> None:
    arrived = [planned("WAVEFRONT"), leased(), exposure(0), exposure(1)]
    for events_before in (arrived, [KNOWN, *arrived]):
        (job,) = ready_jobs(after(*events_before), instrument="i", now=100.0, known_wait_s=15.0)
        assert job.known is None


@pytest.mark.parametrize(
    "end",
    [
        events.JobCancelled(reason="r"),
        events.Superseded(by="x"),
        events.Succeeded(worker=WORKER, epoch=1, result=None, metrics={}),
        events.Failed(worker=WORKER, epoch=1, code="c", reason="r", retriable=True),
        events.Expired(worker=WORKER, epoch=1),
        events.Leased(worker="another", epoch=2),
    ],
)
def test_a_job_that_ended_or_went_elsewhere_is_no_longer_held(end: object) -> None:
    state = after(planned(), leased(), exposure(0), exposure(1), KNOWN, job(end))
    assert not state.leases


def test_an_older_epochs_end_does_not_touch_a_newer_lease() -> None:
    late = job(events.Failed(worker=WORKER, epoch=1, code="c", reason="r", retriable=True))
    state = after(planned(), leased(1), leased(2), late, exposure(0), exposure(1), KNOWN)
    assert ready(state) == [("d-1", 2, ())]


def test_a_failed_job_can_be_leased_again_with_its_exposures_still_known() -> None:
    failed = job(events.Failed(worker=WORKER, epoch=1, code="c", reason="r", retriable=True))
    state = after(planned(), leased(1), exposure(0), exposure(1), KNOWN, failed, leased(2))
    assert ready(state) == [("d-1", 2, ())]


def test_archive_jobs_are_not_ours() -> None:
    assert after(job(events.Leased(worker=WORKER, epoch=1), events.JobKind.ARCHIVE)) == Holding()


def test_a_closed_visit_forgets_jobs_that_were_never_leased_here() -> None:
    closed = events.VisitEvent(
        instrument="i",
        visit=VISIT,
        fact=events.VisitClosed(outcomes=(), last_readout_mjd_tai=1, last_readout_sent_unix_s=1, reason="complete"),
    )
    assert not after(planned(), closed).planned
    assert after(planned(), leased(), closed).leases
