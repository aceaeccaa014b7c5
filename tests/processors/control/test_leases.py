"""Leases: fencing, expiry, bounded attempts, capacity, pre-emption, shedding, and the point of no return."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.control.lease_state import LeaseState, Phase
from processors.control.leases import LeaseRules, fold_heartbeat, fold_job, fold_visit, tick
from processors.control.plans import EXHAUSTED
from schemas import avro
from schemas.events import (
    Expired,
    Failed,
    JobCancelled,
    JobEvent,
    JobKind,
    Leased,
    Planned,
    Started,
    Succeeded,
    VisitClosed,
    VisitEvent,
    WorkerHeartbeat,
)

RULES = LeaseRules(lease_s=8.0, attempts=3)
VISIT = 2027011500001


def job(number: int, fact: object, *, kind: JobKind = JobKind.DETECTOR, visit: int = VISIT) -> JobEvent:
    name = f"{kind.value[0]}-{visit}-{number:03d}"
    return JobEvent(job_id=name, kind=kind, instrument="Sim", visit=visit, detectors=(number,), fact=fact)  # type: ignore[arg-type]


def plan(number: int, priority: int = 50, **more: object) -> JobEvent:
    return job(number, Planned(inputs={}, exposures=(VISIT,), priority=priority, parameters={}), **more)  # type: ignore[arg-type]


def beat(
    worker: str, *, slots: int = 2, holding: tuple[str, ...] = (), kind: JobKind = JobKind.DETECTOR
) -> WorkerHeartbeat:
    return WorkerHeartbeat(worker=worker, kind=kind, slots=slots, holding=holding, sent_unix_s=0.0)


def closed(visit: int = VISIT) -> VisitEvent:
    fact = VisitClosed(outcomes=(), last_readout_mjd_tai=0.0, last_readout_sent_unix_s=0.0, reason="complete")
    return VisitEvent(instrument="Sim", visit=visit, fact=fact)


def one_lease(worker: str = "w1") -> LeaseState:
    state, _ = fold_heartbeat(LeaseState(), beat(worker), 0.0, RULES)
    state, facts = fold_job(state, plan(1), 0.0, RULES)
    assert facts == [job(1, Leased(worker=worker, epoch=1))]
    return state


def test_job_waits_for_a_worker_of_its_kind_and_is_granted_when_one_comes() -> None:
    state, facts = fold_job(LeaseState(), plan(1), 0.0, RULES)
    assert facts == []
    state, facts = fold_heartbeat(state, beat("a1", kind=JobKind.ARCHIVE), 0.0, RULES)
    assert facts == []
    _, facts = fold_heartbeat(state, beat("w1"), 0.0, RULES)
    assert facts == [job(1, Leased(worker="w1", epoch=1))]


def test_capacity_is_respected_and_work_is_spread() -> None:
    state = LeaseState()
    for worker in ("w1", "w2"):
        state, _ = fold_heartbeat(state, beat(worker), 0.0, RULES)
    granted = []
    for number in range(6):
        state, facts = fold_job(state, plan(number), 0.0, RULES)
        granted += [f.fact.worker for f in facts if isinstance(f.fact, Leased)]
    assert granted == ["w1", "w2", "w1", "w2"]


def test_heartbeat_that_names_the_lease_renews_it_and_silence_ends_it() -> None:
    state = one_lease()
    state, _ = fold_heartbeat(state, beat("w1", holding=(f"d-{VISIT}-001@1",)), 7.0, RULES)
    state, facts = tick(state, 14.0, RULES)
    assert facts == []
    state, facts = tick(state, 15.1, RULES)
    assert facts == [job(1, Expired(worker="w1", epoch=1))]
    _, facts = fold_heartbeat(state, beat("w2"), 15.2, RULES)
    assert facts == [job(1, Leased(worker="w2", epoch=2))]


def test_heartbeat_of_a_worker_that_forgot_the_lease_does_not_renew_it() -> None:
    state, _ = fold_heartbeat(one_lease(), beat("w1"), 7.0, RULES)
    _, facts = tick(state, 8.1, RULES)
    assert [f.fact for f in facts] == [Expired(worker="w1", epoch=1), Leased(worker="w1", epoch=2)]


def test_rerun_goes_to_another_worker_where_there_is_one() -> None:
    state, _ = fold_heartbeat(one_lease(), beat("w2", slots=1), 0.0, RULES)
    failure = Failed(worker="w1", epoch=1, code="io", reason="x", retriable=True)
    _, facts = fold_job(state, job(1, failure), 1.0, RULES)
    assert facts == [job(1, Leased(worker="w2", epoch=2))]


def test_attempts_are_bounded_and_the_verdict_is_final() -> None:
    state = one_lease()
    for epoch in (1, 2, 3):
        failure = Failed(worker="w1", epoch=epoch, code="io", reason="x", retriable=True)
        state, facts = fold_job(state, job(1, failure), 1.0, RULES)
    verdict = Failed(worker="orchestration", epoch=4, code=EXHAUSTED, reason="io: x", retriable=False)
    assert facts == [job(1, verdict)]
    assert fold_job(state, job(1, Leased(worker="w1", epoch=1)), 2.0, RULES) == (state, [])


def test_application_failure_is_never_tried_again() -> None:
    failure = Failed(worker="w1", epoch=1, code="nan", reason="x", retriable=False)
    state, facts = fold_job(one_lease(), job(1, failure), 1.0, RULES)
    assert facts == []
    assert tick(state, 100.0, RULES)[1] == []


def test_old_epoch_says_nothing() -> None:
    state, _ = tick(one_lease(), 8.1, RULES)
    state, _ = fold_heartbeat(state, beat("w1"), 8.2, RULES)
    before = state
    state, facts = fold_job(state, job(1, Succeeded(worker="w1", epoch=1, result=None, metrics={})), 8.3, RULES)
    assert (state, facts) == (before, [])


def test_nothing_is_tried_again_after_the_visit_closed_but_what_began_may_end() -> None:
    state = one_lease()
    state, _ = fold_job(state, job(1, Started(worker="w1", epoch=1)), 0.0, RULES)
    state, _ = fold_job(state, plan(2), 0.0, RULES)
    state, _ = fold_job(state, plan(3), 0.0, RULES)
    state, facts = fold_visit(state, closed(), 1.0, RULES)
    assert sorted(f.job_id for f in facts) == [f"d-{VISIT}-002", f"d-{VISIT}-003"]
    assert all(isinstance(f.fact, JobCancelled) for f in facts)
    running = state.job(f"d-{VISIT}-001")
    assert running is not None
    assert running.phase is Phase.LEASED
    failure = Failed(worker="w1", epoch=1, code="io", reason="x", retriable=True)
    _, facts = fold_job(state, job(1, failure), 2.0, RULES)
    assert [type(f.fact) for f in facts] == [JobCancelled]


def test_archive_jobs_are_tried_again_after_the_visit_closed() -> None:
    state, _ = fold_heartbeat(LeaseState(), beat("a1", kind=JobKind.ARCHIVE), 0.0, RULES)
    state, _ = fold_job(state, plan(1, 100, kind=JobKind.ARCHIVE), 0.0, RULES)
    state, _ = fold_visit(state, closed(), 1.0, RULES)
    failure = Failed(worker="a1", epoch=1, code="io", reason="x", retriable=True)
    _, facts = fold_job(state, job(1, failure, kind=JobKind.ARCHIVE), 2.0, RULES)
    assert [f.fact for f in facts] == [Leased(worker="a1", epoch=2)]


def test_work_that_never_failed_takes_the_place_of_a_rerun() -> None:
    state = LeaseState()
    state, _ = fold_heartbeat(state, beat("w1", slots=1), 0.0, RULES)
    state, _ = fold_job(state, plan(1), 0.0, RULES)
    state, _ = fold_job(state, job(1, Failed(worker="w1", epoch=1, code="io", reason="x", retriable=True)), 1.0, RULES)
    _, facts = fold_job(state, plan(2), 2.0, RULES)
    assert facts == [job(1, Expired(worker="w1", epoch=2)), job(2, Leased(worker="w1", epoch=1))]


def test_the_oldest_waiting_jobs_go_when_the_queue_is_too_long() -> None:
    rules = replace(RULES, queue_limit=2)
    state = LeaseState()
    for number in range(4):
        state, _ = fold_job(state, plan(number, visit=VISIT + number), 0.0, rules)
    _, facts = tick(state, 0.0, rules)
    assert [f.visit for f in facts] == [VISIT, VISIT + 1]
    assert all(isinstance(f.fact, JobCancelled) for f in facts)


def test_repeated_plans_and_events_change_nothing() -> None:
    state = one_lease()
    assert fold_job(state, plan(1), 1.0, RULES) == (state, [])
    done = job(1, Succeeded(worker="w1", epoch=1, result=None, metrics={}))
    ended, _ = fold_job(state, done, 1.0, RULES)
    assert fold_job(ended, done, 2.0, RULES) == (ended, [])
    assert fold_job(ended, plan(1), 2.0, RULES) == (ended, [])


def test_state_survives_storage() -> None:
    state = one_lease()
    assert avro.decode(LeaseState, avro.encode(state)) == state


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["plan", "beat", "fail", "win", "wait", "lose"]), st.integers(0, 4), st.booleans()),
        max_size=60,
    )
)
def test_no_job_is_ever_held_twice_and_epochs_only_grow(script: list[tuple[str, int, bool]]) -> None:
    state, now, epochs, open_leases = LeaseState(), 0.0, dict[str, int](), dict[str, int]()
    for what, number, flag in script:
        name, facts = f"d-{VISIT}-{number:03d}", list[JobEvent]()
        held = open_leases.get(name, 0)
        now += 1.0
        if what == "plan":
            state, facts = fold_job(state, plan(number), now, RULES)
        elif what == "beat":
            mine = tuple(f"{j.job_id}@{j.epoch}" for j in state.jobs if j.worker == f"w{number}" and flag)
            state, facts = fold_heartbeat(state, beat(f"w{number}", holding=mine), now, RULES)
        elif what == "fail":
            failure = Failed(worker="w", epoch=held, code="x", reason="y", retriable=flag)
            state, facts = fold_job(state, job(number, failure), now, RULES)
            open_leases.pop(name, None)
        elif what == "win":
            state, facts = fold_job(
                state, job(number, Succeeded(worker="w", epoch=held, result=None, metrics={})), now, RULES
            )
            open_leases.pop(name, None)
        else:
            now += 10.0 if what == "lose" else 0.0
            state, facts = tick(state, now, RULES)
        for fact in facts:
            if isinstance(fact.fact, Expired):
                assert open_leases.pop(fact.job_id) == fact.fact.epoch
            elif isinstance(fact.fact, Leased):
                assert fact.job_id not in open_leases
                assert fact.fact.epoch == epochs.get(fact.job_id, 0) + 1
                epochs[fact.job_id] = open_leases[fact.job_id] = fact.fact.epoch
        assert all(state.held_by(w.name) <= w.slots for w in state.workers)
