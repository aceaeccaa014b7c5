"""Read a finished night back from its topics and judge it: the figures of the summary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.reading import headers_of, read_to_end
from infra.settings import Settings
from processors.association.updates import accepted_rows
from schemas.camera import load_camera
from schemas.events import AssociationDecision, OutcomeStatus
from schemas.ids import day_obs_of
from schemas.public import dia_source_dtype
from schemas.topics import TOPICS, dead_letter_topic
from schemas.wire import EventCodec
from streams.night.summary import NightSummary, latency_of
from streams.night.truth import NightScore, VisitScore, read_truth, score_night, score_visit
from streams.night.watch import NightView, VisitView

__all__ = ["Costs", "summarise"]

Costs = Mapping[str, float]
"""CPU seconds by process of the system."""


def summarise(
    settings: Settings,
    codec: EventCodec,
    view: NightView,
    *,
    truth: Path | None,
    known: Mapping[str, int] | None = None,
    costs: Costs,
    peak_rss_mb: float,
    wall_s: float,
    set_up_s: float,
) -> NightSummary:
    """Return the summary of a night that has ended.

    Parameters
    ----------
    settings, codec
        Where the topics are and how to read them.
    view
        The night as it was followed.
    truth
        Folder of the simulator's truth, one file a visit; None for a real sky.
    known
        Truth's key of each asteroid in the imported catalogue, and its number.
    costs, peak_rss_mb, wall_s, set_up_s
        What it took.
    """
    science = {d.id for d in load_camera(settings.night.camera).detectors if not d.is_wavefront}
    visits = [view.visits[key] for key in sorted(view.visits)]
    closed = [v for v in visits if v.closed and not v.cancelled]
    done = {v.visit: {o.detector for o in v.outcomes if o.status is OutcomeStatus.SUCCEEDED} for v in closed}
    decisions = _decisions(settings, codec, view.day_obs)
    latencies, alerts = _latencies(settings, view.day_obs)
    ccds = sum(len(d & science) for d in done.values())
    return NightSummary(
        day_obs=view.day_obs,
        visits=len(closed),
        visits_cancelled=sum(v.cancelled for v in visits),
        detectors_done=ccds,
        detectors_failed=sum(len(v.outcomes) - len(done[v.visit]) for v in closed),
        wavefront_done=sum(len(d - science) for d in done.values()),
        diasources=sum(len(rows) for rows in decisions.values()),
        alerts=alerts,
        quarantined=sum(v.manifest.quarantined for v in visits if v.manifest is not None),
        dead_letters=_dead_letters(settings),
        latency_s=latency_of(latencies),
        score=_score(truth, decisions, {visit: d & science for visit, d in done.items()}, known or {}),
        cpu_s_per_ccd=_cpu_per_ccd(closed, costs, ccds),
        peak_rss_mb=peak_rss_mb,
        wall_s=wall_s,
        set_up_s=set_up_s,
    )


def _decisions(settings: Settings, codec: EventCodec, day_obs: int) -> dict[int, NDArray[Any]]:
    """Accepted DIASources by visit."""
    rows: dict[int, list[NDArray[Any]]] = {}
    for message in read_to_end(settings.bootstrap, "association-log"):
        decision = codec.decode(AssociationDecision, message.value() or b"")
        if day_obs_of(decision.visit) == day_obs and decision.correction is None:
            rows.setdefault(decision.visit, []).append(accepted_rows(decision))
    return {visit: np.concatenate(tables) for visit, tables in rows.items()}


def _latencies(settings: Settings, day_obs: int) -> tuple[list[float], int]:
    """Seconds from last read-out to log append of every alert on the public topic, and the number of distinct alerts."""
    latencies, seen = [], set()
    for message in read_to_end(settings.bootstrap, settings.alerts.topic):
        headers = headers_of(message)
        if day_obs_of(int(headers["visit"])) == day_obs:
            seen.add(headers["alert_id"])
            latencies.append(message.timestamp()[1] / 1000 - float(headers["last_readout_unix_s"]))
    return latencies, len(seen)


def _dead_letters(settings: Settings) -> int:
    count = 0
    for row in TOPICS:
        if row.dead_letters:
            count += sum(1 for _ in read_to_end(settings.bootstrap, dead_letter_topic(row.name)))
    return count


def _score(
    truth: Path | None,
    decisions: Mapping[int, NDArray[Any]],
    done: Mapping[int, set[int]],
    known: Mapping[str, int],
) -> NightScore | None:
    if truth is None:
        return None
    scores: list[tuple[VisitScore, int]] = []
    for visit, detectors in sorted(done.items()):
        path = truth / f"{visit}.parquet"
        if path.exists():
            rows = decisions.get(visit, np.zeros(0, dia_source_dtype()))
            score = score_visit(
                read_truth(path), rows["ra"], rows["dec"], detectors, ss_object_id=rows["ssObjectId"], known=known
            )
            scores.append((score, len(detectors)))
    return score_night(scores)


def _cpu_per_ccd(visits: list[VisitView], costs: Costs, ccds: int) -> dict[str, float]:
    """CPU seconds per science CCD: the steps inside the detector jobs, then every process of the system."""
    if not ccds:
        return {}
    steps: dict[str, float] = {}
    for visit in visits:
        for name, seconds in visit.cpu_s.items():
            step = f"step.{name.removeprefix('cpu_').removesuffix('_s')}"
            steps[step] = steps.get(step, 0.0) + seconds
    processes = {f"process.{name}": seconds for name, seconds in costs.items()}
    total = {"total": sum(costs.values())}
    return {name: seconds / ccds for name, seconds in (steps | processes | total).items()}
