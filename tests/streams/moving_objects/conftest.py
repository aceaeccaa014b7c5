"""A Moving Object Database for tests: Kafka's mock cluster, a registry and an object store in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.kafka import producer
from infra.objects import ObjectStore
from infra.reading import read_to_end
from infra.settings import Settings, load_settings
from schemas.events import OrbitEvent
from streams.bulk import BulkProducer
from streams.compose import Wiring
from streams.moving_objects.orbit_store import TOPIC, OrbitsAtHand, orbits_at_hand, read_orbit_store
from streams.nightmops.stage import CATALOGUE_TOPIC
from streams.stage_codec import Outgoing, StageCodec
from tests.support.clusters import open_cluster
from tests.support.stages import LocalRegistry


@dataclass(frozen=True, kw_only=True)
class System:
    """A system of which only the log, the registry and the store are there."""

    settings: Settings
    objects: ObjectStore = field(default_factory=ObjectStore.memory)
    registry: LocalRegistry = field(default_factory=LocalRegistry)

    @property
    def wiring(self) -> Wiring:
        """What commands and stages are given."""
        return Wiring(self.settings)

    def producer(self) -> BulkProducer:
        """Return a producer of events."""
        return BulkProducer(self.wiring.producer("test"), StageCodec(self.registry))

    def put(self, events: Iterable[OrbitEvent]) -> None:
        """Write events to the log."""
        producer = self.producer()
        producer.put(Outgoing(topic=TOPIC, key=event.designation, record=event) for event in events)
        producer.confirm()

    def events(self) -> list[OrbitEvent]:
        """Return the newest event of each designation."""
        return list(read_orbit_store(self.settings.bootstrap, self.wiring.codec).values())

    def at_hand(self) -> OrbitsAtHand:
        """Return the orbits that the log stands for."""
        return orbits_at_hand(self.events(), self.objects)

    def records(self) -> int:
        """Return how many records the log has."""
        return len(list(read_to_end(self.settings.bootstrap, TOPIC)))

    def run(self, app: Any, *arguments: str) -> Any:
        """Run a command in this process."""
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """An empty database, to which commands find their way by themselves."""
    with open_cluster("mock", None) as cluster:
        monkeypatch.setenv("NIGHTCAST_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("NIGHTCAST_KAFKA__BOOTSTRAP_SERVERS", cluster.bootstrap)
        # The mock makes a topic when somebody who may write asks for it.
        for topic in (TOPIC, CATALOGUE_TOPIC):
            producer(cluster.bootstrap, client_id="test").list_topics(topic, timeout=10)
        made = System(settings=load_settings())
        monkeypatch.setattr(Wiring, "registry", made.registry)
        monkeypatch.setattr(Wiring, "objects", made.objects)
        yield made
