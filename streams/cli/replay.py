"""``nightcast replay record|run|compare|forget``: the same night again, and whether it came out the same."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column

from streams.cli.common import JsonOption, console, load, one_sentence_errors, print_json, print_table

if TYPE_CHECKING:
    from streams.replay.compare import Comparison

__all__ = ["app", "compare", "forget", "record", "run"]

app = typer.Typer(no_args_is_help=True)

SHOWN = 10
"""Differences of a topic that are shown to people; JSON has all of them."""


@app.command()
def record(
    day_obs: Annotated[int, typer.Argument(help="Night, YYYYMMDD.")],
    to: Annotated[Path | None, typer.Option(help="File (default: recording.avro in the night's folder).")] = None,
    alone: Annotated[
        bool, typer.Option("--alone", help="Leave earlier nights out; the replay then begins with an empty sky.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write what a night was made of into a file: messages of the observatory, hashes of raw frames, data release."""
    from streams.compose import Wiring
    from streams.replay.record import record_night
    from streams.replay.recording import write_recording

    settings = load()
    file = to or settings.night_dir(day_obs) / "recording.avro"
    with one_sentence_errors():
        recording = record_night(settings, Wiring(settings), day_obs, alone=alone)
        write_recording(file, recording)
    header = recording.header
    frames = sum(entry.text is None for entry in header.files)
    if as_json:
        figures = {"nights": header.nights, "visits": len(header.visits), "messages": len(recording.messages)}
        print_json({"file": str(file), **figures, "frames": frames})
        return
    console.print(
        f"Recorded {len(header.visits)} visits of {len(header.nights)} night(s): {len(recording.messages)} messages and "
        f"{frames} raw frames. Play them with: nightcast replay run {file}",
        soft_wrap=True,
    )


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="A recording.")],
    pace: Annotated[str, typer.Option(help="real, a factor such as 4, or flat-out.")] = "flat-out",
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the replay's own system (default: replays/NAME beside the data).")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the replay's system running, with its pages.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Play a recording into a second system with topics, ports and data of its own, until all visits are published."""
    from streams.replay.pacing import parse_pace
    from streams.replay.recording import read_recording
    from streams.replay.run import run_replay

    settings = load()
    out = Console(stderr=True, highlight=False) if as_json else console
    with one_sentence_errors():
        speed = parse_pace(pace)
        recording = read_recording(file)
        name = str(recording.header.nights[-1])
        folder = (data_dir or settings.data_dir / "replays" / name).expanduser().absolute()
        done = run_replay(recording, settings, folder, pace=speed, keep=keep, say=_printer(out))
    if as_json:
        print_json(asdict(done))
        return
    console.print(f"Replayed {done.visits} visits with {done.alerts} alerts in {done.wall_s:.0f} s.")
    console.print(f"Compare it: nightcast replay compare {settings.data_dir} {done.folder}", soft_wrap=True)
    console.print(f"Remove it: nightcast replay forget {done.folder}", soft_wrap=True)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="Data directory or address of a cluster.")],
    second: Annotated[str, typer.Argument(help="Data directory or address of another one.")],
    night: Annotated[list[int] | None, typer.Option(help="Only this night, YYYYMMDD; may be repeated.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two runs byte for byte: missing, extra and changed records, latency; exit code 1 when they differ."""
    from streams.replay.engines import opened_log
    from streams.replay.logs import compare_runs, read_run

    with one_sentence_errors():
        runs = []
        for where in (first, second):
            with opened_log(where) as bootstrap:
                runs.append(read_run(bootstrap, night or ()))
        found = compare_runs(*runs)
    if as_json:
        print_json(_document(found))
    else:
        _show(found)
    if not found.identical:
        raise typer.Exit(1)


@app.command()
def forget(
    folder: Annotated[Path, typer.Argument(help="Data directory of a replay.")],
) -> None:
    """Stop a replay's system and remove its data; other folders are refused."""
    from streams.replay.engines import forget as remove

    with one_sentence_errors():
        remove(folder.expanduser().absolute())
    console.print(f"{folder} is gone.", soft_wrap=True)


def _printer(out: Console) -> Any:
    return lambda sentence: out.print(sentence, markup=False, soft_wrap=True)


def _show(found: Comparison) -> None:
    rows = [
        (
            t.topic,
            t.same,
            len(t.missing),
            len(t.extra),
            len(t.changed),
            len(t.conflicts),
            "yes" if t.identical else "NO",
        )
        for t in found.topics
    ]
    columns = (Column("topic", no_wrap=True), "same", "missing", "extra", "changed", "contradictory", "identical")
    print_table("Second run beside the first", columns, rows, empty="")
    for topic in found.topics:
        for change in topic.changed[:SHOWN]:
            where = ":".join(map(str, change.key))
            text = f"{topic.topic} {where}: {change.field} was {change.left}, is {change.right}"
            console.print(text, markup=False, soft_wrap=True)
    if found.latency is not None:
        shift = found.latency
        console.print(
            f"Latency of {shift.alerts} alerts: p50 {shift.first_p50_s:.1f} s, then {shift.second_p50_s:.1f} s; "
            f"p95 {shift.first_p95_s:.1f} s, then {shift.second_p95_s:.1f} s; largest shift {shift.largest_shift_s:+.1f} s."
        )
    verdict = "The second run gave the same records, byte for byte." if found.identical else "The two runs differ."
    console.print(verdict)


def _document(found: Comparison) -> dict[str, Any]:
    """Return the comparison for programs; keys, which hold identifiers, as text."""

    def text(keys: Any) -> list[str]:
        return [":".join(map(str, key)) for key in keys]

    topics = {
        t.topic: {
            "identical": t.identical,
            "same": t.same,
            "missing": text(t.missing),
            "extra": text(t.extra),
            "changed": [asdict(c) | {"key": ":".join(map(str, c.key))} for c in t.changed],
            "contradictory": text(t.conflicts),
        }
        for t in found.topics
    }
    latency = None if found.latency is None else asdict(found.latency)
    return {"identical": found.identical, "topics": topics, "latency_s": latency}
