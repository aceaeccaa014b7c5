"""Property sheets: every field of a record with its value, its error beside it, its unit and its meaning from the schema."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas import public

__all__ = ["Property", "Comparison", "compare", "json_record", "property_sheet", "text_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One line of a sheet."""

    name: str
    value: str
    """Ready to be read; a dash where it is null."""
    error: str
    """One-sigma error, empty where the record has none."""
    unit: str
    """Empty for pure numbers, identifiers, flags and text."""
    meaning: str
    is_null: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One field as it was sent beside what it is now."""

    name: str
    sent: str
    now: str
    unit: str
    meaning: str
    changed: bool


def property_sheet(record: Mapping[str, Any], name: str) -> list[Property]:
    """Return the lines of one record's sheet, in the order of its schema.

    Parameters
    ----------
    record
        The record, of any version: fields of today's schema come with unit and meaning, others without.
    name
        Its name in the packet, such as ``diaSource``.
    """
    units, docs = (public.field_units(name), public.field_docs(name)) if name in public.RECORD_NAMES else ({}, {})
    errors = {field for field in record if field.endswith("Err") and field[:-3] in record}
    lines = []
    for field, value in record.items():
        if field in errors or isinstance(value, bytes | list | dict):
            continue
        error = record.get(f"{field}Err") if f"{field}Err" in errors else None
        lines.append(
            Property(
                name=field,
                value=text_of(value, field),
                error="" if error is None else text_of(error, f"{field}Err"),
                unit=_shown(units.get(field, "")),
                meaning=docs.get(field, ""),
                is_null=_is_null(value),
            )
        )
    return lines


def compare(sent: Mapping[str, Any], now: Mapping[str, Any], name: str) -> Sequence[Comparison]:
    """Return a record as it was sent beside the same record as it is now; fields null in both are left out."""
    units, docs = public.field_units(name), public.field_docs(name)
    lines = []
    for field in units:
        before, after = sent.get(field), now.get(field)
        if _is_null(before) and _is_null(after):
            continue
        lines.append(
            Comparison(
                name=field,
                sent=text_of(before, field),
                now=text_of(after, field),
                unit=_shown(units[field]),
                meaning=docs[field],
                changed=before != after,
            )
        )
    return lines


def json_record(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a record as values that JSON has: 64-bit integers as text, NaN as null."""
    longs = {field["name"] for field in public.record_schema(name)["fields"] if "long" in field["type"]}
    return {
        field: None if _is_null(value) else str(value) if field in longs else value for field, value in record.items()
    }


def text_of(value: Any, field: str = "") -> str:
    """Return a value as text: identifiers whole, positions to a milliarcsecond, other reals to six digits."""
    if _is_null(value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    lowered = field.lower()
    if lowered.endswith("mjdtai"):
        return f"{value:.6f}"
    if field in ("ra", "dec", "trailRa", "trailDec"):
        return f"{value:.7f}"
    return f"{value:.6g}"


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _shown(unit: str) -> str:
    return "" if unit in ("none", "1") else unit
