"""The reference page of the public alert packet, from its Avro schemas."""

from __future__ import annotations

from typing import Any

from schemas import public
from streams.reference.topics_page import HEAD

__all__ = ["alert_schema_page"]

MAJOR, MINOR = public.PUBLIC_VERSION

INTRODUCTION = f"""# The alert packet

Schema v{MAJOR}.{MINOR} of the public alert, id {public.schema_id()} in the registry. The Avro files are in `schemas/avro/public/v{MAJOR}_{MINOR}/`;
`nightcast schemas show alert` prints the same. A question mark after a type means that the value may be null, brackets that it is an array.
Units are written as astropy reads them; 1 is a pure number.

Records of the versions {", ".join(f"{major}.{minor}" for major, minor in public.BUNDLED_VERSIONS)} can be opened by `nightcast alerts show FILE` and by the page
without a registry.
"""


def alert_schema_page() -> str:
    """Return the page as Markdown."""
    lines = [HEAD, INTRODUCTION]
    for name in public.RECORD_NAMES:
        schema = public.record_schema(name)
        lines += [f"## {name}\n", f"{schema['doc']}\n", "| field | type | unit | meaning |", "|---|---|---|---|"]
        lines += [_row(field) for field in schema["fields"]]
        lines.append("")
    return "\n".join(lines)


def _row(field: dict[str, Any]) -> str:
    unit = "" if field["unit"] == "none" else field["unit"]
    meaning = field["doc"].replace("|", "\\|")
    return f"| {field['name']} | {_type(field['type'])} | {unit} | {meaning} |"


def _type(kind: Any) -> str:
    if isinstance(kind, list):
        (inner,) = (one for one in kind if one != "null")
        return f"{_type(inner)}?"
    if isinstance(kind, dict):
        if kind["type"] == "array":
            return f"{_type(kind['items'])}[]"
        return f"{kind['type']} ({kind['logicalType']})"
    name = str(kind).rpartition(".")[2]
    return f"[{name}](#{name.lower()})" if name in public.RECORD_NAMES else name
