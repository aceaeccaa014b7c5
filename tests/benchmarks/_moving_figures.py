"""Draw the figures of docs/explanation/moving-objects.md: ``python -m tests.benchmarks._moving_figures``.

The first is computed from a small survey; the others show what `_survey_linking` and the benchmark ``nightmops`` have measured
and kept under docs/benchmarks/. A figure whose measurements are not there is left as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from processors.moving_objects.hypotheses import ARRIVAL, Cell, arrivals
from processors.moving_objects.linking import Window, window_of
from processors.moving_objects.tracklets import form_tracklets
from tests.benchmarks._results import FOLDER, read
from tests.benchmarks._survey_linking import FOLDER as SURVEYS
from tests.support.small_survey import small_survey

__all__ = ["main"]

Array = np.ndarray[Any, Any]

IMAGES = FOLDER.parent / "images"
SHOWN = 8
"""Objects in the first figure."""

BLUE, RED, GOLD, GREEN = "#4477aa", "#cc6677", "#ddaa33", "#228833"
CLASSES = ("MBA", "JT", "TNO", "NEO")


def main() -> None:
    """Draw all figures."""
    for name, draw in (("hypothesis", hypothesis), ("pool", pool), ("found", found), ("nights", nights)):
        _write(f"moving-{name}.png", draw())
    _write("nightmops-scaling.png", scaling())


def _write(name: str, figure: Figure | None) -> None:
    if figure is not None:
        FigureCanvasAgg(figure).print_png(str(IMAGES / name), metadata={"Software": None})
        print(f"wrote {name}")


def _figure(columns: int, width: float = 8.5, height: float = 3.4) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(width, height), dpi=90, layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, columns)))


def _surveys(pattern: str) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(SURVEYS.glob(pattern))}


def hypothesis() -> Figure:
    """Tracklets of some main-belt asteroids where they were seen, and where three hypotheses about range bring them."""
    survey = small_survey(seed=5, counts=(SHOWN, 0, 0, 0), false_per_visit=0)
    window = window_of(survey.detections, survey.observers, form_tracklets(survey.detections, survey.observers))
    pool = window.tracklets
    owner, last = survey.owner[pool.members[pool.offsets[:-1]]], survey.owner[pool.members[pool.offsets[1:] - 1]]
    true = np.flatnonzero(owner == last)
    figure, axes = _figure(3)
    _scatter(axes[0], pool.vector[true], pool.vector[true], owner[true])
    axes[0].set_title("where the tracklets were seen", fontsize=9)
    for panel, (distance, title) in zip(axes[1:], ((0.5, "if 0.5 au away"), (1.65, "if 1.65 au away")), strict=True):
        places, which = _arrived(window, distance)
        kept = np.isin(which, true)
        _scatter(panel, places[kept], pool.vector[true], owner[which[kept]])
        panel.set_title(f"their arrivals, {title}", fontsize=9)
    return figure


def _arrived(window: Window, distance: float) -> tuple[Array, Array]:
    pool = window.tracklets
    out, which = np.empty((len(pool), ARRIVAL), np.float32), np.empty(len(pool), np.int64)
    cell = Cell(gamma=1 / distance, gamma_half=0.1, gamma_dot=0.0, gamma_dot_half=0.01, slowest=0.0, fastest=0.02)
    count = arrivals(
        pool.mjd_tai, pool.vector, pool.rate, pool.rate_sigma, pool.observer, window.view, window.epoch, cell.numbers(),
        out, which,
    )  # fmt: skip
    return out[:count, :3].astype(np.float64), which[:count]


def _scatter(axes: Axes, vectors: Array, about: Array, owner: Array) -> None:
    """Draw directions on the tangent plane about the mean of some, degrees, a colour for each object."""
    centre = about.mean(axis=0) / np.linalg.norm(about.mean(axis=0))
    east = np.cross([0.0, 0.0, 1.0], centre)
    east /= np.linalg.norm(east)
    x, y = np.degrees(vectors @ east), np.degrees(vectors @ np.cross(centre, east))
    axes.scatter(x, y, c=owner % 10, cmap="tab10", s=14)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("east, degrees", fontsize=8)
    axes.tick_params(labelsize=7)


def pool() -> Figure | None:
    """How the pool of free tracklets shrinks from family to family, and what each family costs."""
    measured = {name: m for name, m in _surveys("*-plain-*-batch.json").items() if name[0] in "ML" and "families" in m}
    chosen = {size: next((m for name, m in measured.items() if name[0] == size), None) for size in "ML"}
    if not any(chosen.values()):
        return None
    figure, (left, right) = _figure(2)
    names = [f["name"] for f in max((m["families"] for m in chosen.values() if m), key=len)]
    for number, (size, m) in enumerate((s, m) for s, m in chosen.items() if m):
        place = np.array([names.index(f["name"]) for f in m["families"]])
        if all("pool" in f for f in m["families"]):
            left.semilogy(
                place, [f["pool"] for f in m["families"]], "o-", color=(BLUE, RED)[number], label=f"size {size}"
            )
        right.bar(
            place + 0.4 * number - 0.2,
            [f["cpu_s"] for f in m["families"]],
            0.4,
            color=(BLUE, RED)[number],
            label=f"size {size}",
        )
    for axes in (left, right):
        axes.set_xticks(np.arange(len(names)), names, rotation=35, ha="right", fontsize=8)
    left.set_ylabel("free tracklets afterwards", fontsize=8)
    right.set_ylabel("CPU seconds", fontsize=8)
    right.set_yscale("log")
    right.legend(fontsize=8)
    left.legend(fontsize=8)
    return figure


def found() -> Figure | None:
    """Completeness by class and way, and distance and rate of every object that was lost."""
    measured = _surveys("*.json")
    if not measured:
        return None
    figure, (left, right) = _figure(2)
    ways = {
        "batch": [m for n, m in measured.items() if n[0] in "ML" and "-plain-" in n and n.endswith("-batch")],
        "night by night": [
            m for n, m in measured.items() if n[0] in "ML" and "-plain-" in n and n.endswith("-nightly")
        ],
        "heliolinx (M)": [m for n, m in measured.items() if n.endswith("-heliolinx")],
    }
    for number, (way, group) in enumerate(ways.items()):
        share = [
            100 * sum(m["classes"][c]["found"] for m in group) / max(1, sum(m["classes"][c]["findable"] for m in group))
            for c in CLASSES
        ]
        if group:
            left.bar(np.arange(4) + 0.27 * (number - 1), share, 0.27, color=(BLUE, GREEN, RED)[number], label=way)
    left.set_xticks(np.arange(4), ["main belt", "Trojans", "distant", "near Earth"], fontsize=8)
    left.set_ylim(60, 100.5)
    left.set_ylabel("found of the findable, %", fontsize=8)
    if left.containers:
        left.legend(fontsize=7, loc="lower left")
    _lost(right, measured)
    return figure


def _lost(axes: Axes, measured: dict[str, dict[str, Any]]) -> None:
    kinds = ((BLUE, "o", "-batch"), (GREEN, "s", "-nightly"), (RED, "x", "-heliolinx"))
    for colour, marker, ending in kinds:
        lost = [
            (one["helio_au"], one["rate_deg_per_day"])
            for name, m in measured.items()
            if name.endswith(ending)
            for c in CLASSES
            for one in m["classes"][c].get("lost", ())
        ]
        if lost:
            axes.loglog(
                *np.array(lost).T, marker, color=colour, markersize=4, linestyle="", label=f"lost: {ending[1:]}"
            )
    axes.set_xlabel("distance to the Sun, au", fontsize=8)
    axes.set_ylabel("greatest rate, degrees a day", fontsize=8)
    if axes.lines:
        axes.legend(fontsize=7)


def nights() -> Figure | None:
    """What each night costs, beside the whole window at once, and how the links grow."""
    measured = _surveys("*-plain-*-nightly.json")
    chosen = {
        size: next((n for n in reversed(measured) if n[0] == size and "nights" in measured[n]), None) for size in "ML"
    }
    if not any(chosen.values()):
        return None
    figure, (left, right) = _figure(2)
    for number, (size, name) in enumerate((s, n) for s, n in chosen.items() if n):
        colour, night = (BLUE, RED)[number], np.arange(1, len(measured[name]["nights"]) + 1)
        left.semilogy(night, [n["cpu_s"] for n in measured[name]["nights"]], "o-", color=colour, label=f"size {size}")
        batch = SURVEYS / f"{name.removesuffix('nightly')}batch.json"
        if batch.exists():
            left.axhline(
                json.loads(batch.read_text())["cpu_s"], color=colour, linestyle=":", label=f"size {size} at once"
            )
        right.semilogy(
            night, [max(1, n["links"]) for n in measured[name]["nights"]], "o-", color=colour, label=f"links, {size}"
        )
        right.semilogy(
            night, [n["pool"] for n in measured[name]["nights"]], "--", color=colour, label=f"free tracklets, {size}"
        )
    left.set_ylabel("CPU seconds a night", fontsize=8)
    for axes in (left, right):
        axes.set_xlabel("night", fontsize=8)
        axes.legend(fontsize=7)
    return figure


def scaling() -> Figure | None:
    """Build and query of the night's catalogue by its size, with what looking at every object costs."""
    path: Path = FOLDER / "nightmops.json"
    if not path.exists():
        return None
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in read(path).rows:
        size = re.search(r"([\d.]+) M", row.what)
        if not size:
            continue
        where = (
            "build"
            if "build" in row.what
            else ("visit, opposition" if "opposition" in row.what else "visit, 60 deg from the Sun")
        )
        lines.setdefault(where, []).append((float(size[1]) * 1e6, row.ours_s))
        if "opposition" in row.what:
            lines.setdefault("visit, every object looked at", []).append((float(size[1]) * 1e6, row.peer_s))
    figure, (axes,) = _figure(1, width=5.5, height=3.8)
    for colour, (label, points) in zip((BLUE, GREEN, GOLD, RED), sorted(lines.items()), strict=False):
        axes.loglog(*np.array(sorted(points)).T, "o-", color=colour, label=label)
    axes.set_xlabel("objects", fontsize=8)
    axes.set_ylabel("CPU seconds", fontsize=8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    main()
