"""Reading a topic to its end, while transactions are open on it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from infra import kafka
from infra.reading import read_to_end
from tests.support.stages import new_topics

pytestmark = pytest.mark.broker


def opened(bootstrap: str, topic: str) -> Producer:
    """Return a producer in a transaction that has written a record after a committed one."""
    producer = kafka.producer(bootstrap, client_id="t", transactional_id=topic)
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"before")
    producer.commit_transaction(20)
    producer.begin_transaction()
    producer.produce(topic, b"within")
    assert producer.flush(20) == 0
    return producer


def values(bootstrap: str, topic: str, *, settled: bool) -> list[bytes | None]:
    return [message.value() for message in read_to_end(bootstrap, topic, settled=settled)]


@pytest.mark.parametrize(
    ("end", "expected"),
    [(Producer.commit_transaction, [b"before", b"within"]), (Producer.abort_transaction, [b"before"])],
    ids=["commit", "abort"],
)
def test_a_reader_waits_for_what_is_open(broker, end: Callable[..., None], expected: list[bytes]) -> None:
    (topic,) = new_topics(broker.bootstrap, "settled")
    producer = opened(broker.bootstrap, topic)
    ended = threading.Timer(1.5, end, (producer, 20))
    ended.start()
    assert values(broker.bootstrap, topic, settled=False) == [b"before"]
    assert values(broker.bootstrap, topic, settled=True) == expected
    ended.join()


def test_what_was_committed_a_moment_ago_is_there(broker) -> None:
    (topic,) = new_topics(broker.bootstrap, "moment")
    producer = kafka.producer(broker.bootstrap, client_id="t", transactional_id=topic)
    producer.init_transactions(20)
    for number in range(1, 31):
        producer.begin_transaction()
        producer.produce(topic, b"%d" % number)
        producer.commit_transaction(20)
        assert len(values(broker.bootstrap, topic, settled=True)) == number


class HesitantAdmin:
    """An administrator's client whose broker does not know at first that it leads the partition."""

    def __init__(self, bootstrap: str, refusals: int) -> None:
        self._client, self.refusals = kafka.admin(bootstrap), refusals

    def list_offsets(self, asked: Any, **options: Any) -> Any:
        if not self.refusals:
            return self._client.list_offsets(asked, **options)
        self.refusals -= 1
        refused: Future[Any] = Future()
        refused.set_exception(KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)))
        return dict.fromkeys(asked, refused)


def test_a_broker_that_has_just_started_is_asked_again(broker, monkeypatch: pytest.MonkeyPatch) -> None:
    (topic,) = new_topics(broker.bootstrap, "hesitant")
    hesitant = HesitantAdmin(broker.bootstrap, 2)
    monkeypatch.setattr("infra.reading.admin", lambda _bootstrap: hesitant)
    assert values(broker.bootstrap, topic, settled=True) == []
    assert hesitant.refusals == 0


def test_a_topic_without_records(broker) -> None:
    (topic,) = new_topics(broker.bootstrap, "empty")
    assert values(broker.bootstrap, topic, settled=True) == []
