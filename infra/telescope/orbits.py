"""Small bodies on heliocentric Keplerian orbits, and where an observer on the turning Earth sees them.

Two-body motion about the Sun; the Earth from ERFA's analytic ephemeris (Bretagnon's VSOP2000 fit in ``epv00``, good to 5 km
over a century); light-time by iteration; positions are astrometric (no aberration, no bending), ICRS.
"""

from __future__ import annotations

from dataclasses import dataclass

import erfa  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from infra.telescope.chance import generator

__all__ = [
    "KeplerOrbit",
    "observer_position",
    "orbit_through",
    "sample_orbit",
    "sky_position",
    "local_sidereal_degrees",
]

_Floats = NDArray[np.float64]

GAUSS = 0.01720209895
"""Gaussian gravitational constant: the square root of the Sun's mu in AU^1.5 per day."""

MU = GAUSS**2
LIGHT_DAYS_PER_AU = 0.0057755183
OBLIQUITY = np.radians(23.439279444)
"""Of J2000."""

SITE_LONGITUDE, SITE_LATITUDE, SITE_HEIGHT_KM = -70.749417, -30.244639, 2.663
"""Cerro Pachon."""

EARTH_TURN_PER_DAY = 2 * np.pi * 1.00273781191135448
_TAI_TO_TDB = 32.184 / 86400
_TAI_TO_UT = -37.0 / 86400
_AU_KM = 149597870.7

