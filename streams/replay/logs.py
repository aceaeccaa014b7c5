"""Read what a comparison looks at from the topics of a run: the science, never jobs, heartbeats or telemetry."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Message

from infra.reading import headers_of, place_of, read_to_end
from schemas.errors import UndecodableEventError
from schemas.events import AssociationDecision, LateResult, ReadoutEnded, VisitClosed, VisitEvent
from schemas.ids import day_obs_of
from schemas.topics import topic
from schemas.wire import unframe
from streams.event_log import append_time
from streams.replay.compare import Comparison, Key, Log, collect, compare_topic, latency_shift
from streams.replay.corrections import too_late
from streams.replay.errors import ReplayError
from streams.replay.readable import readable
from streams.replay.versions import Versions, read_versions

__all__ = ["COMPARED", "RunLogs", "compare_runs", "read_run"]

COMPARED = (
    "detector-results",
    "association-log",
    "object-updates",
    "diasources",
    "diaobjects",
    "ssobjects",
    "alert-store",
)
"""What a replay must give again, byte for byte (architecture.md, section 4)."""

_KEYS: Mapping[str, tuple[str, ...]] = {
    "detector-results": ("visit", "detector"),
    "association-log": ("visit", "sequence"),
    "object-updates": ("dia_object_id", "ss_object_id", "visit", "sequence"),
    "diasources": ("dia_source_id", "visit", "sequence"),
    "diaobjects": ("dia_object_id",),
    "ssobjects": ("ss_object_id",),
}
"""Fields by which a topic's records are known."""

_VERSIONED = ("diaobjects", "ssobjects")
"""Topics of which the newest record of a key counts; a tombstone is one, as a record without bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLogs:
    """The records of one run."""

    logs: Mapping[str, Log]
    latency_s: Mapping[int, float]
    """Alert id to the seconds from the last end of read-out to the alert, both by the broker's clock."""


def compare_runs(first: RunLogs, second: RunLogs) -> Comparison:
    """Compare two runs topic by topic.

    Raises
    ------
    ReplayError
        When both are empty: nothing equals nothing, but that proves nothing.
    """
    if not any(log.values for run in (first, second) for log in run.logs.values()):
        raise ReplayError("Neither of the two runs holds anything of these nights.")
    topics = tuple(
        compare_topic(name, first.logs[name], second.logs[name], decode=functools.partial(readable, name))
        for name in COMPARED
    )
    return Comparison(topics=topics, latency=latency_shift(first.latency_s, second.latency_s))


def read_run(bootstrap: str, nights: Collection[int] = ()) -> RunLogs:
    """Read the records of a run.

    Parameters
    ----------
    bootstrap
        Address of its cluster.
    nights
        Only these nights; all when empty.

    Raises
    ------
    KafkaRequestError
        When the cluster lacks a topic.
    KafkaUnavailableError
        When it does not answer.
    ReplayError
        When it holds an accepted result that today's code cannot read.
    """
    versions = read_versions(bootstrap)
    accepted, readouts = _visits(bootstrap, versions)
    decisions = _events(bootstrap, versions, "association-log", AssociationDecision)
    late = too_late((event for _, event in decisions), nights)
    logs = {}
    for name in COMPARED[:-1]:
        records = _records(bootstrap, versions, name, nights, accepted if name == "detector-results" else None, late)
        logs[name] = collect(records, versions=name in _VERSIONED)
    alerts: list[tuple[Key, bytes]] = []
    latencies: dict[int, float] = {}
    for alert, visit, message in _alerts(bootstrap, nights):
        alerts.append(((alert,), unframe(message.value() or b"")[1]))
        if visit in readouts:
            latencies.setdefault(alert, append_time(message) - readouts[visit])
    logs["alert-store"] = collect(alerts)
    return RunLogs(logs=logs, latency_s=latencies)


def _visits(bootstrap: str, versions: Versions) -> tuple[set[tuple[int, int]], dict[int, float]]:
    """Return where accepted results lie, and when the last end of read-out of each visit was logged."""
    accepted: set[tuple[int, int]] = set()
    readouts: dict[int, float] = {}
    for message, event in _events(bootstrap, versions, "visit-events", VisitEvent):
        if isinstance(event.fact, ReadoutEnded):
            readouts[event.visit] = max(readouts.get(event.visit, 0.0), append_time(message))
        outcomes = event.fact.outcomes if isinstance(event.fact, VisitClosed) else ()
        outcomes += (event.fact.outcome,) if isinstance(event.fact, LateResult) else ()
        accepted |= {(o.result.partition, o.result.offset) for o in outcomes if o.result is not None}
    return accepted, readouts


def _records(
    bootstrap: str,
    versions: Versions,
    name: str,
    nights: Collection[int],
    accepted: set[tuple[int, int]] | None,
    late: set[tuple[int, int]],
) -> Iterator[tuple[Key, bytes]]:
    kind = topic(name).event
    assert kind is not None
    for message in read_to_end(bootstrap, name):
        if name in _VERSIONED and message.value() is None:
            made_by = _tombstone(message)
            key: Key = (int.from_bytes(message.key() or b"", "big"),)
            datum = b""
        elif (event := _event(versions, message, kind)) is not None:
            made_by = event.visit, getattr(event, "sequence", 0)
            key = tuple(getattr(event, field) for field in _KEYS[name])
            datum = versions.datum(kind, message.value() or b"")
        elif accepted is not None and place_of(message) in accepted:
            raise ReplayError(
                f"An accepted record of {name} cannot be read by this version of Nightcast: {place_of(message)}."
            )
        else:
            continue
        wanted = (not nights or day_obs_of(made_by[0]) in nights) and made_by not in late
        if wanted and (accepted is None or place_of(message) in accepted):
            yield key, datum


def _tombstone(message: Message) -> tuple[int, int]:
    """Return visit and sequence of the decision that left an object without sources."""
    headers = headers_of(message)
    return int(headers.get("visit", b"0")), int(headers.get("sequence", b"0"))


def _alerts(bootstrap: str, nights: Collection[int]) -> Iterator[tuple[int, int, Message]]:
    for message in read_to_end(bootstrap, "alert-store"):
        if message.value() is None:
            continue
        headers = headers_of(message)
        alert, visit = int(headers.get("alert_id", b"0")), int(headers.get("visit", b"0"))
        if not nights or day_obs_of(visit) in nights:
            yield alert, visit, message


def _events(bootstrap: str, versions: Versions, name: str, kind: Any) -> Iterator[tuple[Message, Any]]:
    """Yield messages with their events; what is no event of the topic is the dead letters' matter."""
    for message in read_to_end(bootstrap, name):
        event = _event(versions, message, kind)
        if event is not None:
            yield message, event


def _event(versions: Versions, message: Message, kind: Any) -> Any:
    value = message.value()
    try:
        return None if value is None else versions.event(kind, value)
    except UndecodableEventError:
        return None
