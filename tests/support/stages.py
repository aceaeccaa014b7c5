"""Stages run by tests: in a thread, or as a process of their own that can be killed; and readers of what they wrote."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from infra import kafka
from infra.reading import read_to_end
from schemas import avro
from schemas.events import Cancelled, IntegrationStarted, VisitEvent
from schemas.wire import EventCodec, SchemaSource
from streams.stage import Incoming, Outgoing, StageSpec, TransactionalStage
from tests.support import waiting
from tests.support.waiting import PATIENCE_S

__all__ = [
    "Count",
    "LocalRegistry",
    "counting_spec",
    "eventually",
    "event_of",
    "new_topics",
    "passing_spec",
    "produce",
    "read_events",
    "running",
    "started",
]

_ends: list[list[BaseException]] = []
"""What ended each stage that is `running`: an empty list while it runs."""


class LocalRegistry:
    """A registry in memory."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def register(self, subject: str, schema: str) -> int:
        """Return the id of a schema."""
        if schema not in self.texts:
            self.texts.append(schema)
        return self.texts.index(schema) + 1

    def schema(self, identifier: int) -> str:
        """Return the text of a schema."""
        return self.texts[identifier - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """State of the counting stage: how many events it has seen, and the sum of their visits."""

    seen: int = 0
    total: int = 0


def counting_spec(stage: str, source: str, target: str, **more: Any) -> StageSpec[Count]:
    """Return a stage that writes, for the n-th event of its life, one whose exposure is n."""
    codec_source = source

    def handle(state: Count, incoming: Incoming, now: float) -> tuple[Count, list[Outgoing]]:
        visit = incoming.record.visit
        after = replace(state, seen=state.seen + 1, total=state.total + visit)
        fact = IntegrationStarted(exposure=after.seen, snap=0, start_mjd_tai=0.0)
        return after, [Outgoing(topic=target, key="k", record=VisitEvent(instrument="S", visit=visit, fact=fact))]

    def decode(topic: str, payload: bytes) -> Any:
        assert topic == codec_source
        return avro.decode(VisitEvent, payload[5:])

    return StageSpec(
        stage=stage,
        topics=(source,),
        handle=handle,
        initial=Count(),
        state_type=Count,
        decode=decode,
        refused_to=lambda _: "dlq.visit-events",
        **more,
    )


def passing_spec(source: str, target: str, **more: Any) -> StageSpec[None]:
    """Return a stage without a state that writes each event on."""

    def handle(state: None, incoming: Incoming, now: float) -> tuple[None, list[Outgoing]]:
        return None, [Outgoing(topic=target, key="k", record=incoming.record)]

    counting = counting_spec("passing", source, target)
    return StageSpec(
        stage="passing",
        topics=(source,),
        handle=handle,
        initial=None,
        decode=counting.decode,
        refused_to=counting.refused_to,
        **more,
    )


def new_topics(bootstrap: str, *suffixes: str) -> list[str]:
    """Create topics with names of their own and return these."""
    mark = uuid.uuid4().hex[:8]
    names = [f"test-{mark}-{suffix}" for suffix in suffixes]
    client = kafka.admin(bootstrap)
    for future in client.create_topics([NewTopic(name, 1, 1) for name in names]).values():
        future.result()
    return names


def produce(bootstrap: str, registry: SchemaSource, topic: str, visits: range) -> None:
    """Write an event of each visit."""
    producer: Producer = kafka.producer(bootstrap, client_id="test")
    codec = EventCodec(registry)
    for visit in visits:
        producer.produce(topic, codec.encode(topic, event_of(visit)))
    assert producer.flush(30) == 0


def event_of(visit: int) -> VisitEvent:
    """Return some event of a visit."""
    return VisitEvent(instrument="S", visit=visit, fact=Cancelled(reason="test"))


def read_events(bootstrap: str, topic: str, event: type[Any]) -> list[Any]:
    """Return the committed events of a topic."""
    return [avro.decode(event, m.value()[5:]) for m in read_to_end(bootstrap, topic)]


def eventually(condition: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Wait for a condition, or fail: at once with its error when a stage that is `running` has ended by one."""
    waiting.eventually(condition, within_s=within_s, look=_raise_what_ended_a_stage)


def _raise_what_ended_a_stage() -> None:
    for errors in _ends:
        if errors:
            raise errors[0]


def started(stage: TransactionalStage[Any]) -> tuple[threading.Thread, list[BaseException]]:
    """Run a stage in a thread; what it raises is put into the list."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            stage.run()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, errors


@contextmanager
def running(stage: TransactionalStage[Any]) -> Iterator[TransactionalStage[Any]]:
    """Run a stage in a thread while the context lasts."""
    thread, errors = started(stage)
    _ends.append(errors)
    try:
        yield stage
    finally:
        _ends[:] = [other for other in _ends if other is not errors]
        stage.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    if errors:
        raise errors[0]
