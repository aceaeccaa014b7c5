"""The ``nightcast`` command."""

from __future__ import annotations

import importlib
import logging

import typer

from infra.kernel_caches import discard_stale_kernels
from infra.logs import configure_logging
from streams.cli import engine

__all__ = ["app", "build", "main"]

app = typer.Typer(
    name="nightcast",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="An alert production system, event-sourced on Kafka: raw pixels in, alerts out, any night replayed.",
    epilog="Begin with `nightcast night`. Settings: NIGHTCAST_ variables or nightcast.toml; see docs/reference/settings.md.",
)

_COMMANDS = {
    "streams.cli.night": ("night",),
    "streams.cli.files": ("ccd", "isr", "difference"),
    "streams.cli.ephemeris": ("ephemeris",),
}
"""Module to its commands that have no noun."""

_NOUNS = {
    "alerts": ("streams.cli.alerts", "The published alerts: follow, show, check, export."),
    "objects": ("streams.cli.objects", "DIAObjects and their histories."),
    "jobs": ("streams.cli.jobs", "The work of a night: list it, explain one job."),
    "dlq": ("streams.cli.dlq", "Dead letters: list, show, put back."),
    "schemas": ("streams.cli.schemas_command", "Schemas of every topic."),
    "daymops": ("streams.cli.daymops", "Discover moving objects: link the detections of many nights, fit orbits."),
    "orbits": ("streams.cli.orbits", "Orbits: import a catalogue, look at them, fit, report and export them."),
    "replay": ("streams.cli.replay", "A night again: record it, play it into a system of its own, compare the two."),
    "simulate": ("streams.cli.simulate", "Surveys of detections without pixels, with their truth."),
}
"""Noun to the module of its commands and its line in the help."""


def build() -> typer.Typer:
    """Put all commands together."""
    app.command()(engine.up)
    app.command()(engine.down)
    app.command()(engine.status)
    app.command()(engine.doctor)
    for module, names in _COMMANDS.items():
        for name in names:
            app.command()(getattr(importlib.import_module(module), name))
    for noun, (module, line) in _NOUNS.items():
        app.add_typer(importlib.import_module(module).app, name=noun, help=line)
    return app


def main() -> None:
    """Run the command line; its log lines are errors only, on standard error, and what Kafka's client says is said by ours."""
    discard_stale_kernels()
    configure_logging("nightcast", level="error")
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)
    build()()


if __name__ == "__main__":
    main()
