"""Orbits of the simulated asteroids as a catalogue has them."""

from __future__ import annotations

import numpy as np
import pytest

from infra.telescope import plan_night
from infra.telescope.known_orbits import absolute_magnitude, designation_of, is_known, known_orbits
from infra.telescope.orbits import MU, sample_orbit
from infra.telescope.sky import Asteroid, make_asteroids
from schemas.camera import load_camera
from schemas.orbits import covariances_of, orbit_rows, set_covariances, states_of

DAY_OBS = 20260921


@pytest.fixture(scope="module")
def asteroids() -> list[Asteroid]:
    camera = load_camera("demo")
    visits = plan_night(camera, 1, DAY_OBS, 8)
    return make_asteroids(camera, 1, DAY_OBS, [visit.start_mjd_tai for visit in visits])


def test_the_state_moves_as_the_positions_do() -> None:
    orbit = sample_orbit(5, ("state",), 10.0, 3.0, 61300.0)
    step = 0.01
    for mjd in (61300.0, 61420.5):
        state = orbit.state(mjd)
        assert np.array_equal(state[:3], orbit.position(mjd))
        slope = (orbit.position(mjd + step) - orbit.position(mjd - step)) / (2 * step)
        assert np.allclose(state[3:], slope, atol=1e-9)
        energy = 0.5 * state[3:] @ state[3:] - MU / np.linalg.norm(state[:3])
        assert energy == pytest.approx(-MU / (2 * orbit.semi_major_axis_au), rel=1e-10)


def test_half_of_the_asteroids_are_known_by_names_of_their_own(asteroids: list[Asteroid]) -> None:
    rows = known_orbits(asteroids, 61300.0)
    assert 0 < len(rows) < len(asteroids)
    assert len(rows) == sum(is_known(asteroid) for asteroid in asteroids)
    assert len({designation_of(asteroid) for asteroid in asteroids}) == len(asteroids)
    assert len(set(rows["designation"].tolist())) == len(rows)
    assert np.isfinite(states_of(rows)).all()
    assert np.isnan(covariances_of(rows)).all()


def test_nights_name_their_asteroids_differently() -> None:
    camera, names = load_camera("demo"), []
    for day_obs in (20260921, 20260922, 20260930, 20261231):
        visits = plan_night(camera, 1, day_obs, 4)
        night = make_asteroids(camera, 1, day_obs, [visit.start_mjd_tai for visit in visits])
        names += [designation_of(asteroid) for asteroid in night]
    assert len(set(names)) == len(names)


def test_the_absolute_magnitude_is_that_of_a_body_at_opposition(asteroids: list[Asteroid]) -> None:
    first = asteroids[0]
    here = absolute_magnitude(first, first.orbit.epoch_mjd_tdb)
    assert 10.0 < here < first.mag_r


def test_covariances_survive_being_rows() -> None:
    rng = np.random.default_rng(1)
    half = rng.normal(size=(3, 6, 6))
    full = half @ half.transpose(0, 2, 1)
    rows = orbit_rows(3)
    set_covariances(rows, full)
    assert np.array_equal(covariances_of(rows), np.triu(full) + np.triu(full, 1).transpose(0, 2, 1))
