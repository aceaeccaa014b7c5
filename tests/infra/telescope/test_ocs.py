"""The OCS player: order and lead of its messages, images in place when told, faults, stopping, and the real broker."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from infra import sal
from infra.kafka import consumer
from infra.registry.client import RegistryClient
from infra.telescope import Fault, PlanError, PlannedVisit, plan_night
from infra.telescope.darkroom import NightShift
from infra.telescope.ocs import KafkaSink, OcsPlayer, plan_shift, timeline
from schemas.camera import load_camera
from schemas.errors import UndecodableEventError

TINY = load_camera("tiny")


class RecordingSink:
    """Keeps messages, and notes which exposures' images were in the buffer when each came."""

    def __init__(self, buffer: Path) -> None:
        self.buffer = buffer
        self.messages: list[tuple[str, bytes]] = []
        self.present: list[set[str]] = []

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        self.messages.append((topic, value))
        self.present.append({path.parent.name for path in self.buffer.glob("*/complete.json")})


class NoImages:
    """Delivers nothing, at once."""

    def __init__(self, shift: NightShift) -> None:
        self.closed = False

    def take(self, visit: PlannedVisit) -> None:
        assert not self.closed

    def ready(self, visit: PlannedVisit) -> None:
        assert not self.closed

    def deliver(self, visit: PlannedVisit, snap: int) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


class ListRegistry:
    """Keeps schemas in a list; the id is the place in it."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def register(self, subject: str, schema: str) -> int:
        self.texts.append(schema)
        return len(self.texts)

    def schema(self, identifier: int) -> str:
        return self.texts[identifier - 1]


def test_announcements_lead_and_overlap():
    visits = plan_night(TINY, 1, n_visits=4)
    steps = timeline(visits, {})
    at = {(s.action, s.visit.index, s.snap): s.at for s in steps}
    for index, visit in enumerate(visits):
        lead_s = (at["start", index, 0] - at["announce", index, 0]) * 39.0
        assert lead_s >= 20.0
        for snap in range(visit.n_snaps):
            assert at["start", index, snap] < at["end", index, snap]
    # While visit 0 is being taken, visits 1 and 2 are announced.
    assert at["announce", 1, 0] < at["end", 0, 1]
    assert at["announce", 2, 0] < at["end", 0, 1]
    assert steps == sorted(steps, key=lambda s: s.at)


def test_faults_change_the_timeline():
    visits = plan_night(TINY, 1, n_visits=3)
    steps = timeline(visits, {visits[0].visit: Fault.CANCELLED, visits[1].visit: Fault.MISSING_SNAP})
    of = {index: [s.action for s in steps if s.visit.index == index] for index in range(3)}
    assert of[0] == ["announce", "cancel"]
    assert of[1] == ["announce", "start", "end"]
    assert of[2] == ["announce", "start", "end", "start", "end"]


def test_nights_that_cannot_be_planned_are_refused():
    with pytest.raises(PlanError):
        plan_night(TINY, 1, n_visits=0)
    with pytest.raises(PlanError):
        plan_night(TINY, 1, bands=("r", "H"))


def test_played_night_has_images_in_place_when_they_are_told_of(tmp_path):
    visits = plan_night(TINY, 1, n_visits=4)
    faults = {
        visits[0].visit: Fault.MALFORMED_NEXT_VISIT,
        visits[1].visit: Fault.CANCELLED,
        visits[2].visit: Fault.UNKNOWN_INSTRUMENT,
        visits[3].visit: Fault.NO_IMAGE,
    }
    shift = plan_shift(visits, buffer=tmp_path / "buffer", truth=tmp_path / "truth", detectors=[0], faults=faults)
    sink, registry = RecordingSink(tmp_path / "buffer"), ListRegistry()
    played = OcsPlayer(shift, sink=sink, registry=registry, subname="test", cadence_s=0.3).play()
    assert played.complete
    assert (played.visits, played.cancelled, played.exposures) == (4, 1, 6)
    codec = sal.SalCodec(registry, "test")
    ended = []
    for (topic, value), present in zip(sink.messages, sink.present, strict=True):
        if topic.endswith("endReadout"):
            told = sal.ImageEvent.from_record(codec.decode(sal.END_READOUT, value))
            ended.append(told.exposure)
            assert (str(told.exposure) in present) == (told.group_id != visits[3].group_id)
    assert ended == [v.exposure(s) for v in (visits[0], visits[2], visits[3]) for s in (0, 1)]
    announced = [value for topic, value in sink.messages if topic.endswith("nextVisit")]
    assert len(announced) == 4 + 2 + 1
    with pytest.raises(UndecodableEventError):
        codec.decode(sal.NEXT_VISIT, announced[0])
    with pytest.raises(sal.SalMessageError):
        sal.NextVisit.from_record(codec.decode(sal.NEXT_VISIT, announced[1]))
    assert {p.stem for p in (tmp_path / "truth").glob("*.parquet")} >= {"static", str(visits[0].visit)}
    assert not shift.staging.exists()


def test_stopped_night_says_so_and_goes_no_further(tmp_path):
    visits = plan_night(TINY, 1, n_visits=3)
    shift = plan_shift(visits, buffer=tmp_path / "buffer", truth=tmp_path / "truth", detectors=[0])
    stop = threading.Event()
    player = OcsPlayer(
        shift,
        sink=RecordingSink(tmp_path / "buffer"),
        registry=ListRegistry(),
        cadence_s=0.3,
        images=NoImages,
        report=lambda step: stop.set() if step.action == "start" else None,
    )
    played = player.play(stop)
    assert not played.complete
    assert played.exposures == 0


@pytest.mark.broker
def test_real_broker_and_registry_carry_the_night(broker, tmp_path):
    visits = plan_night(TINY, 2, n_visits=1)
    shift = plan_shift(visits, buffer=tmp_path / "buffer", truth=tmp_path / "truth", detectors=[0])
    registry = RegistryClient(broker.registry_url)
    sink = KafkaSink(broker.bootstrap, "ocs-test")
    OcsPlayer(shift, sink=sink, registry=registry, subname="ocs-test", cadence_s=0.2, images=NoImages).play()
    reader = consumer(broker.bootstrap, "ocs-test-reader")
    reader.subscribe([sal.topic_of("ocs-test", event) for event in sal.EVENTS])
    received = []
    for _ in range(60):
        message = reader.poll(0.5)
        if message is not None and message.error() is None:
            received.append(message)
        if len(received) == 5:
            break
    reader.close()
    by_topic = {message.topic(): message for message in received}
    codec = sal.SalCodec(RegistryClient(broker.registry_url), "ocs-test")
    announced = by_topic[sal.topic_of("ocs-test", sal.NEXT_VISIT)]
    told = sal.NextVisit.from_record(codec.decode(sal.NEXT_VISIT, announced.value()))
    assert told.group_id == visits[0].group_id
    assert announced.key() == sal.sal_key(sal.NEXT_VISIT)
    assert len(received) == 5
