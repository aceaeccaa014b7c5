"""``nightcast daymops``: link the detections of many nights, fit orbits, keep what was discovered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from streams.cli.common import JsonOption, console, load, one_sentence_errors, print_json, print_table

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

SHOWN = 30
"""Orbits that are listed."""


@app.callback()
def _daymops() -> None:
    """Keep ``daymops`` a noun with commands of its own."""


@app.command()
def run(
    day_obs: Annotated[int, typer.Argument(help="Night, YYYYMMDD: the last one of the window.")],
    detections: Annotated[
        Path,
        typer.Option(exists=True, file_okay=False, help="Folder with detections.parquet (see `nightcast simulate`)."),
    ],
    window: Annotated[int, typer.Option(min=3, max=60, help="Nights that are linked with each other.")] = 14,
    as_json: JsonOption = False,
) -> None:
    """Link a window of nights, fit the orbits of what is linked, and put them into the Moving Object Database.

    Repeating a run changes nothing. Objects are recognised in the visits of the nights that follow.
    """
    from infra.telescope.detections.files import read_table
    from streams.daymops.run import run_night

    with one_sentence_errors(), Progress(console=Console(stderr=True), transient=True) as bar:
        settings = load()
        rows = read_table(detections, "detections")
        task = bar.add_task("reading", total=None)

        def show(night: str, done: int, nights: int) -> None:
            bar.update(task, description=f"linking night {night}", completed=done, total=nights)

        result = run_night(settings, rows, day_obs, window_nights=window, progress=show)
    found = result.discoveries
    if as_json:
        orbits = [
            {
                "designation": str(row["designation"]),
                "arc_days": round(float(row["arc_days"]), 3),
                "why_not_reported": why,
            }
            for row, why in zip(found.rows, found.reasons, strict=True)
        ]
        print_json({"day_obs": day_obs, "new": result.is_new, "counts": dict(result.decision.counts), "orbits": orbits})
        return
    table = [
        (
            row["designation"],
            row["n_observations"],
            f"{row['arc_days']:.1f}",
            f"{row['h']:.1f}",
            "; ".join(why) or "yes",
        )
        for row, why in zip(found.rows[:SHOWN], found.reasons[:SHOWN], strict=True)
    ]
    columns = ("designation", "detections", "arc (days)", "H", "may be reported")
    print_table(f"{len(found)} orbits from night {day_obs}", columns, table, empty="Nothing was linked.")
    if not result.is_new:
        console.print("The log had this decision already.")
