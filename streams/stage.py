"""A stage: a pure handler in a transactional loop of consume, transform, produce.

The handler gets a state and one message and returns the next state and what is to be written. Its outputs, the snapshot of its
state and the consumed offsets are written in one transaction, so each message changes the state once, whatever
is killed when. A message that cannot be decoded, or that the handler refuses for good, goes to its dead-letter topic in the
same transaction, and the stage goes on.

    spec = StageSpec(stage="dmcs", topics=("visit-events", "jobs"), initial=Saga(), state_type=Saga, handle=handle, tick=tick)
    TransactionalStage(spec, name="dmcs-0", bootstrap=..., registry=...).run()

Handlers are plain functions ``handle(state, incoming, now) -> (state, outgoing)``; a timer is ``tick(state, now)``, which waits
until what the log held at the start is read: what was in time while the process was down must not be found missing. ``now`` is in
seconds since 1970 and must not reach anything that a replay compares. States are immutable.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from infra.faults import CrashPoints
from infra.logs import correlate, get_logger
from schemas.errors import NightcastError, TransientFailure
from schemas.events import StageState
from schemas.topics import dead_letter_topic
from schemas.wire import SchemaSource
from streams.errors import StageFencedError, StageInterruptedError
from streams.receipts import AbortRequiredError
from streams.stage_codec import Incoming, Outgoing, StageCodec, dead_letter
from streams.transaction import STATE_TOPIC, Delivered, Letter, Place, Read, StageLog, TransactionAbortedError

__all__ = ["Delivered", "Incoming", "Outgoing", "StageSpec", "StageWatcher", "TransactionalStage"]

IDLE_S = 0.01
"""How long a stage that works ahead listens between two pieces of work: it is soon done, long before the next visit."""

S = TypeVar("S")
_LOGGER = get_logger(__name__)


Step = tuple[S, Sequence[Outgoing]]
"""The next state and what is to be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec(Generic[S]):
    """What a stage is.

    Parameters
    ----------
    stage
        Name in topics' dead letters, states, metrics and crash points.
    topics
        What it reads.
    handle, tick
        The pure handler and the timer.
    initial
        State before the first message.
    state_type
        Dataclass of the state, stored by its Avro schema; None for a stage without a stored state.
    shared
        Whether several processes share the partitions (a stage without a stored state); otherwise each process reads all.
    group
        Consumer group; the stage's name where processes share, the process's name otherwise.
    decode
        Decodes a payload of a topic whose events are not in the topic table.
    refused_to
        Dead-letter topic of a topic whose own has another name.
    restored
        Called with the state and the partitions whenever they were (re)loaded: at start, after an abort, on assignment.
    idle
        Called with the state when nothing is there to be read, for some milliseconds of work that makes the next message quicker;
        returns whether more is left. It changes neither the state nor what is written.
    prompt
        Tells, with the state and an event, whether the event is answered within moments and someone waits for it: the transaction
        begins while it is handled, instead of after it.
    settle
        Called when everything is on its way to Kafka and nothing is committed: finishes what handlers have put off. A failure
        aborts the transaction and the events are handled again: then a handler must put nothing off, so that it fails itself.
    """

    stage: str
    topics: tuple[str, ...]
    handle: Callable[[S, Incoming, float], Step[S]]
    initial: S
    state_type: type[S] | None = None
    tick: Callable[[S, float], Step[S]] | None = None
    shared: bool = False
    group: str | None = None
    from_beginning: bool = True
    decode: Callable[[str, bytes], Any] | None = None
    refused_to: Callable[[str], str] = dead_letter_topic
    restored: Callable[[S, tuple[Place, ...]], None] | None = None
    idle: Callable[[S], bool] | None = None
    prompt: Callable[[S, Any], bool] | None = None
    settle: Callable[[], None] | None = None
    batch: int = 200
    tick_s: float = 0.2
    attempts: int = 8
    """How often a message is tried that fails in a way that may pass."""


class StageWatcher:
    """Hears what a stage does; metrics and health are made of it. This one does nothing."""

    def ready(self) -> None:
        """Note that the stage has its state and reads."""

    def looped(self) -> None:
        """Note that the loop went round: a sign of life."""

    def committed(self, *, consumed: int, produced: int, seconds: float) -> None:
        """Note a transaction."""

    def refused(self, *, topic: str, code: str) -> None:
        """Note a dead letter."""

    def aborted(self) -> None:
        """Note an aborted transaction."""


@dataclass(slots=True)
class _Batch:
    """What the open round has read and made, not yet committed."""

    offsets: dict[Place, int] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    consumed: int = 0


