"""DayMOPS over a simulated fortnight: the asteroids of the night are discovered and predicted where they will be seen."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from infra.objects import ObjectStore
from infra.telescope import plan_night
from infra.telescope.fortnight import fortnight_detections
from infra.telescope.known_orbits import absolute_magnitude, is_known
from infra.telescope.sky import Asteroid, asteroid_positions, make_asteroids
from processors.moving_objects.discoveries import Discoveries, provisional_name
from processors.moving_objects.nightly import open_catalogue
from schemas import avro
from schemas.camera import load_camera
from schemas.events import DayMopsDecision, TrackletStatus
from schemas.tables import Table
from streams.daymops.run import DayMopsError, _stored, decide_night, link_window, tracklet_id
from streams.moving_objects.orbit_store import OrbitsAtHand
from streams.nightmops.ephemerides import _opened, build_ephemerides, mid_night_of, predicted_field

CAMERA, DAY_OBS = load_camera("tiny"), 20260921


class Fortnight:
    """The night's unknown asteroids, and what DayMOPS makes of the nights before."""

    def __init__(self) -> None:
        visits = plan_night(CAMERA, 3, DAY_OBS, 3)
        self.times = [visit.start_mjd_tai for visit in visits]
        every = make_asteroids(CAMERA, 3, DAY_OBS, self.times)
        self.asteroids: list[Asteroid] = [asteroid for asteroid in every if not is_known(asteroid)]
        self.detections = fortnight_detections(every, 3, DAY_OBS, mid_night_of(DAY_OBS, "X05"))
        self.objects = ObjectStore.memory()
        self.last = 20260920
        self.decision, self.found = self.decide(self.detections)

    def decide(self, detections: np.ndarray[Any, Any]) -> tuple[DayMopsDecision, Discoveries]:
        self.state, nights = link_window(detections, self.last, code="X05", window_nights=14)
        return decide_night(self.state, nights, instrument="Sim", day_obs=self.last, code="X05", objects=self.objects)

    def rows(self, claim: Any) -> np.ndarray[Any, Any]:
        return avro.decode(Table, self.objects.get(claim)).to_array()


@pytest.fixture(scope="module")
def fortnight() -> Fortnight:
    return Fortnight()


def test_every_asteroid_is_discovered_once_and_nothing_else(fortnight: Fortnight) -> None:
    assert len(fortnight.asteroids) >= 2
    assert len(fortnight.found) == len(fortnight.asteroids)
    members = [identifier for ids in fortnight.found.members for identifier in ids]
    assert len(members) == len(set(members)) >= 28 * len(fortnight.asteroids) * 0.98
    assert all(identifier % 1000 < len(fortnight.asteroids) for identifier in members)
    assert fortnight.decision.counts["reportable"] == len(fortnight.asteroids)


def test_discovered_orbits_predict_the_night(fortnight: Fortnight) -> None:
    rows = fortnight.found.rows[np.argsort(fortnight.found.rows["designation"])]
    built = build_ephemerides(
        OrbitsAtHand(rows=rows, own=frozenset()), DAY_OBS, instrument="Sim", code="X05", objects=fortnight.objects
    )
    assert built.count == len(rows)
    opened = _opened(open_catalogue(fortnight.objects.get(built.file)), rows, "X05")
    mjd = fortnight.times[1]
    ra, dec = asteroid_positions(fortnight.asteroids, mjd)
    field = predicted_field(opened, "X05", centre=(float(ra[0]), float(dec[0])), radius_deg=1.0, mjd_tai=mjd)
    seen = field.rows.to_array()
    assert len(seen) == len(fortnight.asteroids)
    for place in range(len(ra)):
        east = ((seen["ephRa"] - ra[place] + 180) % 360 - 180) * np.cos(np.radians(dec[place])) * 3600
        nearest = int(np.argmin(np.hypot(east, (seen["ephDec"] - dec[place]) * 3600)))
        distance = float(np.hypot(east[nearest], (seen["ephDec"][nearest] - dec[place]) * 3600))
        assert distance < 0.5
        assert distance < 6 * seen["semi_major_arcsec"][nearest] + 0.05


