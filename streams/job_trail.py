"""Everything that the logs say about one job: its own facts, its raw frames, its result, and the end of its visit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from processors.control.explain import explain
from schemas.events import (
    AvailableExposure,
    DetectorResult,
    ExposureEvent,
    JobEvent,
    JobKind,
    SnapPresence,
    VisitClosed,
    VisitEvent,
)
from schemas.wire import EventCodec
from streams.control_views import UnknownJobError
from streams.event_log import Logged, read_events

__all__ = ["Moment", "read_trail", "trail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened."""

    at_unix_s: float
    topic: str
    what: str
    sentence: str
    refused: bool = False
    """Whether it came from a lease that was no longer valid, and so counted for nothing."""


def read_trail(bootstrap: str, codec: EventCodec, job_id: str) -> list[Moment]:
    """Read the trail of a job, in order of time.

    Raises
    ------
    UnknownJobError
        When the log says nothing of it.
    KafkaUnavailableError
        When the cluster does not answer.
    """
    jobs = [item for item in read_events(bootstrap, codec, "jobs") if item.event.job_id == job_id]
    if not jobs:
        raise UnknownJobError(f"The log knows no job {job_id}; `nightcast jobs list` shows those there are.")
    others = {name: read_events(bootstrap, codec, name) for name in ("exposures", "visit-events")}
    results = read_events(bootstrap, codec, "detector-results") if _is_detector_job(jobs) else ()
    return trail(jobs, exposures=others["exposures"], results=results, visits=others["visit-events"])


def trail(
    jobs: Iterable[Logged], *, exposures: Iterable[Logged], results: Iterable[Logged], visits: Iterable[Logged]
) -> list[Moment]:
    """Tell the story of one job.

    Parameters
    ----------
    jobs
        Its facts, in log order.
    exposures, results, visits
        The logs of raw frames, results and visits; what is of other jobs in them is passed over.
    """
    facts = list(jobs)
    job: JobEvent = facts[0].event
    told = [
        Moment(at_unix_s=entry.at_unix_s, topic="jobs", what=entry.what, sentence=entry.sentence, refused=entry.refused)
        for entry in explain((item.at_unix_s, item.event) for item in facts)
    ]
    told += [_of_exposure(item) for item in exposures if _is_input(job, item.event)]
    told += [_of_result(item) for item in results if item.event.job_id == job.job_id]
    told += [moment for item in visits if (moment := _of_visit(job, item)) is not None]
    return sorted(told, key=lambda moment: moment.at_unix_s)


def _is_detector_job(jobs: list[Logged]) -> bool:
    return jobs[0].event.kind is JobKind.DETECTOR


def _is_input(job: JobEvent, event: ExposureEvent) -> bool:
    same = event.visit == job.visit and event.detector in job.detectors
    return same and (job.kind is JobKind.DETECTOR or f"-{event.exposure}-" in job.job_id)


def _of_exposure(item: Logged) -> Moment:
    event: ExposureEvent = item.event
    place = f"exposure {event.exposure}, detector {event.detector}"
    if isinstance(event.fact, AvailableExposure):
        raw = event.fact.raw
        what, sentence = "available", f"{place}: {raw.size} bytes archived as {raw.sha256[:12]}"
    else:
        what, sentence = "lost", f"{place} is lost: {event.fact.reason}"
    return Moment(at_unix_s=item.at_unix_s, topic="exposures", what=what, sentence=sentence)


def _of_result(item: Logged) -> Moment:
    result: DetectorResult = item.event
    notes = f"; {', '.join(result.notes)}" if result.notes else ""
    sentence = (
        f"{result.diasources.rows} DIASources{_snaps(result)} and {result.forced.rows} forced sources, "
        f"offset {item.offset}{notes}"
    )
    return Moment(at_unix_s=item.at_unix_s, topic="detector-results", what="result", sentence=sentence)


def _snaps(result: DetectorResult) -> str:
    """In how many snaps the sources were seen, in brackets; empty where there was one snap or no source."""
    if result.snaps is None or result.snaps.rows == 0:
        return ""
    presence = result.snaps.to_array()["presence"]
    alone = int(np.count_nonzero((presence == SnapPresence.FIRST) | (presence == SnapPresence.SECOND)))
    return f" ({np.count_nonzero(presence == SnapPresence.BOTH)} in both snaps, {alone} in one alone)"


def _of_visit(job: JobEvent, item: Logged) -> Moment | None:
    event: VisitEvent = item.event
    if event.visit != job.visit or not isinstance(event.fact, VisitClosed):
        return None
    sentence = f"visit {event.visit} is closed ({event.fact.reason})"
    for outcome in event.fact.outcomes:
        if job.kind is JobKind.DETECTOR and outcome.detector in job.detectors:
            accepted = f", result {outcome.result.sha256[:12]} accepted" if outcome.result else ""
            reason = f": {outcome.reason}" if outcome.reason else ""
            sentence += f"; detector {outcome.detector} {outcome.status.value}{accepted}{reason}"
    return Moment(at_unix_s=item.at_unix_s, topic="visit-events", what="closed", sentence=sentence)
