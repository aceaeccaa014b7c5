"""``nightcast up``, ``down``, ``status``, ``doctor``: the whole system on this machine."""

from __future__ import annotations

import time

import typer

from streams.cli.common import JsonOption, console, load, one_sentence_errors, print_json, print_table

__all__ = ["doctor", "down", "status", "up"]


def up() -> None:
    """Start the broker, the registry and every stage, and leave them running."""
    from infra import supervisor
    from streams.processes import stage_processes

    settings = load()
    started = time.monotonic()
    with one_sentence_errors():
        state = supervisor.up(settings, stage_processes(settings), progress=console.print)
    console.print(
        f"Nightcast is up after {time.monotonic() - started:.0f} s: {len(state.processes)} processes, "
        f"{state.rss_mb:.0f} MB. Pages: http://{settings.web.host}:{settings.web.port}  "
        f"Metrics: http://{settings.metrics.host}:{settings.metrics.port}/metrics  Stop it with `nightcast down`."
    )


def down() -> None:
    """Stop everything that runs on this data directory; no process is left."""
    from infra import supervisor

    settings = load()
    started = time.monotonic()
    with one_sentence_errors():
        killed = supervisor.down(settings)
    console.print(f"Nightcast is down after {time.monotonic() - started:.1f} s; its data stay in {settings.data_dir}.")
    if killed:
        console.print(f"These did not end when asked and were killed: {', '.join(killed)}.")


def status(as_json: JsonOption = False) -> None:
    """Show the processes of the system; exit code 1 when one of them is ill."""
    from infra import supervisor

    settings = load()
    with one_sentence_errors():
        state = supervisor.status(settings)
    if as_json:
        print_json(state.to_json())
    else:
        rows = [(p.name, p.state, p.pid or "", p.restarts, f"{p.rss_mb:.0f} MB", p.reason) for p in state.processes]
        columns = ("process", "state", "pid", "restarts", "memory", "reason")
        print_table(f"Nightcast is {state.state}", columns, rows, empty=f"Nightcast is {state.state}. {state.reason}")
        if rows:
            console.print(f"{state.rss_mb:.0f} MB in all. {state.reason}")
    if not state.healthy:
        raise typer.Exit(1)


def doctor(as_json: JsonOption = False) -> None:
    """Look at everything a night needs and name what is missing or ill, one sentence each."""
    from infra.doctor import diagnose

    settings = load()
    with one_sentence_errors():
        findings = diagnose(settings)
    if as_json:
        print_json([{"name": f.name, "ok": f.ok, "sentence": f.sentence} for f in findings])
    else:
        for finding in findings:
            console.print("[green]ok [/]" if finding.ok else "[bold red]ill[/]", f"{finding.name}: ", end=" ")
            console.print(finding.sentence, markup=False)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
