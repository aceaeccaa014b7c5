"""Clients on clusters of every tier."""

from __future__ import annotations

import time
import uuid

import pytest
from confluent_kafka import KafkaError, KafkaException

from infra.errors import KafkaFencedError, KafkaRequestError, KafkaUnavailableError
from infra.kafka import admin, consumer, error_of, producer, translated
from infra.ports import free_port
from tests.support.clusters import Cluster


def _read(bootstrap: str, topic: str, count: int, timeout_s: float = 20.0) -> list[tuple[bytes | None, bytes | None]]:
    reader = consumer(bootstrap, f"group-{uuid.uuid4().hex}")
    reader.subscribe([topic])
    got: list[tuple[bytes | None, bytes | None]] = []
    deadline = time.monotonic() + timeout_s
    while len(got) < count and time.monotonic() < deadline:
        message = reader.poll(0.2)
        if message is not None and message.error() is None:
            got.append((message.key(), message.value()))
    reader.close()
    return got


def test_what_is_produced_is_consumed_in_order(cluster: Cluster) -> None:
    topic = f"order-{uuid.uuid4().hex}"
    cluster.create_topic(topic)
    writer = producer(cluster.bootstrap, client_id="test")
    for number in range(100):
        writer.produce(topic, str(number).encode(), b"key")
    assert writer.flush(10) == 0
    assert _read(cluster.bootstrap, topic, 100) == [(b"key", str(n).encode()) for n in range(100)]


@pytest.mark.broker
def test_only_committed_records_are_read(broker) -> None:
    topic = f"transaction-{uuid.uuid4().hex}"
    Cluster(tier="child", bootstrap=broker.bootstrap).create_topic(topic)
    writer = producer(broker.bootstrap, client_id="test", transactional_id=topic)
    writer.init_transactions(10)
    for value, keep in ((b"kept", True), (b"dropped", False), (b"kept too", True)):
        writer.begin_transaction()
        writer.produce(topic, value)
        writer.flush(10)
        if keep:
            writer.commit_transaction(10)
        else:
            writer.abort_transaction(10)
    assert [value for _, value in _read(broker.bootstrap, topic, 2)] == [b"kept", b"kept too"]


@pytest.mark.broker
def test_a_second_process_with_the_same_transactional_id_fences_the_first(broker) -> None:
    topic = f"fence-{uuid.uuid4().hex}"
    Cluster(tier="child", bootstrap=broker.bootstrap).create_topic(topic)
    first = producer(broker.bootstrap, client_id="first", transactional_id=topic)
    first.init_transactions(10)
    second = producer(broker.bootstrap, client_id="second", transactional_id=topic)
    second.init_transactions(10)
    first.begin_transaction()
    first.produce(topic, b"late")
    with pytest.raises(KafkaFencedError), translated("write"):
        first.commit_transaction(10)


def test_a_silent_cluster_is_a_retriable_error() -> None:
    client = admin(f"127.0.0.1:{free_port()}")
    with pytest.raises(KafkaUnavailableError) as raised, translated("list the topics"):
        client.list_topics(timeout=0.3)
    assert raised.value.retriable
    assert str(raised.value).startswith("Kafka does not answer: cannot list the topics")


def test_a_refusal_is_a_permanent_error() -> None:
    error = error_of(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), doing="write")
    assert isinstance(error, KafkaRequestError)
    assert not error.retriable


def test_a_broker_that_does_not_lead_a_partition_yet_may_be_asked_again() -> None:
    for code in (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.FENCED_LEADER_EPOCH):
        assert error_of(KafkaException(KafkaError(code)), doing="read").retriable


def test_an_error_that_is_not_librdkafkas_keeps_its_words() -> None:
    assert str(error_of(KafkaException("odd"), doing="write")) == "Kafka: cannot write: odd."
