"""The supervisor: starts every process in order, watches them, restarts what dies, stops all of it.

`up` leaves a small daemon behind that does this, so that it can return; `down` ends the daemon and all its processes.
Sub-modules: `spec` (values), `child` (one process), `managed` (its state machine), `report` (the status), `supervisor` (the loop), `control` (from
outside). The names below are resolved when first used: a spec must be had without loading what it describes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.supervisor.spec import Health, ProcessSpec

if TYPE_CHECKING:
    from infra.supervisor.control import down, engine_processes, mark_ready, ready_file, status, up
    from infra.supervisor.report import EngineState, EngineStatus, ProcessState, ProcessStatus

__all__ = [
    "EngineState",
    "EngineStatus",
    "Health",
    "ProcessSpec",
    "ProcessState",
    "ProcessStatus",
    "down",
    "engine_processes",
    "mark_ready",
    "ready_file",
    "status",
    "up",
]

_STATUS_NAMES = ("EngineState", "EngineStatus", "ProcessState", "ProcessStatus")


def __getattr__(name: str) -> Any:
    import importlib

    if name not in __all__:
        raise AttributeError(name)
    module = "infra.supervisor.report" if name in _STATUS_NAMES else "infra.supervisor.control"
    return getattr(importlib.import_module(module), name)
