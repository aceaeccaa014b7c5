"""NightMOPS' ephemerides of a simulated night: every known asteroid predicted where the simulator puts it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from infra.errors import ObjectStoreError
from infra.objects import ObjectStore
from infra.telescope import PlannedVisit, plan_night
from infra.telescope.known_orbits import designation_of, is_known, known_orbits
from infra.telescope.sky import Asteroid, asteroid_positions, make_asteroids
from processors.moving_objects.stored_orbits import named_rows
from schemas import avro
from schemas.camera import load_camera
from schemas.errors import NightcastError
from schemas.events import Announced, EphemerisCatalogue, PredictedField
from schemas.public_avro import decode_record
from streams.moving_objects.orbit_store import OrbitsAtHand
from streams.nightmops.ephemerides import EphemerisBench, build_ephemerides, mid_night_of

CAMERA, DAY_OBS = load_camera("demo"), 20260921


class Site:
    """A simulated night with its ephemerides in an object store."""

    def __init__(self, folder: Path) -> None:
        self.visits: list[PlannedVisit] = plan_night(CAMERA, 1, DAY_OBS, 8)
        times = [visit.start_mjd_tai for visit in self.visits]
        self.asteroids: list[Asteroid] = make_asteroids(CAMERA, 1, DAY_OBS, times)
        self.rows = named_rows(known_orbits(self.asteroids, float(np.mean(times))))
        self.objects = ObjectStore.local(folder / "objects", fsync=False)
        self.bench = EphemerisBench("Sim", "X05", objects=self.objects, folder=folder / "maps")
        self.catalogue = self.build(self.rows)

    def build(self, rows: np.ndarray[Any, Any]) -> EphemerisCatalogue:
        at_hand = OrbitsAtHand(rows=rows, own=frozenset())
        return build_ephemerides(at_hand, DAY_OBS, instrument="Sim", code="X05", objects=self.objects)

    def announced(self, visit: PlannedVisit) -> Announced:
        return Announced(
            group_id="g", day_obs=DAY_OBS, n_snaps=2, band="r", ra=visit.ra, dec=visit.dec, rotation=0.0,
            exposure_time=visit.exposure_time, start_mjd_tai=visit.start_mjd_tai, duration=visit.duration_s, camera="demo",
            detectors=(0,), survey="test",
        )  # fmt: skip

    def predict(self, visit: PlannedVisit) -> PredictedField:
        event = self.bench.predict(self.catalogue, visit.visit, self.announced(visit))
        self.bench.settle()
        assert event.ephemeris_sha256 == self.catalogue.file.sha256
        field = avro.decode(PredictedField, self.objects.get(event.predicted))
        assert event.count == field.rows.rows == len(field.mpc_orbits)
        return field


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("nightmops"))


def test_known_asteroids_are_predicted_where_the_simulator_puts_them(site: Site) -> None:
    known = {designation_of(asteroid): asteroid for asteroid in site.asteroids if is_known(asteroid)}
    for visit in (site.visits[0], site.visits[-1]):
        field = site.predict(visit)
        rows = field.rows.to_array()
        assert set(rows["designation"].tolist()) <= set(known)
        assert len(rows) >= len(known) // 2
        ra, dec = asteroid_positions([known[name] for name in rows["designation"].tolist()], field.mjd_tai)
        east = ((rows["ephRa"] - ra + 180) % 360 - 180) * np.cos(np.radians(dec)) * 3600
        assert np.hypot(east, (rows["ephDec"] - dec) * 3600).max() < 0.15


def test_predictions_carry_magnitudes_rates_vectors_and_orbits(site: Site) -> None:
    field = site.predict(site.visits[2])
    rows = field.rows.to_array()
    by_name = {designation_of(asteroid): asteroid for asteroid in site.asteroids}
    for row, orbit in zip(rows, field.mpc_orbits, strict=True):
        record, asteroid = decode_record(orbit, "mpc_orbits"), by_name[str(row["designation"])]
        assert record["designation"] == row["designation"]
        assert record["a"] == pytest.approx(asteroid.orbit.semi_major_axis_au, rel=2e-6)
        assert record["e"] == pytest.approx(asteroid.orbit.eccentricity, abs=2e-6)
        assert row["ephVmag"] == pytest.approx(asteroid.mag_r + 0.278 * asteroid.colour, abs=0.1)
        length = np.linalg.norm([row["topo_x"], row["topo_y"], row["topo_z"]])
        assert length == pytest.approx(row["topoRange"], rel=1e-6)
        assert row["diaSourceId"] == 0
        assert np.isnan(row["ephOffset"])


def test_the_same_orbits_give_the_same_files(site: Site) -> None:
    assert site.build(site.rows) == site.catalogue


def test_the_middle_of_the_night_is_local_midnight() -> None:
    assert mid_night_of(20260921, "X05") == pytest.approx(61304.0 + 1.0 + 70.749 / 360.0, abs=1e-3)
    with pytest.raises(NightcastError, match="No observatory has the code"):
        mid_night_of(20260921, "???")


def test_an_orbit_that_is_no_orbit_is_left_out_and_counted(site: Site) -> None:
    rows = site.rows.copy()
    rows["x"][0] = np.nan
    catalogue = site.build(rows)
    assert (catalogue.count, catalogue.refused) == (len(rows) - 1, 1)


def test_ephemerides_that_cannot_be_opened_do_not_hinder_the_start(site: Site) -> None:
    site.bench.open(site.catalogue)
    lost = replace(site.catalogue, file=replace(site.catalogue.file, uri="sha256/aa/aa", sha256="aa"))
    site.bench.open(lost)
    visit = site.visits[0]
    assert not site.bench.is_open(lost)
    with pytest.raises(NightcastError):
        site.bench.predict(lost, visit.visit, site.announced(visit))


def test_work_ahead_ends_and_changes_no_prediction(site: Site, tmp_path: Path) -> None:
    ahead = EphemerisBench("Sim", "X05", objects=site.objects, folder=tmp_path)
    assert not ahead.work_ahead()
    ahead.open(site.catalogue)
    visit = site.visits[0]
    steps = [0, 0]
    for stage in range(2):
        while ahead.work_ahead():
            steps[stage] += 1
        prediction = ahead.predict(site.catalogue, visit.visit, site.announced(visit))
        assert prediction == site.bench.predict(site.catalogue, visit.visit, site.announced(visit))
    assert min(steps) > 0
    assert ahead.work_ahead()
    while ahead.work_ahead():
        continue
    ahead.open(site.catalogue)
    assert not ahead.work_ahead()


def test_a_prediction_that_could_not_be_stored_is_told_and_the_next_waits_for_its_own(
    site: Site, tmp_path: Path
) -> None:
    objects, visit = ObjectStore.local(tmp_path / "objects", fsync=False), site.visits[0]
    for claim in (site.catalogue.file, site.catalogue.orbits):
        objects.put(site.objects.get(claim))
    bench = EphemerisBench("Sim", "X05", objects=objects, folder=tmp_path)
    bench.open(site.catalogue)
    assert bench.is_open(site.catalogue)
    folder = tmp_path / "objects" / "sha256"
    folder.rename(tmp_path / "moved")
    folder.write_bytes(b"no folder")
    bench.predict(site.catalogue, visit.visit, site.announced(visit))
    with pytest.raises(ObjectStoreError):
        bench.settle()
    with pytest.raises(ObjectStoreError):
        bench.predict(site.catalogue, visit.visit, site.announced(visit))
    folder.unlink()
    (tmp_path / "moved").rename(folder)
    event = bench.predict(site.catalogue, visit.visit, site.announced(visit))
    assert objects.has(event.predicted)
    bench.settle()


def test_a_store_that_takes_too_long_is_waited_for_outside_the_transaction(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.nightmops.ephemerides.LONGEST_STORE_S", 0.01)
    bench, visit, stored = EphemerisBench("Sim", "X05", objects=site.objects, folder=tmp_path), site.visits[0], Event()
    bench.open(site.catalogue)
    with monkeypatch.context() as patched:
        claim = site.objects.put(b"something")
        aside = ThreadPoolExecutor(1)
        patched.setattr(site.objects, "put_aside", lambda _: (claim, aside.submit(stored.wait)))
        bench.predict(site.catalogue, visit.visit, site.announced(visit))
        with pytest.raises(ObjectStoreError, match="not stored within"):
            bench.settle()
    stored.set()
    assert not bench.is_open(site.catalogue)
    assert site.objects.has(bench.predict(site.catalogue, visit.visit, site.announced(visit)).predicted)
    assert bench.is_open(site.catalogue)


def test_no_orbits_are_an_empty_prediction(site: Site) -> None:
    catalogue = site.build(site.rows[:0])
    assert catalogue.count == 0
    visit = site.visits[0]
    assert site.bench.predict(catalogue, visit.visit, site.announced(visit)).count == 0
