"""Makes the publisher's stage of the outside world."""

from __future__ import annotations

from contextlib import ExitStack

from infra.metrics import StageMetrics
from streams.compose import Wiring
from streams.distribution.ledger import AlertLedger
from streams.distribution.publisher import Publisher
from streams.stage import StageSpec

__all__ = ["build"]


def build(wiring: Wiring, name: str, on_exit: ExitStack) -> StageSpec[None]:
    """Return the stage that publishes alerts."""
    metrics = StageMetrics("distribution")
    publisher = Publisher(
        objects=wiring.objects,
        ledger=AlertLedger(wiring.settings.bootstrap, wiring.codec),
        public_topic=wiring.settings.alerts.topic,
        count=metrics.emitted,
    )
    return publisher.spec()
