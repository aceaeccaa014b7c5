"""The processes of the embedded profile: which stages share one, in which order they start."""

from __future__ import annotations

import dataclasses
import sys

from infra.settings import Settings
from infra.supervisor import Health, ProcessSpec, ready_file

__all__ = ["LIGHT_STAGES", "stage_processes"]

LIGHT_STAGES: tuple[str, ...] = ("ocs-bridge", "dmcs", "orchestration", "nightmops", "manifests", "quality")
"""Stages that only move small events; here they share one process, a thread each."""

START_TIMEOUT_S = 1800.0
"""How long a stage may take to be ready: the first time ever, the detectors' processes compile their kernels, 100 s of CPU in
all; on a machine that gives them a tenth of a core the start was once given up after ten minutes."""


def stage_processes(settings: Settings) -> list[ProcessSpec]:
    """Return the processes of all stages, above the engine."""
    transactional = {
        "control": LIGHT_STAGES,
        "archiver": ("archiver",),
        "detectors": ("detectors",),
        "distribution": ("distribution",),
        "daymops": ("daymops",),
    }
    specs = [_spec(settings, name, ("streams.run", *stages, "--name", name)) for name, stages in transactional.items()]
    specs += [
        _spec(settings, "association", ("streams.association", "--name", "association")),
        _spec(settings, "alert-assembly", ("streams.alerts", "--name", "alert-assembly")),
    ]
    return [*specs, _toolkit(settings)]


def _toolkit(settings: Settings) -> ProcessSpec:
    url = f"http://{settings.web.host}:{settings.web.port}/health"
    spec = _spec(settings, "toolkit", ("streams.toolkit",))
    return dataclasses.replace(spec, health=Health(kind="http", target=url), ports={"web.port": settings.web.port})


def _spec(settings: Settings, name: str, command: tuple[str, ...]) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-m", *command),
        order=10,
        env={**settings.environment(), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        health=dataclasses.replace(ready_file(settings, name), timeout_s=START_TIMEOUT_S),
    )
