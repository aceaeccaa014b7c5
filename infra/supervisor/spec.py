"""What the supervisor is told about a process: values only, so that they can be written down and read by the daemon."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Health", "ProcessSpec", "specs_from_json", "specs_to_json"]

HealthKind = Literal["none", "kafka", "http", "file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How to tell that a process is ready.

    ``kafka``: a broker answers at the target; ``http``: a GET of the target gives 200; ``file``: the target holds the
    process's id (see `infra.supervisor.mark_ready`); ``none``: it has run for a moment.
    """

    kind: HealthKind = "none"
    target: str = ""
    timeout_s: float = 60.0
    """How long a start may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process of the system."""

    name: str
    """Short name: of its log file, its pid file and its row in the status."""
    argv: tuple[str, ...]
    order: int = 100
    """Processes start in rising order; those of one number start together. They stop the other way round."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those of the supervisor."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Ports it will bind on the loopback interface, by the path of their setting; each must be free before anything starts."""
    health: Health = Health()
    task: bool = False
    """Whether it is expected to end by itself with code 0 before the next number starts."""
    stop_timeout_s: float = 8.0
    """How long it may take from SIGTERM to its end before it is killed."""
    clean_exit_codes: tuple[int, ...] = (0, -15)


def specs_to_json(specs: Sequence[ProcessSpec]) -> str:
    """Write specs down."""
    return json.dumps([dataclasses.asdict(spec) for spec in specs], indent=1)


def specs_from_json(text: str) -> list[ProcessSpec]:
    """Read specs that `specs_to_json` wrote."""
    return [_spec(entry) for entry in json.loads(text)]


def _spec(entry: dict[str, Any]) -> ProcessSpec:
    lists = {name: tuple(entry[name]) for name in ("argv", "clean_exit_codes")}
    return ProcessSpec(**(entry | lists | {"health": Health(**entry["health"])}))
