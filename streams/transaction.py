"""One process's place in the log: it reads topics, and writes its outputs, its state and its offsets in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra import kafka
from infra.logs import get_logger
from infra.reading import read_to_end
from schemas.errors import TransientFailure
from streams.calls import CALL_TIMEOUT_S, Calls
from streams.errors import StageInterruptedError
from streams.outbox import STATE_TOPIC, Outbox
from streams.receipts import AbortRequiredError
from streams.records import Delivered, Letter, Place, Read, offsets_as_headers, offsets_of_headers, read_of

__all__ = ["STATE_TOPIC", "Delivered", "Letter", "Place", "Read", "StageLog", "TransactionAbortedError"]

_LOGGER = get_logger(__name__)


class TransactionAbortedError(TransientFailure):
    """The transaction was aborted; its inputs are to be read again from what was last committed."""

    code = "transaction_aborted"


class StageLog:
    """The consumer and the transactional producer of one process.

    Parameters
    ----------
    bootstrap
        Address of the cluster.
    group
        Consumer group that owns the offsets.
    transactional_id
        Stable per process name: a second process of that name fences this one.
    topics
        What is read.
    state_key
        Key of this process's snapshots.
    shared
        Whether several processes of the group share the partitions (static members); otherwise this process reads
        all partitions of all topics.
    from_beginning
        Where a group without offsets begins.
    transaction_timeout_s, patience_s
        How long a dead process may hold readers back, and how long an unreachable cluster is waited for.
    stopping
        Tells whether the process has been asked to end.
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        group: str,
        transactional_id: str,
        topics: Sequence[str],
        state_key: bytes = b"",
        shared: bool = False,
        from_beginning: bool = True,
        transaction_timeout_s: float = 10.0,
        patience_s: float = 60.0,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._bootstrap, self._group, self._id = bootstrap, group, transactional_id
        self._topics, self._shared, self._state_key = tuple(topics), shared, state_key
        self._positions: dict[Place, int] = {}
        self._from_beginning = from_beginning
        self._calls = Calls(transactional_id, patience_s, stopping)
        self._consumer: Consumer = kafka.consumer(
            bootstrap,
            group,
            client_id=transactional_id,
            instance_id=transactional_id if shared else None,
            from_beginning=from_beginning,
            extra={"enable.partition.eof": True},
        )
        self._outbox = Outbox(
            bootstrap,
            transactional_id,
            transaction_timeout_s=transaction_timeout_s,
            calls=self._calls,
            membership=self._consumer.consumer_group_metadata,
        )
        self._behind: set[Place] = set()

    def open(self, on_assign: Callable[[tuple[Place, ...]], None]) -> bytes | None:
        """Fence older processes of this name, and go to where the last one committed.

        Parameters
        ----------
        on_assign
            Called with the partitions whenever they are given to this process.

        Returns
        -------
        state
            Value of the last committed snapshot, or None.

        Raises
        ------
        StageInterruptedError
            When the cluster cannot be reached in time.
        StageFencedError
            When a younger process of this name is there.
        """
        self._outbox.open()
        self._on_assign = on_assign
        if self._shared:
            self._consumer.subscribe(list(self._topics), on_assign=self._assigned)
            return None
        return self._go_back()

    @property
    def caught_up(self) -> bool:
        """Whether every partition was read to its end since the state was loaded; always so where processes share them."""
        return not self._behind

    @property
    def hung(self) -> bool:
        """Whether a call of the client does not come back; only the end of the process helps then."""
        return self._calls.hung

    def restore(self) -> bytes | None:
        """Go back to what was last committed, after an abort."""
        if not self._shared:
            return self._go_back()
        places = self._consumer.assignment()
        for place in self._calls.repeat("read offsets", lambda: self._consumer.committed(places, CALL_TIMEOUT_S)):
            self._consumer.seek(self._start(place))
        self._on_assign(_places(places))
        return None

    @property
    def begun(self) -> bool:
        """Whether `begin` was called, and nothing was committed since."""
        return self._outbox.begun

    def begin(self, offsets: Mapping[Place, int]) -> None:
        """Begin a transaction that will hold these offsets, and go on while they are put into it: some milliseconds less to wait for.

        It lasts as long as its time limit: what takes longer must `let_go`.
        """
        self._outbox.begin(offsets)

    def let_go(self) -> None:
        """Give up what `begin` began."""
        self._outbox.let_go()

    def poll(self, limit: int, timeout_s: float) -> list[Read]:
        """Wait for a record, then return it with those that are already here, at most ``limit``."""
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        messages = [first, *(self._consumer.consume(limit - 1, 0.0) if limit > 1 else ())]
        return [read_of(m) for m in messages if self._readable(m)]

    def commit(
        self,
        letters: Sequence[Letter],
        snapshot: Letter | None,
        offsets: Mapping[Place, int],
        *,
        before_commit: Callable[[], None] = lambda: None,
    ) -> None:
        """Write records, snapshot and offsets in one transaction: all of it is seen, or none.

        Parameters
        ----------
        letters
            Records in order.
        snapshot
            The state after them, or None where it did not change.
        offsets
            Next offset to be read of each partition.
        before_commit
            Called when everything is written and nothing is committed; an `AbortRequiredError` of it aborts the transaction.

        Raises
        ------
        TransactionAbortedError
            When the transaction was aborted: `restore`, and read again.
        StageInterruptedError, StageFencedError
            When the process must end.
        """
        try:
            headers = offsets_as_headers(self._positions | dict(offsets))
            self._outbox.write(letters, None if snapshot is None else replace(snapshot, headers=headers), offsets)
            before_commit()
            self._outbox.commit()
            self._positions |= offsets
        except AbortRequiredError as error:
            _LOGGER.warning("transaction aborted", reason=str(error))
            self._outbox.abort()
            raise TransactionAbortedError(f"The transaction of {self._id} was aborted: {error}.") from error

    def close(self) -> None:
        """Leave the cluster."""
        self._consumer.close()

    def _go_back(self) -> bytes | None:
        places = self._all_places()
        state_place = TopicPartition(STATE_TOPIC, 0)
        *committed, state_at = self._calls.repeat(
            "read offsets", lambda: self._consumer.committed([*places, state_place], CALL_TIMEOUT_S)
        )
        snapshot = self._read_state(state_at.offset) if state_at.offset >= 0 else self._find_state()
        by_snapshot = {} if snapshot is None else offsets_of_headers(snapshot.headers)
        for place in committed:
            if _int(place.offset) < 0:
                place.offset = by_snapshot.get((place.topic, place.partition), -1)
        self._positions = {(p.topic, p.partition): _int(p.offset) for p in committed if _int(p.offset) >= 0}
        self._behind = set(_places(places))
        self._consumer.assign([self._start(place) for place in committed])
        self._on_assign(_places(places))
        return None if snapshot is None else snapshot.value

    def _all_places(self) -> list[TopicPartition]:
        def ask() -> list[TopicPartition]:
            places = []
            for topic in self._topics:
                metadata = self._consumer.list_topics(topic, CALL_TIMEOUT_S).topics[topic]
                if metadata.error is not None:
                    raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE, f"topic {topic} is not there"))
                places += [TopicPartition(topic, partition) for partition in sorted(metadata.partitions)]
            return places

        found: list[TopicPartition] = self._calls.repeat("list topics", ask)
        return found

    def _read_state(self, offset: int) -> Read | None:
        reader = kafka.consumer(self._bootstrap, f"{self._group}.state", client_id=self._id)
        try:
            reader.assign([TopicPartition(STATE_TOPIC, 0, offset)])
            deadline = self._calls.deadline()
            while not self._calls.over(deadline):
                message = reader.poll(CALL_TIMEOUT_S)
                if message is not None and message.error() is None:
                    return read_of(message) if message.offset() == offset else None
            raise StageInterruptedError(f"The state of {self._id} cannot be read back from {STATE_TOPIC}.")
        finally:
            reader.close()

    def _find_state(self) -> Read | None:
        """Return the last snapshot where the group has no offsets: at the first start, or when the broker dropped them.

        Brokers drop the offsets of a group that was idle for a week or so; snapshots stay, and carry the offsets they belong to.
        Own transactions have ended when the producer begins, and those of other stages on this topic are not waited for.
        """
        last = None
        for message in read_to_end(self._bootstrap, STATE_TOPIC, [0], settled=False):
            if message.key() == self._state_key:
                last = message
        return None if last is None else read_of(last)

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._on_assign(_places(places))

    def _start(self, place: TopicPartition) -> TopicPartition:
        nothing = OFFSET_BEGINNING if self._from_beginning else OFFSET_END
        return TopicPartition(place.topic, place.partition, place.offset if _int(place.offset) >= 0 else nothing)

    def _readable(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            self._behind.discard((str(message.topic()), _int(message.partition())))
            return False
        if error.fatal():
            raise StageInterruptedError(f"{self._id} cannot read: {error.str()}.")
        _LOGGER.info("kafka reader", reason=error.str())
        return False


def _places(partitions: Sequence[TopicPartition]) -> tuple[Place, ...]:
    return tuple(sorted((p.topic, p.partition) for p in partitions))


def _int(value: int | None) -> int:
    return -1 if value is None else value
