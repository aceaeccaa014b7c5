"""The reference pages of topics and events, from the topic table and the events' dataclasses."""

from __future__ import annotations

from typing import Any

from schemas import avro
from schemas.topics import TOPICS, Topic, dead_letter_topic

__all__ = ["HEAD", "events_page", "topics_page"]

HEAD = "<!-- Written by `make docs` from the code; change that, not this. -->\n"
"""First line of every generated page."""


def topics_page() -> str:
    """Return the page of topics as Markdown."""
    lines = [
        HEAD,
        "# Topics\n",
        "P stands for the setting `kafka.partitions`. Retention is the default of a development broker's topics.\n",
        "| topic | key | partitions | policy | value | written by | read by | what |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(row) for row in TOPICS]
    refusing = ", ".join(f"`{dead_letter_topic(row.name)}`" for row in TOPICS if row.dead_letters)
    lines.append(f"\nEvents that cannot be processed go to {refusing}, each with its cause and origin.\n")
    return "\n".join(lines)


def _row(row: Topic) -> str:
    value = f"[{row.event.__name__}](events.md#{row.event.__name__.lower()})" if row.event else "public packet"
    kept = "for ever" if row.retention_days is None else f"{row.retention_days:g} d"
    cells = (
        f"`{row.name}`",
        row.key,
        row.partitions.value,
        f"{row.cleanup.value}, {kept}",
        value,
        ", ".join(row.producers),
        ", ".join(row.consumers),
        row.summary,
    )
    return f"| {' | '.join(cells)} |"


def events_page() -> str:
    """Return the page of internal events as Markdown: every record with its fields."""
    seen: dict[str, dict[str, Any]] = {}
    for row in TOPICS:
        if row.event is not None:
            _collect(avro.schema_of(row.event), seen)
    lines = [HEAD, "# Events\n", "Times are MJD TAI in days, angles degrees (ICRS), fluxes nJy.\n"]
    for name, record in seen.items():
        lines += [f"## {name}\n", f"{record['doc']}\n", "| field | type | meaning |", "|---|---|---|"]
        lines += [f"| {f['name']} | {_type(f['type'])} | {f.get('doc', '')} |" for f in record["fields"]]
        lines.append("")
    return "\n".join(lines)


def _collect(schema: Any, seen: dict[str, dict[str, Any]]) -> None:
    if isinstance(schema, list):
        for member in schema:
            _collect(member, seen)
    elif isinstance(schema, dict) and schema["type"] == "record":
        seen.setdefault(schema["name"], schema)
        for field in schema["fields"]:
            _collect(field["type"], seen)
    elif isinstance(schema, dict):
        _collect(schema.get("items", schema.get("values")), seen)


def _type(schema: Any) -> str:
    if isinstance(schema, list):
        return " or ".join(_type(member) for member in schema)
    if isinstance(schema, str):
        return schema.rpartition(".")[2]
    if schema["type"] == "record":
        return str(schema["name"])
    return f"{schema['type']} of {_type(schema.get('items', schema.get('values')))}"
