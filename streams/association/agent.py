"""The Faust side of association: facts of visits, one after the other, handed to the service of their instrument."""

from __future__ import annotations

import asyncio

from infra.errors import StateStoreError
from infra.reading import place_of
from processors.association.errors import CorruptHistoryError
from processors.association.rules import Rules
from schemas.errors import SchemaError, UndecodableEventError
from schemas.events import VisitEvent
from streams.association.decisions import TOPIC as LOG_TOPIC
from streams.association.decisions import DecisionLog
from streams.association.results import TOPIC as RESULTS_TOPIC
from streams.association.results import ResultReader
from streams.association.service import AssociationService, Outside
from streams.association.state import LocalState
from streams.bulk import BulkProducer
from streams.compose import Wiring
from streams.faust_stage import FaustSpec
from streams.partition_reader import PartitionReader
from streams.stage_codec import StageCodec
from streams.transaction import Read

__all__ = ["SPEC", "AssociationHandler"]

TOPIC = "visit-events"

SPEC = FaustSpec(stage="association", topic=TOPIC)
"""The stage."""


class AssociationHandler:
    """Hands each fact to its instrument's service, in a thread, so that the event loop stays alive.

    Parameters
    ----------
    wiring
        The outside world.
    name
        Name of the process, for its producer.
    """

    def __init__(self, wiring: Wiring, *, name: str) -> None:
        settings = wiring.settings
        self._wiring = wiring
        self._rules = Rules(
            radius_arcsec=settings.association.radius_arcsec, window_days=settings.association.history_days
        )
        producer = wiring.producer(name)
        codec = StageCodec(wiring.registry)
        self._outside = Outside(
            log=DecisionLog(self._reader(LOG_TOPIC), BulkProducer(producer, codec), wiring.codec),
            results=ResultReader(lambda partition: self._reader(RESULTS_TOPIC, partition), wiring.codec),
            outputs=BulkProducer(producer, codec),
            objects=wiring.objects,
            faults=wiring.crash_points,
        )
        self._services: dict[str, AssociationService] = {}
        self._remembered_to = -1

    async def start(self) -> None:
        """Fold the log into the local store of the settings' instrument, so that the first visit need not wait."""
        await asyncio.to_thread(self._service, self._wiring.settings.night.instrument)

    async def handle(self, read: Read) -> bool:
        """Act on one fact."""
        return await asyncio.to_thread(self._handle, read)

    async def settle(self) -> None:
        """Do nothing: each fact's outputs are confirmed before the next is taken."""

    def close(self) -> None:
        """Close stores and readers."""
        for service in self._services.values():
            service.close()
        self._outside.log.close()
        self._outside.results.close()

    def _handle(self, read: Read) -> bool:
        self._remember(read.offset)
        event = self._decoded(read.value)
        service = self._service(event.instrument)
        try:
            return service.take(event, read.offset)
        except (StateStoreError, CorruptHistoryError):
            service.rebuild()
            return service.take(event, read.offset)

    def _decoded(self, value: bytes | None) -> VisitEvent:
        if value is None:
            raise UndecodableEventError(f"A record without a value means nothing on {TOPIC}.")
        return self._wiring.codec.decode(VisitEvent, value)

    def _service(self, instrument: str) -> AssociationService:
        if instrument not in self._services:
            folder = self._wiring.settings.state_dir / "association" / instrument
            service = AssociationService(instrument, state=LocalState(folder), outside=self._outside, rules=self._rules)
            service.catch_up()
            self._services[instrument] = service
        return self._services[instrument]

    def _remember(self, offset: int) -> None:
        """Put the facts before the first one that this process is given in order again; they were acted upon before."""
        if self._remembered_to >= 0:
            return
        reader = self._reader(TOPIC)
        try:
            for message in reader.records(0, offset):
                self._take_in_order(message.value(), place_of(message)[1])
        finally:
            reader.close()
        self._remembered_to = offset

    def _take_in_order(self, value: bytes | None, offset: int) -> None:
        try:
            event = self._decoded(value)
        except SchemaError:  # it went to the dead letters when its turn was
            return
        self._service(event.instrument).remember(event, offset)

    def _reader(self, topic: str, partition: int = 0) -> PartitionReader:
        return PartitionReader(self._wiring.settings.bootstrap, topic, partition)
