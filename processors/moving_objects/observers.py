"""Where an observer on the turning Earth is, as the Sun sees it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import erfa  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import EARTH_RADIUS_AU, EARTH_ROTATION_RADIANS_PER_DAY
from processors.moving_objects.solar_system import Observatory, SolarSystem, heliocentric_earth
from processors.moving_objects.timescales import TT_MINUS_TAI_DAYS, tdb_from_tai, utc_from_tai

__all__ = ["geocentric_states", "observer_states"]

Floats = NDArray[np.float64]

_MJD_ZERO_JD = 2400000.5


def observer_states(
    solar_system: SolarSystem, observatory: Observatory, mjd_tai: float | NDArray[Any], *, ut1_minus_utc_s: float = 0.0
) -> Floats:
    """Return the heliocentric ICRF states of an observatory.

    Parameters
    ----------
    solar_system
        Sun and Earth over the span of the times.
    observatory
        Where it stands.
    mjd_tai
        ``(n,)`` or one time.
    ut1_minus_utc_s
        UT1 - UTC, at most 0.9 s by definition; zero moves the observer by at most 0.4 km (0.6 mas at 1 au). Polar motion is
        neglected, 10 m.

    Returns
    -------
    NDArray
        ``(n, 6)``, au and au/day.

    Raises
    ------
    OutsideEphemerisError
        If a time lies outside the span.
    """
    times = np.ascontiguousarray(mjd_tai, np.float64).reshape(-1)
    earth = heliocentric_earth(solar_system, tdb_from_tai(times))
    return earth + geocentric_states(observatory, times, ut1_minus_utc_s=ut1_minus_utc_s)


def geocentric_states(observatory: Observatory, mjd_tai: NDArray[Any], *, ut1_minus_utc_s: float = 0.0) -> Floats:
    """Return the states of an observatory about the Earth's centre, ICRF axes, ``(n, 6)``, au and au/day.

    Precession and nutation are IAU 2006/2000A, the Earth's turn is the apparent sidereal time that belongs to them (ERFA).
    """
    times = np.ascontiguousarray(mjd_tai, np.float64).reshape(-1)
    if not len(times):
        return np.zeros((0, 6))
    equator = _equator_of_date(times + TT_MINUS_TAI_DAYS)
    ut1 = utc_from_tai(times) + ut1_minus_utc_s / 86400.0
    sidereal = erfa.gst06(_MJD_ZERO_JD, ut1, _MJD_ZERO_JD, times + TT_MINUS_TAI_DAYS, equator)
    angle = sidereal + np.radians(observatory.longitude_deg)
    across, up = observatory.rho_cos_phi * EARTH_RADIUS_AU, observatory.rho_sin_phi * EARTH_RADIUS_AU
    speed = across * EARTH_ROTATION_RADIANS_PER_DAY
    still = np.zeros_like(angle)
    position = np.stack([across * np.cos(angle), across * np.sin(angle), still + up], axis=-1)
    velocity = np.stack([-speed * np.sin(angle), speed * np.cos(angle), still], axis=-1)
    return np.concatenate([np.einsum("nji,nj->ni", equator, v) for v in (position, velocity)], axis=1)


def _equator_of_date(mjd_tt: Floats) -> Floats:
    """Return the matrices ``(n, 3, 3)`` from ICRF to the true equator and equinox of date.

    ERFA's series of 1,400 terms is summed at whole days and the matrices between are interpolated linearly: the fastest strong
    term, of 13.7 days and 0.2", bends by 5 mas in that day, which moves an observer by 0.2 mm.
    """
    knots, place = np.unique(np.floor(mjd_tt), return_inverse=True)
    before, after = (np.array([_equator_of_day(day + shift) for day in knots.tolist()])[place] for shift in (0.0, 1.0))
    part = (mjd_tt - np.floor(mjd_tt))[:, None, None]
    return np.asarray(before + part * (after - before))


@lru_cache(maxsize=1024)
def _equator_of_day(mjd_tt: float) -> Floats:
    return np.asarray(erfa.pnm06a(_MJD_ZERO_JD, mjd_tt))
