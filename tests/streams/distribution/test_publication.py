"""What becomes of an alert: the rules alone, no Kafka."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from infra.objects import ObjectStore
from processors.alerts import oversize
from schemas.events import AssembledAlert, CutoutSet
from streams.distribution import publication
from streams.distribution.publication import Origin, Publication, publish
from streams.distribution.publisher import Publisher
from tests.support.alert_records import decode_plainly
from tests.support.assembled import STAMPS, Counted, LedgerInMemory, assembled, bare_packet, incoming, stamps_of
from tests.support.packets import build_story

ORIGIN = Origin(topic="alert-packets", partition=2, offset=7, key=b"k", payload=b"p")
ALERTS = build_story(1, 4, ra=10.0, dec=-3.0).alerts
LAST = ALERTS[-1]


def decide(alert: AssembledAlert, stamps: CutoutSet | None = None, known: Any = None) -> Publication:
    return publish(alert, stamps, known, origin=ORIGIN, topic="public", now_unix_s=1234.5)


def with_record(**changes: Any) -> AssembledAlert:
    return assembled(LAST, packet=bare_packet(LAST.record | changes))


def test_a_good_alert_is_published_with_its_stamps() -> None:
    done = decide(assembled(LAST), stamps_of(LAST))
    assert done.packet == LAST.framed[5:]
    assert done.dead_letter is None
    entry = done.entry
    assert entry is not None
    assert (entry.state, entry.topic, entry.reason) == ("published", "public", "")
    assert entry.digest == hashlib.sha256(LAST.framed[5:]).hexdigest()
    assert done.headers == {
        "alert_id": str(LAST.alert_id).encode(),
        "visit": str(LAST.visit).encode(),
        "detector": str(LAST.detector).encode(),
        "last_readout_unix_s": b"1000.000",
        "producer_timestamp": b"1234500",
    }


def test_the_lite_packet_has_neither_stamps_nor_history() -> None:
    lite = decode_plainly(decide(assembled(LAST), stamps_of(LAST)).lite or b"")
    assert lite["diaSource"]["diaSourceId"] == LAST.alert_id
    assert {lite[name] for name in (*STAMPS, "prvDiaSources", "prvDiaForcedSources")} == {None}


def test_the_same_bytes_again_are_dropped() -> None:
    first = decide(assembled(LAST), stamps_of(LAST))
    assert decide(assembled(LAST), stamps_of(LAST), first.entry) == Publication(entry=None)


def test_other_bytes_under_a_published_id_are_held_back_and_the_ledger_keeps_what_was_sent() -> None:
    first = decide(assembled(LAST), stamps_of(LAST))
    other = with_record(diaSource=LAST.record["diaSource"] | {"snr": 5.5})
    done = decide(other, stamps_of(LAST), first.entry)
    assert done.packet is None
    assert done.dead_letter is not None
    assert done.dead_letter.code == "conflict"
    assert done.entry is not None
    assert first.entry is not None
    assert (done.entry.digest, done.entry.state) == (first.entry.digest, "published")
    assert "other bytes" in done.entry.reason


def test_a_broken_rule_quarantines_under_its_name() -> None:
    done = decide(with_record(diaSource=LAST.record["diaSource"] | {"dec": 91.0}), stamps_of(LAST))
    assert done.entry is not None
    assert done.entry.state == "quarantined"
    assert done.packet is None
    letter = done.dead_letter
    assert letter is not None
    assert (letter.code, letter.stage, letter.origin_offset, letter.payload) == (
        "semantic_gate",
        "distribution",
        7,
        b"p",
    )
    assert "dec" in letter.reason


def test_a_quarantined_alert_that_comes_again_is_dropped() -> None:
    bad = with_record(diaSource=LAST.record["diaSource"] | {"dec": 91.0})
    first = decide(bad, stamps_of(LAST))
    assert decide(bad, stamps_of(LAST), first.entry) == Publication(entry=None)


def test_without_stamps_the_alert_goes_out_and_says_so() -> None:
    done = decide(assembled(LAST))
    assert done.packet == bare_packet(LAST.record)
    assert (done.headers or {})["notes"] == b"stamps are missing"


def test_bytes_that_are_no_packet_are_quarantined_with_the_reason() -> None:
    done = decide(assembled(LAST, packet=b"\x02\x07"), stamps_of(LAST))
    assert done.entry is not None
    assert done.dead_letter is not None
    assert (done.entry.state, done.dead_letter.code) == ("quarantined", "malformed_packet")


def test_bytes_that_are_no_packet_do_not_unpublish_an_alert() -> None:
    first = decide(assembled(LAST), stamps_of(LAST))
    done = decide(assembled(LAST, packet=b"\x02\x07"), stamps_of(LAST), first.entry)
    assert done.entry is not None
    assert done.dead_letter is not None
    assert (done.entry.state, done.dead_letter.code) == ("published", "conflict")


def test_the_packet_of_another_alert_is_quarantined() -> None:
    done = decide(assembled(LAST, packet=bare_packet(ALERTS[0].record)), stamps_of(LAST))
    assert done.dead_letter is not None
    assert done.dead_letter.code == "malformed_packet"
    assert str(ALERTS[0].alert_id) in done.dead_letter.reason


@pytest.mark.parametrize("left", [0.9, 0.5, 0.2])
def test_what_is_too_large_is_trimmed_and_published(monkeypatch: pytest.MonkeyPatch, left: float) -> None:
    limit = int(left * len(LAST.framed))
    monkeypatch.setattr(publication, "MAXIMUM_BYTES", limit)
    done = decide(assembled(LAST), stamps_of(LAST))
    assert done.dead_letter is None
    assert len(done.packet or b"") <= limit
    header = (done.headers or {})[oversize.TRIMMED_HEADER]
    assert f"bytes={len(LAST.framed) - 5}".encode() in header
    assert decode_plainly(done.packet or b"")["diaSource"]["diaSourceId"] == LAST.alert_id


def test_what_cannot_be_made_small_enough_is_quarantined_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "MAXIMUM_BYTES", 100)
    done = decide(assembled(LAST), stamps_of(LAST))
    assert done.entry is not None
    assert done.dead_letter is not None
    assert (done.entry.state, done.dead_letter.code) == ("quarantined", "oversize")


class TestPublisher:
    """The handler: records in, records out."""

    def make(self) -> Publisher:
        self.objects, self.ledger, self.counted = ObjectStore.memory(), LedgerInMemory(), Counted()
        return Publisher(objects=self.objects, ledger=self.ledger, public_topic="public", count=self.counted)

    def test_one_alert_makes_four_records_public_ones_keyed_by_text(self) -> None:
        publisher = self.make()
        _, out = publisher.handle(None, incoming(assembled(LAST, self.objects), partition=3), 2000.0)
        keys = {item.topic: item.key for item in out}
        owner = str(LAST.object_id)
        assert keys == {
            "alert-ledger": LAST.alert_id,
            "public": owner,
            "alert-store": LAST.alert_id,
            "alerts-lite": owner,
        }
        by_topic = {item.topic: item for item in out}
        assert by_topic["public"].record == by_topic["alert-store"].record == LAST.framed
        assert by_topic["alert-ledger"].partition == 3
        assert self.ledger.get(3, LAST.alert_id) is by_topic["alert-ledger"].record

    def test_a_duplicate_makes_none(self) -> None:
        publisher = self.make()
        message = incoming(assembled(LAST, self.objects))
        publisher.handle(None, message, 2000.0)
        _, out = publisher.handle(None, dataclasses.replace(message, offset=1), 2001.0)
        assert out == []
        assert self.counted.outcomes == ["published", "duplicate"]

    def test_stamps_that_are_gone_do_not_stop_the_alert(self) -> None:
        publisher = self.make()
        alert = assembled(LAST, self.objects)
        assert alert.cutouts is not None
        self.objects.delete(alert.cutouts)
        _, out = publisher.handle(None, incoming(alert), 2000.0)
        (public,) = [item for item in out if item.topic == "public"]
        assert dict(public.headers)["notes"] == b"stamps are missing"
        assert self.counted.outcomes == ["published"]

    def test_a_refused_alert_makes_a_ledger_entry_and_a_dead_letter(self) -> None:
        publisher = self.make()
        bad = with_record(diaSource=LAST.record["diaSource"] | {"ra": -1.0})
        _, out = publisher.handle(None, incoming(bad), 2000.0)
        assert [item.topic for item in out] == ["alert-ledger", "dlq.alert-packets"]
        assert self.counted.outcomes == ["semantic_gate"]

    def test_partitions_that_are_given_are_loaded_anew(self) -> None:
        publisher = self.make()
        restored = publisher.spec().restored
        assert restored is not None
        restored(None, (("alert-packets", 1), ("alert-packets", 3)))
        assert self.ledger.loaded == [1, 3]
