"""Views of control for people: the last state of each job, and the trail of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confluent_kafka import Message

from infra.reading import read_to_end
from infra.settings import Settings
from processors.control.explain import TrailEntry, explain
from schemas.errors import NightcastError, PermanentFailure
from schemas.events import ExposureEvent, JobEvent, JobLedgerEntry
from schemas.topics import topic
from schemas.wire import EventCodec, SchemaSource

__all__ = ["UnknownJobError", "explain_job", "list_exposures", "list_jobs"]


class UnknownJobError(PermanentFailure):
    """The log knows no job of that name."""

    code = "unknown_job"


def list_jobs(
    settings: Settings,
    registry: SchemaSource,
    *,
    visit: int | None = None,
    kind: str | None = None,
    state: str | None = None,
) -> list[JobLedgerEntry]:
    """Return the last state of each job, by visit and name.

    Parameters
    ----------
    settings
        Where the cluster is.
    registry
        Where the schemas are.
    visit, kind, state
        Only jobs of that visit, kind (detector, archive) and state (waiting, leased, started, succeeded, ended).

    Raises
    ------
    KafkaUnavailableError
        When the cluster does not answer.
    """
    last = {entry.job_id: entry for _, entry in _events(settings, registry, "job-ledger")}
    wanted = [
        entry
        for entry in last.values()
        if visit in (None, entry.visit) and kind in (None, entry.kind.value) and state in (None, entry.state)
    ]
    return sorted(wanted, key=lambda entry: (entry.visit, entry.job_id))


def explain_job(settings: Settings, registry: SchemaSource, job_id: str) -> list[TrailEntry]:
    """Return everything that the log says of a job, in its order.

    Raises
    ------
    UnknownJobError
        When it says nothing.
    KafkaUnavailableError
        When the cluster does not answer.
    """
    facts: list[tuple[float, JobEvent]] = [
        (at, event) for at, event in _events(settings, registry, "jobs") if event.job_id == job_id
    ]
    if not facts:
        raise UnknownJobError(f"The log knows no job {job_id}; `nightcast jobs list` shows those there are.")
    return explain(facts)


def list_exposures(settings: Settings, registry: SchemaSource) -> list[ExposureEvent]:
    """Return what became of every exposure of every detector, in log order."""
    return [event for _, event in _events(settings, registry, "exposures")]


def _events(settings: Settings, registry: SchemaSource, name: str) -> Iterator[tuple[float, Any]]:
    """Yield when the log took each event of a topic, seconds since 1970, and the event; broken ones are passed over."""
    codec, kind = EventCodec(registry), topic(name).event
    assert kind is not None
    for message in read_to_end(settings.bootstrap, name):
        event = _decoded(codec, kind, message)
        if event is not None:
            yield message.timestamp()[1] / 1000.0, event


def _decoded(codec: EventCodec, kind: type, message: Message) -> Any:
    value = message.value()
    if value is None:
        return None
    try:
        return codec.decode(kind, value)
    except NightcastError as error:
        if error.retriable:
            raise
        return None
