"""One alert as people read it in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from processors.alerts.gate import Violation
from schemas.public import field_units
from streams.alert_files import OpenedAlert, stamp_images, validate

__all__ = ["show"]

_LSST_SOURCE = (
    "visit", "detector", "band", "midpointMjdTai", "ra", "dec", "psfFlux", "psfFluxErr", "snr", "scienceFlux",
    "templateFlux", "reliability", "extendedness", "isNegative", "isDipole",
)  # fmt: skip
_LSST_OBJECT = ("diaObjectId", "ra", "dec", "nDiaSources", "firstDiaSourceMjdTai", "lastDiaSourceMjdTai")
_LSST_MOVING = ("ssObjectId", "designation", "topoRange", "helioRange", "phaseAngle", "ephVmag", "ephRate", "ephOffset")
_ZTF_SOURCE = ("jd", "fid", "ra", "dec", "magpsf", "sigmapsf", "isdiffpos", "rb", "drb", "ndethist")
_NEWEST = 8
"""Rows of history that are shown: a screenful."""


def show(alert: OpenedAlert, violations: Sequence[Violation] | None = None) -> RenderableType:
    """Return an alert as text for rich: what it is of, its history, its stamps, and what is wrong with it.

    Parameters
    ----------
    alert
        Alert of any survey.
    violations
        What the gate found; found here when left out.
    """
    found = validate(alert) if violations is None else violations
    parts: list[RenderableType] = [Panel(_title(alert), expand=False), *_records(alert), *_histories(alert)]
    parts += [_stamp_table(alert), _verdict(found)]
    return Group(*parts)


def _title(alert: OpenedAlert) -> str:
    where = "in a container" if alert.schema_id is None else f"registry id {alert.schema_id}"
    name = alert.record.get("objectId") or alert.record.get("target_name")
    return f"Alert {alert.alert_id}{f' of {name}' if name else ''}\n{alert.schema_name}, {where}"


def _records(alert: OpenedAlert) -> Iterable[Table]:
    record = alert.record
    if not alert.is_lsst:
        yield _facts("Detection", record.get("candidate") or record, _ZTF_SOURCE, {})
        return
    yield _facts("DIASource", record["diaSource"], _LSST_SOURCE, field_units("diaSource"))
    if record.get("diaObject"):
        yield _facts("DIAObject", record["diaObject"], _LSST_OBJECT, field_units("diaObject"))
    if record.get("ssSource"):
        yield _facts("Solar System object", record["ssSource"], _LSST_MOVING, field_units("ssSource"))


def _facts(title: str, record: dict[str, Any], names: Iterable[str], units: dict[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    for name in names:
        if name in record:
            unit = units.get(name, "")
            table.add_row(name, _text(record[name]), "" if unit in ("none", "1") else unit)
    return table


def _histories(alert: OpenedAlert) -> Iterable[RenderableType]:
    if alert.is_lsst:
        columns = ("midpointMjdTai", "band", "psfFlux", "psfFluxErr", "visit")
        arrays = {"Earlier DIASources": "prvDiaSources", "Forced sources": "prvDiaForcedSources"}
    else:
        columns = ("jd", "fid", "magpsf", "sigmapsf", "diffmaglim")
        arrays = {"Earlier detections and limits": "prv_candidates"}
    for title, field in arrays.items():
        records = alert.record.get(field)
        if records:
            yield _history(f"{title}: {len(records)}", records, columns)
        else:
            yield f"{title}: none"


def _history(title: str, records: list[dict[str, Any]], columns: Sequence[str]) -> Table:
    newest = sorted(records, key=lambda record: record[columns[0]])[-_NEWEST:]
    shown = "" if len(newest) == len(records) else f", the newest {len(newest)}"
    table = Table(*columns, title=title + shown, title_justify="left")
    for record in newest:
        table.add_row(*(_text(record.get(column)) for column in columns))
    return table


def _stamp_table(alert: OpenedAlert) -> Table:
    table = Table("stamp", "image", "columns x rows", "lowest", "highest", title="Stamps", title_justify="left")
    for name, images in stamp_images(alert).items():
        for extension, pixels in images.items():
            finite = pixels[np.isfinite(pixels)]
            limits = (f"{finite.min():.4g}", f"{finite.max():.4g}") if finite.size else ("", "")
            table.add_row(name, extension, " x ".join(map(str, reversed(pixels.shape))), *limits)
    return table


def _verdict(violations: Sequence[Violation]) -> RenderableType:
    if not violations:
        return "Every rule is kept."
    table = Table("rule", "what is wrong", title=f"{len(violations)} findings", title_justify="left")
    for violation in violations:
        table.add_row(violation.rule, violation.sentence)
    return table


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else f"{value:.10g}"
    return str(value)
