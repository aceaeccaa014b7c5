"""The reference page of errors: every error class of the four rooms with its stable code."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from schemas.errors import NightcastError
from streams.reference.topics_page import HEAD

__all__ = ["error_classes", "errors_page"]

ROOMS = ("schemas", "processors", "infra", "streams")
"""The packages whose errors are listed, innermost first."""

_ERROR_CLASS = re.compile(r"^class \w+(Error|Failure)\(", re.MULTILINE)

INTRODUCTION = """# Errors

Every error says in one sentence what is wrong and, where one can say, what to do. Its code is stable: it stands in dead letters, in
failed jobs (`nightcast jobs explain`), in logs and metrics, and before the sentence that a command prints. An error is either permanent (the input itself
is wrong; trying again cannot help) or retriable (something outside was missing or slow; a stage tries again by itself). Errors of
another kind are mistakes in the program: in dead letters and logs they have the code `unexpected`.
"""


def errors_page() -> str:
    """Return the page as Markdown."""
    lines = [HEAD, INTRODUCTION]
    for room in ROOMS:
        lines += [
            f"## {room}/\n",
            "| code | class | trying again | what it says | defined in |",
            "|---|---|---|---|---|",
            *(_row(kind) for kind in error_classes() if kind.__module__.split(".")[0] == room),
            "",
        ]
    return "\n".join(lines)


def error_classes() -> list[type[NightcastError]]:
    """Return every error class of ours, in order of module and name; imports the modules that define one."""
    for module in _defining_modules():
        importlib.import_module(module)
    ours = (kind for kind in _below(NightcastError) if kind.__module__.split(".")[0] in ROOMS)
    return sorted(set(ours), key=lambda kind: (kind.__module__, kind.__name__))


def _defining_modules() -> Iterator[str]:
    for room in ROOMS:
        (folder,) = importlib.import_module(room).__path__
        for path in sorted(Path(folder).rglob("*.py")):
            if _ERROR_CLASS.search(path.read_text(encoding="utf-8")):
                yield ".".join((room, *path.relative_to(folder).with_suffix("").parts))


def _below(kind: type[NightcastError]) -> Iterator[type[NightcastError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _below(child)


def _row(kind: type[NightcastError]) -> str:
    again = "may help" if kind.retriable else "cannot help"
    sentence = " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split()).replace("|", "\\|")
    module = kind.__module__.replace(".", "/")
    return f"| `{kind.code}` | {kind.__name__} | {again} | {sentence} | `{module}.py` |"
