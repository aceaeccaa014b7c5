"""The reference page of settings, from their classes and docstrings."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from infra import settings as module
from infra.settings import PREFIX, Settings
from streams.reference.topics_page import HEAD

__all__ = ["settings_page"]

INTRODUCTION = """# Settings

Everything has a default. What you change goes into a file `nightcast.toml` in the working directory (or the file that
`NIGHTCAST_CONFIG` names), or into environment variables, which win over the file. A name that no setting has is an error.

```toml
data_dir = "/data/nightcast"

[kafka]
port = 29092

[night]
visits = 20
```

The same as a variable: `NIGHTCAST_KAFKA__PORT=29092`. `nightcast doctor` names what is wrong with the settings in use.
"""


def settings_page() -> str:
    """Return the page as Markdown."""
    docs = _docstrings()
    lines = [HEAD, INTRODUCTION]
    plain = {name: field for name, field in Settings.model_fields.items() if not _is_section(field)}
    lines += _table("General", "Where data are kept and what is made once.", "", plain, docs["Settings"])
    for name, field in Settings.model_fields.items():
        if _is_section(field):
            kind: type[BaseModel] = field.default.__class__
            about = " ".join((kind.__doc__ or "").split())
            lines += _table(f"[{name}]", about, f"{name}.", kind.model_fields, docs[kind.__name__])
    return "\n".join(lines)


def _table(title: str, about: str, prefix: str, fields: Mapping[str, FieldInfo], docs: Mapping[str, str]) -> list[str]:
    lines = [
        f"## {title}\n",
        f"{about}\n",
        "| setting | variable | type | default | meaning |",
        "|---|---|---|---|---|",
    ]
    for name, field in fields.items():
        path = f"{prefix}{name}"
        variable = PREFIX + path.replace(".", "__").upper()
        cells = (f"`{path}`", f"`{variable}`", _type(field.annotation), _default(field.default), docs.get(name, ""))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _docstrings() -> dict[str, dict[str, str]]:
    """Return class to field to the sentence written under the field."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = dict(_fields(node))
    return found


def _fields(node: ast.ClassDef) -> list[tuple[str, str]]:
    pairs = zip(node.body, node.body[1:], strict=False)
    return [
        (field.target.id, " ".join(text.value.value.split()).replace("``", "`"))
        for field, text in pairs
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    ]


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.default, BaseModel)


def _type(annotation: Any) -> str:
    text = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    text = re.sub(r"typing\.|pathlib\.|, \.\.\.", "", text)
    return text.replace(" | None", " or none").replace("|", "or").replace("Literal", "one of ")


def _default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
