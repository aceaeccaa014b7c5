"""Follow the topics of a night while it happens."""

from __future__ import annotations

import uuid

from confluent_kafka import OFFSET_END, TopicPartition

from infra.errors import KafkaUnavailableError
from infra.kafka import consumer, translated
from infra.logs import get_logger
from infra.reading import partitions_of
from schemas.errors import NightcastError
from schemas.topics import topic
from schemas.wire import EventCodec
from streams.night.watch import NightView, fold

__all__ = ["NightFollower"]

TOPICS = ("visit-events", "jobs", "exposures", "alert-manifests")

log = get_logger(__name__)


class NightFollower:
    """Folds what is new on the night's topics into a view.

    Parameters
    ----------
    bootstrap
        Address of the cluster.
    codec
        Decodes events.
    day_obs
        The night.
    """

    def __init__(self, bootstrap: str, codec: EventCodec, day_obs: int) -> None:
        self._codec = codec
        self.view = NightView(day_obs=day_obs)
        self._consumer = consumer(bootstrap, f"night-{uuid.uuid4()}")
        places = [TopicPartition(t, p, OFFSET_END) for t in TOPICS for p in partitions_of(bootstrap, t)]
        with translated("follow the night"):
            self._consumer.assign(places)

    def poll(self, timeout_s: float) -> NightView:
        """Wait for news for so long, fold all of it in, and return the view."""
        for message in self._consumer.consume(num_messages=500, timeout=timeout_s):
            error, value, name = message.error(), message.value(), message.topic()
            if error is not None:
                if not error.retriable() and error.fatal():
                    raise KafkaUnavailableError(f"The night cannot be followed: {error.str()}.")
                continue
            row = topic(str(name))
            if value is None or row.event is None:
                continue
            try:
                self.view = fold(self.view, self._codec.decode(row.event, value))
            except NightcastError as undecodable:
                log.warning("event not shown", topic=name, reason=str(undecodable))
        return self.view

    def close(self) -> None:
        """Stop following."""
        self._consumer.close()
