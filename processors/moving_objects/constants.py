"""Constants of celestial mechanics, in au, days and radians."""

from __future__ import annotations

import numpy as np

__all__ = [
    "ARCSEC_PER_RADIAN",
    "AU_KM",
    "EARTH_MOON_MASS_RATIO",
    "EARTH_RADIUS_AU",
    "EARTH_ROTATION_RADIANS_PER_DAY",
    "GM_KM3_PER_S2",
    "GM_AU3_PER_DAY2",
    "GM_SUN_AU3_PER_DAY2",
    "LIGHT_DAYS_PER_AU",
    "LIGHT_SPEED_AU_PER_DAY",
    "OBLIQUITY_RADIANS",
    "SECONDS_PER_DAY",
]

SECONDS_PER_DAY = 86400.0
"""SI seconds in a day."""

AU_KM = 149597870.7
"""Kilometres in an astronomical unit (IAU 2012 resolution B2)."""

LIGHT_SPEED_AU_PER_DAY = 299792.458 * SECONDS_PER_DAY / AU_KM
"""Speed of light (SI, exact)."""

LIGHT_DAYS_PER_AU = 1.0 / LIGHT_SPEED_AU_PER_DAY
"""Time light takes for one au."""

_TO_AU3_PER_DAY2 = SECONDS_PER_DAY**2 / AU_KM**3

GM_KM3_PER_S2 = (
    132712440041.279419,
    22031.868551,
    324858.592000,
    398600.435507,
    4902.800118,
    42828.375816,
    126712764.100000,
    37940584.841800,
    5794556.400000,
    6836527.100580,
    975.500000,
)
"""GM of Sun, Mercury, Venus, Earth, Moon, Mars, Jupiter, Saturn, Uranus, Neptune, Pluto; from Mars on of the whole system
(DE440: Park et al. 2021, AJ 161, 105, table 2)."""

GM_AU3_PER_DAY2 = np.array(GM_KM3_PER_S2) * _TO_AU3_PER_DAY2
"""The same in au^3/day^2, in the order of `schemas.ephemerides.BODIES`."""

GM_SUN_AU3_PER_DAY2 = GM_KM3_PER_S2[0] * _TO_AU3_PER_DAY2
"""GM of the Sun (DE440)."""

EARTH_MOON_MASS_RATIO = GM_KM3_PER_S2[3] / GM_KM3_PER_S2[4]
"""Mass of the Earth over that of the Moon (DE440)."""

ARCSEC_PER_RADIAN = 648000.0 / np.pi
"""Arc seconds in a radian."""

OBLIQUITY_RADIANS = 84381.448 / ARCSEC_PER_RADIAN
"""Obliquity of the ecliptic of J2000 that orbital elements are referred to (IAU 1976; the Minor Planet Center and JPL)."""

EARTH_RADIUS_AU = 6378.137 / AU_KM
"""Equatorial radius of the Earth, the unit of the Minor Planet Center's parallax constants (WGS 84)."""

EARTH_ROTATION_RADIANS_PER_DAY = 2.0 * np.pi * 1.00273781191135448
"""Turn of the Earth in a day of UT1 (IERS Conventions 2010, equation 5.15)."""
