"""Makes the quality stage."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from infra.metrics import show_completeness
from schemas.events import QualityMetrics
from streams.compose import Wiring
from streams.quality.stage import QualityState, quality_spec
from streams.stage import Incoming, Outgoing, StageSpec

__all__ = ["build"]


def build(wiring: Wiring, name: str, on_exit: ExitStack) -> StageSpec[QualityState]:
    """Return the stage that judges quality, and shows the completeness of each visit at the metrics endpoint."""
    spec = quality_spec(wiring.settings.night.instrument)

    def handle(state: QualityState, incoming: Incoming, now: float) -> tuple[QualityState, Sequence[Outgoing]]:
        state, out = spec.handle(state, incoming, now)
        for outgoing in out:
            _show(outgoing.record)
        return state, out

    return replace(spec, handle=handle)


def _show(record: object) -> None:
    """Show a visit's curve; a detector's own is in its record alone."""
    if isinstance(record, QualityMetrics) and record.detector is None:
        show_completeness(record.band, record.values)
