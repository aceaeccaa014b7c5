"""The publisher as a process on the real broker, killed between writing and committing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from infra import kafka
from infra.objects import ObjectStore
from infra.reading import read_to_end
from infra.registry import RegistryClient
from infra.settings import Settings
from schemas.events import AlertLedgerEntry, AssembledAlert, DeadLetter
from schemas.wire import EventCodec
from tests.support.alert_records import decode_plainly
from tests.support.assembled import assembled, bare_packet
from tests.support.packets import build_story
from tests.support.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker

STORIES = [build_story(500 + number, 5, ra=0.001 + number, dec=4.0) for number in range(3)]
GOOD = [alert for story in STORIES for alert in story.alerts][:-1]
BROKEN = STORIES[-1].alerts[-1]
ROOT = Path(__file__).parents[3]


@dataclass
class Night:
    """What was put in, and what came of it."""

    settings: Settings
    exit_code: int = 0
    marker: dict[str, dict[str, int]] = field(default_factory=dict)
    poison: bytes = b""

    def values(self, topic: str) -> list[bytes]:
        return [message.value() or b"" for message in read_to_end(self.settings.bootstrap, topic)]

    @property
    def codec(self) -> EventCodec:
        return EventCodec(RegistryClient(self.settings.registry_url))


def start(settings: Settings, *, crash: bool) -> subprocess.Popen[bytes]:
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment["NIGHTCAST_FAULTS__CRASH"] = '["distribution"]' if crash else "[]"
    with (settings.logs_dir / "distribution.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "streams.run", "distribution", "--name", "distribution"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def put_in(settings: Settings, night: Night) -> None:
    """Write good alerts, some of them twice, one that breaks a rule, one whose packet is none, one that is no event."""
    objects = ObjectStore.local(settings.objects_dir, fsync=False)
    codec, producer = night.codec, kafka.producer(settings.bootstrap, client_id="test")

    def send(alert: AssembledAlert) -> None:
        key = alert.dia_object_id.to_bytes(8, "big")
        producer.produce("alert-packets", codec.encode("alert-packets", alert), key)

    for alert in GOOD:
        send(assembled(alert, objects))
    for alert in GOOD[:4]:
        send(assembled(alert, objects))
    changed = GOOD[5].record["diaSource"] | {"snr": 3.25}
    send(assembled(GOOD[5], objects, packet=bare_packet(GOOD[5].record | {"diaSource": changed})))
    wrong = BROKEN.record["diaSource"] | {"dec": -95.0}
    send(assembled(BROKEN, objects, packet=bare_packet(BROKEN.record | {"diaSource": wrong})))
    producer.produce("alert-packets", night.poison, b"nobody")
    assert producer.flush(20) == 0


def wait_for(done: Callable[[], bool], process: subprocess.Popen[bytes], settings: Settings) -> None:
    def said() -> str:
        return (settings.logs_dir / "distribution.log").read_text()[-2000:]

    def look() -> None:
        assert process.poll() is None, said()

    eventually(done, look=look, said=said)


@pytest.fixture(scope="module")
def night(broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    settings: Settings = broker.settings.model_copy(update={"data_dir": tmp_path_factory.mktemp("publisher")})
    result = Night(settings, poison=b"\x00\x00\x00\x00\x01" + uuid.uuid4().bytes)
    put_in(settings, result)
    result.exit_code = start(settings, crash=True).wait(PATIENCE_S)
    result.marker = json.loads((settings.faults_dir / "distribution.json").read_text())
    again = start(settings, crash=True)  # armed still: the marker keeps it quiet
    try:
        wait_for(lambda: result.poison in payloads(result), again, settings)
        yield result
    finally:
        again.terminate()
        assert again.wait(PATIENCE_S) == 0


def payloads(night: Night) -> list[bytes | None]:
    return [letter.payload for letter in letters(night)]


def letters(night: Night) -> list[DeadLetter]:
    codec = night.codec
    return [codec.decode(DeadLetter, value) for value in night.values("dlq.alert-packets")]


def published(night: Night, topic: str) -> Counter[int]:
    """Count the alerts of this test on a topic."""
    mine = {alert.alert_id for alert in (*GOOD, BROKEN)}
    found = (decode_plainly(value[5:])["diaSourceId"] for value in night.values(topic))
    return Counter(alert for alert in found if alert in mine)


def test_it_was_killed_with_its_outputs_written_and_nothing_committed(night: Night) -> None:
    assert night.exit_code == -signal.SIGKILL
    assert any(offset > night.marker["committed"].get(place, 0) for place, offset in night.marker["read"].items())


def test_readers_of_committed_records_see_each_alert_once(night: Night) -> None:
    once = Counter(alert.alert_id for alert in GOOD)
    for topic in ("lsst-alerts-v11", "alert-store", "alerts-lite"):
        assert published(night, topic) == once, topic


def test_what_is_in_the_store_is_what_was_built(night: Night) -> None:
    stored = set(night.values("alert-store"))
    assert {alert.framed for alert in GOOD} <= stored


def test_an_objects_alerts_are_in_the_order_of_its_detections(night: Night) -> None:
    for story in STORIES:
        key = str(story.object_id).encode()
        messages = [m for m in read_to_end(night.settings.bootstrap, "lsst-alerts-v11") if m.key() == key]
        expected = [alert.framed for alert in story.alerts if alert is not BROKEN]
        assert [message.value() for message in messages] == expected


def test_headers_carry_the_time_stamps(night: Night) -> None:
    ids = {str(alert.alert_id).encode() for alert in GOOD}
    messages = list(read_to_end(night.settings.bootstrap, "lsst-alerts-v11"))
    headers = [dict(message.headers() or ()) for message in messages]
    mine = [h for h in headers if h.get("alert_id") in ids]
    assert len(mine) == len(GOOD)
    assert all({"producer_timestamp", "last_readout_unix_s", "visit", "detector"} <= set(h) for h in mine)


def test_the_ledger_knows_what_became_of_each(night: Night) -> None:
    codec = night.codec
    entries = {}
    for message in read_to_end(night.settings.bootstrap, "alert-ledger"):
        entry = codec.decode(AlertLedgerEntry, message.value() or b"")
        entries[entry.alert_id] = entry
    assert [entries[alert.alert_id].state for alert in GOOD] == ["published"] * len(GOOD)
    assert entries[BROKEN.alert_id].state == "quarantined"
    assert "other bytes" in entries[GOOD[5].alert_id].reason


def test_what_could_not_be_published_is_a_dead_letter_with_its_cause(night: Night) -> None:
    codes = {letter.payload: letter for letter in letters(night)}
    assert codes[night.poison].code == "undecodable_event"
    named = [letter for letter in codes.values() if _alert_in(letter) in {BROKEN.alert_id, GOOD[5].alert_id}]
    assert {(_alert_in(letter), letter.code) for letter in named} == {
        (BROKEN.alert_id, "semantic_gate"),
        (GOOD[5].alert_id, "conflict"),
    }
    assert {letter.origin_topic for letter in codes.values()} == {"alert-packets"}


def _alert_in(letter: DeadLetter) -> int | None:
    from schemas import avro

    try:
        return avro.decode(AssembledAlert, letter.payload or b"").alert_id
    except Exception:
        return None
