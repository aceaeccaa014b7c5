"""The night's catalogue: no object missed, places of an independent path, bytes that do not depend on order, bad orbits."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import BarycentricMeanEcliptic, Galactic, SkyCoord, get_sun
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.ephemerides import load_solar_system, observatory
from infra.night_catalogues import map_catalogue, write_catalogue
from processors.moving_objects import nightly, nightly_covariance, nightly_kernels, nightly_query
from processors.moving_objects.apparent import astrometric
from processors.moving_objects.errors import (
    CatalogueFormatError,
    CatalogueTooLargeError,
    InvalidOrbitsError,
    OutsideEphemerisError,
)
from processors.moving_objects.kepler import two_body_with_partials
from processors.moving_objects.nightly_cells import cell_of, cells_within
from processors.moving_objects.observers import observer_states
from processors.moving_objects.orbits import Orbits, known_orbits, part
from processors.moving_objects.propagate import propagate
from processors.moving_objects.solar_system import body_states, sun_velocities
from processors.moving_objects.timescales import tdb_from_tai
from tests.support.solar_system import population

MID = 61000.2
YESTERDAY = float(tdb_from_tai(MID - 1.0))
SYSTEM = load_solar_system(60500.0, 61100.0)
RUBIN = observatory("X05")


def orbits(count: int = 20000, seed: int = 31) -> Orbits:
    """A population with some objects that pass the Earth closely."""
    some = population(count, seed, epoch_mjd_tdb=YESTERDAY)
    earth = body_states(SYSTEM, 3, np.array([YESTERDAY]))[0]
    random = np.random.default_rng(seed)
    near = count // 100
    some.states[:near] = earth + random.normal(size=(near, 6)) * ([0.02] * 3 + [0.005] * 3)
    return some


@pytest.fixture(scope="module")
def night() -> nightly.NightCatalogue:
    return nightly.build_night(SYSTEM, RUBIN, orbits(), MID)[0]


def around(
    night: nightly.NightCatalogue, ra: float, dec: float, radius: float, mjd: float, *, every: bool = False
) -> np.ndarray:
    ask = nightly_query.predict_all if every else nightly_query.predict_visit
    return ask(night, SYSTEM, RUBIN, ra_deg=ra, dec_deg=dec, radius_deg=radius, mjd_tai=mjd)


@settings(max_examples=40, deadline=None)
@given(ra=st.floats(0, 360), dec=st.floats(-90, 90), radius=st.floats(0.01, 12), hours=st.floats(-7.2, 7.2))
def test_the_index_misses_nothing(ra: float, dec: float, radius: float, hours: float) -> None:
    night = _night()
    mjd = MID + hours / 24.0 * 0.999
    found, all_of_them = around(night, ra, dec, radius, mjd), around(night, ra, dec, radius, mjd, every=True)
    assert found.tobytes() == all_of_them.tobytes()


_KEPT: list[nightly.NightCatalogue] = []


def _night() -> nightly.NightCatalogue:
    if not _KEPT:
        _KEPT.append(nightly.build_night(SYSTEM, RUBIN, orbits(), MID)[0])
    return _KEPT[0]


def test_no_object_is_missed_by_exact_places_either(night: nightly.NightCatalogue) -> None:
    """Each object's place by the slow, exact path lies where a query there finds it."""
    given_orbits, apart = orbits(), []
    for mjd in (MID - 0.29, MID + 0.29):
        tdb = float(tdb_from_tai(mjd))
        truth = astrometric(
            propagate(SYSTEM, given_orbits.states, YESTERDAY, tdb),
            observers=observer_states(SYSTEM, RUBIN, mjd),
            sun_velocities=sun_velocities(SYSTEM, np.array([tdb])),
        )
        for k in [*range(0, 200, 8), *range(200, 20000, 700)]:
            rows = around(night, truth.ra_deg[k], truth.dec_deg[k], 0.02, mjd)
            here = rows[rows["ssObjectId"] == given_orbits.object_id[k]]
            assert len(here) == 1
            east = (here["ephRa"] - truth.ra_deg[k]) * np.cos(np.radians(truth.dec_deg[k])) * 3.6e6
            north = (here["ephDec"] - truth.dec_deg[k]) * 3.6e6
            apart.append(np.hypot(east, north)[0])
            assert here["topoRange"][0] == pytest.approx(truth.delta_au[k], rel=1e-6)
    # Two-body motion from midnight with a constant perturbation; what passes within 0.1 au is integrated.
    assert np.percentile(apart, 99) < 0.1
    assert np.max(apart) < 2.0


