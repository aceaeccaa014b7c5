"""The transactional loop on the real broker: exactly once through kills, aborts, fencing and a restart of the broker."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from infra import kafka
from infra.faults import CrashPoints
from infra.registry.client import RegistryClient
from schemas import avro
from schemas.errors import PermanentFailure, TransientFailure
from schemas.events import DeadLetter, VisitEvent
from streams.errors import StageFencedError, StageInterruptedError
from streams.stage import Delivered, Incoming, Outgoing, StageSpec, TransactionalStage
from tests.support.engine import RunningEngine, running_engine
from tests.support.stages import (
    Count,
    LocalRegistry,
    counting_spec,
    event_of,
    eventually,
    new_topics,
    passing_spec,
    produce,
    read_events,
    running,
    started,
)
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.broker
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Two topics of a test's own, and a stage between them."""

    bootstrap: str
    registry: LocalRegistry
    source: str
    target: str

    def stage(self, spec: StageSpec[Any] | None = None, **more: Any) -> TransactionalStage[Any]:
        return TransactionalStage(
            spec or counting_spec("counting", self.source, self.target),
            name=self.target,
            bootstrap=self.bootstrap,
            registry=self.registry,
            **more,
        )

    def passing(self, **more: Any) -> TransactionalStage[Any]:
        return self.stage(passing_spec(self.source, self.target, **more))

    def visits(self) -> list[int]:
        return [event.visit for event in read_events(self.bootstrap, self.target, VisitEvent)]

    def send(self, visits: range) -> None:
        produce(self.bootstrap, self.registry, self.source, visits)

    def results(self) -> list[tuple[int, int]]:
        events = read_events(self.bootstrap, self.target, VisitEvent)
        return [(e.fact.exposure, e.visit) for e in events]

    def letters(self) -> list[DeadLetter]:
        letters = read_events(self.bootstrap, "dlq.visit-events", DeadLetter)
        return [letter for letter in letters if letter.origin_topic == self.source]


@pytest.fixture
def bench(broker: RunningEngine) -> Bench:
    source, target = new_topics(broker.bootstrap, "source", "target")
    return Bench(bootstrap=broker.bootstrap, registry=LocalRegistry(), source=source, target=target)


def expected(count: int) -> list[tuple[int, int]]:
    return [(n + 1, n) for n in range(count)]


def test_state_and_offsets_survive_a_restart(bench: Bench) -> None:
    bench.send(range(5))
    with running(bench.stage()) as stage:
        eventually(lambda: stage.state == Count(seen=5, total=10))
    bench.send(range(5, 8))
    with running(bench.stage()) as stage:
        eventually(lambda: stage.state.seen == 8)
    assert bench.results() == expected(8)


def test_state_and_offsets_survive_a_broker_that_forgot_the_group(bench: Bench) -> None:
    """Brokers drop the offsets of groups that were idle for a week; the snapshot carries its own."""
    bench.send(range(5))
    with running(bench.stage()) as stage:
        eventually(lambda: stage.state.seen == 5)
    client = kafka.admin(bench.bootstrap)
    group = f"nightcast.counting.{bench.target}"
    client.delete_consumer_groups([group])[group].result()
    bench.send(range(5, 7))
    with running(bench.stage()) as stage:
        eventually(lambda: stage.state == Count(seen=7, total=21))
    assert bench.results() == expected(7)


def test_the_timer_waits_until_what_the_log_held_is_read(bench: Bench) -> None:
    """A timer that runs on half of what came during a pause would find missing what is there."""
    bench.send(range(30))
    seen_by_timer: list[int] = []

    def tick(state: Count, now: float) -> tuple[Count, Sequence[Outgoing]]:
        seen_by_timer.append(state.seen)
        return state, ()

    spec = replace(counting_spec("counting", bench.source, bench.target), batch=1, tick=tick, tick_s=0.0)
    with running(bench.stage(spec)) as stage:
        eventually(lambda: len(seen_by_timer) > 3)
        bench.send(range(30, 31))
        eventually(lambda: seen_by_timer[-1] == 31)
        assert seen_by_timer[0] == 30
        assert stage.state.seen == 31


def test_a_call_that_does_not_come_back_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """librdkafka may wait for ever for a coordinator that vanished, whatever time limit it was given."""
    monkeypatch.setattr("streams.calls.HUNG_AFTER_S", 0.2)
    stage, released = bench.stage(), threading.Event()

    class Hanging:
        def __init__(self, producer: Any) -> None:
            self._producer = producer

        def __getattr__(self, name: str) -> Any:
            return getattr(self._producer, name)

        def send_offsets_to_transaction(self, *arguments: Any) -> None:
            released.wait(PATIENCE_S)
            self._producer.send_offsets_to_transaction(*arguments)

    stage._log._outbox._producer = Hanging(stage._log._outbox._producer)
    bench.send(range(2))
    with running(stage):
        eventually(lambda: stage.hung)
        released.set()
        eventually(lambda: bench.results() == expected(2))
        assert not stage.hung