class TransactionalStage(Generic[S]):
    """Runs a stage until it is asked to stop.

    Parameters
    ----------
    spec
        What the stage is.
    name
        Stable name of this process; a second one of the same name fences the first.
    bootstrap
        Address of the cluster.
    registry
        Where schemas are.
    watcher
        Hears what happens.
    faults
        Crash points; the stage's own is reached when its outputs are written and nothing is committed.
    clock
        Seconds since 1970.
    transaction_timeout_s, patience_s
        See `StageLog`.
    """

    def __init__(
        self,
        spec: StageSpec[S],
        *,
        name: str,
        bootstrap: str,
        registry: SchemaSource,
        watcher: StageWatcher | None = None,
        faults: CrashPoints | None = None,
        clock: Callable[[], float] = time.time,
        transaction_timeout_s: float = 10.0,
        patience_s: float = 60.0,
    ) -> None:
        self._spec = spec
        self._state_key = f"{spec.stage}.{name}"
        self._codec = StageCodec(registry, spec.decode)
        self._watcher = watcher or StageWatcher()
        self._faults = faults
        self._clock = clock
        self._stop = threading.Event()
        self._state = self._stored = spec.initial
        self._batch = _Batch()
        self._places: tuple[Place, ...] = ()
        self._committed: dict[Place, int] = {}
        self._last_commit = self._last_tick = 0.0
        self._more = False
        default_group = f"nightcast.{spec.stage}" if spec.shared else f"nightcast.{spec.stage}.{name}"
        self._log = StageLog(
            bootstrap=bootstrap,
            group=spec.group or default_group,
            transactional_id=f"nightcast.{spec.stage}.{name}",
            topics=spec.topics,
            state_key=self._state_key.encode(),
            shared=spec.shared,
            from_beginning=spec.from_beginning,
            transaction_timeout_s=transaction_timeout_s,
            patience_s=patience_s,
            stopping=self._stop.is_set,
        )

    @property
    def state(self) -> S:
        """The state as of the last message handled."""
        return self._state

    @property
    def hung(self) -> bool:
        """Whether the loop hangs in a call that will never come back, so that its process must end."""
        return self._log.hung

    def stop(self) -> None:
        """Ask the loop to end after what it is doing; may be called from a signal handler or another thread."""
        self._stop.set()

    def run(self) -> None:
        """Read, handle, commit, until `stop`.

        Raises
        ------
        StageFencedError
            When another process of the same name took this one's place.
        StageInterruptedError
            When Kafka failed in a way that a new start mends, or did not answer in time.
        """
        try:
            self._load(self._log.open(self._on_assign))
            self._watcher.ready()
            while not self._stop.is_set():
                self._round()
            self._commit(force=True)
        finally:
            self._log.close()

    def _round(self) -> None:
        self._watcher.looped()
        reads = self._log.poll(self._spec.batch, IDLE_S if self._more else self._spec.tick_s)
        for read in reads:
            if self._stop.is_set() or not self._fold(read):
                break
        now = self._clock()
        if self._spec.tick is not None and self._tick_is_due(now):
            self._last_tick = now
            self._try_tick(self._spec.tick, now)
        self._commit()
        if not reads:
            self._idle()

    def _idle(self) -> None:
        """Let the stage work ahead; it must do without where that fails."""
        if self._spec.idle is None:
            return
        try:
            self._more = self._spec.idle(self._state)
        except Exception:  # the same work fails again, with its own consequences, where a message needs it
            _LOGGER.warning("no work ahead", stage=self._spec.stage, exc_info=True)
            self._more = False

    def _tick_is_due(self, now: float) -> bool:
        """Tell whether the timer may run: never on a state older than the log, which is what a restart begins with."""
        return self._log.caught_up and (now - self._last_tick >= self._spec.tick_s or now < self._last_tick)

    def _fold(self, read: Read) -> bool:
        """Handle one message; return whether the loop may go on to the next."""
        place = read.topic, read.partition
        for attempt in range(1, 1_000_000):
            try:
                self._accept(*self._handle(read))
                break
            except (StageFencedError, StageInterruptedError):
                raise
            except TransientFailure as error:
                patient = error.code == "registry_unavailable" or attempt < self._spec.attempts
                if not patient:
                    self._refuse(read, error, attempt)
                    break
                _LOGGER.warning("event tried again", attempt=attempt, code=error.code, reason=str(error))
                self._log.let_go()
                if self._stop.wait(min(5.0, 0.1 * 2 ** min(attempt, 6))):
                    return False
            except Exception as error:  # whatever one event does, the next one must be handled
                self._refuse(read, error, attempt)
                break
        self._batch.offsets[place] = read.offset + 1
        self._batch.consumed += 1
        return True

    def _handle(self, read: Read) -> tuple[S, list[Letter]]:
        incoming = self._codec.incoming(read)
        with correlate(**_correlation(incoming.record)):
            if self._spec.prompt is not None and self._spec.prompt(self._state, incoming.record):
                self._log.begin(self._batch.offsets | {(read.topic, read.partition): read.offset + 1})
            state, outgoing = self._spec.handle(self._state, incoming, self._clock())
            return state, [self._codec.letter(o) for o in outgoing]

    def _accept(self, state: S, letters: Sequence[Letter]) -> None:
        self._state = state
        self._batch.letters.extend(letters)

    def _try_tick(self, tick: Callable[[S, float], Step[S]], now: float) -> None:
        try:
            state, outgoing = tick(self._state, now)
            self._accept(state, [self._codec.letter(o) for o in outgoing])
        except TransientFailure as error:  # the timer comes round again
            _LOGGER.warning("timer tried again", code=error.code, reason=str(error))

    def _commit(self, *, force: bool = False) -> None:
        batch, now = self._batch, time.monotonic()
        moved = self._state is not self._stored and self._spec.state_type is not None
        quiet_for = now - self._last_commit
        if not (batch.letters or moved or self._log.begun or (batch.offsets and (force or quiet_for > 1.0))):
            return
        snapshot = self._snapshot() if moved else None
        try:
            self._log.commit(batch.letters, snapshot, batch.offsets, before_commit=self._before_commit)
        except TransactionAbortedError:
            self._watcher.aborted()
            self._load(self._log.restore())
            return
        seconds = time.monotonic() - now
        self._watcher.committed(consumed=batch.consumed, produced=len(batch.letters), seconds=seconds)
        self._committed |= batch.offsets
        self._stored, self._batch, self._last_commit = self._state, _Batch(), time.monotonic()

    def _before_commit(self) -> None:
        if self._spec.settle is not None:
            try:
                self._spec.settle()
            except NightcastError as error:
                raise AbortRequiredError(str(error)) from error
        if self._faults is not None and self._batch.offsets and self._batch.letters:
            read = {f"{t}/{p}": offset for (t, p), offset in sorted(self._batch.offsets.items())}
            committed = {f"{t}/{p}": offset for (t, p), offset in sorted(self._committed.items())}
            self._faults.reach(self._spec.stage, {"read": read, "committed": committed})

    def _load(self, value: bytes | None) -> None:
        state_type = self._spec.state_type
        self._state = self._spec.initial
        if value is not None and state_type is not None:
            stored = self._codec.events.decode(StageState, value)
            self._state = self._codec.events.decode(state_type, stored.payload)
        self._stored, self._batch = self._state, _Batch()
        _LOGGER.info("stage loaded", stage=self._spec.stage, with_state=value is not None)
        if self._spec.restored is not None and not self._spec.shared:
            self._spec.restored(self._state, self._places)

    def _on_assign(self, places: tuple[Place, ...]) -> None:
        self._places = places
        if self._spec.restored is not None and self._spec.shared:
            self._spec.restored(self._state, places)

    def _snapshot(self) -> Letter:
        payload = self._codec.events.encode(f"{STATE_TOPIC}.{self._spec.stage}", self._state)
        value = self._codec.events.encode(STATE_TOPIC, StageState(stage=self._state_key, payload=payload))
        return Letter(topic=STATE_TOPIC, key=self._state_key.encode(), value=value, partition=0)

    def _refuse(self, read: Read, error: Exception, attempts: int) -> None:
        code = error.code if isinstance(error, NightcastError) else "unexpected"
        trace = None if isinstance(error, NightcastError) else error
        facts = {"topic": read.topic, "offset": read.offset, "code": code, "reason": str(error)}
        _LOGGER.error("event refused", **facts, exc_info=trace)
        self._watcher.refused(topic=read.topic, code=code)
        target = self._spec.refused_to(read.topic)
        outgoing = dead_letter(read, error, stage=self._spec.stage, target=target, attempts=attempts, now=self._clock())
        if outgoing is not None:
            self._batch.letters.append(self._codec.letter(outgoing))


def _correlation(record: Any) -> dict[str, Any]:
    names = {"visit": "visit", "job": "job_id", "detector": "detector"}
    return {name: getattr(record, attribute, None) for name, attribute in names.items()}
