"""Results of one benchmark in a file of docs/benchmarks/: rows that were measured, with what and when, and what went wrong."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.timing import Measured

__all__ = ["FOLDER", "Result", "measure_one", "read", "record_problem", "write"]

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one benchmark gave."""

    name: str
    summary: str
    """First line of the module."""
    machine: str
    day: str
    seconds: float
    """Wall time of the whole, peers included."""
    rows: tuple[Measured, ...]
    problem: str = ""
    """Why there are no more rows; empty when all were measured."""
    run: str = ""
    """When the run began that measured it, UTC to the minute; benchmarks of one run share it. Empty when that was not kept."""


def machine() -> str:
    """Return what the ratios hold for."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def measure_one(name: str, run: str = "") -> Result:
    """Measure one benchmark in this process, as a part of a run; print and keep every row as it comes."""
    started = time.monotonic()
    module = importlib.import_module(f"tests.benchmarks.{name}")
    result = Result(
        name=name,
        summary=str(module.__doc__).splitlines()[0],
        machine=machine(),
        day=datetime.now(UTC).date().isoformat(),
        seconds=0.0,
        rows=(),
        problem="it ended early",
        run=run,
    )
    for row in module.measure():
        result = dataclasses.replace(result, rows=(*result.rows, row), seconds=round(time.monotonic() - started, 1))
        write(result)
        print(f"  {row.what:44s} {row.ours_s * 1e3:10.3f} ms   {row.peer:34s} {row.ratio:8.1f} x", flush=True)
    result = dataclasses.replace(result, seconds=round(time.monotonic() - started, 1), problem="")
    write(result)
    return result


def record_problem(name: str, problem: str, since: float) -> None:
    """Add to a result why it is not whole; one that this run has not touched stays, for its numbers still hold."""
    path = FOLDER / f"{name}.json"
    if path.exists() and path.stat().st_mtime >= since:
        write(dataclasses.replace(read(path), problem=problem))


def write(result: Result) -> None:
    """Write a result to its file."""
    FOLDER.mkdir(exist_ok=True)
    content = dataclasses.asdict(result)
    content["rows"] = [_encoded(row) for row in content["rows"]]
    (FOLDER / f"{result.name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> Result:
    """Read a result from its file."""
    content = json.loads(path.read_text())
    rows = tuple(Measured(**_decoded(row)) for row in content.pop("rows"))
    return Result(rows=rows, **content)


def _encoded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: _rounded(value) if isinstance(value, float) else value for key, value in row.items()}


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: float("nan") if value is None else value for key, value in row.items()}
