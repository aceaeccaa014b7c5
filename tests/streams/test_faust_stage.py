"""What a Faust stage does with events that fail, in Faust's test context: no broker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from infra.settings import load_settings
from schemas.errors import PermanentFailure, TransientFailure
from streams.compose import Wiring
from streams.faust_stage import FaustSpec, FaustStage, app_settings
from streams.transaction import Read


class RecordingHandler:
    """Fails as it is told, and remembers what it was given."""

    def __init__(self, failures: dict[bytes, list[Exception]] | None = None) -> None:
        self.failures = failures or {}
        self.tried: list[bytes] = []
        self.handled: list[bytes] = []
        self.settled: list[int] = []

    async def start(self) -> None:
        """Do nothing."""

    async def handle(self, read: Read) -> bool:
        """Fail or remember."""
        assert read.value is not None
        self.tried.append(read.value)
        if self.failures.get(read.value):
            raise self.failures[read.value].pop(0)
        self.handled.append(read.value)
        return True

    async def settle(self) -> None:
        """Remember how much had been handled."""
        self.settled.append(len(self.handled))

    def close(self) -> None:
        """Do nothing."""


class RecordingLetters:
    """Keeps dead letters."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes | None, str, int]] = []

    def send(self, read: Read, error: Exception, *, attempts: int) -> None:
        """Keep one."""
        self.sent.append((read.value, type(error).__name__, attempts))


class StubConsumer:
    """Commits whatever is acknowledged."""

    def __init__(self) -> None:
        self.commits = 0
        self._committed_offset: dict[Any, int] = {}

    def assignment(self) -> set[Any]:
        """Hold the one partition."""
        return {TP("visit-events", 0)}

    async def commit(self) -> bool:
        """Count."""
        self.commits += 1
        return True


def event(value: bytes, offset: int) -> Any:
    """Return an event as Faust gives it."""
    message = SimpleNamespace(
        topic="visit-events",
        partition=0,
        offset=offset,
        key=None,
        value=value,
        timestamp=1.0,
        headers=None,
        tp=TP("visit-events", 0),
    )
    return SimpleNamespace(message=message, ack=lambda: None)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("streams.faust_stage.LONGEST_PAUSE_S", 0.001)
    wiring = Wiring(load_settings(data_dir=tmp_path))
    made = FaustStage(FaustSpec(stage="test", topic="visit-events", settle_every=2), name="test-0", wiring=wiring)
    made._letters = RecordingLetters()  # type: ignore[assignment]
    return made


def run(stage: Any, handler: RecordingHandler, values: list[bytes]) -> StubConsumer:
    """Give events to a stage, one after the other."""
    consumer = StubConsumer()
    stage._handler = handler
    stage.app.consumer = consumer

    async def feed() -> None:
        stage._lock = asyncio.Lock()
        for offset, value in enumerate(values):
            await stage._take(event(value, offset))

    asyncio.run(feed())
    return consumer


def test_a_failure_that_passes_is_tried_again_and_one_that_stays_is_a_dead_letter(stage: Any) -> None:
    handler = RecordingHandler(
        {
            b"slow": [TransientFailure("later"), TransientFailure("later still")],
            b"bad": [PermanentFailure("never")],
            b"odd": [TransientFailure("later"), ZeroDivisionError()],
        }
    )
    run(stage, handler, [b"one", b"slow", b"bad", b"odd", b"last"])
    assert handler.handled == [b"one", b"slow", b"last"]
    assert handler.tried.count(b"slow") == 3
    assert stage._letters.sent == [(b"bad", "PermanentFailure", 1), (b"odd", "ZeroDivisionError", 2)]


def test_offsets_are_committed_after_what_was_handled_is_durable(stage: Any) -> None:
    handler = RecordingHandler()
    consumer = run(stage, handler, [b"1", b"2", b"3", b"4", b"5"])
    assert handler.settled == [2, 4]
    assert consumer.commits == 2
    assert [e.message.value for e in stage._open.events] == [b"5"]


def test_a_commit_that_does_not_move_keeps_the_watch_running(stage: Any) -> None:
    run(stage, RecordingHandler(), [b"1", b"2"])
    assert stage._open.since is not None


def test_the_settings_are_those_that_were_measured(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, kafka={"bootstrap_servers": "a:1,b:2", "partitions": 16})
    chosen = app_settings(settings, FaustSpec(stage="s", topic="t", table="months"), "s-0")
    assert chosen["broker"] == "kafka://a:1;b:2"
    assert chosen["store"] == "rocksdb://"
    assert chosen["processing_guarantee"] == "at_least_once"
    assert chosen["consumer_group_instance_id"] == "s-0"
    assert chosen["topic_partitions"] == 16
    assert chosen["datadir"] == str(settings.state_dir / "faust" / "s-0")
