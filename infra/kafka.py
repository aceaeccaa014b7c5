"""Clients of Kafka: one set of settings for every producer and consumer of ours, and errors of ours for librdkafka's.

Every key is placed with ``murmur2_random``, as Java clients and Faust place it (librdkafka's own default agrees with
them for one key in twelve). Every consumer reads only what is committed, and stores no offset by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from infra.errors import KafkaFencedError, KafkaRequestError, KafkaUnavailableError
from schemas.errors import NightcastError

__all__ = ["admin", "consumer", "error_of", "producer", "translated", "unwrapped"]

MAX_MESSAGE_BYTES = 16 << 20
"""What a client sends or fetches at most; the topics' own limits lie below it."""

_LOGGER = logging.getLogger("librdkafka")
"""librdkafka's own lines, in our format instead of plain text on standard error."""

_FENCED = {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED}
_UNAVAILABLE = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._MSG_TIMED_OUT,
    KafkaError._RESOLVE,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.UNKNOWN_LEADER_EPOCH,
}


def producer(
    bootstrap: str,
    *,
    client_id: str,
    transactional_id: str | None = None,
    transaction_timeout_s: float = 10.0,
    linger_ms: int = 5,
    extra: Mapping[str, Any] | None = None,
) -> Producer:
    """Make an idempotent producer.

    Parameters
    ----------
    bootstrap
        Address of the cluster.
    client_id
        Name of the process, for the broker's logs and quotas.
    transactional_id
        Stable name of the process when it writes in transactions; `Producer.init_transactions` is the caller's.
    transaction_timeout_s
        How long a dead process's open transaction may hold readers back.
    linger_ms
        How long a record may wait for others to share its batch.
    extra
        librdkafka properties that win over ours.
    """
    properties: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "client.id": client_id,
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "zstd",
        "compression.level": 1,
        "linger.ms": linger_ms,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "queue.buffering.max.kbytes": 256 << 10,
        "delivery.timeout.ms": 60_000,
        "retry.backoff.ms": 50,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "socket.keepalive.enable": True,
    }
    if transactional_id is not None:
        timeout_ms = int(transaction_timeout_s * 1000)
        properties |= {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": timeout_ms,
            "delivery.timeout.ms": timeout_ms,
        }
    return Producer(properties | dict(extra or {}), logger=_LOGGER)


def consumer(
    bootstrap: str,
    group: str,
    *,
    client_id: str | None = None,
    instance_id: str | None = None,
    session_timeout_s: float = 10.0,
    from_beginning: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> Consumer:
    """Make a consumer that reads committed records only and commits when it is told to.

    Parameters
    ----------
    bootstrap
        Address of the cluster.
    group
        Consumer group; also for a reader that assigns its partitions itself and commits nothing.
    client_id
        Name of the process; the group's name when not given.
    instance_id
        Static membership: after a kill the same instance gets its partitions back at once instead of after
        `session_timeout_s` (streaming.md, section 0: 1.7 s).
    session_timeout_s
        How long a silent member is waited for.
    from_beginning
        Where a group without offsets begins.
    extra
        librdkafka properties that win over ours.
    """
    properties: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "client.id": client_id or group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest" if from_beginning else "latest",
        "session.timeout.ms": int(session_timeout_s * 1000),
        "heartbeat.interval.ms": max(500, int(session_timeout_s * 300)),
        "max.poll.interval.ms": 600_000,
        "fetch.wait.max.ms": 100,
        "fetch.message.max.bytes": MAX_MESSAGE_BYTES,
        "queued.max.messages.kbytes": 64 << 10,
        "partition.assignment.strategy": "range",
        "allow.auto.create.topics": False,
        "topic.metadata.refresh.interval.ms": 30_000,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "socket.keepalive.enable": True,
    }
    if instance_id is not None:
        properties["group.instance.id"] = instance_id
    return Consumer(properties | dict(extra or {}), logger=_LOGGER)


def admin(bootstrap: str, *, client_id: str = "nightcast-admin") -> AdminClient:
    """Make an administrator's client. Keep it in a variable until the futures it gave are resolved."""
    properties: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "client.id": client_id,
        "reconnect.backoff.max.ms": 1_000,
    }
    return AdminClient(properties, logger=_LOGGER)


def error_of(error: KafkaError | KafkaException, *, doing: str) -> NightcastError:
    """Return our error for one of librdkafka's.

    Parameters
    ----------
    error
        What librdkafka reported or raised.
    doing
        What was being done, as "cannot <doing>" in the sentence.
    """
    cause = error.args[0] if isinstance(error, KafkaException) else error
    if not isinstance(cause, KafkaError):
        return KafkaRequestError(f"Kafka: cannot {doing}: {cause}.")
    if cause.code() in _FENCED:
        return KafkaFencedError(f"Kafka: cannot {doing}: another process has the same transactional id.")
    if cause.code() in _UNAVAILABLE or cause.retriable():
        return KafkaUnavailableError(f"Kafka does not answer: cannot {doing}: {cause.str()}.")
    return KafkaRequestError(f"Kafka: cannot {doing}: {cause.str()}.")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn a KafkaException raised inside into our error.

    Raises
    ------
    KafkaUnavailableError, KafkaFencedError, KafkaRequestError
        By the kind of failure.
    """
    try:
        yield
    except KafkaException as error:
        raise error_of(error, doing=doing) from error


@contextmanager
def unwrapped() -> Iterator[None]:
    """Give a fatal error its own type back.

    The client sets it as the pending exception inside whatever callback comes next, and Python then reports a SystemError of
    that callback, caused by the KafkaException.
    """
    try:
        yield
    except SystemError as error:
        if isinstance(error.__cause__, KafkaException):
            raise error.__cause__ from None
        raise
