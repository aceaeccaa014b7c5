"""docs/benchmarks.md and its plots, composed from the result files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.benchmarks._results import FOLDER, Result, read
from tests.support.timing import Measured

__all__ = ["write_page"]

PAGE = FOLDER.with_suffix(".md")
IMAGES = FOLDER.parent / "images"

SECTIONS = {
    "Single frame": ("isr", "cosmic_rays", "background", "detection", "psf", "forced"),
    "Templates and differences": ("warp", "difference"),
    "Moving objects": (),
    "Association and alerts": ("association", "alerts"),
}
"""Benchmarks by section; what is in none is of moving objects."""

MOST_BARS = 24
MEASURED = "| what | ours, ms | peer | peer's, ms | CPU ratio | error of | ours | peer's | error ratio | remarks |"
RULE = "|---|---|---|---|---|---|---|---|---|---|"

HEAD = """# Benchmarks

Written by `make bench`: our CPU time beside a peer's, both measured one after the other in one process and one thread (the least of
three repeats, kernels compiled before; once what takes more than five seconds). A CPU ratio of 5 means that the peer takes five times as long,
an error ratio of 5 that it is five times as far from the truth. Compare ratios, not seconds. A peer is stopped after 120 CPU seconds.

`make bench ONLY="psf warp"` measures some of them again; the page is put together from the files in `docs/benchmarks/`. A benchmark
that fails does not hinder the others: what it had measured stands, with the reason.

## Runs

Each row compares within one run. Rows of two runs saw a different machine, for others use its memory and caches: do not compare their seconds.
"""

NO_RUN = "several of {day}, before runs had names"


def write_page() -> None:
    """Write the page and a plot for every section that has results."""
    results = {path.stem: read(path) for path in sorted(FOLDER.glob("*.json"))}
    known = {name for names in SECTIONS.values() for name in names}
    parts = [HEAD, _runs(list(results.values()))]
    for title, names in SECTIONS.items():
        chosen = [results[n] for n in names if n in results]
        if not names:
            chosen = [result for name, result in results.items() if name not in known]
        if chosen:
            parts.append(_section(title, chosen))
    PAGE.write_text("\n".join(parts))


def _runs(results: Sequence[Result]) -> str:
    """Table of the runs, newest first, with what each measured."""
    runs: dict[str, list[str]] = {}
    for result in results:
        runs.setdefault(_run(result), []).append(result.name.replace("_", " "))
    rows = [
        f"| {run} | {', '.join(names)} |"
        for run, names in sorted(runs.items(), key=lambda item: (item[0][0].isdigit(), item[0]), reverse=True)
    ]
    return "\n".join(["| run | benchmarks |", "|---|---|", *rows, ""])


def _run(result: Result) -> str:
    return result.run or NO_RUN.format(day=result.day)


def _section(title: str, results: Sequence[Result]) -> str:
    image = IMAGES / f"benchmarks-{title.lower().replace(' ', '-')}.png"
    rows = [row for result in results for row in result.rows if math.isfinite(row.ratio) and row.ratio > 0]
    lines = [f"## {title}", ""]
    if rows:
        _plot(rows[:MOST_BARS], image)
        lines += [f"![CPU and error of peers as multiples of ours: {title.lower()}](images/{image.name})", ""]
    for result in results:
        lines += [f"### {result.name.replace('_', ' ')}", "", result.summary, ""]
        lines += [
            f"{result.run or result.day}, {result.machine}; `make bench ONLY={result.name}`, {result.seconds:.0f} s.",
            "",
        ]
        if result.problem:
            lines += [f"Not whole: {result.problem}.", ""]
        if result.rows:
            lines += [MEASURED, RULE, *(_line(row) for row in result.rows), ""]
    return "\n".join(lines)


def _line(row: Measured) -> str:
    errors = [row.error_of, _number(row.ours_error), _number(row.peer_error), _number(row.error_ratio)]
    times = [row.what, _number(row.ours_s * 1e3), row.peer, _number(row.peer_s * 1e3), _number(row.ratio)]
    return "| " + " | ".join([*times, *errors, row.note.replace("|", "/")]) + " |"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return ""
    text = f"{value:.3g}"
    return f"{value:,.0f}" if "e+" in text else text


def _plot(rows: Sequence[Measured], path: Path) -> None:
    """Bars of the CPU ratio and points of the error ratio, on a logarithmic axis; right of 1 ours is better."""
    figure = Figure(figsize=(8.5, 0.8 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    place = np.arange(len(rows))[::-1]
    cpu = np.array([row.ratio for row in rows])
    axes.barh(
        place, np.log10(cpu), height=0.6, color=["#4477aa" if r >= 1 else "#cc6677" for r in cpu], label="CPU time"
    )
    error = np.array([row.error_ratio for row in rows])
    shown = np.isfinite(error) & (error > 0)
    if shown.any():
        axes.plot(np.log10(error[shown]), place[shown], "o", color="#ddaa33", markeredgecolor="black", label="error")
        axes.legend(loc="best", fontsize=8)
    low, high = axes.get_xlim()
    ticks = np.arange(np.floor(low), np.ceil(high) + 1)
    axes.set_xticks(ticks, [f"{10.0**t:g}" for t in ticks])
    axes.set_yticks(place, [f"{_short(row.what, 42)}: {_short(row.peer, 30)}" for row in rows], fontsize=7)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_xlabel("peer's over ours")
    FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