def test_stop_takes_well_under_five_seconds(bench: Bench) -> None:
    bench.send(range(1))
    with running(bench.stage()) as stage:
        eventually(lambda: stage.state.seen == 1)
        began = time.monotonic()
    assert time.monotonic() - began < 5


def test_killed_between_writing_and_committing_each_event_counts_once(
    broker: RunningEngine, bench: Bench, tmp_path: Path
) -> None:
    produce(broker.bootstrap, RegistryClient(broker.registry_url), bench.source, range(40))
    command = [sys.executable, "-m", "tests.support.counting_process", broker.bootstrap, broker.registry_url]
    command += [bench.source, bench.target, str(tmp_path), "counting"]
    assert subprocess.run(command, cwd=ROOT, timeout=PATIENCE_S, check=False).returncode == -signal.SIGKILL
    proof = CrashPoints(tmp_path).fired("counting")
    assert proof is not None
    assert proof["read"] != proof["committed"]
    assert bench.results() == []
    child = subprocess.Popen(command, cwd=ROOT)
    try:
        eventually(lambda: len(bench.results()) >= 40)
        child.terminate()
        assert child.wait(PATIENCE_S) == 0
    finally:
        child.kill()
    assert bench.results() == expected(40)


def test_killed_with_records_and_offsets_on_their_way_each_event_is_passed_once(
    broker: RunningEngine, bench: Bench, tmp_path: Path
) -> None:
    """A stage without a state hands records and offsets over together."""
    produce(bench.bootstrap, RegistryClient(broker.registry_url), bench.source, range(40))
    command = [sys.executable, "-m", "tests.support.counting_process", bench.bootstrap, broker.registry_url]
    command += [bench.source, bench.target, str(tmp_path), "passing"]
    assert subprocess.run(command, cwd=ROOT, timeout=PATIENCE_S, check=False).returncode == -signal.SIGKILL
    assert bench.visits() == []
    with running(bench.passing()):
        eventually(lambda: len(bench.visits()) >= 40)
    assert bench.visits() == list(range(40))


