"""``nightcast orbits``: the Moving Object Database: import a catalogue, look at orbits, fit, report and export them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from streams.cli import orbits_work
from streams.cli.common import JsonOption, console, load, one_sentence_errors, print_json, print_table

if TYPE_CHECKING:
    from processors.moving_objects.orbit_table import OrbitProblem
    from streams.moving_objects.orbit_store import OrbitsAtHand

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

app.command()(orbits_work.fit)
app.command()(orbits_work.ephemerides)
app.command()(orbits_work.report)

MOST_PROBLEMS = 20
"""Broken lines that are shown."""

_SHOWN = ("epoch_mjd_tdb", "h", "arc_days")
"""What the list shows beside names and origin."""


@app.command("import")
def import_command(
    path: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="MPCORB.DAT, extended JSON, or CSV of states; may be gzipped."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="What to call the catalogue (the file's name).")] = None,
    force: Annotated[bool, typer.Option(help="Take it although it has fewer objects than the one before.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Swap a catalogue of known orbits in, in one step.

    Broken lines are told with their numbers and the rest is read. A catalogue that lacks objects of the one before is refused.
    """
    from streams.moving_objects.files import import_file
    from streams.moving_objects.night_ephemerides import outdated_night

    with one_sentence_errors():
        settings = load()
        say, tell = (_nothing, _nothing) if as_json else (console.print, _tell_problems)
        imported = import_file(settings, path, name=name, force=force, say=say, tell=tell)
        outdated = outdated_night(settings)
    catalogue = imported.catalogue
    if as_json:
        problems = [{"line": p.line, "reason": p.reason, "text": p.text} for p in imported.problems]
        document = {"name": catalogue.name, "orbits": catalogue.count, "problems": problems}
        print_json({**document, "outdated_ephemerides": outdated})
        return
    console.print(f"{catalogue.name}: {catalogue.count} orbits are known now.")
    if outdated is not None:
        hint = f"If it has not begun: nightcast orbits ephemerides {outdated} --rebuild"
        console.print(f"The ephemerides of night {outdated} were built from the orbits before. {hint}", soft_wrap=True)


def _tell_problems(problems: tuple[OrbitProblem, ...]) -> None:
    for problem in problems[:MOST_PROBLEMS]:
        console.print(f"  {problem}", markup=False)
    if len(problems) > MOST_PROBLEMS:
        console.print(f"  and {len(problems) - MOST_PROBLEMS} more (see --json)")


def _nothing(_: object) -> None:
    return None


@app.command("list")
def list_command(
    own: Annotated[bool, typer.Option("--own", help="Only orbits of our own discoveries.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List orbits, in order of designations."""
    from streams.moving_objects.show import plain

    with one_sentence_errors():
        at_hand = _at_hand()
    chosen = at_hand.rows
    if own:
        chosen = chosen[np.isin(chosen["designation"], sorted(at_hand.own))]
    rows = [plain(row) for row in chosen[:limit]]
    if as_json:
        print_json(rows)
        return
    table = [
        (
            r["designation"],
            "own" if r["designation"] in at_hand.own else "imported",
            *(_text(r[name]) for name in _SHOWN),
        )
        for r in rows
    ]
    columns = ("designation", "origin", "epoch (MJD TDB)", "H", "arc (days)")
    print_table(f"{len(chosen)} orbits", columns, table, empty="No orbit is known: import a catalogue.")


@app.command()
def show(designation: Annotated[str, typer.Argument(help="Such as '2014 AA3'.")], as_json: JsonOption = False) -> None:
    """Show one orbit: elements with their errors, epoch, magnitude, arc."""
    from streams.moving_objects.show import describe

    with one_sentence_errors():
        found = describe(load(), designation)
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        console.print(f"{key:>24}  {_text(value)}", markup=False)


@app.command()
def export(
    path: Annotated[
        Path, typer.Argument(dir_okay=False, help="File: .dat for MPCORB, .csv for states; .gz is gzipped.")
    ],
    own: Annotated[bool, typer.Option("--own", help="Only orbits of our own discoveries.")] = False,
) -> None:
    """Write the known orbits to a file."""
    from streams.moving_objects.files import export_orbits

    with one_sentence_errors():
        count, problems = export_orbits(load(), path, own_only=own)
    console.print(f"{path}: {count} orbits", soft_wrap=True)
    for problem in problems[:MOST_PROBLEMS]:
        console.print(f"  not written: {problem}", markup=False)


def _at_hand() -> OrbitsAtHand:
    from streams.compose import Wiring
    from streams.moving_objects.orbit_store import orbits_at_hand, read_orbit_store

    settings = load()
    wiring = Wiring(settings)
    return orbits_at_hand(read_orbit_store(settings.bootstrap, wiring.codec).values(), wiring.objects)


def _text(value: Any) -> str:
    """Return a value for people; a number with its error as both."""
    if isinstance(value, dict):
        return _with_sigma(value["value"], value["sigma"])
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def _with_sigma(value: float, sigma: float | None) -> str:
    """Return a number with its error, both to the error's second digit; without an error, to ten digits."""
    if not sigma:
        return f"{value:.10g}"
    digits = min(12, max(0, 1 - math.floor(math.log10(sigma))))
    return f"{value:.{digits}f} ± {sigma:.{digits}f}"
