"""``nightcast ccd``, ``isr`` and ``difference``: the night's functions on files, without Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streams.cli.common import JsonOption, console, one_sentence_errors, print_json

__all__ = ["ccd", "difference", "isr"]

_File = typer.Argument(exists=True, dir_okay=False, readable=True)
_OutOption = typer.Option(
    "--out", "-o", file_okay=False, help="Folder for image, source table and picture; made when missing."
)


def isr(
    raw: Annotated[Path, _File],
    masters: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Master calibrations, one FITS file."),
    ] = None,
    second_snap: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The visit's other snap.")
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            help="Step to leave out: bias, dark, flat, defects, amplifiers, crosstalk, brighter_fatter, charge_transfer or all; "
            "may be repeated."
        ),
    ] = None,
    out: Annotated[Path, _OutOption] = Path("nightcast-isr"),
    as_json: JsonOption = False,
) -> None:
    """Remove the instrumental signature of a raw FITS file, and measure what is on it.

    Geometry comes from DATASEC, BIASSEC, TRIMSEC and DETSEC of the headers. A step whose master is missing must be skipped by name.
    """
    from processors.single_frame.isr import OPTIONAL_STEPS, STEPS
    from streams.files.isr_command import run

    named = set(skip or ())
    known = (*STEPS, *OPTIONAL_STEPS)
    unknown = named - {*known, "all"}
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: steps are {', '.join(known)} or all.")
    steps = frozenset(known) if "all" in named else frozenset(named)
    with one_sentence_errors():
        report = run(raw, out_dir=out, masters=masters, skip=steps, second_snap=second_snap)
    files = {"image": report.image, "sources": report.sources, "picture": report.picture}
    notes = [f"skipped: {', '.join(report.skipped)}"] if report.skipped else []
    _report(files, report.metrics, [*notes, *filter(None, [report.note])], as_json)


def difference(
    science: Annotated[Path, _File],
    template: Annotated[Path, _File],
    out: Annotated[Path, _OutOption] = Path("nightcast-difference"),
    as_json: JsonOption = False,
) -> None:
    """Subtract a template from a science image, detect and measure what changed.

    Each FITS file has an image, and may have its variance, mask and PSF. The images are laid upon each other by their WCS.
    """
    from streams.files.difference_command import run

    with one_sentence_errors():
        report = run(science, template, out_dir=out)
    files = {"image": report.image, "sources": report.sources, "picture": report.picture}
    _report(files, report.metrics, [f"registered: {report.registration}"], as_json)


def ccd(
    snaps: Annotated[
        list[Path],
        typer.Argument(exists=True, dir_okay=False, readable=True, help="Raw FITS of one CCD: two snaps, or one."),
    ],
    release: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Data release: a folder with release.json."),
    ] = None,
    masters: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Master calibrations.")] = None,
    references: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Reference catalogue.")] = None,
    template: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Template.")] = None,
    camera: Annotated[str | None, typer.Option(help="Camera description (by the header when not given).")] = None,
    positions: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="CSV or FITS table with diaObjectId, ra, dec to measure at."),
    ] = None,
    out: Annotated[Path, _OutOption] = Path("nightcast-ccd"),
    as_json: JsonOption = False,
) -> None:
    """Process one CCD from raw snaps to DIASources, and write image, catalogues, metrics and a page of plots.

    What is not given file by file is taken from the release.
    """
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from streams.files.ccd_command import STEPS, run
    from streams.files.release_files import ReleaseFiles

    files = ReleaseFiles(directory=release, masters=masters, references=references, template=template)
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    screen = Console(stderr=True)
    with (
        one_sentence_errors(),
        Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar,
    ):
        task = bar.add_task("", total=len(STEPS))

        def show(step: str, done: int, steps: int) -> None:
            bar.update(
                task, description=f"{step.replace('_', ' ')} ({min(done + 1, steps)} of {steps})", completed=done
            )

        report = run(snaps, release=files, out_dir=out, camera_name=camera, positions=positions, progress=show)
    _report(report.files, report.metrics, [f"template: {report.template}"], as_json)


def _report(files: Mapping[str, Path], metrics: Mapping[str, float], notes: list[str], as_json: bool) -> None:
    if as_json:
        written = {name: str(path) for name, path in files.items()}
        print_json({**written, "metrics": dict(metrics), "notes": notes})
        return
    for name, path in files.items():
        console.print(f"{name:<10} {path}", soft_wrap=True)
    for name, value in sorted(metrics.items()):
        console.print(f"  {name:<31} {value:.6g}")
    for note in notes:
        console.print(note)
