"""Views of control for people: the last state of each job, and what became of each exposure."""

from __future__ import annotations

from infra.settings import Settings
from schemas.errors import PermanentFailure
from schemas.events import ExposureEvent, JobLedgerEntry
from schemas.wire import EventCodec, SchemaSource
from streams.event_log import read_events

__all__ = ["UnknownJobError", "list_exposures", "list_jobs"]


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
    entries = read_events(settings.bootstrap, EventCodec(registry), "job-ledger")
    last = {item.event.job_id: item.event for item in entries}
    wanted = [
        entry
        for entry in last.values()
        if visit in (None, entry.visit) and kind in (None, entry.kind.value) and state in (None, entry.state)
    ]
    return sorted(wanted, key=lambda entry: (entry.visit, entry.job_id))


def list_exposures(settings: Settings, registry: SchemaSource) -> list[ExposureEvent]:
    """Return what became of every exposure of every detector, in log order."""
    return [item.event for item in read_events(settings.bootstrap, EventCodec(registry), "exposures")]
