"""The visit saga: what it plans, when it closes, and that neither order of topics nor repetitions matter."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.control.errors import StaleAnnouncementError
from processors.control.plans import EXHAUSTED, EXPOSURE_LOST
from processors.control.visit_saga import Fact, SagaRules, fold_job, fold_prediction, fold_visit, tick
from processors.control.visit_state import SagaState
from schemas import avro
from schemas.camera import load_camera
from schemas.errors import CameraDescriptionError
from schemas.events import (
    Announced,
    Cancelled,
    DetectorOutcome,
    Expired,
    ExposureEvent,
    Failed,
    IntegrationStarted,
    JobCancelled,
    JobEvent,
    JobKind,
    LateResult,
    Leased,
    LostExposure,
    OutcomeStatus,
    Planned,
    PredictedSsObjects,
    ReadoutEnded,
    ResultRef,
    Succeeded,
    VisitClosed,
    VisitEvent,
)
from schemas.tables import Claim

CAMERA = load_camera("demo")
DETECTORS = tuple(d.id for d in CAMERA.detectors)
RULES = SagaRules(instrument="Sim", camera="demo")
VISIT = 2027011500001
INPUTS = {"release": "ab" * 32}
START = 61420.1


def announced(**changes: object) -> Announced:
    base = Announced(
        group_id="20270115-00001",
        day_obs=20270115,
        n_snaps=2,
        band="r",
        ra=0.1,
        dec=-1.0,
        rotation=10.0,
        exposure_time=3.0,
        start_mjd_tai=START,
        duration=10.0,
        camera="demo",
        detectors=DETECTORS,
        survey="test",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def of_visit(fact: object, visit: int = VISIT) -> VisitEvent:
    return VisitEvent(instrument="Sim", visit=visit, fact=fact)  # type: ignore[arg-type]


def of_job(detector: int, fact: object, visit: int = VISIT, kind: JobKind = JobKind.DETECTOR) -> JobEvent:
    job_id = f"d-{visit}-{detector:03d}"
    return JobEvent(job_id=job_id, kind=kind, instrument="Sim", visit=visit, detectors=(detector,), fact=fact)  # type: ignore[arg-type]


def started(snap: int, visit: int = VISIT) -> VisitEvent:
    return of_visit(IntegrationStarted(exposure=visit + snap, snap=snap, start_mjd_tai=START), visit)


def ended(snap: int, visit: int = VISIT) -> VisitEvent:
    fact = ReadoutEnded(exposure=visit + snap, snap=snap, end_mjd_tai=START + snap / 1e4, sent_unix_s=1000.0 + snap)
    return of_visit(fact, visit)


def ref(detector: int, epoch: int = 1) -> ResultRef:
    return ResultRef(job_id=f"d-{VISIT}-{detector:03d}", epoch=epoch, sha256="cd" * 32, partition=0, offset=detector)


def succeeded(detector: int, epoch: int = 1, visit: int = VISIT) -> JobEvent:
    return of_job(detector, Succeeded(worker="w", epoch=epoch, result=ref(detector, epoch), metrics={}), visit)


def leased(detector: int, epoch: int = 1) -> JobEvent:
    return of_job(detector, Leased(worker="w", epoch=epoch))


def failed(detector: int, *, code: str = "bad", retriable: bool = False, epoch: int = 1) -> JobEvent:
    return of_job(detector, Failed(worker="w", epoch=epoch, code=code, reason="why", retriable=retriable))


def run(
    events: list[VisitEvent | JobEvent], state: SagaState | None = None, at: float = 100.0
) -> tuple[SagaState, list[Fact]]:
    state, facts = state or SagaState(), list[Fact]()
    for event in events:
        if isinstance(event, VisitEvent):
            state, new = fold_visit(state, event, at, RULES, INPUTS)
        else:
            state, new = fold_job(state, event, at, RULES)
        facts += new
    return state, facts


def closings(facts: list[Fact]) -> list[VisitEvent]:
    return [f for f in facts if isinstance(f, VisitEvent) and isinstance(f.fact, VisitClosed)]


OPENING: list[VisitEvent | JobEvent] = [of_visit(announced()), started(0), ended(0), started(1), ended(1)]


def test_announcement_plans_one_job_per_ccd_and_wavefront_sensor_with_inputs_by_hash() -> None:
    _, facts = run([of_visit(announced())])
    plans = [f.fact for f in facts if isinstance(f, JobEvent)]
    assert [f.detectors for f in facts if isinstance(f, JobEvent)] == [(d,) for d in DETECTORS]
    assert all(isinstance(p, Planned) and p.inputs == INPUTS and p.exposures == (VISIT, VISIT + 1) for p in plans)


def test_start_of_integration_plans_an_archive_job_per_raft_and_one_for_wavefront_sensors() -> None:
    _, facts = run([started(0)])
    jobs = [f for f in facts if isinstance(f, JobEvent)]
    assert [j.kind for j in jobs] == [JobKind.ARCHIVE] * (len(CAMERA.rafts) + 1)
    assert sorted(d for j in jobs for d in j.detectors) == sorted(DETECTORS)


def test_full_camera_has_193_detector_jobs_and_22_archive_jobs() -> None:
    camera = load_camera("lsstcam")
    rules = replace(RULES, camera="lsstcam")
    visit = of_visit(announced(camera="lsstcam", detectors=tuple(d.id for d in camera.detectors)))
    state, plans = fold_visit(SagaState(), visit, 0.0, rules, {})
    _, archive = fold_visit(state, started(0), 0.0, rules, {})
    assert (len(plans), len(archive)) == (193, 22)


def test_visit_closes_when_every_detector_is_terminal() -> None:
    ends = [succeeded(d) for d in DETECTORS[:-1]] + [failed(DETECTORS[-1])]
    _, facts = run([*OPENING, *ends])
    (closed,) = closings(facts)
    good = [DetectorOutcome(detector=d, status=OutcomeStatus.SUCCEEDED, result=ref(d)) for d in DETECTORS[:-1]]
    bad = DetectorOutcome(detector=DETECTORS[-1], status=OutcomeStatus.FAILED, reason="bad: why")
    outcomes = (*good, bad)
    assert closed.fact == VisitClosed(
        outcomes=outcomes, last_readout_mjd_tai=START + 1e-4, last_readout_sent_unix_s=1001.0, reason="complete"
    )


def test_deadline_closes_without_what_is_missing_and_a_late_result_follows_once() -> None:
    state, _ = run([*OPENING, *(succeeded(d) for d in DETECTORS[1:])])
    assert closings(tick(state, 100.0 + RULES.close_after_s - 0.1, RULES)[1]) == []
    state, facts = tick(state, 100.0 + RULES.close_after_s, RULES)
    (closed,) = closings(facts)
    assert closed.fact.outcomes[0].status is OutcomeStatus.LATE  # type: ignore[union-attr]
    assert closed.fact.reason == "deadline"  # type: ignore[union-attr]
    _, late = run([succeeded(DETECTORS[0]), succeeded(DETECTORS[0])], state)
    outcome = DetectorOutcome(detector=DETECTORS[0], status=OutcomeStatus.SUCCEEDED, result=ref(DETECTORS[0]))
    assert late == [of_visit(LateResult(outcome=outcome, last_readout_mjd_tai=START + 1e-4))]


def test_results_of_older_or_expired_leases_are_refused() -> None:
    first = DETECTORS[0]
    ends = [succeeded(d) for d in DETECTORS[1:]]
    history = [leased(first), of_job(first, Expired(worker="w", epoch=1)), succeeded(first, 1), leased(first, 2)]
    state, facts = run([*OPENING, *ends, *history, succeeded(first, 1)])
    assert closings(facts) == []
    _, facts = run([succeeded(first, 2)], state)
    assert closings(facts)[0].fact.outcomes[0].result == ref(first, 2)  # type: ignore[union-attr]


def test_a_failure_that_may_pass_does_not_end_the_detector() -> None:
    _, facts = run([*OPENING, *(failed(d, retriable=True) for d in DETECTORS)])
    assert closings(facts) == []


def test_visits_close_in_order() -> None:
    later = VISIT + 2
    second = [of_visit(announced(), later), started(0, later), ended(0, later), started(1, later), ended(1, later)]
    state, facts = run([*OPENING, *second, *(succeeded(d, visit=later) for d in DETECTORS)])
    assert closings(facts) == []
    _, facts = run([succeeded(d) for d in DETECTORS], state)
    assert [c.visit for c in closings(facts)] == [VISIT, later]


def test_visit_without_any_image_is_lost_and_closes() -> None:
    state, _ = run([of_visit(announced())])
    due = 100.0 + RULES.notice_s + RULES.grace_s + 3.0 + RULES.readout_s
    state, facts = tick(state, due, RULES)
    losses = [f for f in facts if isinstance(f, ExposureEvent)]
    assert [(f.exposure, f.detector) for f in losses] == [(VISIT + s, d) for s in (0, 1) for d in DETECTORS]
    assert all(isinstance(f.fact, LostExposure) for f in losses)
    assert tick(state, due + 0.1, RULES)[1] == []
    state, facts = run([failed(d, code=EXPOSURE_LOST) for d in DETECTORS], state)
    (closed,) = closings(facts)
    assert {o.status for o in closed.fact.outcomes} == {OutcomeStatus.LOST}  # type: ignore[union-attr]


def test_missing_second_snap_is_lost_and_the_visit_goes_on() -> None:
    state, _ = run([of_visit(announced()), started(0), ended(0)])
    assert tick(state, 170.0, RULES)[1] == []  # the telescope's clock says that the visit begins later
    state, facts = tick(state, 1000.0, RULES)
    assert {f.exposure for f in facts if isinstance(f, ExposureEvent)} == {VISIT + 1}
    _, facts = run([succeeded(d) for d in DETECTORS], state)
    assert closings(facts)[0].fact.reason == "complete"  # type: ignore[union-attr]


def test_readout_whose_event_never_comes_does_not_hold_the_visit_for_ever() -> None:
    state, _ = run([of_visit(announced()), started(0), ended(0), started(1)])
    _, facts = tick(state, 100.0 + 3.0 + RULES.readout_s + RULES.close_after_s, RULES)
    assert closings(facts)[0].fact.reason == "deadline"  # type: ignore[union-attr]


@pytest.mark.parametrize("announced_first", [True, False])
def test_cancelled_visit_frees_its_jobs_and_closes(announced_first: bool) -> None:
    pair = [of_visit(announced()), of_visit(Cancelled(reason="clouds"))]
    _, facts = run(pair if announced_first else pair[::-1])
    (closed,) = closings(facts)
    assert closed.fact.reason == "cancelled"  # type: ignore[union-attr]
    cancelled = [f for f in facts if isinstance(f, JobEvent) and isinstance(f.fact, JobCancelled)]
    assert len(cancelled) == (len(DETECTORS) if announced_first else 0)


def test_archive_job_given_up_loses_its_images() -> None:
    fact = Failed(worker="orchestration", epoch=6, code=EXHAUSTED, reason="disk", retriable=False)
    event = replace(of_job(DETECTORS[0], fact, kind=JobKind.ARCHIVE), job_id=f"a-{VISIT + 1}-R22")
    _, facts = fold_job(SagaState(), event, 0.0, RULES)
    expected = ExposureEvent(
        instrument="Sim",
        visit=VISIT,
        exposure=VISIT + 1,
        snap=1,
        detector=DETECTORS[0],
        fact=LostExposure(reason="disk"),
    )
    assert facts == [expected]


def prediction(sha: str, visit: int = VISIT) -> PredictedSsObjects:
    return PredictedSsObjects(
        instrument="Sim",
        visit=visit,
        day_obs=20270115,
        mjd_tai=START,
        count=3,
        ephemeris_sha256="cd" * 32,
        predicted=Claim(uri=f"sha256/{sha}", sha256=sha, size=9),
    )


@pytest.mark.parametrize("before_announcement", [True, False])
def test_closing_names_the_first_prediction_and_a_later_one_changes_nothing(before_announcement: bool) -> None:
    state = SagaState()
    if before_announcement:
        state, facts = fold_prediction(state, prediction("11"), 0.0, RULES)
        assert facts == []
    state, _ = fold_visit(state, of_visit(announced()), 0.0, RULES, INPUTS)
    if not before_announcement:
        state, _ = fold_prediction(state, prediction("11"), 0.0, RULES)
    state, _ = fold_prediction(state, prediction("22"), 0.0, RULES)
    state, facts = fold_visit(state, of_visit(Cancelled(reason="clouds")), 1.0, RULES, INPUTS)
    (closed,) = closings(facts)
    assert isinstance(closed.fact, VisitClosed)
    assert closed.fact.predicted == prediction("11").predicted
    assert fold_prediction(state, prediction("33"), 0.0, RULES)[0] == state


def test_a_visit_without_a_prediction_closes_and_a_prediction_after_that_is_ignored() -> None:
    state, _ = fold_visit(SagaState(), of_visit(announced()), 0.0, RULES, INPUTS)
    state, facts = fold_visit(state, of_visit(Cancelled(reason="clouds")), 1.0, RULES, INPUTS)
    (closed,) = closings(facts)
    assert isinstance(closed.fact, VisitClosed)
    assert closed.fact.predicted is None
    assert fold_prediction(state, prediction("11"), 0.0, RULES) == (state, [])


def test_a_complete_visit_waits_for_its_prediction_for_a_while() -> None:
    rules = replace(RULES, prediction_wait_s=10.0)
    waiting, facts = complete_visit(rules)
    assert closings(facts) == []
    assert closings(tick(waiting, 9.0 + 1e-6, rules)[1]) == []
    (closed,) = closings(tick(waiting, 30.0, rules)[1])
    assert isinstance(closed.fact, VisitClosed)
    assert (closed.fact.predicted, closed.fact.reason) == (None, "complete")
    (closed,) = closings(fold_prediction(waiting, prediction("11"), 5.0, rules)[1])
    assert isinstance(closed.fact, VisitClosed)
    assert closed.fact.predicted == prediction("11").predicted


def complete_visit(rules: SagaRules) -> tuple[SagaState, list[Fact]]:
    """Return the saga of a visit that is read out at 1 s, all of whose detectors have succeeded, and its last facts."""
    state, _ = fold_visit(SagaState(), of_visit(announced()), 0.0, rules, INPUTS)
    for snap in (0, 1):
        state, _ = fold_visit(state, started(snap), 0.5, rules, INPUTS)
        state, facts = fold_visit(state, ended(snap), 1.0, rules, INPUTS)
    for detector in DETECTORS:
        state, facts = fold_job(state, succeeded(detector), 2.0, rules)
    return state, facts


def test_announcement_after_a_later_visit_closed_is_refused() -> None:
    state, _ = run([*OPENING, *(succeeded(d) for d in DETECTORS)])
    with pytest.raises(StaleAnnouncementError):
        run([of_visit(announced(), VISIT - 5)], state)


def test_announcement_of_an_unknown_camera_is_refused() -> None:
    with pytest.raises(CameraDescriptionError):
        run([of_visit(announced(camera="no such camera"))])


def test_state_survives_storage() -> None:
    state, _ = run([*OPENING, *(leased(d) for d in DETECTORS), succeeded(DETECTORS[0])])
    assert avro.decode(SagaState, avro.encode(state)) == state


def test_old_visits_are_forgotten_and_what_comes_of_them_is_ignored() -> None:
    rules = replace(RULES, kept_visits=2)
    state = SagaState()
    for number in range(5):
        for fact in (announced(n_snaps=1), Cancelled(reason="test")):
            state, _ = fold_visit(state, of_visit(fact, VISIT + number), 0.0, rules, {})
    assert [v.visit for v in state.visits] == [VISIT + 3, VISIT + 4]
    assert fold_visit(state, ended(0, VISIT), 0.0, rules, {}) == (state, [])
    assert fold_job(state, succeeded(DETECTORS[0]), 0.0, rules) == (state, [])


JOBS = [
    event
    for d in DETECTORS[:-1]
    for event in (leased(d), of_job(d, Expired(worker="w", epoch=1)), succeeded(d, 1), leased(d, 2), succeeded(d, 2))
] + [leased(DETECTORS[-1]), failed(DETECTORS[-1])]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_interleaving_and_repetition_gives_the_same_closing(data: st.DataObject) -> None:
    """The two logs keep their order; each event may come again at once or later; SAL topics may overtake one another."""
    opening = data.draw(st.permutations(OPENING))
    queues = [list(opening), list(JOBS)]
    state, facts, seen = SagaState(), list[Fact](), list[VisitEvent | JobEvent]()
    while queues[0] or queues[1]:
        source = data.draw(st.sampled_from([q for q in queues if q]))
        event = source.pop(0)
        repeated = data.draw(st.lists(st.sampled_from(seen), max_size=2)) if seen else []
        seen.append(event)
        state, new = run([event, *repeated], state)
        facts += new
    (closed,) = closings(facts)
    _, expected = run([*OPENING, *JOBS])
    assert closings(expected) == [closed]
