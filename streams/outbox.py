"""The writing side of a process: records, a snapshot and offsets in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from infra import kafka
from streams.calls import CALL_TIMEOUT_S, Calls
from streams.errors import StageInterruptedError
from streams.receipts import AbortRequiredError, Receipt
from streams.records import Delivered, Letter, Place

__all__ = ["STATE_TOPIC", "Outbox"]

STATE_TOPIC = "stage-state"
"""Compacted topic of every stage's snapshot."""

Offsets = Mapping[Place, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Early:
    """Offsets that are put into the transaction while its records are being made."""

    offsets: Offsets
    sent: Future[None]


class Outbox:
    """A transactional producer, with the offsets of a consumer group.

    Parameters
    ----------
    bootstrap
        Address of the cluster.
    transactional_id
        Stable per process name: a second process of that name fences this one.
    transaction_timeout_s
        How long a dead process may hold readers back.
    calls
        Makes the calls.
    membership
        Returns the consumer's place in its group (``Consumer.consumer_group_metadata``).
    """

    def __init__(
        self,
        bootstrap: str,
        transactional_id: str,
        *,
        transaction_timeout_s: float,
        calls: Calls,
        membership: Callable[[], Any],
    ) -> None:
        self._producer = kafka.producer(
            bootstrap,
            client_id=transactional_id,
            transactional_id=transactional_id,
            transaction_timeout_s=transaction_timeout_s,
            linger_ms=0,
        )
        self._calls, self._membership = calls, membership
        self._aside = ThreadPoolExecutor(1, "offsets")
        self._early: _Early | None = None

    def open(self) -> None:
        """Fence older processes of this name and end what they had begun."""
        limit = min(CALL_TIMEOUT_S * 5, self._calls.patience_s)
        self._calls.repeat("begin", lambda: self._producer.init_transactions(limit))

    @property
    def begun(self) -> bool:
        """Whether `begin` was called, and nothing was committed since."""
        return self._early is not None

    def begin(self, offsets: Offsets) -> None:
        """Begin a transaction that will hold these offsets, and go on while they are put into it.

        Once begun it must be written and committed within its time limit, or given up: `let_go`.
        """
        if self._early is not None:
            return
        try:
            self._begin()
        except AbortRequiredError:  # writing will hear the same, and what follows from it
            return
        kept = dict(offsets)
        self._early = _Early(offsets=kept, sent=self._aside.submit(self._send_offsets, kept))

    def let_go(self) -> None:
        """Give up what was begun and holds no record yet.

        Raises
        ------
        StageInterruptedError, StageFencedError
            When the process must end.
        """
        if self._early is not None:
            self._wait_for_early(AbortRequiredError)
            self.abort()

    def write(self, letters: Sequence[Letter], snapshot: Letter | None, offsets: Offsets) -> None:
        """Write everything into a transaction, which is begun unless it is already with these offsets.

        Parameters
        ----------
        letters
            Records in order.
        snapshot
            The state after them, or None.
        offsets
            Next offset to be read of each partition.

        Raises
        ------
        AbortRequiredError
            When the transaction must be aborted.
        StageInterruptedError, StageFencedError
            When the process must end.
        """
        if self._early is not None and self._early.offsets != offsets:
            self.let_go()
        if self._early is None:
            self._begin()
        if snapshot is not None or any(letter.then for letter in letters):
            self._write(letters)
            self._finish(offsets, None if snapshot is None else self._produce([snapshot])[0].offset)
        else:  # nothing must know where the records lie: they are on their way while the offsets are
            receipts = self._hand_over(letters)
            self._finish(offsets, None)
            self._delivered(letters, receipts)

    def commit(self) -> None:
        """Commit what was written."""
        self._calls.repeat("commit", lambda: self._producer.commit_transaction(CALL_TIMEOUT_S))
        self._early = None

    def abort(self) -> None:
        """Give up what was written.

        Raises
        ------
        StageInterruptedError, StageFencedError
            When the process must end.
        """
        self._wait_for_early(AbortRequiredError)
        self._early = None
        try:
            self._calls.repeat("abort", lambda: self._producer.abort_transaction(CALL_TIMEOUT_S))
        except AbortRequiredError as error:
            name = self._calls.name
            raise StageInterruptedError(f"The transaction of {name} could not be aborted: {error}.") from error

    def _begin(self) -> None:
        self._calls.repeat("begin a transaction", self._producer.begin_transaction)

    def _finish(self, offsets: Offsets, state_at: int | None) -> None:
        """Put offsets into the transaction that are not there yet; with the snapshot goes its own place."""
        self._wait_for_early()
        missing = {} if self._early is not None else dict(offsets)
        if state_at is not None:
            missing[STATE_TOPIC, 0] = state_at
        self._send_offsets(missing)

    def _wait_for_early(self, *forgiven: type[Exception]) -> None:
        try:
            if self._early is not None:
                self._early.sent.result()
        except forgiven:
            return

    def _send_offsets(self, offsets: Offsets) -> None:
        if offsets:
            positions = [TopicPartition(topic, partition, at) for (topic, partition), at in sorted(offsets.items())]
            membership = self._membership()
            self._calls.repeat(
                "put offsets into the transaction",
                lambda: self._producer.send_offsets_to_transaction(positions, membership, CALL_TIMEOUT_S),
            )

    def _write(self, letters: Sequence[Letter]) -> None:
        pending: Sequence[Letter] = letters
        while pending:
            delivered = zip(pending, self._produce(pending), strict=True)
            pending = [follower for letter, place in delivered if letter.then for follower in letter.then(place)]

    def _produce(self, letters: Sequence[Letter]) -> list[Delivered]:
        """Append records and return, in their order, where each lies."""
        return self._delivered(letters, self._hand_over(letters))

    def _hand_over(self, letters: Sequence[Letter]) -> list[Receipt]:
        receipts = [Receipt() for _ in letters]
        for letter, receipt in zip(letters, receipts, strict=True):
            self._append(letter, receipt)
        return receipts

    def _delivered(self, letters: Sequence[Letter], receipts: Sequence[Receipt]) -> list[Delivered]:
        """Wait for what was handed over."""
        deadline = self._calls.deadline()
        while self._calls.repeat("write", lambda: self._producer.flush(0.5)) and not self._calls.over(deadline):
            continue
        return [receipt.delivered(letter) for letter, receipt in zip(letters, receipts, strict=True)]

    def _append(self, letter: Letter, receipt: Receipt) -> None:
        extra: dict[str, Any] = {} if letter.partition is None else {"partition": letter.partition}
        while True:
            try:
                self._producer.produce(
                    letter.topic,
                    value=letter.value,
                    key=letter.key,
                    headers=list(letter.headers),
                    on_delivery=receipt,
                    **extra,
                )
            except BufferError:  # librdkafka's queue is full: serve deliveries, then try again
                self._producer.poll(0.1)
            except KafkaException as error:
                self._calls.judge("write", error)
            else:
                return
