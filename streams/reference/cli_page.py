"""The reference page of the command line, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from streams.cli.main import build
from streams.reference.topics_page import HEAD

__all__ = ["cli_page"]

INTRODUCTION = """# Commands

Commands that read have `--json` for programs. An error is one sentence on standard error and exit code 1; a wrong command line is 2.
"""


def cli_page() -> str:
    """Return the page as Markdown."""
    group: Any = typer.main.get_command(build())
    lines = [HEAD, INTRODUCTION]
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            lines.append(f"## nightcast {name}\n\n{_sentences(command.help)}\n")
            for verb, inner in command.commands.items():
                lines += _command(f"nightcast {name} {verb}", inner, level=3)
        else:
            lines += _command(f"nightcast {name}", command, level=2)
    return "\n".join(lines)


def _command(name: str, command: Any, *, level: int) -> Iterator[str]:
    parameters = [p for p in command.params if not getattr(p, "hidden", False)]
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    usage = " ".join([name, *(_placeholder(p) for p in arguments)])
    yield f"{'#' * level} {name}\n"
    yield f"    {usage}\n"
    yield f"{_sentences(command.help)}\n"
    if parameters:
        yield "| parameter | meaning | default |\n|---|---|---|"
        yield from (_row(p) for p in parameters)
        yield ""


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{_placeholder(parameter)}`"
    else:
        value = "" if parameter.is_flag else f" {parameter.name.upper()}"
        name = ", ".join(f"`{option}{value}`" for option in [*parameter.opts, *parameter.secondary_opts])
    default = parameter.default
    shown = "" if default in (None, False, ()) or callable(default) or parameter.required else f"`{default}`"
    return f"| {name} | {_sentences(parameter.help)} | {shown} |"


def _placeholder(parameter: Any) -> str:
    name = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _sentences(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
