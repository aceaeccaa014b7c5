"""The Faust side of association: facts of visits and decisions of DayMOPS, one after the other, handed to their service."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from infra.errors import StateStoreError
from infra.reading import place_of
from processors.association.errors import CorruptHistoryError
from processors.association.rules import Rules
from schemas.errors import SchemaError, UndecodableEventError
from schemas.events import DayMopsDecision, VisitEvent
from streams.association.decisions import TOPIC as LOG_TOPIC
from streams.association.decisions import DecisionLog
from streams.association.outputs import warm_up
from streams.association.results import TOPIC as RESULTS_TOPIC
from streams.association.results import ResultReader
from streams.association.service import AssociationService, Outside
from streams.association.state import LocalState
from streams.association.waiting import TOPIC as DAYMOPS_TOPIC
from streams.association.waiting import WaitingCorrections
from streams.bulk import BulkProducer
from streams.compose import Wiring
from streams.faust_stage import FaustSpec
from streams.partition_reader import PartitionReader
from streams.stage_codec import StageCodec
from streams.transaction import Read

__all__ = ["SPEC", "AssociationHandler"]

TOPIC = "visit-events"
T = TypeVar("T")

SPEC = FaustSpec(stage="association", topic=TOPIC, beside=(DAYMOPS_TOPIC,))
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
            waiting=WaitingCorrections(self._reader(DAYMOPS_TOPIC), self._reader(TOPIC), wiring.codec),
            observatory=settings.night.observatory,
        )
        self._services: dict[str, AssociationService] = {}
        self._remembered_to = -1

    async def start(self) -> None:
        """Fold the log into the local store of the settings' instrument, and load compiled code, so that the first visit need not wait."""
        await asyncio.to_thread(warm_up)
        await asyncio.to_thread(lambda: self._service(self._wiring.settings.night.instrument).answer_daymops())

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
        self._outside.waiting.close()

    def _handle(self, read: Read) -> bool:
        if read.topic == DAYMOPS_TOPIC:
            return self._handle_daymops(read)
        self._remember(read.offset)
        event = self._decoded(VisitEvent, read.value)
        service = self._service(event.instrument)
        try:
            said = service.take(event, read.offset)
        except (StateStoreError, CorruptHistoryError):
            service.rebuild()
            said = service.take(event, read.offset)
        return service.answer_daymops() or said

    def _handle_daymops(self, read: Read) -> bool:
        event = self._decoded(DayMopsDecision, read.value)
        service = self._service(event.instrument)
        try:
            return service.answer_daymops(event)
        except (StateStoreError, CorruptHistoryError):
            service.rebuild()
            return service.answer_daymops(event)

    def _decoded(self, kind: type[T], value: bytes | None) -> T:
        if value is None:
            raise UndecodableEventError(f"A record without a value means nothing in a log of {kind.__name__}.")
        return self._wiring.codec.decode(kind, value)

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
            event = self._decoded(VisitEvent, value)
        except SchemaError:  # it went to the dead letters when its turn was
            return
        self._service(event.instrument).remember(event, offset)

    def _reader(self, topic: str, partition: int = 0) -> PartitionReader:
        return PartitionReader(self._wiring.settings.bootstrap, topic, partition)
