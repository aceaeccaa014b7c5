"""The supervisor's status: what it writes down and what `nightcast status` shows."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = ["EngineState", "EngineStatus", "ProcessState", "ProcessStatus", "read_status", "write_status"]


class EngineState(StrEnum):
    """The whole system's state."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"


class ProcessState(StrEnum):
    """One process's state."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DONE = "done"
    BACKING_OFF = "backing off"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One row of the status."""

    name: str
    state: ProcessState
    pid: int | None = None
    restarts: int = 0
    reason: str = ""
    """Why it is not ready, or why it was last restarted."""
    rss_mb: float = 0.0
    """Resident memory with that of its own children."""
    since_unix_s: float = 0.0
    """When it came into this state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """The whole status."""

    state: EngineState
    processes: tuple[ProcessStatus, ...] = ()
    reason: str = ""
    rss_mb: float = 0.0
    """Resident memory of all processes and the supervisor."""
    peak_rss_mb: float = 0.0
    started_unix_s: float = 0.0

    @property
    def healthy(self) -> bool:
        """Whether the system runs and every process is ready."""
        return self.state is EngineState.RUNNING and all(
            item.state in (ProcessState.READY, ProcessState.DONE) for item in self.processes
        )

    def to_json(self) -> dict[str, Any]:
        """Return the status as plain values."""
        return dataclasses.asdict(self)


def write_status(path: Path, status: EngineStatus) -> None:
    """Replace the status file in one step."""
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(status.to_json()))
    os.replace(scratch, path)


def read_status(path: Path) -> EngineStatus:
    """Read the status file; a missing or broken one is a stopped system."""
    try:
        document = json.loads(path.read_text())
        rows = tuple(ProcessStatus(**(row | {"state": ProcessState(row["state"])})) for row in document["processes"])
        return EngineStatus(**(document | {"state": EngineState(document["state"]), "processes": rows}))
    except (OSError, ValueError, KeyError, TypeError):
        return EngineStatus(state=EngineState.STOPPED)
