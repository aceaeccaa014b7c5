"""How a stage's messages become events and its events become records; no broker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.errors import RegistryUnavailableError
from schemas.errors import PermanentFailure, UndecodableEventError
from schemas.events import DeadLetter
from schemas.wire import EventCodec
from streams.errors import OutgoingTooLargeError
from streams.records import Delivered, Read
from streams.stage_codec import Outgoing, StageCodec, dead_letter
from tests.support.stages import LocalRegistry, event_of

REGISTRY = LocalRegistry()
CODEC = StageCodec(REGISTRY)
READ = Read(
    topic="visit-events",
    partition=0,
    offset=5,
    key=b"k",
    value=EventCodec(REGISTRY).encode("visit-events", event_of(1)),
    timestamp_s=12.5,
    headers={},
)


def test_event_of_the_table_is_decoded() -> None:
    incoming = CODEC.incoming(READ)
    assert (incoming.record, incoming.timestamp_s, incoming.offset) == (event_of(1), 12.5, 5)


@pytest.mark.parametrize("value", [b"", b"\x01rubbish", b"\x00\x00\x00\x00\x01", None])
def test_broken_or_missing_values_are_refused(value: bytes | None) -> None:
    with pytest.raises(UndecodableEventError):
        CODEC.incoming(replace(READ, value=value))


def test_tombstone_of_a_compacted_topic_is_nothing_wrong() -> None:
    assert CODEC.incoming(replace(READ, topic="diaobjects", value=None)).record is None


def test_public_packets_stay_bytes() -> None:
    assert CODEC.incoming(replace(READ, topic="lsst-alerts-v11", value=b"packet")).record == b"packet"


@pytest.mark.parametrize(("key", "expected"), [("k", b"k"), (258, bytes(6) + b"\x01\x02"), (b"x", b"x"), (None, None)])
def test_keys(key: str | int | bytes | None, expected: bytes | None) -> None:
    assert CODEC.letter(Outgoing(topic="jobs", key=key, record=b"")).key == expected


def test_event_that_its_topic_does_not_take_is_refused_before_anything_is_written() -> None:
    with pytest.raises(OutgoingTooLargeError):
        CODEC.letter(Outgoing(topic="jobs", key="k", record=bytes(8 << 20)))


def test_followers_are_encoded_too() -> None:
    def follow(delivered: Delivered) -> list[Outgoing]:
        return [Outgoing(topic="jobs", key="k", record=str(delivered.offset).encode())]

    letter = CODEC.letter(Outgoing(topic="jobs", key="k", record=b"", then=follow))
    assert letter.then is not None
    (follower,) = letter.then(Delivered(topic="jobs", partition=0, offset=7, sha256=""))
    assert follower.value == b"7"


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (PermanentFailure("It is wrong."), "permanent", "It is wrong."),
        (RegistryUnavailableError("Silence."), "registry_unavailable", "Silence."),
        (KeyError("x"), "unexpected", "KeyError: 'x'"),
    ],
)
def test_dead_letter_names_origin_and_cause(error: Exception, code: str, reason: str) -> None:
    letter = dead_letter(READ, error, stage="s", target="dlq.visit-events", attempts=2, now=9.0)
    expected = DeadLetter(
        origin_topic="visit-events",
        origin_partition=0,
        origin_offset=5,
        key=b"k",
        payload=READ.value,
        stage="s",
        code=code,
        reason=reason,
        attempts=2,
        failed_unix_s=9.0,
    )
    assert letter == Outgoing(topic="dlq.visit-events", key=b"k", record=expected)


def test_topic_without_dead_letters_has_none() -> None:
    assert dead_letter(READ, KeyError(), stage="s", target="dlq.job-heartbeats", attempts=1, now=0.0) is None