def test_nothing_is_missed_beside_the_sun_or_beside_the_earth() -> None:
    """Sungrazers, bodies on small orbits and close passers, each by its slow, exact path: the fastest that there are."""
    random = np.random.default_rng(77)
    direction = random.normal(size=(120, 6))
    line, across = (v / np.linalg.norm(v, axis=1)[:, None] for v in (direction[:, :3], direction[:, 3:]))
    r = np.exp(random.uniform(np.log(0.03), np.log(0.4), 120))[:, None]
    speed = np.sqrt(2.9591220828e-4 / r) * random.uniform(0.7, 1.5, (120, 1))
    by_sun = np.hstack([r * line, speed * across])
    earth = body_states(SYSTEM, 3, np.array([YESTERDAY]))[0]
    by_earth = earth + np.hstack([line[:60] * random.uniform(0.003, 0.2, (60, 1)), 0.008 * across[:60]])
    states = np.vstack([by_sun, by_earth])
    some = known_orbits(np.arange(1, 181), states, YESTERDAY, h=np.full(180, 18.0))
    built, _ = nightly.build_night(SYSTEM, RUBIN, some, MID)
    assert len(built) > 170
    assert built.offsets[-1] < len(built)
    for mjd in (MID - 0.299, MID + 0.01, MID + 0.299):
        tdb = float(tdb_from_tai(mjd))
        truth = astrometric(
            propagate(SYSTEM, states, YESTERDAY, tdb),
            observers=observer_states(SYSTEM, RUBIN, mjd),
            sun_velocities=sun_velocities(SYSTEM, np.array([tdb])),
        )
        for k in built.object_id - 1:
            rows = around(built, truth.ra_deg[k], truth.dec_deg[k], 0.05, mjd)
            assert k + 1 in rows["ssObjectId"]


def test_rings_about_a_place_hold_all_near_it_and_each_once(night: nightly.NightCatalogue) -> None:
    rings = [night.object_id[ring] for ring in nightly_query.objects_around(night, ra_deg=12.0, dec_deg=3.0)]
    bucket = night.object_id[night.offsets[-1] :].tolist()
    inside: set[int] = set()
    for number, ring in enumerate(rings, 1):
        new = set(ring.tolist()) - set(bucket)
        assert len(new) == len(ring) - len(bucket)
        assert not new & inside
        inside |= new
        if number in (1, len(rings)):
            near = around(night, 12.0, 3.0, 3.0 * number - 1.0, MID, every=True)
            assert len(near) > 0
            assert set(near["ssObjectId"].tolist()) <= inside | set(bucket)
    assert len(inside) < len(night) // 2


def test_a_prediction_says_which_rows_of_the_catalogue_it_took(night: nightly.NightCatalogue) -> None:
    found, which = nightly_query.predict_visit_rows(
        night, SYSTEM, RUBIN, ra_deg=12.0, dec_deg=3.0, radius_deg=6.0, mjd_tai=MID
    )
    assert len(found) > 10
    assert (np.diff(found["ssObjectId"]) > 0).all()
    assert night.object_id[which].tolist() == found["ssObjectId"].tolist()


def test_opposition_is_where_the_sun_is_not(night: nightly.NightCatalogue) -> None:
    ra, dec = nightly_query.opposition_of(night, SYSTEM, RUBIN)
    sun = get_sun(Time(MID, format="mjd", scale="tai"))
    away = SkyCoord(ra * u.deg, dec * u.deg).separation(SkyCoord(sun.ra, sun.dec)).deg
    assert away > 179.9


