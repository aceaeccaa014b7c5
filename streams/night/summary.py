"""The summary of a night: what was observed, what was published, how fast, how well, at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streams.night.truth import NightScore

__all__ = ["KEYS", "Latency", "NightSummary", "latency_of", "summary_document"]

KEYS: Mapping[str, str] = {
    "day_obs": "night of observation, YYYYMMDD",
    "visits": "visits that were closed",
    "visits_cancelled": "visits that the observatory took back",
    "detectors_done": "science detectors calibrated and differenced, over all visits",
    "detectors_failed": "detectors (wavefront sensors included) without an accepted result, over all visits",
    "wavefront_done": "wavefront sensors calibrated and measured, over all visits",
    "diasources": "difference-image detections that association accepted",
    "alerts": "alerts on the public topic, each once",
    "quarantined": "packets that the semantic gate held back",
    "dead_letters": "events that could not be processed",
    "latency_s": "seconds from the last endReadout of an alert's visit to the alert durable on the public topic: p50, p95, p98, max",
    "completeness_snr8": "fraction of the simulator's true changes with true flux / predicted PSF noise > 8, outside masks, matched within 1 arcsec",
    "true_changes": "how many true changes that fraction is of",
    "false_positives_per_ccd": "mean number of DIASources on a CCD with no true change within 1 arcsec",
    "moved_stars_found": "fraction found of stars that only moved (dipoles without flux), counted apart",
    "known_asteroids": "detected sightings of asteroids that the imported catalogue has",
    "known_asteroids_recognised": "how many of them became alerts of the right Solar System object",
    "cpu_s_per_ccd": "CPU seconds per science CCD and visit, by stage",
    "peak_rss_mb": "largest sum of resident memory of all processes, MB",
    "wall_s": "seconds on the wall from the first announcement to the last manifest",
    "set_up_s": "seconds of set-up before it: engine, and simulated data release when not cached",
}
"""Documented keys of summary.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Quantiles of alert latency in seconds."""

    p50: float
    p95: float
    p98: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NightSummary:
    """Figures of one night; None where there was nothing to count."""

    day_obs: int
    visits: int
    visits_cancelled: int
    detectors_done: int
    detectors_failed: int
    wavefront_done: int
    diasources: int
    alerts: int
    quarantined: int
    dead_letters: int
    latency_s: Latency | None
    score: NightScore | None
    cpu_s_per_ccd: Mapping[str, float] = field(default_factory=dict)
    peak_rss_mb: float = 0.0
    wall_s: float = 0.0
    set_up_s: float = 0.0


def latency_of(seconds: Sequence[float]) -> Latency | None:
    """Return the quantiles of the latencies of a night's alerts, or None without any."""
    if not len(seconds):
        return None
    p50, p95, p98, largest = np.percentile(np.asarray(seconds, dtype=float), [50, 95, 98, 100])
    return Latency(p50=float(p50), p95=float(p95), p98=float(p98), max=float(largest))


def summary_document(summary: NightSummary) -> dict[str, Any]:
    """Return the summary as the JSON document whose keys `KEYS` documents, figures rounded for people."""
    score, latency = summary.score, summary.latency_s
    moved = score.moved_stars_found / score.moved_stars if score and score.moved_stars else None
    return {
        "day_obs": summary.day_obs,
        "visits": summary.visits,
        "visits_cancelled": summary.visits_cancelled,
        "detectors_done": summary.detectors_done,
        "detectors_failed": summary.detectors_failed,
        "wavefront_done": summary.wavefront_done,
        "diasources": summary.diasources,
        "alerts": summary.alerts,
        "quarantined": summary.quarantined,
        "dead_letters": summary.dead_letters,
        "latency_s": None
        if latency is None
        else {name: round(getattr(latency, name), 2) for name in ("p50", "p95", "p98", "max")},
        "completeness_snr8": _rounded(score.completeness if score else None, 4),
        "true_changes": score.true_changes if score else None,
        "false_positives_per_ccd": _rounded(score.false_positives_per_ccd if score else None, 3),
        "moved_stars_found": _rounded(moved, 4),
        "known_asteroids": score.known_asteroids if score else None,
        "known_asteroids_recognised": score.known_asteroids_recognised if score else None,
        "cpu_s_per_ccd": {name: round(value, 3) for name, value in sorted(summary.cpu_s_per_ccd.items())},
        "peak_rss_mb": round(summary.peak_rss_mb, 1),
        "wall_s": round(summary.wall_s, 1),
        "set_up_s": round(summary.set_up_s, 1),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
