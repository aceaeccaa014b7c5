"""The supervisor: starts every process in order, watches them, restarts what dies, stops all of it."""

from __future__ import annotations

from infra.supervisor.spec import Health, ProcessSpec

__all__ = ["Health", "ProcessSpec"]
