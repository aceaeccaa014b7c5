"""Orbits against closed forms, a numerical integration, and astropy's Earth."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import EarthLocation, get_body_barycentric
from astropy.time import Time
from astropy.utils import iers
from scipy.integrate import solve_ivp

from infra.telescope.orbits import (
    GAUSS,
    MU,
    SITE_HEIGHT_KM,
    SITE_LATITUDE,
    SITE_LONGITUDE,
    KeplerOrbit,
    observer_position,
    orbit_through,
    sample_orbit,
    sky_position,
)

ORBIT = KeplerOrbit(
    semi_major_axis_au=2.6,
    eccentricity=0.17,
    inclination=0.12,
    node=1.1,
    argument=2.3,
    mean_anomaly=0.4,
    epoch_mjd_tdb=61300.0,
)


def velocity(orbit: KeplerOrbit, mjd: float) -> np.ndarray:
    step = 1e-3
    return (orbit.position(mjd + step) - orbit.position(mjd - step)) / (2 * step)


def test_orbit_obeys_keplers_laws():
    period = 2 * np.pi / GAUSS * 2.6**1.5
    np.testing.assert_allclose(ORBIT.position(61300 + period), ORBIT.position(61300), atol=1e-10)
    perihelion = 61300.0 - 0.4 / (2 * np.pi) * period
    assert np.linalg.norm(ORBIT.position(perihelion)) == pytest.approx(2.6 * 0.83, rel=1e-10)
    assert np.linalg.norm(ORBIT.position(perihelion + period / 2)) == pytest.approx(2.6 * 1.17, rel=1e-10)
    momenta = [np.cross(ORBIT.position(t), velocity(ORBIT, t)) for t in (61300.0, 61700.0, 62222.0)]
    np.testing.assert_allclose(momenta[1], momenta[0], rtol=1e-6)
    np.testing.assert_allclose(momenta[2], momenta[0], rtol=1e-6)
    assert np.linalg.norm(momenta[0]) == pytest.approx(GAUSS * np.sqrt(2.6 * (1 - 0.17**2)), rel=1e-6)


def test_orbit_is_what_the_equation_of_motion_gives():
    start = np.concatenate([ORBIT.position(61300.0), velocity(ORBIT, 61300.0)])

    def rates(_, state):
        return np.concatenate([state[3:], -MU * state[:3] / np.linalg.norm(state[:3]) ** 3])

    end = solve_ivp(rates, (0, 200), start, rtol=1e-11, atol=1e-13).y[:3, -1]
    np.testing.assert_allclose(ORBIT.position(61500.0), end, atol=2e-7)


def test_orbit_through_a_state_passes_through_it():
    random = np.random.default_rng(3)
    for _ in range(20):
        position = random.normal(0, 1.5, 3)
        speed = 0.8 * GAUSS / np.sqrt(np.linalg.norm(position))
        motion = random.normal(0, 1, 3)
        motion *= speed / np.linalg.norm(motion)
        orbit = orbit_through(position, motion, 61300.0)
        np.testing.assert_allclose(orbit.position(61300.0), position, atol=1e-9)
        np.testing.assert_allclose(velocity(orbit, 61300.0), motion, atol=1e-7)


def test_observer_is_where_astropy_has_the_site():
    mjd = 61305.19
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "ignore"):
        time = Time(mjd, format="mjd", scale="tai")
        earth = get_body_barycentric("earth", time, ephemeris="builtin")
        sun = get_body_barycentric("sun", time, ephemeris="builtin")
        site = EarthLocation.from_geodetic(SITE_LONGITUDE, SITE_LATITUDE, SITE_HEIGHT_KM * 1000)
        offset = site.get_gcrs_posvel(time)[0]
    theirs = (earth - sun + offset).xyz.to_value("au")
    # The Sun's place in astropy's built-in ephemeris and the Earth's shape differ by some tens of kilometres.
    assert np.linalg.norm(observer_position(mjd) - theirs) < 1e-6


def test_sampled_orbit_stands_where_it_was_asked_for_and_moves_like_the_main_belt():
    for number in range(10):
        orbit = sample_orbit(1, ("test", number), 0.01, -0.02, 61305.1)
        ra, dec, distance, from_sun = sky_position(orbit, 61305.1)
        assert (ra - 0.01 + 180) % 360 - 180 == pytest.approx(0, abs=2e-6)
        assert dec == pytest.approx(-0.02, abs=2e-6)
        assert 1.85 < from_sun < 3.35
        assert 0.8 < distance < 2.6
        later_ra, later_dec, *_ = sky_position(orbit, 61305.1 + 1 / 24)
        rate = 3600 * np.hypot((later_ra - ra + 180) % 360 - 180, later_dec - dec)
        assert 15 < rate < 60  # arcseconds an hour at opposition
        assert (later_ra - ra + 180) % 360 - 180 < 0  # retrograde there
        assert orbit.eccentricity < 0.35
