"""A survey as Parquet files: what a search may see apart from what judges it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from infra.telescope.detections.errors import SurveyError
from infra.telescope.detections.observing import DETECTION
from infra.telescope.detections.plan import VISIT
from infra.telescope.detections.populations import CLASSES
from infra.telescope.detections.survey import KINDS, TRUE_DETECTION, TRUE_OBJECT, Survey

__all__ = ["FILES", "read_table", "write_survey"]

FILES = {
    "detections": DETECTION,
    "visits": VISIT,
    "truth_detections": TRUE_DETECTION,
    "truth_objects": TRUE_OBJECT,
}
"""Name of each table's file, without ``.parquet``, and its rows' dtype."""


def write_survey(survey: Survey, directory: Path) -> dict[str, Path]:
    """Write a survey's tables and ``survey.json``; the folder is made when missing and older files are replaced.

    The same survey gives the same bytes with the same version of pyarrow.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tables = {
        "detections": survey.detections,
        "visits": survey.visits,
        "truth_detections": survey.true_detections,
        "truth_objects": survey.true_objects,
    }
    paths = {name: directory / f"{name}.parquet" for name in FILES}
    for name, rows in tables.items():
        pq.write_table(_table(rows), paths[name], compression="zstd")
    summary = {
        **asdict(survey.settings),
        "classes": CLASSES,
        "kinds": KINDS,
        "rows": {n: len(r) for n, r in tables.items()},
    }
    paths["summary"] = directory / "survey.json"
    paths["summary"].write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return paths


def read_table(directory: Path, name: str) -> NDArray[np.void]:
    """Return the rows of a table of ``FILES`` from a survey's folder.

    Raises
    ------
    SurveyError
        When there is no such table, or its columns are others.
    """
    path = directory / f"{name}.parquet"
    if name not in FILES or not path.is_file():
        raise SurveyError(f"There is no table {name!r} of a survey in {directory}.")
    table = pq.read_table(path)
    rows = np.zeros(table.num_rows, FILES[name])
    if table.column_names != list(FILES[name].names or ()):
        raise SurveyError(f"{path} does not have the columns of {name}.")
    for column in table.column_names:
        values = table.column(column).combine_chunks()
        wide = pa.types.is_fixed_size_list(values.type)
        rows[column] = np.stack(values.to_numpy(zero_copy_only=False)) if wide and len(rows) else values.to_numpy(False)
    return rows


def _table(rows: NDArray[np.void]) -> pa.Table:
    columns = {}
    for name in rows.dtype.names or ():
        values = np.ascontiguousarray(rows[name])
        if values.ndim == 2:
            columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        else:
            columns[name] = pa.array(values)
    return pa.table(columns)
