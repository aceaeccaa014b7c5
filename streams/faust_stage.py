"""A stage as a Faust agent: one event after the other, offsets committed only for what is durable.

    handle, event after event -> settle -> acknowledge -> commit

``handle`` may be called again for an event that was handled before: after a crash, after a failure that passed, after a
repetition upstream. Handlers make that harmless. An event that can never be handled goes to its dead-letter topic with the
cause; a failure that may pass is tried again with growing pauses; when what was handled cannot be made durable, the process
ends and its supervisor starts it anew from what was committed.

Settings follow the measurements of streaming.md, sections 1 and 8: at-least-once and never Faust's exactly-once, one event
at a time, raw values, explicit commits, static membership, and a watch over commits that got stuck.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol

import faust

from infra.faults import CrashPoints
from infra.logs import get_logger
from infra.metrics import StageMetrics
from infra.settings import Settings
from infra.supervisor import mark_ready
from schemas.errors import NightcastError
from streams.compose import Wiring
from streams.dead_letters import DeadLetters
from streams.faust_adapters import AwaitedTable, ReadCommittedTransport
from streams.transaction import Read

__all__ = ["FaustHandler", "FaustSpec", "FaustStage", "app_settings", "folder", "quiet_loggers"]

WATCHDOG_S = 60.0
"""How long handled events may wait for their commit before the process ends (streaming.md, section 1, trap 10)."""

LONGEST_PAUSE_S = 5.0
_LOGGER = get_logger(__name__)


class FaustHandler(Protocol):
    """What a stage does; each method is awaited before the next is called."""

    async def start(self) -> None:
        """Get ready; called before the first event."""

    async def handle(self, read: Read) -> bool:
        """Handle one event and tell whether it put anything out."""

    async def settle(self) -> None:
        """Wait until everything put out is durable; raises when it will not be."""

    def close(self) -> None:
        """Let go of what is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaustSpec:
    """What a Faust stage is."""

    stage: str
    """Name in the group, metrics, dead letters and crash points."""
    topic: str
    """What it reads."""
    beside: tuple[str, ...] = ()
    """Further topics that it reads; events of all come one after the other, those of one partition in order."""
    settle_every: int = 1
    """Handled events per commit while there are more to come."""
    settle_after_s: float = 0.1
    """How long handled events wait for more before they are committed."""
    buffered: int = 64
    """Events fetched ahead."""
    table: str | None = None
    """Name of the stage's table, if it has one."""


@dataclass(slots=True)
class _Uncommitted:
    """Events handled and not yet committed."""

    events: list[Any] = field(default_factory=list)
    since: float | None = None
    weighty: bool = False


