"""Makes the publisher's stage of the outside world."""

from __future__ import annotations

from contextlib import ExitStack

from infra.metrics import StageMetrics
from streams.compose import Wiring
from streams.distribution.ledger import AlertLedger
from streams.distribution.publisher import DUPLICATE, PUBLISHED, Publisher
from streams.stage import StageSpec

__all__ = ["build"]


def build(wiring: Wiring, name: str, on_exit: ExitStack) -> StageSpec[None]:
    """Return the stage that publishes alerts."""
    topic = wiring.settings.alerts.topic
    publisher = Publisher(
        objects=wiring.objects,
        ledger=AlertLedger(wiring.settings.bootstrap, wiring.codec),
        public_topic=topic,
        count=_Outcomes(StageMetrics("distribution"), topic),
    )
    return publisher.spec()


class _Outcomes:
    """Makes metrics of what became of alerts."""

    def __init__(self, metrics: StageMetrics, topic: str) -> None:
        self._metrics, self._topic = metrics, topic

    def __call__(self, outcome: str, latency_s: float) -> None:
        if outcome == PUBLISHED:
            self._metrics.emitted(self._topic)
            self._metrics.latency(latency_s)
        elif outcome == DUPLICATE:
            self._metrics.failure(outcome)
        else:
            self._metrics.dead_letter(outcome)
