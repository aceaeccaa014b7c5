"""``nightcast schemas``: what every topic carries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.common import JsonOption, console, load, one_sentence_errors, print_json, print_table

if TYPE_CHECKING:
    from infra.registry.client import RegistryClient

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_schemas(
    registered: Annotated[bool, typer.Option("--registered", help="What the registry has, instead of ours.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the topics and their schemas."""
    with one_sentence_errors():
        rows = _registered() if registered else _ours()
    if as_json:
        print_json(rows)
        return
    columns = tuple(rows[0]) if rows else ("subject",)
    lines = [tuple("" if value is None else value for value in row.values()) for row in rows]
    print_table("Registered schemas" if registered else "Schemas", columns, lines, empty="The registry has none.")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Topic, subject, record of the public packet, or registry id.")],
    as_json: JsonOption = False,
) -> None:
    """Show one schema: its fields with types, units and meaning."""
    with one_sentence_errors():
        schema = _find(name)
    if as_json:
        print_json(schema)
        return
    console.print(f"[bold]{schema.get('namespace', '')}.{schema.get('name', '')}[/]".replace("[bold].", "[bold]"))
    if schema.get("doc"):
        console.print(schema["doc"], markup=False)
    rows = [
        (field["name"], _type_text(field["type"]), _unit(field), field.get("doc", "")) for field in schema["fields"]
    ]
    print_table("", ("field", "type", "unit", "meaning"), rows, empty="It has no fields.")


def _ours() -> list[dict[str, Any]]:
    from schemas.topics import TOPICS

    rows = []
    for row in TOPICS:
        record = "lsst.v11_1.alert" if row.event is None else f"nightcast.{row.event.__name__}"
        rows.append({"topic": row.name, "key": row.key, "record": record, "what": row.summary})
    return rows


def _registry() -> RegistryClient:
    from infra.registry.client import RegistryClient

    return RegistryClient(load().registry_url, patience_s=3.0)


def _registered() -> list[dict[str, Any]]:
    registry = _registry()
    rows = []
    for subject in registry.subjects():
        for number in registry.versions(subject):
            found = registry.version(subject, number)
            schema = json.loads(found["schema"])
            name = schema.get("name", "") if isinstance(schema, dict) else str(schema)
            rows.append({"subject": subject, "version": number, "id": found["id"], "record": name})
    return rows


def _find(name: str) -> dict[str, Any]:
    from schemas import avro, public
    from schemas.topics import TOPICS

    if name.isdigit():
        known = public.bundled_alert_schema(int(name))
        found = known if known is not None else json.loads(_registry().schema(int(name)))
        return {key: value for key, value in found.items() if not key.startswith("__")}
    if name.removeprefix("lsst.v11_1.") in public.RECORD_NAMES:
        return public.record_schema(name.removeprefix("lsst.v11_1."))
    for row in TOPICS:
        if name in (row.name, f"{row.name}-value", row.event.__name__ if row.event else ""):
            return public.record_schema("alert") if row.event is None else avro.schema_of(row.event)
    schema: dict[str, Any] = json.loads(_registry().version(name)["schema"])
    return schema


def _type_text(kind: Any) -> str:
    """Return a type as one reads it: ``float?`` may be null, ``X[]`` is an array."""
    if isinstance(kind, list):
        rest = [_type_text(one) for one in kind if one != "null"]
        return " | ".join(rest) + ("?" if "null" in kind else "")
    if isinstance(kind, dict):
        if kind.get("type") == "array":
            return f"{_type_text(kind['items'])}[]"
        if kind.get("type") == "map":
            return f"map of {_type_text(kind['values'])}"
        return str(kind.get("name") or kind.get("type"))
    return str(kind)


def _unit(field: dict[str, Any]) -> str:
    unit = field.get("unit", "")
    return "" if unit == "none" else str(unit)
