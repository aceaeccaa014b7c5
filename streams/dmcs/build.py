"""Makes the DMCS's stage."""

from __future__ import annotations

from contextlib import ExitStack

from processors.control.visit_saga import SagaRules
from processors.control.visit_state import SagaState
from streams.compose import Wiring
from streams.dmcs.stage import dmcs_spec
from streams.inputs import release_inputs
from streams.stage import StageSpec

__all__ = ["build"]


def build(wiring: Wiring, name: str, on_exit: ExitStack) -> StageSpec[SagaState]:
    """Return the stage that plans and closes visits."""
    settings = wiring.settings
    rules = SagaRules(
        instrument=settings.night.instrument,
        camera=settings.night.camera,
        close_after_s=settings.night.close_after_s,
        grace_s=settings.control.exposure_grace_s,
        prediction_wait_s=settings.control.prediction_wait_s,
    )
    return dmcs_spec(rules, lambda: release_inputs(settings.release_file))