def test_every_vector_and_angle_is_consistent(night: nightly.NightCatalogue) -> None:
    rows = around(night, 60.0, 20.0, 15.0, MID + 0.1)
    assert len(rows) > 300
    sky = SkyCoord(rows["ephRa"] * u.deg, rows["ephDec"] * u.deg)
    galactic = sky.transform_to(Galactic())
    np.testing.assert_allclose(rows["galLon"], galactic.l.deg, atol=1e-5)
    np.testing.assert_allclose(rows["galLat"], galactic.b.deg, atol=1e-5)
    ecliptic = sky.transform_to(BarycentricMeanEcliptic(equinox="J2000"))
    np.testing.assert_allclose(rows["eclLambda"], ecliptic.lon.deg, atol=5e-5)
    np.testing.assert_allclose(rows["eclBeta"], ecliptic.lat.deg, atol=5e-5)
    for of in ("helio", "topo"):
        place, speed = (np.stack([rows[f"{of}_{v}{c}"] for c in "xyz"], 1).astype(float) for v in ("", "v"))
        distance = np.linalg.norm(place, axis=1)
        np.testing.assert_allclose(rows[f"{of}Range"], distance, rtol=1e-6)
        np.testing.assert_allclose(rows[f"{of}_vtot"], np.linalg.norm(speed, axis=1), rtol=1e-6)
        np.testing.assert_allclose(rows[f"{of}RangeRate"], (place * speed).sum(1) / distance, atol=2e-4)
    # The triangle Sun, observer, object.
    observer = observer_states(SYSTEM, RUBIN, MID + 0.1)[0, :3]
    r, delta, sun = rows["helioRange"], rows["topoRange"], np.linalg.norm(observer)
    cosine = (r**2 + delta**2 - sun**2) / (2 * r * delta)
    np.testing.assert_allclose(np.cos(np.radians(rows["phaseAngle"])), cosine, atol=2e-4)
    cosine = (sun**2 + delta**2 - r**2) / (2 * sun * delta)
    np.testing.assert_allclose(np.cos(np.radians(rows["elongation"])), cosine, atol=2e-4)


def test_rates_are_those_of_two_moments(night: nightly.NightCatalogue) -> None:
    step = 1e-3
    first, now, last = (around(night, 60.0, 20.0, 15.0, MID + 0.1 + d) for d in (-step, 0.0, step))
    both = np.intersect1d(np.intersect1d(first["ssObjectId"], last["ssObjectId"]), now["ssObjectId"])
    first, now, last = (rows[np.isin(rows["ssObjectId"], both)] for rows in (first, now, last))
    slow = now["topoRange"] > 0.3
    east = (last["ephRa"] - first["ephRa"]) / (2 * step) * np.cos(np.radians(now["ephDec"]))
    north = (last["ephDec"] - first["ephDec"]) / (2 * step)
    np.testing.assert_allclose(now["ephRateRa"][slow], east[slow], atol=2e-5)
    np.testing.assert_allclose(now["ephRateDec"][slow], north[slow], atol=2e-5)
    np.testing.assert_allclose(now["ephRate"], np.hypot(now["ephRateRa"], now["ephRateDec"]), rtol=1e-5)


