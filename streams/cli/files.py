"""``nightcast isr`` and ``nightcast difference``: the night's functions on files made by others, without Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from streams.cli.common import JsonOption, console, one_sentence_errors, print_json

__all__ = ["difference", "isr"]

_File = typer.Argument(exists=True, dir_okay=False, readable=True)
_OutOption = typer.Option("--out", "-o", help="Folder for image, source table and picture; made when missing.")


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
            help="Step to leave out: bias, dark, flat, defects, amplifiers, crosstalk or all; may be repeated."
        ),
    ] = None,
    out: Annotated[Path, _OutOption] = Path("nightcast-isr"),
    as_json: JsonOption = False,
) -> None:
    """Remove the instrumental signature of a raw FITS file, and measure what is on it.

    Geometry comes from DATASEC, BIASSEC, TRIMSEC and DETSEC of the headers. A step whose master is missing must be skipped by name.
    """
    from processors.single_frame.isr import STEPS
    from streams.files.isr_command import run

    named = set(skip or ())
    unknown = named - {*STEPS, "all"}
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: steps are {', '.join(STEPS)} or all.")
    steps = frozenset(STEPS) if "all" in named else frozenset(named)
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


def _report(files: Mapping[str, Path], metrics: Mapping[str, float], notes: list[str], as_json: bool) -> None:
    if as_json:
        written = {name: str(path) for name, path in files.items()}
        print_json({**written, "metrics": dict(metrics), "notes": notes})
        return
    for name, path in files.items():
        console.print(f"{name:<8} {path}", soft_wrap=True)
    for name, value in sorted(metrics.items()):
        console.print(f"  {name:<28}{value:.6g}")
    for note in notes:
        console.print(note)
