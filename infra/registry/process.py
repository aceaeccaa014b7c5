"""Describe the registry's process for the supervisor."""

from __future__ import annotations

import sys

from infra.settings import Settings
from infra.supervisor.spec import Health, ProcessSpec

__all__ = ["registry_process"]


def registry_process(settings: Settings) -> ProcessSpec:
    """Return the process that serves the schema registry on the port of the settings."""
    return ProcessSpec(
        name="registry",
        argv=(sys.executable, "-m", "infra.registry"),
        order=1,
        env=settings.environment(),
        ports={"registry.port": settings.registry.port},
        health=Health(kind="http", target=f"{settings.registry_url}/subjects", timeout_s=60.0),
        stop_timeout_s=4.0,
    )
