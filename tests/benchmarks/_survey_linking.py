"""Link one simulated survey and keep what it cost and found: ``python -m tests.benchmarks._survey_linking M plain 922 batch [FOLDER]``.

The fourth word is ``batch`` (the whole window at once) or ``nightly``. With a folder the survey is read from it, or simulated and
written to it; without one the folder is temporary. The search has a process to itself, `_linking_process`, so that the memory is the
search's alone. The answer goes to docs/benchmarks/surveys/ as JSON: the benchmark ``linking`` shows it, and the figures of
docs/explanation/moving-objects.md are drawn from it. Kernels should have been compiled before: run size S first.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from infra.ephemerides import load_solar_system, observatory
from infra.telescope.detections.files import read_table, write_survey
from infra.telescope.detections.plan import SurveySettings
from infra.telescope.detections.survey import simulate_survey
from processors.moving_objects.detections import DETECTION
from processors.moving_objects.observers import observer_states
from tests.benchmarks import _linking_process
from tests.benchmarks._linking_process import (
    DETECTIONS,
    OBSERVERS,
    Cost,
    by_night,
    forget_peak,
    in_batch,
    memory_mb,
    night_by_night,
)
from tests.benchmarks._results import machine
from tests.support.linking_score import LinkingScore, score_links

__all__ = ["FOLDER", "Sky", "kept_surveys", "measured", "measured_apart", "simulated", "stored", "survey_path"]

Array = np.ndarray[Any, Any]

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks" / "surveys"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sky:
    """What a search may see of a survey, and the truth that judges it, read when it is asked for."""

    detections: Array
    observers: Array
    """Heliocentric states of Rubin at each."""
    truth: Callable[[], tuple[Array, Array]]
    """Gives the true detections and the true objects."""


def survey_path(size: str, variant: str, seed: int, way: str) -> Path:
    """Return the file of one measurement."""
    return FOLDER / f"{size}-{variant}-{seed}-{way}.json"


def kept_surveys(pattern: str) -> dict[str, dict[str, Any]]:
    """Return what was measured and kept, by name: size, variant, seed and way."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob(pattern))}


def simulated(settings: SurveySettings) -> Sky:
    """Simulate a survey in this process."""
    survey = simulate_survey(settings)
    rows = survey.detections.astype(DETECTION)
    return Sky(
        detections=rows, observers=observers_of(rows), truth=lambda: (survey.true_detections, survey.true_objects)
    )


def stored(settings: SurveySettings, folder: Path) -> Sky:
    """Return the survey of a folder of ``nightcast simulate detections``; what is missing there is made."""
    if not (folder / "survey.json").exists():
        write_survey(simulate_survey(settings), folder)
    known = json.loads((folder / "survey.json").read_text())
    if any(known[name] != getattr(settings, name) for name in ("size", "variant", "seed")):
        sys.exit(f"{folder} holds another survey.")
    rows = read_table(folder, "detections").astype(DETECTION)
    if not (folder / DETECTIONS).exists():
        np.save(folder / DETECTIONS, rows)
    if not (folder / OBSERVERS).exists():
        np.save(folder / OBSERVERS, observers_of(rows))
    return Sky(
        detections=rows,
        observers=np.load(folder / OBSERVERS),
        truth=lambda: (read_table(folder, "truth_detections"), read_table(folder, "truth_objects")),
    )


def observers_of(detections: Array) -> Array:
    """Return the heliocentric states of Rubin at the detections."""
    times, place = np.unique(detections["midpoint_mjd_tai"], return_inverse=True)
    system = load_solar_system(float(times[0]) - 2.0, float(times[-1]) + 2.0)
    return np.asarray(observer_states(system, observatory("X05"), times))[place]


def measured(sky: Sky, way: str) -> dict[str, Any]:
    """Link a survey in one way in this process; return what it cost, step by step, and what it found and lost."""
    forget_peak()
    detections, observers = sky.detections, sky.observers
    members, cost = (
        in_batch(detections, observers) if way == "batch" else night_by_night(by_night(detections, observers))
    )
    return _judged_with_cost(sky, members, {"peak_mb": round(memory_mb("VmHWM")), **cost})


def measured_apart(settings: SurveySettings, folder: Path, way: str) -> dict[str, Any]:
    """Return the same of a search that has a process to itself, whose memory holds no simulator and no truth."""
    sky = stored(settings, folder)
    words = [sys.executable, "-m", _linking_process.__name__, str(folder), way]
    answer = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    return _judged_with_cost(sky, [np.array(m, np.int64) for m in answer["members"]], answer["cost"])


def _judged_with_cost(sky: Sky, members: list[Array], cost: Cost) -> dict[str, Any]:
    true_detections, true_objects = sky.truth()
    score = score_links(members, sky.detections, true_detections, true_objects)
    return {
        "detections": len(sky.detections),
        **cost,
        **judged(score, sky.detections, true_detections, true_objects),
    }


def judged(score: LinkingScore, detections: Array, true_detections: Array, true_objects: Array) -> dict[str, Any]:
    """Return the score with what is known of the objects that were lost."""
    classes = {}
    for name, result in score.classes.items():
        lost = [_described(o, detections, true_detections, true_objects) for o in result.missed[:200]]
        classes[name] = {"findable": result.findable, "found": result.found, "lost": lost}
    return {
        "classes": classes,
        "links": score.links,
        "pure": score.pure,
        "recovered": score.detections_recovered,
        "split": score.split_objects,
        "reused": score.reused_detections,
    }


def _described(object_id: int, detections: Array, true_detections: Array, true_objects: Array) -> dict[str, float]:
    """Return distance to the Sun, detections and greatest rate of an object."""
    (truth,) = true_objects[true_objects["object_id"] == object_id]
    rows = detections[true_detections["object_id"] == object_id]
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


def main(size: str, variant: str, seed: str, way: str, folder: str = "") -> None:
    """Simulate or read, link in a process apart, judge, print and keep."""
    settings = SurveySettings(size=size, variant=variant, seed=int(seed))
    stamp = {"day": datetime.now(UTC).date().isoformat(), "machine": machine()}
    with tempfile.TemporaryDirectory() as scratch:
        kept = _rounded({**stamp, **measured_apart(settings, Path(folder or scratch), way)})
    FOLDER.mkdir(parents=True, exist_ok=True)
    survey_path(size, variant, int(seed), way).write_text(json.dumps(kept, indent=1) + "\n")
    print(f"{size} {variant} {seed} {way}: {kept['cpu_s']} CPU s, {kept['peak_mb']} MB")
    for name, one in kept["classes"].items():
        print(f"  {name} {one['found']} of {one['findable']}")
    print(f"  pure {kept['pure']} of {kept['links']}, recovered {kept['recovered']}, split {kept['split']}")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main(*sys.argv[1:])
