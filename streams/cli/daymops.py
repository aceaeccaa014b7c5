"""``nightcast daymops``: ask for a night, or for the nights of a folder of detections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from streams.cli.common import JsonOption, console, load, one_sentence_errors, print_json, print_table
from streams.daymops.words import sentence_of

if TYPE_CHECKING:
    from schemas.events import OrbitDetermined
    from streams.daymops.run import DayRun

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

SHOWN = 30
"""Orbits that are listed."""


@app.callback()
def _daymops() -> None:
    """Keep ``daymops`` a noun with commands of its own."""


@app.command()
def run(
    day_obs: Annotated[int, typer.Argument(help="Night, YYYYMMDD: the last one to look at.")],
    detections: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder with detections.parquet (see `nightcast simulate`) in place of the night's own.",
        ),
    ] = None,
    window: Annotated[int, typer.Option(min=1, max=60, help="Nights of the folder that are handed over.")] = 14,
    as_json: JsonOption = False,
) -> None:
    """Ask DayMOPS for a night, or for the nights of a folder one after the other, and show what it knows then.

    The stage links them with the nights before, fits orbits, and puts them into the Moving Object Database. Repeating a run changes
    nothing. Objects are recognised in the visits of the nights that follow.
    """
    from infra.telescope.detections.files import read_table
    from streams.daymops.run import nights_by_hand, run_nights

    with one_sentence_errors(), Progress(console=Console(stderr=True), transient=True) as bar:
        settings = load()
        nights = [] if detections is None else nights_by_hand(read_table(detections, "detections"), day_obs, window)
        task = bar.add_task("asking", total=None)

        def show(night: str, done: int, count: int) -> None:
            bar.update(task, description=f"linking night {night}", completed=done, total=count)

        result = run_nights(settings, day_obs, nights, progress=show)
    if as_json:
        print_json(_document(day_obs, result))
        return
    decision = result.decision
    if decision is not None:
        console.print(sentence_of(decision), markup=False)
    last = day_obs if decision is None else decision.day_obs  # a folder may end before the night that was asked for
    title = f"{len(result.orbits)} objects of our own after night {last}"
    columns = ("designation", "detections", "arc (days)", "H", "may be reported")
    rows = [_row(name, fact) for name, fact in result.orbits[:SHOWN]]
    print_table(title, columns, rows, empty="Nothing was linked.")
    if not result.new:
        console.print(f"The log had the decision on night {last} already.")


def _document(day_obs: int, result: DayRun) -> dict[str, Any]:
    orbits = [
        {"designation": name, "arc_days": round(float(fact.arc_days), 3), "why_not_reported": list(fact.reasons)}
        for name, fact in result.orbits
    ]
    counts = {} if result.decision is None else dict(result.decision.counts)
    return {"day_obs": day_obs, "new": bool(result.new), "counts": counts, "orbits": orbits}


def _row(designation: str, fact: OrbitDetermined) -> tuple[str, ...]:
    magnitude = "" if fact.absolute_magnitude is None else f"{fact.absolute_magnitude:.1f}"
    return designation, str(fact.n_detections), f"{fact.arc_days:.1f}", magnitude, "; ".join(fact.reasons) or "yes"