_TO_EQUATOR = np.array(
    [[1, 0, 0], [0, np.cos(OBLIQUITY), -np.sin(OBLIQUITY)], [0, np.sin(OBLIQUITY), np.cos(OBLIQUITY)]]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeplerOrbit:
    """An elliptic orbit: ecliptic elements of J2000, angles in radians."""

    semi_major_axis_au: float
    eccentricity: float
    inclination: float
    node: float
    argument: float
    mean_anomaly: float
    """At the epoch."""
    epoch_mjd_tdb: float

    def position(self, mjd_tdb: float) -> _Floats:
        """Return the heliocentric equatorial (ICRS) position in AU."""
        motion = GAUSS / self.semi_major_axis_au**1.5
        anomaly = self.mean_anomaly + motion * (mjd_tdb - self.epoch_mjd_tdb)
        eccentric = _solve_kepler(anomaly, self.eccentricity)
        x = self.semi_major_axis_au * (np.cos(eccentric) - self.eccentricity)
        y = self.semi_major_axis_au * np.sqrt(1 - self.eccentricity**2) * np.sin(eccentric)
        return np.asarray(_TO_EQUATOR @ self._orientation() @ np.array([x, y, 0.0]))

    def state(self, mjd_tdb: float) -> _Floats:
        """Return the heliocentric equatorial (ICRS) position and velocity, AU and AU per day, shape (6,)."""
        motion = GAUSS / self.semi_major_axis_au**1.5
        eccentric = _solve_kepler(self.mean_anomaly + motion * (mjd_tdb - self.epoch_mjd_tdb), self.eccentricity)
        speed = self.semi_major_axis_au * motion / (1 - self.eccentricity * np.cos(eccentric))
        flat = np.sqrt(1 - self.eccentricity**2)
        in_plane = speed * np.array([-np.sin(eccentric), flat * np.cos(eccentric), 0.0])
        return np.concatenate([self.position(mjd_tdb), _TO_EQUATOR @ self._orientation() @ in_plane])

    def _orientation(self) -> _Floats:
        return _turn(self.node, 2) @ _turn(self.inclination, 0) @ _turn(self.argument, 2)


def _turn(angle: float, axis: int) -> _Floats:
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def _solve_kepler(mean: float, eccentricity: float) -> float:
    reduced = float(np.mod(mean + np.pi, 2 * np.pi) - np.pi)
    eccentric = reduced + eccentricity * np.sin(reduced)
    for _ in range(20):
        change = (eccentric - eccentricity * np.sin(eccentric) - reduced) / (1 - eccentricity * np.cos(eccentric))
        eccentric -= change
        if abs(change) < 1e-14:
            break
    return float(eccentric)


def orbit_through(position: _Floats, velocity: _Floats, mjd_tdb: float) -> KeplerOrbit:
    """Return the elliptic orbit of a heliocentric equatorial state (AU, AU per day)."""
    r, v = _TO_EQUATOR.T @ position, _TO_EQUATOR.T @ velocity
    distance = float(np.linalg.norm(r))
    momentum = np.cross(r, v)
    eccentric_vector = np.cross(v, momentum) / MU - r / distance
    eccentricity = float(np.linalg.norm(eccentric_vector))
    axis = 1.0 / (2.0 / distance - float(v @ v) / MU)
    node = float(np.arctan2(momentum[0], -momentum[1]))
    inclination = float(np.arccos(momentum[2] / np.linalg.norm(momentum)))
    in_plane = (_turn(node, 2) @ _turn(inclination, 0)).T
    periapsis = in_plane @ eccentric_vector
    argument = float(np.arctan2(periapsis[1], periapsis[0]))
    here = in_plane @ r
    true = float(np.arctan2(here[1], here[0])) - argument
    half = np.sqrt((1 - eccentricity) / (1 + eccentricity)) * np.tan(true / 2)
    eccentric = 2 * float(np.arctan(half))
    return KeplerOrbit(
        semi_major_axis_au=axis,
        eccentricity=eccentricity,
        inclination=inclination,
        node=node,
        argument=argument,
        mean_anomaly=eccentric - eccentricity * float(np.sin(eccentric)),
        epoch_mjd_tdb=mjd_tdb,
    )


def local_sidereal_degrees(mjd_tai: float) -> float:
    """Return the local mean sidereal time of the site in degrees (UT1 taken as UTC)."""
    ut = mjd_tai + _TAI_TO_UT
    gmst = erfa.gmst06(2400000.5, ut, 2400000.5, mjd_tai + _TAI_TO_TDB)
    return float(np.mod(np.degrees(gmst) + SITE_LONGITUDE, 360.0))


def observer_position(mjd_tai: float) -> _Floats:
    """Return the heliocentric equatorial position of the telescope in AU."""
    heliocentric, _ = erfa.epv00(2400000.5, mjd_tai + _TAI_TO_TDB)
    sidereal, latitude = np.radians(local_sidereal_degrees(mjd_tai)), np.radians(SITE_LATITUDE)
    reach = (6378.137 + SITE_HEIGHT_KM) / _AU_KM
    site = reach * np.array(
        [np.cos(latitude) * np.cos(sidereal), np.cos(latitude) * np.sin(sidereal), np.sin(latitude)]
    )
    return np.asarray(heliocentric["p"] + site)


def sky_position(orbit: KeplerOrbit, mjd_tai: float) -> tuple[float, float, float, float]:
    """Return where the body is seen: right ascension and declination (degrees), distance from us and the Sun (AU)."""
    observer = observer_position(mjd_tai)
    tdb = mjd_tai + _TAI_TO_TDB
    delay = 0.0
    for _ in range(3):
        body = orbit.position(tdb - delay)
        line = body - observer
        delay = float(np.linalg.norm(line)) * LIGHT_DAYS_PER_AU
    ra = float(np.mod(np.degrees(np.arctan2(line[1], line[0])), 360.0))
    dec = float(np.degrees(np.arctan2(line[2], np.hypot(line[0], line[1]))))
    return ra, dec, float(np.linalg.norm(line)), float(np.linalg.norm(body))


def sample_orbit(seed: int, label: tuple[str | int, ...], ra: float, dec: float, mjd_tai: float) -> KeplerOrbit:
    """Draw a main-belt orbit that stands at a sky position at that time.

    The heliocentric distance is drawn between 1.9 and 3.3 AU, the motion prograde, near circular, a few degrees
    inclined; the elements follow from that state.
    """
    random = generator(seed, "orbit", *label)
    observer = observer_position(mjd_tai)
    a, d = np.radians(ra), np.radians(dec)
    line = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    wanted = random.uniform(1.9, 3.3)
    along = float(observer @ line)
    distance = -along + np.sqrt(along**2 - float(observer @ observer) + wanted**2)
    body = observer + distance * line
    outward = body / np.linalg.norm(body)
    pole = _TO_EQUATOR @ np.array([0.0, 0.0, 1.0])
    forward = np.cross(pole, outward)
    forward /= np.linalg.norm(forward)
    speed = GAUSS / np.sqrt(wanted) * (1 + random.normal(0.0, 0.03))
    tilt = random.normal(0.0, np.radians(6.0))
    velocity = speed * (np.cos(tilt) * forward + np.sin(tilt) * pole) + speed * random.normal(0.0, 0.05) * outward
    epoch = mjd_tai + _TAI_TO_TDB - distance * LIGHT_DAYS_PER_AU
    return orbit_through(body, velocity, epoch)
