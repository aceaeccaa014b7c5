"""Read the topics into the view, exactly once: the positions live in the view's own database and move with its rows.

No consumer group is used: the reader assigns every partition to itself at the position the view holds, so nothing that
Kafka remembers can disagree with what the view contains.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition
from sqlalchemy import Engine

from infra.errors import KafkaUnavailableError
from infra.kafka import consumer, error_of, translated
from infra.logs import get_logger
from schemas.errors import NightcastError
from streams.views.fold import FOLDED_TOPICS, Folder, Message, read_positions

__all__ = ["ViewReader", "writing"]

_LOGGER = get_logger(__name__)

BATCH = 500
"""Messages folded in one transaction of the database."""

_STOP_S = 1.5
"""How long a reader that shall stop is waited for."""

PAUSES_S = (0.2, 0.5, 1.0, 2.0)
"""Waits before the next attempt after Kafka or the registry failed; the last one repeats."""


def writing(engine: Engine) -> Any:
    """Begin a transaction that holds the database's write lock from its start; use as a context."""
    return engine.execution_options(writes=True).begin()


class ViewReader:
    """Follows the topics and folds them.

    Parameters
    ----------
    engine
        The view's database.
    folder
        Folds messages.
    bootstrap
        Address of the cluster.
    on_change
        Called, from the reader's thread, after each transaction that changed the view.
    topics
        Topics to read.
    """

    def __init__(
        self,
        engine: Engine,
        folder: Folder,
        *,
        bootstrap: str,
        on_change: Callable[[], None] = lambda: None,
        topics: Sequence[str] = FOLDED_TOPICS,
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._bootstrap = bootstrap
        self._on_change = on_change
        self._topics = tuple(topics)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended: set[tuple[str, int]] = set()
        self._trouble: str | None = "The toolkit has not reached Kafka yet."
        self._assigned: set[tuple[str, int]] = set()

    @property
    def trouble(self) -> str | None:
        """What keeps the view from following Kafka, in one sentence; None while all is well."""
        return self._trouble

    @property
    def caught_up(self) -> bool:
        """Whether every partition was read to its end."""
        return self._trouble is None and self._assigned <= self._ended

    def start(self) -> None:
        """Follow the topics in a thread until `stop`; failures of Kafka are waited out."""
        self._thread = threading.Thread(target=self._run, name="view-reader", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; one that still waits for Kafka is left to end with the process.

        That is safe: a transaction of the database is whole or not at all.
        """
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=_STOP_S)

    def catch_up(self, timeout_s: float = 30.0) -> int:
        """Fold everything there is now and return how many messages were new.

        Raises
        ------
        KafkaUnavailableError
            When the end is not reached in time.
        """
        deadline = time.monotonic() + timeout_s
        client = self._connect(timeout_s=min(5.0, timeout_s))
        try:
            folded = 0
            while not self._assigned <= self._ended:
                folded += self._step(client)
                if time.monotonic() > deadline:
                    raise KafkaUnavailableError(
                        f"The view did not reach the end of its topics within {timeout_s:.0f} s."
                    )
            return folded
        finally:
            client.close()

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._follow()
                failures = 0
            except NightcastError as error:
                self._trouble = error.sentence
                _LOGGER.warning("view_interrupted", code=error.code, reason=error.sentence)
            except Exception as error:  # the page must outlive whatever the database or librdkafka raises
                self._trouble = f"The view cannot be brought up to date: {error}."
                _LOGGER.exception("view_failed")
            if self._stop.wait(PAUSES_S[min(failures, len(PAUSES_S) - 1)]):
                return
            failures += 1

    def _follow(self) -> None:
        client = self._connect(timeout_s=3.0)
        self._trouble = None
        refreshed = time.monotonic()
        try:
            while not self._stop.is_set():
                self._step(client)
                if time.monotonic() - refreshed > 15.0:
                    self._check_alive(client)
                    refreshed = time.monotonic()
        finally:
            client.close()

    def _connect(self, *, timeout_s: float) -> Consumer:
        client = consumer(self._bootstrap, "toolkit-view", extra={"enable.partition.eof": True})
        try:
            with translated("list the topics of the view"):
                present = client.list_topics(timeout=timeout_s).topics
            missing = [name for name in self._topics if name not in present or present[name].error is not None]
            if missing:
                raise KafkaUnavailableError(
                    f"Kafka has no topic {', '.join(missing)} yet; the engine makes it at start."
                )
            self._assign(client, {(name, number) for name in self._topics for number in present[name].partitions})
        except NightcastError:
            client.close()
            raise
        return client

    def _assign(self, client: Consumer, partitions: set[tuple[str, int]]) -> None:
        with self._engine.connect() as connection:
            known = read_positions(connection)
        self._assigned, self._ended = partitions, set()
        with translated("read the topics of the view"):
            client.assign([TopicPartition(*place, known.get(place, 0)) for place in sorted(partitions)])

    def _check_alive(self, client: Consumer) -> None:
        with translated("reach the cluster"):
            client.list_topics(self._topics[0], timeout=5.0)

    def _step(self, client: Consumer) -> int:
        messages = []
        for polled in client.consume(num_messages=BATCH, timeout=0.2):
            place = str(polled.topic()), int(polled.partition() or 0)
            error = polled.error()
            if error is None:
                messages.append(_message(polled))
                self._ended.discard(place)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ended.add(place)
            else:
                raise error_of(error, doing="read the topics of the view")
        if not messages:
            return 0
        with writing(self._engine) as connection:
            folded = self._folder.fold(connection, messages)
        if folded:
            self._on_change()
        return folded


def _message(polled: Any) -> Message:
    kind, timestamp_ms = polled.timestamp()
    return Message(
        topic=polled.topic(),
        partition=polled.partition(),
        offset=polled.offset(),
        key=polled.key(),
        value=polled.value(),
        timestamp_s=timestamp_ms / 1000 if kind else 0.0,
    )
