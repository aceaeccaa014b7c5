"""What every command shares: settings, one-sentence errors, tables for people and JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from infra.settings import Settings, load_settings
from schemas.errors import NightcastError

__all__ = ["JsonOption", "console", "load", "one_sentence_errors", "print_json", "print_table"]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]
PIPED_WIDTH = 160
"""Columns of a table that is not shown on a terminal, where 80 would cut names short."""

console = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH)
"""Where results go."""
_errors = Console(stderr=True, highlight=False)


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Turn an error of ours into one sentence on standard error and exit code 1."""
    try:
        yield
    except NightcastError as error:
        _errors.print(f"[bold red]Error[/] ({error.code}): ", end="")
        _errors.print(str(error), markup=False)
        raise typer.Exit(1) from error


def load() -> Settings:
    """Read the settings, ending the command with one sentence where they are wrong."""
    with one_sentence_errors():
        return load_settings()


def print_json(value: Any) -> None:
    """Print a value as JSON, identifiers as they are; integers above 2^53 are given as text where the caller made them so."""
    typer.echo(json.dumps(value, indent=2, sort_keys=False))


def print_table(title: str, columns: Sequence[str | Column], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under columns, or a sentence when there are none."""
    table = Table(*columns, title=title, title_justify="left", header_style="bold")
    count = 0
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
        count += 1
    console.print(table if count else empty)
