"""Write alerts of the store to files: Avro, JSON, FITS, Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import fastavro

from streams.alert_files import OpenedAlert, export_fits, export_json, stamps
from streams.views.errors import RequestError

__all__ = ["Form", "write_alerts"]


class Form(StrEnum):
    """Kinds of file."""

    AVRO = "avro"
    JSON = "json"
    FITS = "fits"
    PARQUET = "parquet"


def write_alerts(alerts: Iterable[OpenedAlert], form: Form, out: Path) -> list[Path]:
    """Write alerts and return the files.

    Parameters
    ----------
    alerts
        Alerts of one schema.
    form
        Avro: one object container. JSON: a line an alert. FITS: a file of stamps an alert. Parquet: a row an alert, its
        DIASource's columns and its stamps.
    out
        The file; a folder for FITS.

    Raises
    ------
    RequestError
        When there is no alert, or they follow different schemas, which one container cannot hold.
    """
    listed = list(alerts)
    if not listed:
        raise RequestError("There is no alert to export.")
    if form is Form.FITS:
        return [_write(out / f"alert-{alert.alert_id}.fits", export_fits(alert)) for alert in listed]
    names = sorted({alert.schema_name for alert in listed})
    if len(names) > 1:
        raise RequestError(f"The alerts follow {' and '.join(names)}; export those of one schema at a time.")
    writers: dict[Form, Callable[[Sequence[OpenedAlert], Path], None]] = {
        Form.AVRO: _write_avro,
        Form.JSON: _write_json,
        Form.PARQUET: _write_parquet,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    writers[form](listed, out)
    return [out]


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _write_avro(alerts: Sequence[OpenedAlert], out: Path) -> None:
    marker = alerts[0].alert_id.to_bytes(16, "big")
    with out.open("wb") as file:
        records: Iterable[Any] = (alert.record for alert in alerts)
        fastavro.writer(file, alerts[0].schema, records, codec="deflate", sync_marker=marker)


def _write_json(alerts: Sequence[OpenedAlert], out: Path) -> None:
    with out.open("w", encoding="utf-8") as file:
        for alert in alerts:
            file.write(export_json(alert, with_stamps=True) + "\n")


def _write_parquet(alerts: Sequence[OpenedAlert], out: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        "long": pa.int64(),
        "int": pa.int32(),
        "float": pa.float32(),
        "double": pa.float64(),
        "boolean": pa.bool_(),
    }
    columns: dict[str, Any] = {}
    for name, kind in _source_columns(alerts[0].schema):
        values = [alert.record["diaSource"].get(name) for alert in alerts]
        columns[name] = pa.array(values, type=kinds.get(kind, pa.string()))
    images = [stamps(alert) for alert in alerts]
    for role in ("science", "template", "difference"):
        columns[f"cutout_{role}"] = pa.array([found.get(role) for found in images], type=pa.binary())
    pq.write_table(pa.table(columns), out, compression="zstd")


def _source_columns(schema: dict[str, Any]) -> list[tuple[str, str]]:
    source = next((field["type"] for field in schema["fields"] if field["name"] == "diaSource"), None)
    if not isinstance(source, dict):
        raise RequestError("Only LSST alerts can be exported as Parquet; these have no DIASource.")
    found = []
    for field in source["fields"]:
        kind = field["type"]
        found.append((field["name"], next(k for k in kind if k != "null") if isinstance(kind, list) else kind))
    return found
