"""The publisher: a shared transactional stage from assembled packets to the public topics, the store and the ledger."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Protocol

from infra.errors import CorruptObjectError, ObjectMissingError
from infra.logs import get_logger
from infra.objects import ObjectStore
from schemas import avro
from schemas.events import AlertLedgerEntry, AssembledAlert, CutoutPack, CutoutSet
from schemas.tables import Claim
from schemas.topics import dead_letter_topic
from schemas.wire import frame
from streams.distribution.ledger import LEDGER_TOPIC
from streams.distribution.publication import Origin, Publication, publish
from streams.stage import Incoming, Outgoing, StageSpec
from streams.transaction import Place

__all__ = ["DUPLICATE", "INPUT_TOPIC", "PUBLIC_SCHEMA_ID", "PUBLISHED", "Ledger", "Publisher", "OutcomeCounter"]

PUBLISHED, DUPLICATE = "published", "duplicate"
"""Outcomes of an alert; every other one is the code of its dead letter."""

INPUT_TOPIC = "alert-packets"
PUBLIC_SCHEMA_ID = 1101
"""Registry id of schema v11.1: 100 times the major version plus the minor one, as the community's clients expect."""

_BATCH = 200
"""Alerts in one transaction at most; 200 packets of 100 kB were measured at 0.3 ms CPU each."""

log = get_logger(__name__)


class Ledger(Protocol):
    """What has been published before, of the partitions this process holds."""

    def load(self, partition: int) -> None:
        """Read a partition's entries."""

    def forget_all(self) -> None:
        """Drop every partition."""

    def get(self, partition: int, alert_id: int) -> AlertLedgerEntry | None:
        """Return what is known of an alert."""

    def put(self, partition: int, entry: AlertLedgerEntry) -> None:
        """Remember an entry; an aborted transaction loads the partition again."""


class OutcomeCounter(Protocol):
    """Counts what became of alerts."""

    def __call__(self, outcome: str, latency_s: float) -> None:
        """Add one alert to an outcome, with the seconds since its visit's last end of readout."""


class Publisher:
    """What one publishing process does with each assembled alert.

    Parameters
    ----------
    objects
        Holds the packs of stamps.
    ledger
        What has been published before.
    public_topic
        Where the public packet goes.
    count
        Told what became of each alert.
    """

    def __init__(self, *, objects: ObjectStore, ledger: Ledger, public_topic: str, count: OutcomeCounter) -> None:
        self._ledger = ledger
        self._public_topic = public_topic
        self._count = count
        self._pack = functools.lru_cache(maxsize=16)(functools.partial(_stamps_of, objects))

    def spec(self) -> StageSpec[None]:
        """Return the stage that runs this publisher."""
        return StageSpec(
            stage="distribution",
            topics=(INPUT_TOPIC,),
            initial=None,
            handle=self.handle,
            shared=True,
            restored=self._restored,
            batch=_BATCH,
            tick_s=0.05,
        )

    def handle(self, state: None, incoming: Incoming, now: float) -> tuple[None, Sequence[Outgoing]]:
        """Return the records that publish an alert, refuse it, or none when it was published before."""
        alert: AssembledAlert = incoming.record
        origin = Origin(
            topic=incoming.topic,
            partition=incoming.partition,
            offset=incoming.offset,
            key=incoming.key,
            payload=avro.encode(alert),
        )
        known = self._ledger.get(incoming.partition, alert.alert_id)
        publication = publish(
            alert, self._stamps(alert), known, origin=origin, topic=self._public_topic, now_unix_s=now
        )
        self._count(_outcome(publication), now - alert.last_readout_sent_unix_s)
        return state, self._records(incoming.partition, publication)

    def _restored(self, _state: None, places: tuple[Place, ...]) -> None:
        self._ledger.forget_all()
        for topic, partition in places:
            if topic == INPUT_TOPIC:
                self._ledger.load(partition)

    def _stamps(self, alert: AssembledAlert) -> CutoutSet | None:
        if alert.cutouts is None:
            return None
        try:
            return self._pack(alert.cutouts).get(alert.alert_id)
        except (ObjectMissingError, CorruptObjectError) as error:
            log.error("stamps missing", alert=alert.alert_id, reason=str(error))
            return None

    def _records(self, partition: int, publication: Publication) -> list[Outgoing]:
        entry, refusal = publication.entry, publication.dead_letter
        if entry is None:
            return []
        self._ledger.put(partition, entry)
        ledger_record = Outgoing(topic=LEDGER_TOPIC, key=entry.alert_id, record=entry, partition=partition)
        if refusal is not None:
            log.error("alert quarantined", alert=entry.alert_id, reason=entry.reason)
            letter = Outgoing(topic=dead_letter_topic(refusal.origin_topic), key=refusal.key, record=refusal)
            return [ledger_record, letter]
        headers = tuple((publication.headers or {}).items())
        owner = str(entry.owner)
        public = frame(PUBLIC_SCHEMA_ID, publication.packet or b"")
        lite = frame(PUBLIC_SCHEMA_ID, publication.lite or b"")
        return [
            ledger_record,
            Outgoing(topic=self._public_topic, key=owner, record=public, headers=headers),
            Outgoing(topic="alert-store", key=entry.alert_id, record=public, headers=headers),
            Outgoing(topic="alerts-lite", key=owner, record=lite, headers=headers),
        ]


def _outcome(publication: Publication) -> str:
    if publication.dead_letter is not None:
        return publication.dead_letter.code
    return DUPLICATE if publication.entry is None else PUBLISHED


def _stamps_of(objects: ObjectStore, claim: Claim) -> dict[int, CutoutSet]:
    pack = avro.decode(CutoutPack, objects.get(claim))
    return {stamps.dia_source_id: stamps for stamps in pack.stamps}
