"""Perturbed motion and its partials beside heyoka's integration and beside differences of whole integrations."""

from __future__ import annotations

import numpy as np
import pytest

from infra.ephemerides import load_solar_system
from processors.moving_objects.kepler import two_body_with_partials
from processors.moving_objects.uncertainties import carry_covariance, sky_ellipses
from processors.moving_objects.variational import perturbed_states
from tests.support.orbit_arcs import FIRST_NIGHT_TAI, LATER_BACK_DAYS, simulated_arcs

pytest.importorskip("heyoka")

SYSTEM = load_solar_system(FIRST_NIGHT_TAI - 10, FIRST_NIGHT_TAI + 60)


@pytest.mark.parametrize("name", ["NEO", "JT"])
def test_a_fortnight_agrees_with_heyoka(name: str) -> None:
    truth = simulated_arcs(name, 40, seed=301)
    moved, _ = perturbed_states(
        truth.states,
        begin_mjd_tdb=truth.epoch_mjd_tdb,
        end_mjd_tdb=truth.later_mjd_tdb - LATER_BACK_DAYS,
        solar_system=SYSTEM,
    )
    # 1e-9 au is 0.2 mas at 1 au.
    np.testing.assert_allclose(moved[:, :3], truth.later_states[:, :3], rtol=0, atol=1e-9)
    assert np.median(np.abs(moved[:, :3] - truth.later_states[:, :3])) < 1e-11


def test_partials_are_the_differences_of_integrations() -> None:
    truth = simulated_arcs("NEO", 6, seed=302)
    begin, end = truth.epoch_mjd_tdb, truth.epoch_mjd_tdb + 20.0

    def carried(states: np.ndarray) -> np.ndarray:
        return perturbed_states(states, begin_mjd_tdb=begin, end_mjd_tdb=end, solar_system=SYSTEM)[0]

    _, phi = perturbed_states(truth.states, begin_mjd_tdb=begin, end_mjd_tdb=end, solar_system=SYSTEM)
    for k in range(6):
        step = np.zeros(6)
        step[k] = 1e-5 if k < 3 else 1e-7
        slope = (carried(truth.states + step) - carried(truth.states - step)) / (2 * step[k])
        scale = np.abs(phi).max(axis=2)
        assert (np.abs(slope - phi[:, :, k]) < 2e-5 * scale).all()


def test_planets_change_the_partials_and_their_absence_gives_the_conic() -> None:
    truth = simulated_arcs("MBA", 5, seed=303)
    covariances = np.repeat(np.diag([1e-10] * 3 + [1e-14] * 3)[None], 5, axis=0)
    _, phi = two_body_with_partials(truth.states, 30.0)
    _, alone = carry_covariance(truth.states, covariances, begin_mjd_tdb=0.0, end_mjd_tdb=30.0)
    np.testing.assert_allclose(alone, phi @ covariances @ phi.transpose(0, 2, 1), rtol=1e-9, atol=1e-22)
    _, pulled = carry_covariance(
        truth.states,
        covariances,
        begin_mjd_tdb=truth.epoch_mjd_tdb,
        end_mjd_tdb=truth.epoch_mjd_tdb + 30,
        solar_system=SYSTEM,
    )
    assert not np.allclose(pulled, alone, rtol=1e-7, atol=0)
    np.testing.assert_allclose(pulled, alone, rtol=1e-2, atol=1e-13)


def test_states_that_are_not_finite_stay_so() -> None:
    states = np.full((1, 6), np.nan)
    moved, _ = perturbed_states(states, begin_mjd_tdb=61000.0, end_mjd_tdb=61010.0, solar_system=SYSTEM)
    assert np.isnan(moved).all()


def test_ellipses_hold_the_scatter_of_drawn_states() -> None:
    truth = simulated_arcs("NEO", 1, seed=304)
    random = np.random.default_rng(305)
    root = random.normal(size=(6, 6)) * np.array([1e-7] * 3 + [1e-9] * 3)[:, None]
    drawn = truth.states + random.normal(size=(20_000, 6)) @ root.T
    places = sky_ellipses(
        drawn, np.zeros((len(drawn), 6, 6)), observer=truth.observers[0], sun_velocity=truth.sun_velocities[0]
    )
    ellipse = sky_ellipses(
        truth.states, (root @ root.T)[None], observer=truth.observers[0], sun_velocity=truth.sun_velocities[0]
    )
    east = (places.ra_deg - ellipse.ra_deg) * 3600 * np.cos(np.radians(ellipse.dec_deg))
    north = (places.dec_deg - ellipse.dec_deg) * 3600
    scatter = np.cov(east, north)
    np.testing.assert_allclose(scatter, ellipse.covariance_arcsec2[0], rtol=0.06, atol=0.03 * scatter.max())
    values, vectors = np.linalg.eigh(scatter)
    assert ellipse.major_arcsec[0] == pytest.approx(np.sqrt(values[1]), rel=0.04)
    assert ellipse.minor_arcsec[0] == pytest.approx(np.sqrt(values[0]), rel=0.04)
    angle = np.degrees(np.arctan2(vectors[0, 1], vectors[1, 1])) % 180
    assert abs((ellipse.position_angle_deg[0] - angle + 90) % 180 - 90) < 5
