"""Makes the quality stage."""

from __future__ import annotations

from contextlib import ExitStack

from streams.compose import Wiring
from streams.quality.stage import QualityState, quality_spec
from streams.stage import StageSpec

__all__ = ["build"]


def build(wiring: Wiring, name: str, on_exit: ExitStack) -> StageSpec[QualityState]:
    """Return the stage that judges quality."""
    return quality_spec(wiring.settings.night.instrument)