def test_the_ellipse_is_that_of_orbits_thrown_about() -> None:
    """A cloud of orbits drawn from the covariance spreads on the sky as the ellipse says."""
    some = part(population(3000, 8, epoch_mjd_tdb=YESTERDAY - 20.0), np.arange(0, 3000, 250))
    random = np.random.default_rng(2)
    root = random.normal(size=(len(some), 6, 6)) * 1e-8 * np.array([1, 1, 1, 0.01, 0.01, 0.01])[:, None]
    covariance = root @ root.transpose(0, 2, 1)
    some = replace(some, factors=nightly_covariance.factors_of(covariance))
    built, carried = nightly.build_night(SYSTEM, RUBIN, some, MID)
    rows = around(built, 0.0, 0.0, 180.0, MID, every=True)
    tdb = float(tdb_from_tai(MID))
    for k in range(len(some)):
        cloud = some.states[k] + random.multivariate_normal(np.zeros(6), covariance[k], 1500)
        places = astrometric(
            propagate(SYSTEM, cloud, some.epoch_mjd_tdb[k], tdb),
            observers=observer_states(SYSTEM, RUBIN, MID),
            sun_velocities=sun_velocities(SYSTEM, np.array([tdb])),
        )
        row = rows[rows["ssObjectId"] == some.object_id[k]][0]
        east = (places.ra_deg - row["ephRa"]) * 3600 * np.cos(np.radians(row["ephDec"]))
        north = (places.dec_deg - row["ephDec"]) * 3600
        angle = np.radians(row["pa_deg"])
        along, across = np.sin(angle) * east + np.cos(angle) * north, np.cos(angle) * east - np.sin(angle) * north
        assert np.std(along) == pytest.approx(row["smaa_arcsec"], rel=0.1)
        assert np.std(across) == pytest.approx(row["smia_arcsec"], rel=0.1)
        motion = np.arctan2(row["ephRateRa"], row["ephRateDec"])
        track = np.sin(motion) * east + np.cos(motion) * north
        assert np.std(track) == pytest.approx(row["sigma_along_arcsec"], rel=0.1)
    assert carried.epoch_mjd_tdb[0] == tdb


def test_factors_give_covariances_back_and_move_like_them() -> None:
    states = population(50, 3, epoch_mjd_tdb=YESTERDAY).states
    root = np.random.default_rng(4).normal(size=(50, 6, 6)) * 1e-7
    covariance = root @ root.transpose(0, 2, 1)
    factors = nightly_covariance.factors_of(covariance)
    np.testing.assert_allclose(
        nightly_covariance.covariances_of(factors), covariance, atol=1e-6 * np.abs(covariance).max()
    )
    nightly_covariance.carry_factors(states, np.full(50, 14.0), factors)
    phi = two_body_with_partials(states, 14.0)[1]
    expected = phi @ covariance @ phi.transpose(0, 2, 1)
    scale = np.abs(expected).max(axis=(1, 2), keepdims=True)
    assert (np.abs(nightly_covariance.covariances_of(factors) - expected) / scale).max() < 1e-5
    broken = np.stack([np.full((6, 6), np.nan), -np.eye(6), np.zeros((6, 6))])
    assert np.isnan(nightly_covariance.factors_of(broken)).all()


def test_a_catalogue_goes_through_a_file_and_does_not_depend_on_order(tmp_path: Path) -> None:
    some = orbits(3000, 5)
    shuffled = part(some, np.random.default_rng(0).permutation(3000))
    built, again = (nightly.build_night(SYSTEM, RUBIN, o, MID)[0] for o in (some, shuffled))
    data = b"".join(nightly.catalogue_chunks(built))
    assert b"".join(nightly.catalogue_chunks(again)) == data
    digest = write_catalogue(tmp_path / "night", nightly.catalogue_chunks(built))
    assert digest == hashlib.sha256(data).hexdigest()
    opened = nightly.open_catalogue(map_catalogue(tmp_path / "night"), verify=True)
    assert around(opened, 60, 20, 8, MID).tobytes() == around(built, 60, 20, 8, MID).tobytes()
    assert len(opened) == 3000
    with pytest.raises(CatalogueFormatError, match="altered"):
        nightly.open_catalogue(data[:-1] + bytes([data[-1] ^ 1]), verify=True)
    with pytest.raises(CatalogueFormatError, match="short"):
        nightly.open_catalogue(data[:-8])
    with pytest.raises(CatalogueFormatError, match="not a night"):
        nightly.open_catalogue(b"MPCORB" + data)


