"""DayMOPS' desk over a simulated fortnight: discoveries, nights in any order, what comes twice, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from infra.objects import ObjectStore
from infra.parquet import to_parquet
from infra.telescope.known_orbits import absolute_magnitude
from infra.telescope.sky import asteroid_positions
from processors.moving_objects.day_candidates import NightCandidates, night_by_hand
from processors.moving_objects.day_nights import DayNights, fold_decision, retired_states
from processors.moving_objects.day_state import DayRules
from processors.moving_objects.day_store import state_from_bytes
from processors.moving_objects.errors import DayTooLargeError, InvalidDetectionsError, NightTooOldError
from processors.moving_objects.nightly import open_catalogue
from processors.moving_objects.stored_orbits import named_rows
from schemas import avro
from schemas.detections import DETECTION
from schemas.events import DayMopsDecision, NightEnded, OrbitEvent, TrackletState, TrackletStatus, Verdict
from schemas.orbits import ORBIT_ROW, orbit_rows
from schemas.tables import Table
from streams.daymops.desk import Desk, rows_of
from streams.daymops.stores import stored
from streams.moving_objects.orbit_store import OrbitsAtHand
from streams.nightmops.ephemerides import _opened, build_ephemerides, predicted_field
from tests.support.day_fortnight import DAY_OBS, fortnight

FORTNIGHT = fortnight()
NIGHTS = FORTNIGHT.nights()


class Log:
    """A desk with its object store, and the decisions it made; few states are kept, the others are gone."""

    def __init__(self, rules: DayRules | None = None) -> None:
        self.objects = ObjectStore.memory()
        self.desk = Desk("Sim", "X05", objects=self.objects, from_log=self.empty_night, rules=rules)
        self.nights, self.decisions = DayNights(), list[DayMopsDecision]()

    def empty_night(self, ended: NightEnded, ours: Any) -> NightCandidates:
        return night_by_hand(ended.day_obs, np.zeros(0, DETECTION))

    def ended(self, day_obs: int, rows: np.ndarray[Any, Any] | None, **more: Any) -> NightEnded:
        claim = None if rows is None else self.objects.put(avro.encode(Table.from_array(rows)))
        return NightEnded(instrument="Sim", day_obs=day_obs, association_end=0, detections=claim, **more)

    def take(self, day_obs: int, rows: np.ndarray[Any, Any] | None, **more: Any) -> DayMopsDecision | None:
        decision = self.desk.decide(self.ended(day_obs, rows, **more), self.nights)
        if decision is not None:
            self.decisions.append(decision)
            before, self.nights = self.nights, fold_decision(self.nights, decision, 2)
            for state in retired_states(before, self.nights):
                self.objects.delete(state)
        return decision

    def all_of(self, nights: list[tuple[int, np.ndarray[Any, Any]]]) -> Log:
        for day_obs, rows in nights:
            assert self.take(day_obs, rows) is not None
        return self

    def rows(self, claim: Any) -> np.ndarray[Any, Any]:
        return rows_of(self.objects, claim)

    @property
    def state(self) -> Any:
        return state_from_bytes(self.objects.get(self.decisions[-1].state))


@pytest.fixture(scope="module")
def log() -> Log:
    return Log().all_of(NIGHTS)


def test_every_asteroid_is_discovered_once_and_nothing_else(log: Log) -> None:
    objects = log.state.objects
    assert len(FORTNIGHT.asteroids) >= 2
    assert len(objects) == len(FORTNIGHT.asteroids)
    held = log.state.held
    assert len(np.unique(held["detection_id"])) == len(held) >= 28 * len(objects) * 0.98
    for name in objects["designation"]:
        mine = held["detection_id"][held["designation"] == name].tolist()
        assert len({FORTNIGHT.asteroid_of(one) for one in mine}) == 1
    assert log.decisions[-1].counts["reportable"] == len(FORTNIGHT.asteroids)


def test_discovered_orbits_predict_the_night(log: Log) -> None:
    own = log.state.objects
    rows = np.zeros(len(own), ORBIT_ROW)
    for name in ORBIT_ROW.names or ():
        rows[name] = own[name]
    built = build_ephemerides(
        OrbitsAtHand(rows=rows, own=frozenset()), DAY_OBS, instrument="Sim", code="X05", objects=log.objects
    )
    opened = _opened(open_catalogue(log.objects.get(built.file)), rows, "X05")
    mjd, asteroids = FORTNIGHT.times[1], list(FORTNIGHT.asteroids)
    ra, dec = asteroid_positions(asteroids, mjd)
    field = predicted_field(opened, "X05", centre=(float(ra[0]), float(dec[0])), radius_deg=1.0, mjd_tai=mjd)
    seen = field.rows.to_array()
    assert len(seen) == len(asteroids)
    for place in range(len(ra)):
        east = ((seen["ephRa"] - ra[place] + 180) % 360 - 180) * np.cos(np.radians(dec[place])) * 3600
        distance = float(np.hypot(east, (seen["ephDec"] - dec[place]) * 3600).min())
        assert distance < 0.5


def test_magnitudes_are_those_of_the_bodies(log: Log) -> None:
    when = float(np.mean(FORTNIGHT.times))
    true = sorted(absolute_magnitude(asteroid, when) for asteroid in FORTNIGHT.asteroids)
    assert np.sort(log.state.objects["h"]) == pytest.approx(true, abs=0.25)


def test_the_stores_are_what_the_decisions_say(log: Log) -> None:
    orbits, tracklets = dict[str, Any](), dict[int, TrackletState]()
    for decision in log.decisions:
        for one in stored(decision, log.objects):
            if one.topic == "orbit-store":
                orbits[str(one.key)] = one.record
            elif one.record is None:
                del tracklets[int(one.key or 0)]
            else:
                tracklets[one.record.tracklet_id] = one.record
    assert sorted(orbits) == log.state.objects["designation"].tolist()
    assert all(isinstance(orbit, OrbitEvent) for orbit in orbits.values())
    held = {number: one for number, one in tracklets.items() if one.status is TrackletStatus.LINKED}
    assert sorted(held) == sorted(number for orbit in orbits.values() for number in orbit.fact.tracklets)
    assert all((one.holder is None) is (one.status is TrackletStatus.FREE) for one in tracklets.values())
    assert not any(one.status is TrackletStatus.WITHDRAWN for one in tracklets.values())
    members = [member for one in held.values() for member in one.dia_source_ids]
    assert sorted(members) == log.state.held["detection_id"].tolist()


def test_tables_say_whose_sources_are_and_what_came_of_objects(log: Log) -> None:
    owner = dict[int, int]()
    for decision in log.decisions:
        rows = log.rows(decision.reassigned)
        assert np.hypot(rows["offset_ra_arcsec"], rows["offset_dec_arcsec"]).max(initial=0.0) < 1.0
        owner |= dict(zip(rows["dia_source_id"].tolist(), rows["ss_object_id"].tolist(), strict=True))
    held = log.state.held
    assert owner == dict(zip(held["detection_id"].tolist(), held["ss_object_id"].tolist(), strict=True))
    verdicts = log.rows(log.decisions[-1].verdicts)
    assert len(verdicts) == len(NIGHTS[-1][1])
    assert (verdicts["verdict"] == Verdict.LINKED).sum() == 2 * len(FORTNIGHT.asteroids)


def test_a_night_that_comes_twice_or_in_any_order_changes_nothing(log: Log) -> None:
    before = len(log.decisions)
    day_obs, rows = NIGHTS[5]
    mixed = np.random.default_rng(5).permutation(np.concatenate([rows, rows[:7]]))
    assert log.take(day_obs, mixed) is None
    assert log.take(day_obs, rows[:3]) is None
    assert len(log.decisions) == before


def test_late_and_missing_and_empty_nights_end_in_the_same_state(log: Log) -> None:
    late = Log().all_of([NIGHTS[0], *NIGHTS[2:5]])
    assert late.take(*NIGHTS[1]) is not None
    assert late.decisions[-1].nights == tuple(day_obs for day_obs, _ in NIGHTS[1:5])
    assert late.take(20260901, None) is not None
    assert late.decisions[-1].nights == (20260901, *(day_obs for day_obs, _ in NIGHTS[:5]))
    assert late.decisions[-1].counts["detections"] == 0
    assert late.take(20260901, None) is None
    late.take(NIGHTS[6][0], NIGHTS[6][1])
    late.take(NIGHTS[5][0], NIGHTS[5][1][:10])
    late.take(NIGHTS[5][0], NIGHTS[5][1][10:])
    assert late.decisions[-1].sequence == 1
    plain = Log().all_of(NIGHTS[:7])
    assert late.decisions[-1].state == plain.decisions[-1].state


def imported(log: Log) -> Any:
    """Put a catalogue of the first asteroid alone into the object store."""
    one = FORTNIGHT.asteroids[0]
    row = orbit_rows(1)
    row["designation"], row["epoch_mjd_tdb"] = "2014 AA", one.orbit.epoch_mjd_tdb
    for name, value in zip(("x", "y", "z", "vx", "vy", "vz"), one.orbit.state(one.orbit.epoch_mjd_tdb), strict=True):
        row[name] = value
    return log.objects.put(to_parquet(named_rows(row)))


def detections_of_the_first(nights: list[tuple[int, np.ndarray[Any, Any]]]) -> list[int]:
    return sorted(i for _, rows in nights for i in rows["detection_id"].tolist() if FORTNIGHT.asteroid_of(i) == 0)


def test_an_imported_orbit_takes_its_detections_before_linking() -> None:
    log = Log()
    known = imported(log)
    for day_obs, rows in NIGHTS[:6]:
        log.take(day_obs, rows, known_orbits=known)
    held = log.state.held[log.state.held["designation"] == "2014 AA"]
    assert held["detection_id"].tolist() == detections_of_the_first(NIGHTS[:6])
    assert len(log.state.objects) == len(FORTNIGHT.asteroids) - 1
    assert log.decisions[-1].counts["attributed_known"] == 2
    verdicts = log.rows(log.decisions[-1].verdicts)["verdict"]
    assert (verdicts == Verdict.ATTRIBUTED).sum() == 2


def test_a_catalogue_that_comes_later_gets_what_we_found_and_our_name_leads_to_it() -> None:
    log = Log().all_of(NIGHTS[:5])
    late = NIGHTS[5][1][::9]
    log.take(NIGHTS[5][0], np.setdiff1d(NIGHTS[5][1], late), known_orbits=(known := imported(log)))
    wanted = detections_of_the_first(NIGHTS[:5])
    (own,) = {str(r["designation"]) for r in log.rows(log.decisions[-1].orbits) if r["change"] == "merged"}
    events = {str(one.key): one.record for one in stored(log.decisions[-1], log.objects)}
    assert events[own].fact.merged_into == "2014 AA"
    states = [one for one in events.values() if isinstance(one, TrackletState) and one.holder == "2014 AA"]
    assert {one.status for one in states} == {TrackletStatus.ATTRIBUTED}
    assert set(wanted) <= {i for one in states for i in one.dia_source_ids}
    log.take(NIGHTS[5][0], late, known_orbits=known)
    log.take(*NIGHTS[6], known_orbits=known)
    assert [d.counts["identified"] for d in log.decisions] == [0, 0, 0, 0, 0, 1, 1, 0]
    held, owner = log.state.held, dict[int, int]()
    for decision in log.decisions:
        rows = log.rows(decision.reassigned)
        owner |= dict(zip(rows["dia_source_id"].tolist(), rows["ss_object_id"].tolist(), strict=True))
    assert {i: o for i, o in owner.items() if o} == dict(
        zip(held["detection_id"].tolist(), held["ss_object_id"].tolist(), strict=True)
    )
    theirs = held["detection_id"][held["designation"] == "2014 AA"].tolist()
    assert theirs == detections_of_the_first(NIGHTS[:7])
    assert own not in log.state.objects["designation"].tolist()


def test_nights_linked_again_with_a_catalogue_say_whose_an_object_is_that_they_no_longer_form() -> None:
    part = NIGHTS[1][1][::9]
    log = Log().all_of([NIGHTS[0], (NIGHTS[1][0], np.setdiff1d(NIGHTS[1][1], part)), *NIGHTS[2:5]])
    before = set(log.state.objects["designation"].tolist())
    log.take(NIGHTS[1][0], part, known_orbits=imported(log))
    (own,) = before - set(log.state.objects["designation"].tolist())
    events = {str(one.key): one.record for one in stored(log.decisions[-1], log.objects)}
    assert events[own].fact.merged_into == "2014 AA"
    held = log.state.held
    assert held["detection_id"][held["designation"] == "2014 AA"].tolist() == detections_of_the_first(NIGHTS[1:5])


def test_one_night_alone_gives_tracklets_and_no_links() -> None:
    log = Log().all_of(NIGHTS[-1:])
    assert len(log.rows(log.decisions[0].orbits)) == 0
    tracklets = log.rows(log.decisions[0].tracklets)
    assert len(tracklets) >= len(FORTNIGHT.asteroids)
    assert set(tracklets["status"].tolist()) == {"free"}


def test_what_cannot_be_taken_is_refused_with_its_reason() -> None:
    small = Log(DayRules(detections_most=50))
    with pytest.raises(DayTooLargeError, match="50 that the settings allow"):
        small.all_of(NIGHTS[:2])
    log = Log().all_of(NIGHTS[:2])
    other = NIGHTS[0][1].copy()
    other["mag"] += 1.0
    with pytest.raises(InvalidDetectionsError, match="different contents"):
        log.take(NIGHTS[0][0], other)
    with pytest.raises(InvalidDetectionsError, match="44 of the detections are not of night 20260909"):
        log.take(NIGHTS[2][0], NIGHTS[3][1])
    log.nights = replace(log.nights, forgotten=20260906)
    with pytest.raises(NightTooOldError, match="decided for good"):
        log.take(20260905, NIGHTS[0][1])
