"""``nightcast jobs list|explain``: the work of a night."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column

from streams.cli.common import JsonOption, console, load, one_sentence_errors, print_json, print_table

__all__ = ["app", "explain", "list_"]

app = typer.Typer(no_args_is_help=True)

STATES = "waiting, leased, started, succeeded or ended"


@app.command("list")
def list_(
    visit: Annotated[int | None, typer.Option(help="Only jobs of this visit.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind: detector or archive.")] = None,
    state: Annotated[str | None, typer.Option(help=f"Only this state: {STATES}.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List every job with its last state."""
    from streams.compose import Wiring
    from streams.control_views import list_jobs

    settings = load()
    with one_sentence_errors():
        jobs = list_jobs(settings, Wiring(settings).registry, visit=visit, kind=kind, state=state)
    if as_json:
        print_json([asdict(job) | {"updated": _moment(job.updated_unix_s)} for job in jobs])
        return
    rows = (
        (job.job_id, job.state, job.worker, job.attempts, _clock(job.updated_unix_s), escape(job.reason))
        for job in jobs
    )
    columns = (Column("job", no_wrap=True), "state", "worker", "tries", Column("since (UTC)", no_wrap=True), "reason")
    print_table("Jobs", columns, rows, empty="There is no such job.")


@app.command()
def explain(
    job: Annotated[str, typer.Argument(help="Name of the job, such as d-2027011500001-003.")],
    as_json: JsonOption = False,
) -> None:
    """Tell everything the logs say about one job: leases, raw frames, failures, result, and the end of its visit."""
    from streams.compose import Wiring
    from streams.job_trail import read_trail

    settings = load()
    with one_sentence_errors():
        moments = read_trail(settings.bootstrap, Wiring(settings).codec, job)
    if as_json:
        print_json([asdict(moment) | {"at": _moment(moment.at_unix_s)} for moment in moments])
        return
    start = moments[0].at_unix_s
    rows = (
        (_clock(m.at_unix_s), f"+{m.at_unix_s - start:.2f} s", m.topic, m.what, _sentence(m.sentence, m.refused))
        for m in moments
    )
    columns = (Column("UTC", no_wrap=True), Column("after", no_wrap=True), "topic", "what", Column("", overflow="fold"))
    print_table(job, columns, rows, empty="")
    console.print(f"{len(moments)} events from {_moment(start)}.")


def _sentence(text: str, refused: bool) -> str:
    return escape(f"{text} (refused: its lease was not valid any more)" if refused else text)


def _clock(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%H:%M:%S.%f")[:-3]


def _moment(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")
