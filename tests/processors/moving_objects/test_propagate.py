"""N-body motion against JPL Horizons and heyoka, and what happens at its edges."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from infra.ephemerides import load_solar_system, observatory
from infra.telescope.detections.integration import integrate
from infra.telescope.detections.solar_system import Ephemeris
from processors.moving_objects.apparent import astrometric
from processors.moving_objects.asteroids import ASTEROID_EPOCH_MJD_TDB, ASTEROID_GM, ASTEROID_STATES
from processors.moving_objects.constants import ARCSEC_PER_RADIAN
from processors.moving_objects.errors import OutsideEphemerisError
from processors.moving_objects.kepler import two_body
from processors.moving_objects.observers import observer_states
from processors.moving_objects.propagate import carry, propagate, with_asteroids
from processors.moving_objects.solar_system import body_states, sun_velocities
from processors.moving_objects.timescales import tai_from_utc, tdb_from_tai
from tests.support.solar_system import population

DATA = Path(__file__).parents[2] / "data" / "moving_objects" / "propagation" / "horizons_w84.csv"
EPOCH = 61000.0
SYSTEM = load_solar_system(60900.0, 61500.0)


def horizons() -> list[dict[str, str]]:
    with DATA.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def errors_mas() -> tuple[np.ndarray, np.ndarray]:
    """Spans in days and distances from Horizons in mas; Pallas pulls at itself there, 1I has its own jets."""
    rows = [row for row in horizons() if row["case_orbit"] not in ("12", "27")]
    column = {
        name: np.array([float(row[name]) for row in rows])
        for name in rows[0]
        if name not in ("name", "class", "obsCode", "note")
    }
    states = np.stack([column[name] for name in ("x", "y", "z", "vx", "vy", "vz")], axis=1)
    tai = tai_from_utc(column["mjdUtc"])
    tdb = tdb_from_tai(tai)
    system = load_solar_system(float(min(tdb.min(), column["epochMjdTdb"].min())), float(tdb.max()))
    places = astrometric(
        propagate(system, states, column["epochMjdTdb"], tdb),
        observers=observer_states(system, observatory("W84"), tai),
        sun_velocities=sun_velocities(system, tdb),
    )
    east = (places.ra_deg - column["ra_deg"] + 180.0) % 360.0 - 180.0
    north = places.dec_deg - column["dec_deg"]
    distance = np.hypot(east * np.cos(np.radians(column["dec_deg"])), north) * 3.6e6
    np.testing.assert_allclose(places.delta_au, column["delta_au"], rtol=1e-6)
    return np.abs(column["dtDays"]), distance


def test_a_month_is_good_to_milliarcseconds(errors_mas: tuple[np.ndarray, np.ndarray]) -> None:
    span, error = errors_mas
    month = error[span <= 31]
    assert len(month) > 60
    assert np.median(month) <= 1.0
    assert month.max() <= 10.0


def test_a_year_is_good_to_ten_milliarcseconds(errors_mas: tuple[np.ndarray, np.ndarray]) -> None:
    span, error = errors_mas
    assert np.percentile(error[span <= 400], 90) <= 10.0
    # Two-body motion is off by arcminutes by then: the comparison is not empty.
    assert (span > 300).sum() > 20


@pytest.fixture(scope="module")
def bodies() -> np.ndarray:
    return population(300, 77, epoch_mjd_tdb=EPOCH).states


def test_a_night_agrees_with_an_independent_integrator(bodies: np.ndarray) -> None:
    at = EPOCH + np.array([0.3, 1.0, 20.0])
    with Ephemeris() as ephemeris:
        truth = integrate(bodies, EPOCH, at, ephemeris)
        suns = ephemeris.states("Sun", at)
    for moment, expected, sun, most in zip(at, truth, suns, (0.1, 0.1, 1.0), strict=True):
        earth = body_states(SYSTEM, 3, np.array([moment]))[0, :3]
        difference = propagate(SYSTEM, bodies, EPOCH, moment)[:, :3] - (expected - sun)[:, :3]
        distance = np.linalg.norm((expected - sun)[:, :3] - earth, axis=1)
        mas = np.linalg.norm(difference, axis=1) / distance * ARCSEC_PER_RADIAN * 1e3
        assert np.percentile(mas, 99) <= most
        # Without perturbations the same comparison fails: it can tell.
        lone = np.linalg.norm(two_body(bodies, moment - EPOCH)[:, :3] - (expected - sun)[:, :3], axis=1)
        assert np.median(lone) > 3 * np.median(np.linalg.norm(difference, axis=1))


def test_carried_together_is_carried_alone(bodies: np.ndarray) -> None:
    for end in (EPOCH + 1.0, EPOCH - 1.0, EPOCH + 33.0):
        alone = propagate(SYSTEM, bodies, EPOCH, end)
        together = carry(SYSTEM, bodies, EPOCH, end)
        assert np.nanmax(np.linalg.norm((alone - together)[:, :3], axis=1)) < 3e-11


def test_forth_and_back(bodies: np.ndarray) -> None:
    there = propagate(SYSTEM, bodies, EPOCH, EPOCH + 300.0)
    back = propagate(SYSTEM, there, EPOCH + 300.0, EPOCH)
    np.testing.assert_allclose(np.median(np.abs(back - bodies)), 0.0, atol=1e-12)
    assert np.percentile(np.abs(back - bodies)[:, :3], 99) < 1e-9


def test_order_and_company_do_not_matter(bodies: np.ndarray) -> None:
    order = np.random.default_rng(5).permutation(len(bodies))
    whole = carry(SYSTEM, bodies, EPOCH, EPOCH + 9.0)
    assert carry(SYSTEM, bodies[order], EPOCH, EPOCH + 9.0).tobytes() == whole[order].tobytes()
    assert carry(SYSTEM, bodies[:7], EPOCH, EPOCH + 9.0).tobytes() == whole[:7].tobytes()


def test_a_fly_by_of_the_earth_is_resolved() -> None:
    earth = body_states(SYSTEM, 3, np.array([EPOCH]))[0]
    # Closest at 8 Earth radii at the epoch, seen from 5 days before.
    at_closest = earth + np.array([3.4e-4, 0, 0, 0, 0.006, 0.001])
    before = propagate(SYSTEM, at_closest, EPOCH, EPOCH - 5.0)
    again = propagate(SYSTEM, before, EPOCH - 5.0, EPOCH)[0]
    np.testing.assert_allclose(again, at_closest, atol=3e-9)
    lone = two_body(before, 5.0)[0]
    assert np.linalg.norm((lone - at_closest)[:3]) > 1e-5


def test_bad_states_stay_alone_and_a_fall_is_nan(bodies: np.ndarray) -> None:
    rows = np.stack([bodies[0], np.full(6, np.nan), np.concatenate([body_states(SYSTEM, 3, np.array([EPOCH]))[0]])])
    for move in (propagate, carry):
        out = move(SYSTEM, rows, EPOCH, EPOCH + 2.0)
        assert np.isfinite(out[0]).all()
        assert np.isnan(out[1:]).all()
    assert propagate(SYSTEM, np.empty((0, 6)), EPOCH, EPOCH + 1).shape == (0, 6)
    with pytest.raises(OutsideEphemerisError):
        propagate(SYSTEM, bodies, EPOCH, 70000.0)


def test_extreme_orbits_are_carried() -> None:
    mu = 2.959122e-4
    flat_circle = [1.7, 0, 0, 0, np.sqrt(mu / 1.7), 0]
    parabola = [1.5, 0, 0, 0, 0, np.sqrt(2 * mu / 1.5)]
    hyperbola = [0.0, 2.0, 0, 0.025, 0, 0.01]
    out = propagate(SYSTEM, np.array([flat_circle, parabola, hyperbola]), EPOCH, EPOCH + 400.0)
    assert np.isfinite(out).all()
    lone = two_body(np.array([flat_circle, parabola, hyperbola]), 400.0)
    assert (np.linalg.norm((out - lone)[:, :3], axis=1) < 0.02).all()


def test_asteroids_pull_and_are_not_pulled_by_themselves() -> None:
    with_them = with_asteroids(SYSTEM)
    assert len(with_them.layout) == len(SYSTEM.layout) + len(ASTEROID_GM)
    # Ceres itself: among the bodies that pull it goes where its own record goes.
    ceres = propagate(with_them, ASTEROID_STATES[:1], ASTEROID_EPOCH_MJD_TDB, EPOCH)[0]
    recorded = body_states(with_them, len(SYSTEM.layout), np.array([EPOCH]))[0]
    np.testing.assert_allclose(ceres[:3], recorded[:3], atol=2e-9)
    # A body 0.01 au from it feels it.
    near = ceres + np.array([0.01, 0, 0, 0, 0, 0])
    pulled, free = (propagate(s, near, EPOCH, EPOCH + 10.0)[0] for s in (with_them, SYSTEM))
    expected = 0.5 * ASTEROID_GM[0] / 0.01**2 * 100.0
    assert free[0] - pulled[0] == pytest.approx(expected, rel=0.2)