def test_magnitudes_are_those_of_the_bodies(fortnight: Fortnight) -> None:
    true = sorted(absolute_magnitude(asteroid, float(np.mean(fortnight.times))) for asteroid in fortnight.asteroids)
    assert np.sort(fortnight.found.rows["h"]) == pytest.approx(true, abs=0.25)


def test_the_answer_does_not_depend_on_the_order_of_detections_nor_on_repetitions(fortnight: Fortnight) -> None:
    order = np.random.default_rng(5).permutation(len(fortnight.detections))
    shuffled = np.concatenate([fortnight.detections[order], fortnight.detections[:40]])
    decision, _ = fortnight.decide(shuffled)
    assert decision == fortnight.decision


def test_tables_say_which_sources_became_whose(fortnight: Fortnight) -> None:
    reassigned = fortnight.rows(fortnight.decision.reassigned)
    owner = dict(zip(reassigned["dia_source_id"].tolist(), reassigned["ss_object_id"].tolist(), strict=True))
    for row, members in zip(fortnight.found.rows, fortnight.found.members, strict=True):
        assert {owner[identifier] for identifier in members} == {int(row["ss_object_id"])}
    verdicts = fortnight.rows(fortnight.decision.verdicts)
    assert len(verdicts) == 2 * (20 + len(fortnight.asteroids))
    assert verdicts["is_solar_system_object"].sum() == 2 * len(fortnight.asteroids)


def test_stores_get_each_orbit_and_every_tracklet_has_one_holder(fortnight: Fortnight) -> None:
    fortnight.decide(fortnight.detections)
    records = [one.record for one in _stored(fortnight.decision, fortnight.found, fortnight.state)]
    orbits = [record for record in records if hasattr(record, "designation")]
    tracklets = [record for record in records if hasattr(record, "tracklet_id")]
    assert [orbit.designation for orbit in orbits] == fortnight.found.rows["designation"].tolist()
    assert len({tracklet.tracklet_id for tracklet in tracklets}) == len(tracklets)
    held = [tracklet for tracklet in tracklets if tracklet.status is TrackletStatus.LINKED]
    assert sorted(tracklet.tracklet_id for tracklet in held) == sorted(i for o in orbits for i in o.fact.tracklets)
    assert all((tracklet.holder is None) is (tracklet.status is TrackletStatus.FREE) for tracklet in tracklets)


def test_names_are_short_stable_and_differ() -> None:
    names = {provisional_name(number) for number in range(10_000)}
    assert len(names) == 10_000
    assert all(len(name) == 8 and name.startswith("NC") for name in names)
    assert provisional_name(7) == provisional_name(7)


def test_a_tracklet_is_named_by_its_members_in_any_order() -> None:
    assert tracklet_id((3, 1, 2)) == tracklet_id((1, 2, 3)) != tracklet_id((1, 2))
    assert tracklet_id((1, 23)) != tracklet_id((12, 3))


def test_nights_without_detections_are_told(fortnight: Fortnight) -> None:
    with pytest.raises(DayMopsError, match="no detections of night 20200101"):
        link_window(fortnight.detections, 20200101, code="X05", window_nights=14)


def test_two_nights_discover_nothing(fortnight: Fortnight) -> None:
    first = fortnight.detections["visit"] // 100_000 < 20260909
    state, nights = link_window(fortnight.detections[first], 20260908, code="X05", window_nights=14)
    assert len(nights) == 2
    decision, found = decide_night(
        state, nights, instrument="Sim", day_obs=20260908, code="X05", objects=fortnight.objects
    )
    assert len(found) == 0
    assert dataclasses.replace(decision, counts={}).day_obs == 20260908
