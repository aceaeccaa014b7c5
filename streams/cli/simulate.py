"""``nightcast simulate``: surveys made without pixels, to search and to judge searches."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from streams.cli.common import JsonOption, console, one_sentence_errors, print_json, print_table

if TYPE_CHECKING:
    from infra.telescope.detections.survey import Survey

__all__ = ["SurveySize", "SurveyVariant", "app", "detections", "fortnight"]

app = typer.Typer(no_args_is_help=True)


class SurveySize(StrEnum):
    """How large a survey is."""

    S = "S"
    M = "M"
    L = "L"


class SurveyVariant(StrEnum):
    """Whether the survey loses what a real one loses."""

    PLAIN = "plain"
    HARD = "hard"


@app.callback()
def _simulate() -> None:
    """Keep ``simulate`` a noun with commands of its own."""


@app.command()
def detections(
    output: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, help="Folder for the tables; made when missing.")
    ],
    size: Annotated[
        SurveySize, typer.Option(help="About 70 k, 270 k or 1.1 M detections in 14 nights.")
    ] = SurveySize.S,
    variant: Annotated[
        SurveyVariant, typer.Option(help="hard has sensor gaps, bright-star masks, blends, satellites and lost nights.")
    ] = SurveyVariant.PLAIN,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 1,
    nights: Annotated[int, typer.Option(min=1, max=60, help="Nights from the first to the last.")] = 14,
    begin: Annotated[int, typer.Option(help="First night, YYYYMMDD.")] = 20260921,
    as_json: JsonOption = False,
) -> None:
    """Simulate a survey's detections of asteroids and of nothing, with the truth in files apart.

    Writes detections.parquet, visits.parquet, truth_detections.parquet, truth_objects.parquet and survey.json. The truth is
    propagated by heyoka: pip install 'nightcast\\[survey]'.
    """
    from infra.telescope.detections.files import write_survey
    from infra.telescope.detections.plan import SurveySettings
    from infra.telescope.detections.survey import simulate_survey

    with one_sentence_errors():
        settings = SurveySettings(size=size.value, variant=variant.value, seed=seed, nights=nights, begin_day_obs=begin)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            survey = simulate_survey(settings, progress=_Steps(bar))
        paths = write_survey(survey, output)
    _report(survey, paths, as_json)


class _Steps:
    """One bar for each step, made when the step first speaks."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, share: float) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._bar.add_task(step, total=1.0)
        self._bar.update(self._tasks[step], completed=share)


def _report(survey: Survey, paths: dict[str, Path], as_json: bool) -> None:
    from infra.telescope.detections.populations import CLASSES

    objects = survey.true_objects
    rows = []
    for number, name in enumerate(CLASSES):
        own = objects[objects["object_class"] == number]
        rows.append((name, len(own), int((own["n_detections"] > 0).sum()), int(own["findable"].sum())))
    if as_json:
        counts = {name: {"objects": n, "seen": seen, "findable": findable} for name, n, seen, findable in rows}
        totals = {"visits": len(survey.visits), "detections": len(survey.detections), "classes": counts}
        print_json({**totals, "files": {name: str(path) for name, path in paths.items()}})
        return
    title = f"{len(survey.detections)} detections in {len(survey.visits)} visits"
    print_table(title, ("class", "objects", "seen", "findable"), rows, empty="No classes.")
    for name, path in paths.items():
        console.print(f"{name:<17} {path}", soft_wrap=True)


@app.command()
def fortnight(
    day_obs: Annotated[int, typer.Argument(help="The simulated night, YYYYMMDD, whose asteroids are wanted.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, help="Folder for detections.parquet; made when missing.")
    ],
    visits: Annotated[int | None, typer.Option(min=1, help="Visits of that night (setting: 8).")] = None,
    camera: Annotated[str | None, typer.Option(help="Camera description (setting: demo).")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the sky (setting: 1).")] = None,
) -> None:
    """Simulate the nights before a simulated night: detections of its asteroids that no catalogue has, among false ones.

    `nightcast daymops run` discovers them, and `nightcast night` with the same sky then recognises them.
    """
    from infra.parquet import to_parquet
    from infra.telescope import plan_night
    from infra.telescope.fortnight import fortnight_detections
    from infra.telescope.sky import make_asteroids
    from schemas.camera import load_camera
    from streams.cli.common import load
    from streams.nightmops.ephemerides import mid_night_of

    with one_sentence_errors():
        night = load().night
        chosen, sky = load_camera(camera or night.camera), night.seed if seed is None else seed
        plan = plan_night(chosen, sky, day_obs, visits or night.visits, bands=night.bands, n_snaps=night.snaps)
        asteroids = make_asteroids(chosen, sky, day_obs, [visit.start_mjd_tai for visit in plan])
        rows = fortnight_detections(asteroids, sky, day_obs, mid_night_of(day_obs, night.observatory))
        output.mkdir(parents=True, exist_ok=True)
        (output / "detections.parquet").write_bytes(to_parquet(rows))
    console.print(f"{output / 'detections.parquet'}: {len(rows)} detections of 14 nights", soft_wrap=True)
