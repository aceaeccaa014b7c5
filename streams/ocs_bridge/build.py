"""Makes the OCS bridge's stage."""

from __future__ import annotations

from contextlib import ExitStack

from infra.retry import retried
from infra.sal import sal_topics
from infra.topics_admin import create_topics
from schemas.camera import load_camera
from streams.compose import Wiring
from streams.ocs_bridge.stage import bridge_spec
from streams.ocs_bridge.translation import BridgeRules
from streams.stage import StageSpec

__all__ = ["build"]

PATIENCE_S = 30.0


def build(wiring: Wiring, name: str, on_exit: ExitStack) -> StageSpec[None]:
    """Return the stage that listens to the observatory; its topics are made where the observatory has not made them yet."""
    settings = wiring.settings
    topics = sal_topics(settings.night.subname)
    retried(
        lambda: create_topics(settings.bootstrap, replication=settings.kafka.replication, topics=topics),
        for_s=PATIENCE_S,
    )
    rules = BridgeRules(
        instrument=settings.night.instrument,
        camera=load_camera(settings.night.camera),
        stale_after_s=settings.control.stale_after_s,
    )
    return bridge_spec(rules, wiring.registry, settings.night.subname)