def test_records_lost_beside_their_offsets_are_read_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The offsets are in the transaction already when the loss of a record is heard: they must go with it."""
    stage = bench.passing()
    delivered = stage._log._outbox._delivered
    losses = iter([True])

    def lose_once(letters: Sequence[Any], receipts: Sequence[Any]) -> Any:
        found = delivered(letters, receipts)
        if next(losses, False):
            receipts[0].error = "lost by the test"
            receipts[0].delivered(letters[0])
        return found

    monkeypatch.setattr(stage._log._outbox, "_delivered", lose_once)
    bench.send(range(3))
    with running(stage):
        eventually(lambda: len(bench.visits()) >= 3)
    assert next(losses, False) is False
    assert bench.visits() == [0, 1, 2]


def test_a_stage_works_ahead_when_nothing_is_to_read_and_does_without_where_that_fails(bench: Bench) -> None:
    calls: list[None] = []

    def idle(_state: None) -> bool:
        calls.append(None)
        if len(calls) > 3:
            raise RuntimeError("broken by the test")
        return True

    with running(bench.passing(idle=idle)):
        eventually(lambda: len(calls) > 4)
        bench.send(range(2))
        eventually(lambda: len(bench.visits()) == 2)
    assert bench.visits() == [0, 1]


def test_a_prompt_stage_passes_each_event_once_whatever_it_does_with_it(bench: Bench) -> None:
    """Its transaction begins while the event is handled: one that is tried again, refused or not answered must not keep it."""
    plain, tries = passing_spec(bench.source, bench.target), iter([True, True])

    def handle(state: None, incoming: Incoming, now: float) -> Any:
        visit = incoming.record.visit
        if visit == 1 and next(tries, False):
            raise TransientFailure("This visit is not ready.")
        if visit == 2:
            raise PermanentFailure("This visit is wrong.")
        return (None, []) if visit == 3 else plain.handle(state, incoming, now)

    spec = replace(plain, handle=handle, prompt=lambda _state, event: event.visit != 4)
    bench.send(range(6))
    with running(bench.stage(spec)):
        eventually(lambda: len(bench.visits()) == 4)
        bench.send(range(6, 7))
        eventually(lambda: len(bench.visits()) == 5)
    with running(bench.stage(spec)):
        bench.send(range(7, 8))
        eventually(lambda: len(bench.visits()) == 6)
    assert bench.visits() == [0, 1, 4, 5, 6, 7]
    assert [letter.code for letter in bench.letters()] == ["permanent"]


def test_what_a_prompt_stage_reads_and_does_not_answer_is_not_read_again(bench: Bench) -> None:
    seen: list[int] = []

    def handle(state: None, incoming: Incoming, now: float) -> Any:
        seen.append(incoming.record.visit)
        return None, []

    spec = replace(passing_spec(bench.source, bench.target), handle=handle, prompt=lambda *_: True)
    bench.send(range(2))
    with running(bench.stage(spec)):
        eventually(lambda: len(seen) == 2)
    bench.send(range(2, 3))
    with running(bench.stage(spec)):
        eventually(lambda: len(seen) == 3)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("prompt", [None, lambda *_: True], ids=["plain", "prompt"])
def test_what_handlers_put_off_and_cannot_end_is_done_again(bench: Bench, prompt: Any) -> None:
    """Nothing of a transaction is seen whose put-off work failed."""
    failures = iter([TransientFailure("No space is left.")])

    def settle() -> None:
        for failure in failures:
            raise failure

    spec = replace(passing_spec(bench.source, bench.target), settle=settle, prompt=prompt)
    bench.send(range(3))
    with running(bench.stage(spec)):
        eventually(lambda: len(bench.visits()) >= 3)
    assert next(failures, None) is None
    assert bench.visits() == [0, 1, 2]


def test_abort_reads_again_from_the_last_commit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer whose transaction is lost (here: its record is refused by the broker) aborts and repeats."""
    stage = bench.stage()
    produced = stage._log._outbox._produce
    failures = iter([True])

    def refuse_once(letters: Sequence[Any]) -> Any:
        if next(failures, False):
            letters = [replace(letters[0], partition=99)]
        return produced(letters)

    monkeypatch.setattr(stage._log._outbox, "_produce", refuse_once)
    bench.send(range(3))
    thread, errors = started(stage)
    # librdkafka may wait half a minute for the partition to come into being, and may call it fatal then
    eventually(lambda: bench.results() == expected(3) or not thread.is_alive())
    stage.stop()
    thread.join(PATIENCE_S)
    assert [type(error) for error in errors] in ([], [StageInterruptedError])
    if errors:  # the supervisor starts it anew
        with running(bench.stage()):
            eventually(lambda: bench.results() == expected(3))
    assert bench.results() == expected(3)


def test_younger_process_of_the_same_name_fences_the_older(bench: Bench) -> None:
    older = bench.stage()
    thread, errors = started(older)
    bench.send(range(1))
    eventually(lambda: older.state.seen == 1)
    with running(bench.stage()) as younger:
        eventually(lambda: younger.state.seen == 1)
        bench.send(range(1, 3))
        eventually(lambda: younger.state.seen == 3)
        eventually(lambda: not thread.is_alive())
    assert isinstance(errors[0], StageFencedError)
    assert bench.results() == expected(3)


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"", "unexpected"), (b"\x00\x00\x00\x00\x01garbage", "undecodable_event")],
    ids=["empty", "garbage"],
)
def test_undecodable_event_goes_to_its_dead_letters_and_the_next_is_handled(
    bench: Bench, payload: bytes, code: str
) -> None:
    producer = kafka.producer(bench.bootstrap, client_id="test")
    producer.produce(bench.source, payload, key=b"k")
    assert producer.flush(10) == 0
    bench.send(range(1))
    with running(bench.stage()) as stage:
        eventually(lambda: stage.state.seen == 1)
    (letter,) = bench.letters()
    assert (letter.payload, letter.key, letter.origin_offset, letter.stage) == (payload, b"k", 0, "counting")
    assert letter.code in {code, "undecodable_event"}
    assert bench.results() == expected(1)


