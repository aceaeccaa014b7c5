"""The bridge's stage: four topics of the observatory in, the log of visits out."""

from __future__ import annotations

from typing import Any

from infra import sal
from schemas.topics import dead_letter_topic
from schemas.wire import SchemaSource
from streams.ocs_bridge.translation import BridgeRules, translate
from streams.stage import Incoming, Outgoing, StageSpec

__all__ = ["bridge_spec"]


def bridge_spec(rules: BridgeRules, registry: SchemaSource, subname: str) -> StageSpec[None]:
    """Return the stage; what it refuses goes to the dead letters of the log of visits, with the observatory's topic as origin.

    Parameters
    ----------
    rules
        Whom it serves.
    registry
        Where the observatory's schemas are.
    subname
        Second part of the names of the observatory's topics.
    """
    events = {sal.topic_of(subname, event): event for event in sal.EVENTS}
    codec = sal.SalCodec(registry, subname)

    def decode(topic: str, payload: bytes) -> Any:
        return codec.decode(events[topic], payload)

    def handle(state: None, incoming: Incoming, now: float) -> tuple[None, list[Outgoing]]:
        fact = translate(events[incoming.topic], incoming.record, now, rules)
        return None, [Outgoing(topic="visit-events", key=rules.instrument, record=fact)]

    return StageSpec(
        stage="ocs-bridge",
        topics=tuple(events),
        handle=handle,
        initial=None,
        decode=decode,
        refused_to=lambda _: dead_letter_topic("visit-events"),
    )