class FaustStage:
    """One process of a stage.

    Parameters
    ----------
    spec
        What the stage is.
    name
        Stable name of the process: its group instance and its folder of state.
    wiring
        The outside world.
    """

    def __init__(self, spec: FaustSpec, *, name: str, wiring: Wiring) -> None:
        self._spec, self._name = spec, name
        self._settings = wiring.settings
        self._faults: CrashPoints = wiring.crash_points
        self._metrics = StageMetrics(spec.stage)
        self._letters = DeadLetters(wiring, stage=spec.stage)
        self._handler: FaustHandler | None = None
        self._open = _Uncommitted()
        self._committed: dict[str, int] = {}
        self._reached: dict[Any, int] = {}
        self._lock: asyncio.Lock | None = None
        self._failed = False
        self.app = self._make_app()
        self.table = self._make_table() if spec.table else None
        self._declare_agent()

    def run(self, handler: FaustHandler) -> int:
        """Run until SIGTERM, or until the stage cannot go on; return the exit code."""
        self._handler = handler
        quiet_loggers()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        worker = _Worker(
            self.app, on_ready=self._ready, override_logging=False, redirect_stdouts=False, loglevel="WARN"
        )
        try:
            worker.execute_from_commandline()
        except SystemExit as end:
            return 1 if self._failed else int(end.code or 0)
        finally:
            handler.close()

    def _make_app(self) -> Any:
        folder(self._settings, self._name).parent.mkdir(parents=True, exist_ok=True)
        app = faust.App(**app_settings(self._settings, self._spec, self._name))
        app.transport = ReadCommittedTransport(app.conf.broker_consumer, app)
        return app

    def _make_table(self) -> Any:
        return self.app.Table(
            self._spec.table,
            key_type=bytes,
            value_type=bytes,
            partitions=self._settings.kafka.partitions,
            options={"block_cache_size": 16 << 20, "write_buffer_size": 4 << 20, "max_write_buffer_number": 2},
        )

    def _declare_agent(self) -> None:
        topic = self.app.topic(
            self._spec.topic,
            *self._spec.beside,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
        )

        async def consume(stream: Any) -> None:
            self._lock = asyncio.Lock()
            await self._started().start()
            idle = asyncio.get_running_loop().create_task(self._settle_when_idle())
            try:
                async for event in stream.noack().events():
                    await self._take(event)
            finally:
                idle.cancel()

        self.app.agent(topic, concurrency=1, name=self._spec.stage)(consume)

    def _started(self) -> FaustHandler:
        if self._handler is None:
            raise RuntimeError("A stage is run with its handler.")
        return self._handler

    async def _take(self, event: Any) -> None:
        read = _read_of(event.message)
        started = time.monotonic()
        assert self._lock is not None
        async with self._lock:
            weighty = await self._handled(read)
            self._open.events.append(event)
            self._open.since = self._open.since or time.monotonic()
            self._open.weighty |= weighty
            self._metrics.taken(read.topic)
            self._metrics.seconds(time.monotonic() - started)
            if len(self._open.events) >= self._spec.settle_every:
                await self._settle()

    async def _handled(self, read: Read) -> bool:
        """Handle an event for as long as that may help; give it up to the dead letters when it cannot."""
        for attempt in range(1, 1_000_000_000):
            try:
                return await self._started().handle(read)
            except NightcastError as error:
                if not error.retriable:
                    await self._refuse(read, error, attempt)
                    return False
                self._metrics.failure(error.code)
                _LOGGER.warning("event tried again", attempt=attempt, code=error.code, reason=str(error))
            except Exception as error:  # whatever one event does, the next one must be handled
                await self._refuse(read, error, attempt)
                return False
            await asyncio.sleep(min(LONGEST_PAUSE_S, 0.1 * 2 ** min(attempt, 8)))
        return False

    async def _refuse(self, read: Read, error: Exception, attempts: int) -> None:
        code = error.code if isinstance(error, NightcastError) else "unexpected"
        _LOGGER.error("event refused", topic=read.topic, offset=read.offset, code=code, exc_info=error)
        self._metrics.dead_letter(code)
        try:
            await asyncio.to_thread(self._letters.send, read, error, attempts=attempts)
        except NightcastError as failure:
            await self._end("the dead letter cannot be written", failure)

    async def _settle_when_idle(self) -> None:
        assert self._lock is not None
        while True:
            await asyncio.sleep(self._spec.settle_after_s)
            async with self._lock:
                if self._open.events:
                    await self._settle()
                elif self._open.since is not None:
                    # Faust commits up to the first offset it sees twice, as it does beside every marker of a transaction
                    # that it fills in; what follows is committed only when it is asked again.
                    await self.app.consumer.commit()
                    self._note_commit([])

    async def _settle(self) -> None:
        """Make what was handled durable, acknowledge it and commit."""
        if not self._open.events:
            return
        try:
            await self._started().settle()
        except Exception as error:  # a restart repeats what is not committed, which is the only safe way on
            await self._end("what was put out is not durable", error)
        self._reach_crash_point()
        events, self._open.events, self._open.weighty = self._open.events, [], False
        for event in events:
            event.ack()
        await self.app.consumer.commit()
        self._note_commit(events)

    def _note_commit(self, events: list[Any]) -> None:
        committed = self.app.consumer._committed_offset  # Faust has no public reading of it
        self._reached |= {event.message.tp: event.message.offset + 1 for event in events}
        held = self.app.consumer.assignment()
        self._reached = {tp: offset for tp, offset in self._reached.items() if tp in held}
        if all((committed.get(tp) or 0) >= offset for tp, offset in self._reached.items()):
            self._open.since = None
        self._committed |= {f"{tp.topic}/{tp.partition}": committed.get(tp) or 0 for tp in self._reached}

    def _reach_crash_point(self) -> None:
        if self._open.weighty:
            read = {f"{e.message.topic}/{e.message.partition}": e.message.offset + 1 for e in self._open.events}
            self._faults.reach(self._spec.stage, {"read": read, "committed": dict(self._committed)})

    async def _end(self, what: str, error: Exception) -> NoReturn:
        """End the process; its supervisor starts it again from what was committed."""
        _LOGGER.error("stage ends", why=what, exc_info=error)
        self._failed = True
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    def _ready(self) -> None:
        _LOGGER.info("ready", stage=self._spec.stage)
        mark_ready(self._settings, self._name)

    def _watch(self) -> None:
        """End the process when commits got stuck, or when it does not end though it was asked to."""
        while True:
            time.sleep(1.0)
            since = self._open.since
            if since is not None and time.monotonic() - since > WATCHDOG_S:
                _LOGGER.error("stage ends", why="handled events were not committed in time")
                os._exit(1)


class _Worker(faust.Worker):
    """Faust's worker, which tells when the tables are recovered and the stage reads, and draws no spinner."""

    def __init__(self, app: Any, *, on_ready: Any, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self.spinner = None
        self._on_ready = on_ready

    async def on_startup_finished(self) -> None:
        """Pass it on."""
        await super().on_startup_finished()
        self._on_ready()


def folder(settings: Settings, name: str) -> Path:
    """Return where a process keeps its tables."""
    return settings.state_dir / "faust" / name


def app_settings(settings: Settings, spec: FaustSpec, name: str) -> Mapping[str, Any]:
    """Return the arguments of the Faust app of a stage's process."""
    brokers = settings.bootstrap.replace(",", ";")
    return {
        "id": f"nightcast.{spec.stage}",
        "version": 1,
        "broker": f"kafka://{brokers}",
        "store": "rocksdb://" if spec.table else "memory://",
        "datadir": str(folder(settings, name)),
        "Table": AwaitedTable,
        "processing_guarantee": "at_least_once",
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "topic_partitions": settings.kafka.partitions,
        "topic_replication_factor": settings.kafka.replication,
        "consumer_group_instance_id": name,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": 8 << 20,
        "broker_session_timeout": 10.0,
        "broker_heartbeat_interval": 3.0,
        "broker_request_timeout": 30.0,
        "broker_commit_interval": 1.0,
        "producer_linger": 0.01,
        "producer_max_batch_size": 262_144,
        "producer_max_request_size": 8 << 20,
        "producer_request_timeout": 120.0,
        "producer_acks": -1,
        "stream_buffer_maxsize": spec.buffered,
        "stream_wait_empty": False,
        "stream_processing_timeout": 600.0,
        "table_standby_replicas": 0,
        "web_enabled": False,
        "reply_create_topic": False,
    }


def quiet_loggers() -> None:
    """Keep the clients' own loggers to warnings: some build a record for every message (streaming.md, section 1)."""
    for name in ("aiokafka", "faust", "mode", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _read_of(message: Any) -> Read:
    return Read(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        timestamp_s=float(message.timestamp or 0.0),
        headers=dict(message.headers or ()),
    )