def test_refused_and_failing_events_leave_the_state_alone(bench: Bench) -> None:
    attempts: list[int] = []
    plain = counting_spec("counting", bench.source, bench.target)

    def handle(state: Count, incoming: Incoming, now: float) -> Any:
        visit = incoming.record.visit
        if visit == 1:
            raise PermanentFailure("This visit is wrong.")
        if visit == 2:
            attempts.append(visit)
            raise TransientFailure("This visit is not ready.")
        if visit == 3:
            raise ZeroDivisionError
        if visit == 4:
            return state, [Outgoing(topic="jobs", key="k", record=bytes(9 << 20))]
        return plain.handle(state, incoming, now)

    bench.send(range(6))
    with running(bench.stage(replace(plain, handle=handle, attempts=3))) as stage:
        eventually(lambda: stage.state == Count(seen=2, total=5))
    assert [(x.code, x.attempts) for x in bench.letters()] == [
        ("permanent", 1),
        ("transient", 3),
        ("unexpected", 1),
        ("outgoing_too_large", 1),
    ]
    assert attempts == [2, 2, 2]
    assert bench.results() == [(1, 0), (2, 5)]


def test_following_record_names_where_the_first_one_lies(bench: Bench) -> None:
    seen: list[Delivered] = []

    def handle(state: Count, incoming: Incoming, now: float) -> Any:
        def follow(delivered: Delivered) -> list[Outgoing]:
            seen.append(delivered)
            return [Outgoing(topic=bench.target, key="k", record=event_of(delivered.offset))]

        return Count(seen=state.seen + 1), [Outgoing(topic=bench.target, key="k", record=incoming.record, then=follow)]

    spec = replace(counting_spec("counting", bench.source, bench.target), handle=handle)
    bench.send(range(7, 8))
    with running(bench.stage(spec)) as stage:
        eventually(lambda: stage.state.seen == 1)
        eventually(lambda: len(read_events(bench.bootstrap, bench.target, VisitEvent)) == 2)
    assert [e.visit for e in read_events(bench.bootstrap, bench.target, VisitEvent)] == [7, seen[0].offset]
    import hashlib

    assert seen[0].sha256 == hashlib.sha256(avro.encode(event_of(7))).hexdigest()


def test_timer_writes_in_transactions(bench: Bench) -> None:
    def tick(state: Count, now: float) -> Any:
        if state.seen >= 3:
            return state, []
        return Count(seen=state.seen + 1), [Outgoing(topic=bench.target, key="k", record=event_of(state.seen))]

    spec = replace(counting_spec("counting", bench.source, bench.target), tick=tick, tick_s=0.05)
    with running(bench.stage(spec)) as stage:
        eventually(lambda: stage.state.seen == 3)
    assert [e.visit for e in read_events(bench.bootstrap, bench.target, VisitEvent)] == [0, 1, 2]


def test_processes_of_a_shared_stage_divide_the_partitions(bench: Bench) -> None:
    assigned: list[Any] = []
    spec = passing_spec(
        bench.source,
        bench.target,
        shared=True,
        group=f"group-{bench.target}",
        restored=lambda state, places: assigned.append(places),
    )
    bench.send(range(4))
    with running(bench.stage(spec)):
        eventually(lambda: len(read_events(bench.bootstrap, bench.target, VisitEvent)) == 4)
    assert ((bench.source, 0),) in assigned


@pytest.fixture(scope="module")
def own_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    with running_engine(tmp_path_factory.mktemp("restarted")) as engine:
        yield engine


def test_restart_of_the_broker_loses_and_repeats_nothing(own_engine: RunningEngine, tmp_path: Path) -> None:
    """The process is started anew whenever it ends, as its supervisor does: a broken connection may end or hang it."""
    source, target = new_topics(own_engine.bootstrap, "source", "target")
    bench = Bench(bootstrap=own_engine.bootstrap, registry=LocalRegistry(), source=source, target=target)
    schemas = RegistryClient(own_engine.registry_url)
    command = [sys.executable, "-m", "tests.support.counting_process", own_engine.bootstrap, own_engine.registry_url]
    command += [source, target, str(tmp_path), "nothing"]
    children = [subprocess.Popen(command, cwd=ROOT)]

    def done() -> bool:
        if children[-1].poll() is not None:
            children.append(subprocess.Popen(command, cwd=ROOT))
        return len(bench.results()) >= 40

    try:
        produce(own_engine.bootstrap, schemas, source, range(20))
        eventually(lambda: len(bench.results()) > 0)
        own_engine.broker.kill()
        own_engine.broker.start()
        own_engine.broker.wait_ready()
        produce(own_engine.bootstrap, schemas, source, range(20, 40))
        eventually(done)
    finally:
        for child in children:
            child.kill()
            child.wait(PATIENCE_S)
    assert bench.results() == expected(40)


def test_unreachable_broker_is_a_typed_error() -> None:
    bench = Bench(bootstrap="127.0.0.1:1", registry=LocalRegistry(), source="s", target="t")
    with pytest.raises(StageInterruptedError, match="does not answer"):
        bench.stage(patience_s=0.5).run()
