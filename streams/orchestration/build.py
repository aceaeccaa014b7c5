"""Makes the Orchestration Manager's stage."""

from __future__ import annotations

from contextlib import ExitStack

from processors.control.lease_state import LeaseState
from processors.control.leases import LeaseRules
from streams.compose import Wiring
from streams.orchestration.stage import orchestration_spec
from streams.stage import StageSpec

__all__ = ["build"]


def build(wiring: Wiring, name: str, on_exit: ExitStack) -> StageSpec[LeaseState]:
    """Return the stage that leases jobs."""
    control = wiring.settings.control
    rules = LeaseRules(
        lease_s=control.lease_s,
        attempts=wiring.settings.detectors.attempts,
        archive_attempts=control.archive_attempts,
        queue_limit=control.queue_limit,
    )
    return orchestration_spec(rules)
