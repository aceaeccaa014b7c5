"""The ledger of alerts, in memory: the newest entry of each alert of the partitions this process holds.

An alert's entry lies in the partition of its input, so that whoever holds the input holds the entry.
"""

from __future__ import annotations

from infra.reading import read_to_end
from schemas.events import AlertLedgerEntry
from schemas.wire import EventCodec

__all__ = ["LEDGER_TOPIC", "AlertLedger"]

LEDGER_TOPIC = "alert-ledger"


class AlertLedger:
    """Entries by alert id, kept apart by partition.

    Parameters
    ----------
    bootstrap
        Address of the cluster.
    codec
        Decodes entries.
    """

    def __init__(self, bootstrap: str, codec: EventCodec) -> None:
        self._bootstrap = bootstrap
        self._codec = codec
        self._entries: dict[int, dict[int, AlertLedgerEntry]] = {}

    def load(self, partition: int) -> None:
        """Read a partition's entries from the topic, forgetting what was known of it."""
        entries: dict[int, AlertLedgerEntry] = {}
        for message in read_to_end(self._bootstrap, LEDGER_TOPIC, [partition]):
            value = message.value()
            if value is not None:
                entry = self._codec.decode(AlertLedgerEntry, value)
                entries[entry.alert_id] = entry
        self._entries[partition] = entries

    def forget_all(self) -> None:
        """Drop every partition, because other ones are held from now on."""
        self._entries.clear()

    def get(self, partition: int, alert_id: int) -> AlertLedgerEntry | None:
        """Return what is known of an alert."""
        return self._entries.get(partition, {}).get(alert_id)

    def put(self, partition: int, entry: AlertLedgerEntry) -> None:
        """Remember an entry."""
        self._entries.setdefault(partition, {})[entry.alert_id] = entry
