"""DayMOPS' stage: what ends a night, and on the real broker the same bytes whatever dies, repeats or cannot be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.faults import CrashPoints
from infra.objects import open_object_store
from infra.reading import read_to_end
from infra.settings import Settings
from schemas import avro
from schemas.events import AssociationDecision, DayMopsDecision, DeadLetter, NightEnded, OrbitEvent
from schemas.tables import Claim, Table
from streams.daymops.errors import DayMopsError
from streams.daymops.run import run_nights
from streams.daymops.stage import DayMopsState, daymops_spec
from streams.daymops.stores import stored
from streams.stage import Incoming, Outgoing
from tests.support.association_night import Telescope, contents, stages
from tests.support.day_fortnight import association_decisions, decided, fortnight
from tests.support.engine import running_engine

NIGHTS = fortnight().nights()
CLAIM = Claim(uri="sha256/aa", sha256="aa", size=1)
POINTS = ("daymops", "daymops-logged")


def answer(ended: NightEnded, sequence: int = 0) -> DayMopsDecision:
    return DayMopsDecision(
        instrument="Sim", day_obs=ended.day_obs, sequence=sequence, window=(ended.day_obs,), tracklets=CLAIM,
        orbits=CLAIM, reassigned=CLAIM, verdicts=CLAIM, counts={}, nights=(ended.day_obs,), detections=CLAIM,
        state=CLAIM, association_end=ended.association_end,
    )  # fmt: skip


class Played:
    """The stage with collaborators that remember what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.discarded: list[str] = []
        self.fixed: tuple[Claim, ...] = ()
        """What cannot be removed now."""
        self.spec = daymops_spec(
            "Sim", decide=self.decide, stored=lambda d: [Outgoing(topic="orbit-store", key="x", record=None)],
            known=lambda _: CLAIM, discard=self.discard, states_kept=1,
        )  # fmt: skip
        self.state = DayMopsState()

    def decide(self, ended: NightEnded, nights: Any, first: int) -> DayMopsDecision | None:
        self.asked.append((ended.day_obs, first, ended.association_end))
        own = nights.of(ended.day_obs)
        return None if own else answer(ended)

    def discard(self, claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
        self.discarded += [claim.uri for claim in claims if claim not in self.fixed]
        return tuple(claim for claim in claims if claim in self.fixed)

    def take(self, event: Any, offset: int = 0) -> list[Any]:
        incoming = Incoming(topic="t", partition=0, offset=offset, timestamp_s=0.0, key=b"", record=event)
        self.state, outgoing = self.spec.handle(self.state, incoming, 0.0)
        return [one.record for one in outgoing]


def visits(night: int, instrument: str = "Sim") -> list[AssociationDecision]:
    return association_decisions(instrument, NIGHTS[night][1])


def test_a_night_is_over_when_a_later_one_begins_and_again_for_a_late_result() -> None:
    played = Played()
    (first, second), (third, _) = visits(0), visits(1)
    assert played.take(first, 10) == played.take(second, 11) == []
    (ended,) = played.take(third, 14)
    assert (ended.day_obs, ended.association_end, ended.reason) == (NIGHTS[0][0], 14, "later")
    assert ended.known_orbits == CLAIM
    (late,) = played.take(second, 20)
    assert (late.day_obs, late.association_end, late.reason) == (NIGHTS[0][0], 21, "late")
    (decision,) = played.take(late)
    assert decision.day_obs == NIGHTS[0][0]
    assert played.asked == [(NIGHTS[0][0], 10, 21)]


def test_others_nights_are_left_alone_and_nothing_is_decided_twice() -> None:
    played = Played()
    before = played.state
    assert played.take(visits(0, "Other")[0]) == []
    assert played.take(NightEnded(instrument="Other", day_obs=20260101, association_end=0)) == []
    assert played.state is before
    ended = NightEnded(instrument="Sim", day_obs=20260101, association_end=0)
    (decision,) = played.take(ended)
    assert played.take(ended) == []
    state = played.state
    assert len(played.take(decision)) == 1
    assert len(played.take(decision)) == 1
    assert played.state is state


def state_after(day_obs: int) -> Claim:
    return Claim(uri=f"sha256/{day_obs}", sha256=f"{day_obs}", size=1)


def test_states_are_removed_when_the_decision_that_ends_them_is_read_from_the_log() -> None:
    played = Played()
    ends = [NightEnded(instrument="Sim", day_obs=20260101 + n, association_end=0) for n in range(4)]
    decisions = [replace(answer(one), state=state_after(one.day_obs)) for one in ends]
    for one in decisions[:3]:
        played.take(one)
    assert played.discarded == [state_after(20260102).uri]
    played.fixed = (state_after(20260103),)
    for _ in range(2):
        played.take(decisions[3])
        assert played.discarded == [state_after(20260102).uri]
        assert played.state.retired == played.fixed
    played.fixed = ()
    before = played.state
    for _ in range(2):  # as after a crash between the removal and the commit
        played.state = before
        played.take(decisions[3])
    assert played.state.retired == ()
    assert played.discarded == [state_after(day).uri for day in (20260102, 20260103, 20260103)]


def test_what_is_decided_removes_nothing_yet() -> None:
    played = Played()
    for n in range(3):
        (decision,) = played.take(NightEnded(instrument="Sim", day_obs=20260101 + n, association_end=0))
    assert played.discarded == []
    assert len(played.state.nights.states()) == 2
    assert played.state.retired == ()  # all these states are one
    played.take(decision)
    assert played.discarded == []


def written(settings: Settings, topic: str, event: type[Any]) -> list[bytes]:
    return [datum for _, datum in contents(settings, topic, event)]


def newest(settings: Settings, topic: str) -> dict[bytes, bytes | None]:
    """Return the newest value of each key, bare, without those that end in a tombstone."""
    found = {message.key(): message.value() for message in read_to_end(settings.bootstrap, topic)}
    return {key or b"": value[5:] for key, value in found.items() if value is not None}


def expected_stores(settings: Settings, decisions: list[DayMopsDecision]) -> dict[str, set[bytes]]:
    objects, newest = open_object_store(settings), dict[tuple[str, Any], Any]()
    for decision in decisions:
        newest |= {(one.topic, one.key): one.record for one in stored(decision, objects)}
    kept = {place: avro.encode(record) for place, record in newest.items() if record is not None}
    return {name: {v for (topic, _), v in kept.items() if topic == name} for name in ("orbit-store", "tracklet-store")}


def fired(settings: Settings) -> bool:
    return all(CrashPoints(settings.faults_dir).fired(point) is not None for point in POINTS)


@pytest.mark.broker
def test_the_same_decisions_and_stores_after_kills_and_repetitions(tmp_path: Path) -> None:
    with running_engine(tmp_path, partitions=1) as engine:
        settings = engine.settings
        telescope, instrument = Telescope(settings), settings.night.instrument
        ends = []
        telescope.put("association-log", b"no event at all")
        for _, rows in NIGHTS[:6]:
            for decision in association_decisions(instrument, rows):
                _, offset = telescope.put("association-log", decision)
            ends.append(offset + 1)
        nights = [(day_obs, rows, end) for (day_obs, rows), end in zip(NIGHTS[:6], ends, strict=True)]
        wanted = decided(nights, instrument=instrument)
        twice = NightEnded(instrument=instrument, day_obs=NIGHTS[1][0], association_end=ends[1], reason="asked")
        armed = {"NIGHTCAST_FAULTS__CRASH": '["daymops", "daymops-logged"]'}
        with stages(settings, ("daymops",), environment=armed) as keeper:
            keeper.wait(lambda: len(keeper.deaths["daymops"]) == len(POINTS))
            keeper.wait(lambda: len(written(settings, "daymops-log", DayMopsDecision)) == 5)
            telescope.put("night-events", b"nor this")
            telescope.put("night-events", twice)
            claim = open_object_store(settings).put(avro.encode(Table(rows=0, columns=())))
            broken = NightEnded(instrument=instrument, day_obs=20260101, association_end=0, detections=claim)
            _, refused = telescope.put("night-events", broken)
            result = run_nights(settings, NIGHTS[5][0])
            again = run_nights(settings, NIGHTS[5][0])
            with pytest.raises(DayMopsError, match="refused a night: Association knows no visit of night 20260102"):
                run_nights(settings, 20260102)
            assert keeper.children["daymops"].stop(30.0) == 0
        assert [code for codes in keeper.deaths.values() for code in codes] == [-9, -9]
        assert fired(settings)
        assert written(settings, "daymops-log", DayMopsDecision) == [avro.encode(decision) for decision in wanted]
        stores = expected_stores(settings, wanted)
        assert set(newest(settings, "orbit-store").values()) == stores["orbit-store"]
        assert set(newest(settings, "tracklet-store").values()) == stores["tracklet-store"]
        assert (result.new, again.new) == (1, 0)
        assert result.decision == again.decision == wanted[-1]
        objects = open_object_store(settings)
        assert [objects.has(one.state) for one in wanted if one.state] == [True, False, True, True, True, True]
        assert [name for name, _ in result.orbits] == sorted(e.designation for e, _ in contents_of_orbits(settings))
        letters = {
            letter.origin_offset: letter.code for letter, _ in contents(settings, "dlq.night-events", DeadLetter)
        }
        assert letters[refused] == "invalid_detections"
        assert len(letters) == 3


def contents_of_orbits(settings: Settings) -> list[tuple[OrbitEvent, bytes]]:
    return [(avro.decode(OrbitEvent, value), value) for value in newest(settings, "orbit-store").values() if value]