def test_bad_orbits_are_refused_by_name_and_strange_ones_kept() -> None:
    some = orbits(300, 6)
    some.states[7, 2] = np.nan
    with pytest.raises(InvalidOrbitsError, match=str(some.object_id[7])):
        nightly.build_night(SYSTEM, RUBIN, some, MID)
    mu = 2.9591220828e-4
    strange = np.array(
        [
            [1.7, 0, 0, 0, np.sqrt(mu / 1.7), 0],
            [1.5, 0, 0, 0, 0, np.sqrt(2 * mu / 1.5)],
            [0.0, 2.0, 0, 0.025, 0, 0.01],
        ]
    )
    epochs = np.array([YESTERDAY, YESTERDAY - 300.0, YESTERDAY - 2.0])
    kept = known_orbits(np.array([1, 2, 3]), strange, epochs, h=np.array([18.0, np.nan, 18.0]))
    rows = around(nightly.build_night(SYSTEM, RUBIN, kept, MID)[0], 0, 0, 180.0, MID, every=True)
    assert list(rows["ssObjectId"]) == [1, 2, 3]
    assert list(np.isnan(rows["ephVmag"])) == [False, True, False]
    assert np.isfinite(rows["ephRa"]).all()
    assert np.isnan(rows["smaa_arcsec"]).all()
    expected = propagate(SYSTEM, strange, epochs, float(tdb_from_tai(MID)))
    helio = np.stack([rows[f"helio_{c}"] for c in "xyz"], 1)
    np.testing.assert_allclose(helio, expected[:, :3], atol=1e-3)


def test_an_object_that_hits_the_earth_is_dropped() -> None:
    some = orbits(300, 6)
    some.states[3] = body_states(SYSTEM, 3, np.array([YESTERDAY]))[0]
    built, carried = nightly.build_night(SYSTEM, RUBIN, some, MID)
    assert len(built) == len(carried) == 299
    assert some.object_id[3] not in built.object_id


def test_more_than_memory_allows_is_said_before_it_happens_and_nothing_is_no_problem() -> None:
    with pytest.raises(CatalogueTooLargeError, match="GB"):
        nightly.build_night(SYSTEM, RUBIN, orbits(300, 6), MID, memory_limit_bytes=1000)
    assert nightly.bytes_needed(6_000_000, overwrite=True) < 2 * 1024**3
    empty = nightly.build_night(SYSTEM, RUBIN, part(orbits(300, 6), slice(0, 0)), MID)[0]
    assert len(around(empty, 10, 10, 5, MID)) == 0
    with pytest.raises(OutsideEphemerisError, match="night"):
        around(empty, 10, 10, 5, MID + 1.0)


def test_overwriting_gives_the_same(night: nightly.NightCatalogue) -> None:
    some = orbits()
    built, carried = nightly.build_night(SYSTEM, RUBIN, some, MID, overwrite=True)
    assert carried.states is some.states
    assert b"".join(nightly.catalogue_chunks(built)) == b"".join(nightly.catalogue_chunks(night))


@pytest.mark.parametrize("nside", [32, 128])
def test_cells_within_hold_every_point_within(nside: int) -> None:
    random = np.random.default_rng(9)
    points = random.normal(size=(200_000, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    cells = cell_of(points, nside)
    for centre in np.concatenate([random.normal(size=(6, 3)), [[0, 0, 1], [0, 0, -1], [1, 0, 0]]]):
        direction = centre / np.linalg.norm(centre)
        inside = points @ direction > np.cos(0.04)
        within = cells_within(direction, 0.04, nside)
        assert np.isin(cells[inside], within).all()
        assert len(within) < 12 * nside * nside * 0.02


@settings(max_examples=60, deadline=None)
@given(order=st.integers(0, 40).flatmap(lambda n: st.permutations(range(n))))
def test_rows_put_in_order_in_place_are_those_of_indexing(order: list[int]) -> None:
    rows = np.arange(3 * len(order), dtype=np.float32).reshape(-1, 3)
    expected = rows[np.array(order, np.int64)]
    nightly_kernels.reorder(rows, np.array(order, np.int64))
    np.testing.assert_array_equal(rows, expected)
