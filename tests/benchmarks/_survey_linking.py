"""Link one simulated survey and keep what it cost and found: ``python -m tests.benchmarks._survey_linking M plain 921 batch``.

The last word is ``batch`` (the whole window at once) or ``nightly``. The answer goes to docs/benchmarks/surveys/ as JSON, which the
figures of docs/explanation/moving-objects.md are drawn from. Kernels should have been compiled before: run it twice, or size S first.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from infra.ephemerides import load_solar_system, observatory
from infra.telescope.detections.plan import SurveySettings
from infra.telescope.detections.survey import Survey, simulate_survey
from processors.moving_objects.detections import DETECTION, night_numbers
from processors.moving_objects.linking import link, window_of
from processors.moving_objects.linking_nightly import begin, link_night
from processors.moving_objects.observers import observer_states
from processors.moving_objects.tracklet_pruning import plausible_tracklets, stationary_detections
from processors.moving_objects.tracklets import form_tracklets
from tests.support.linking_score import LinkingScore, score_links

__all__ = ["FOLDER", "observers_of", "survey_path"]

Array = np.ndarray[Any, Any]

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks" / "surveys"


def survey_path(size: str, variant: str, seed: int, way: str) -> Path:
    """Return the file of one measurement."""
    return FOLDER / f"{size}-{variant}-{seed}-{way}.json"


def observers_of(detections: Array) -> Array:
    """Return the states of Rubin at the detections."""
    times, place = np.unique(detections["midpoint_mjd_tai"], return_inverse=True)
    system = load_solar_system(float(times[0]) - 2.0, float(times[-1]) + 2.0)
    return np.asarray(observer_states(system, observatory("X05"), times))[place]


def in_batch(detections: Array, observers: Array) -> tuple[list[Array], dict[str, Any]]:
    """Return the detection_id of each link of the whole window, and the cost and the pool left by each family."""
    started = time.process_time()
    order = np.lexsort((detections["detection_id"], detections["visit"], detections["midpoint_mjd_tai"]))
    rows, own = detections[order], np.ascontiguousarray(observers[order])
    window = window_of(rows, own, form_tracklets(rows, own))
    formed = len(window.tracklets)
    likely = plausible_tracklets(rows, window.tracklets, window.index)
    likely &= window.tracklets.untouched(stationary_detections(rows))
    window.tracklets = window.tracklets.where(likely)
    last, families = [time.process_time()], []
    families.append({"name": "tracklets", "links": 0, "pool": len(window.tracklets), "cpu_s": last[0] - started})

    def note(name: str, links: int) -> None:
        now = time.process_time()
        pool = int(window.tracklets.untouched(window.taken).sum())
        families.append({"name": name, "links": links, "pool": pool, "cpu_s": now - last[0]})
        last[0] = time.process_time()

    found = link(window, progress=note)
    members = [rows["detection_id"][found.members[a:b]] for a, b in zip(found.offsets, found.offsets[1:], strict=False)]
    cost = {"cpu_s": time.process_time() - started, "formed": formed, "families": families}
    return members, cost


def night_by_night(detections: Array, observers: Array) -> tuple[list[Array], dict[str, Any]]:
    """Return the links after the last night, and what each night cost and left."""
    number, state, nights = night_numbers(detections["midpoint_mjd_tai"]), begin(), []
    for night in np.unique(number):
        own = np.flatnonzero(number == night)
        started = time.process_time()
        state, _ = link_night(state, detections[own], observers[own])
        cpu = time.process_time() - started
        nights.append({"cpu_s": cpu, "detections": len(own), "links": len(state.links), "pool": len(state.tracklets)})
    return state.members(), {"cpu_s": sum(n["cpu_s"] for n in nights), "nights": nights}


def forget_peak() -> None:
    """Let the kernel count this process's greatest memory anew: simulating the survey takes more than linking it."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """Return the greatest memory of the process since then, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000.0


def judged(score: LinkingScore, survey: Survey) -> dict[str, Any]:
    """Return the score with what is known of the objects that were lost."""
    classes = {}
    for name, result in score.classes.items():
        lost = [_described(survey, object_id) for object_id in result.missed[:200]]
        classes[name] = {"findable": result.findable, "found": result.found, "lost": lost}
    return {
        "classes": classes,
        "links": score.links,
        "pure": score.pure,
        "recovered": score.detections_recovered,
        "split": score.split_objects,
        "reused": score.reused_detections,
    }


def _described(survey: Survey, object_id: int) -> dict[str, float]:
    """Return distance to the Sun, detections and greatest rate of an object."""
    (truth,) = survey.true_objects[survey.true_objects["object_id"] == object_id]
    rows = survey.detections[survey.true_detections["object_id"] == object_id]
    step = np.diff(rows["midpoint_mjd_tai"])
    east = np.diff(rows["ra"]) * np.cos(np.radians(rows["dec"][1:]))
    rate = np.hypot(east, np.diff(rows["dec"])) / np.maximum(step, 1e-9)
    return {
        "object_id": object_id,
        "helio_au": float(np.linalg.norm(truth["state"][:3])),
        "detections": len(rows),
        "good_nights": int(truth["n_good_nights"]),
        "rate_deg_per_day": float(rate[step < 0.2].max(initial=0.0)),
    }


def main(size: str, variant: str, seed: str, way: str) -> None:
    """Simulate, link, judge, print and keep."""
    survey = simulate_survey(SurveySettings(size=size, variant=variant, seed=int(seed)))
    detections = survey.detections.astype(DETECTION)
    observers = observers_of(detections)
    forget_peak()
    members, cost = (in_batch if way == "batch" else night_by_night)(detections, observers)
    peak = peak_mb()
    score = score_links(members, survey.detections, survey.true_detections, survey.true_objects)
    kept = {"detections": len(detections), "peak_mb": round(peak), **cost, **judged(score, survey)}
    FOLDER.mkdir(parents=True, exist_ok=True)
    survey_path(size, variant, int(seed), way).write_text(json.dumps(_rounded(kept), indent=1) + "\n")
    print(f"{size} {variant} {seed} {way}: {cost['cpu_s']:.1f} CPU s, {peak:.0f} MB")
    print("\n".join(score.lines()))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main(*sys.argv[1:])
