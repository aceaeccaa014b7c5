"""Where the bodies of the Solar System are, from Chebyshev coefficients, in compiled code."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import EARTH_MOON_MASS_RATIO, GM_AU3_PER_DAY2
from processors.moving_objects.errors import OutsideEphemerisError
from schemas.ephemerides import BODIES, SEGMENTS, Observatory, SolarSystem

__all__ = [
    "EARTH",
    "FIRST_FURTHER",
    "Observatory",
    "SolarSystem",
    "body_states",
    "gms",
    "heliocentric_body",
    "heliocentric_earth",
    "heliocentric_positions",
    "require_span",
    "segment_state",
    "sun_velocities",
]

Floats = NDArray[np.float64]

EARTH = BODIES.index("Earth")
"""Number of the Earth among the bodies."""

_MOON = BODIES.index("Moon")

FIRST_FURTHER = len(SEGMENTS)
"""Number of the first further body (asteroid)."""


def gms(solar_system: SolarSystem) -> Floats:
    """Return GM of all bodies, further ones included, au^3/day^2."""
    return np.concatenate([GM_AU3_PER_DAY2, solar_system.further_gm])


def require_span(solar_system: SolarSystem, mjd_tdb: float | NDArray[Any]) -> None:
    """Raise `OutsideEphemerisError` if a time lies outside the loaded span; NaN is let through."""
    times = np.asarray(mjd_tdb, np.float64)
    outside = (times < solar_system.begin_mjd_tdb) | (times > solar_system.end_mjd_tdb)
    if outside.any():
        raise OutsideEphemerisError(
            f"MJD {float(times[outside].flat[0]):.3f} TDB is outside the ephemeris loaded for "
            f"{solar_system.begin_mjd_tdb:.1f} to {solar_system.end_mjd_tdb:.1f}: load a wider span."
        )


@numba.njit(cache=True)
def segment_state(layout: Floats, coefficients: Floats, segment: int, mjd_tdb: float, out: Floats) -> None:
    """Write position and velocity (6,) of a segment at a time; the first or last record serves beyond the ends."""
    begin, days, degree, records = layout[segment, 0], layout[segment, 1], int(layout[segment, 2]), layout[segment, 3]
    record = min(max(np.floor((mjd_tdb - begin) / days), 0.0), records - 1.0)
    x = 2.0 * (mjd_tdb - begin - record * days) / days - 1.0
    first = int(layout[segment, 4]) + int(record) * 3 * degree
    for axis in range(3):
        at = first + axis * degree
        before, value, slope_before, slope = 1.0, x, 0.0, 1.0
        total = coefficients[at] + coefficients[at + 1] * x
        rate = coefficients[at + 1]
        for k in range(2, degree):
            value, before, slope, slope_before = (
                2.0 * x * value - before,
                value,
                2.0 * (x * slope + value) - slope_before,
                slope,
            )
            total += coefficients[at + k] * value
            rate += coefficients[at + k] * slope
        out[axis] = total
        out[axis + 3] = rate * 2.0 / days


@numba.njit(cache=True)
def _segment_position(layout: Floats, coefficients: Floats, segment: int, mjd_tdb: float, out: Floats) -> None:
    begin, days, degree, records = layout[segment, 0], layout[segment, 1], int(layout[segment, 2]), layout[segment, 3]
    record = min(max(np.floor((mjd_tdb - begin) / days), 0.0), records - 1.0)
    x = 2.0 * (mjd_tdb - begin - record * days) / days - 1.0
    at = int(layout[segment, 4]) + int(record) * 3 * degree
    twice = 2.0 * x
    # Clenshaw's recurrence, three components at once.
    ax, ay, az, bx, by, bz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(degree - 1, 0, -1):
        ax, bx = twice * ax - bx + coefficients[at + k], ax
        ay, by = twice * ay - by + coefficients[at + degree + k], ay
        az, bz = twice * az - bz + coefficients[at + 2 * degree + k], az
    out[0] = x * ax - bx + coefficients[at]
    out[1] = x * ay - by + coefficients[at + degree]
    out[2] = x * az - bz + coefficients[at + 2 * degree]


@numba.njit(cache=True)
def heliocentric_positions(layout: Floats, coefficients: Floats, mjd_tdb: float, out: Floats) -> None:
    """Write the heliocentric positions of all bodies, ``(bodies, 3)`` with the Sun at zero, au."""
    bodies = layout.shape[0]
    for body in range(bodies):
        _segment_position(layout, coefficients, body, mjd_tdb, out[body])
    for axis in range(3):
        sun, barycentre, moon = out[0, axis], out[EARTH, axis], out[_MOON, axis]
        out[EARTH, axis] = barycentre - moon / EARTH_MOON_MASS_RATIO
        out[_MOON, axis] = barycentre + moon
        for body in range(FIRST_FURTHER):
            out[body, axis] -= sun


@numba.njit(cache=True)
def heliocentric_body(layout: Floats, coefficients: Floats, body: int, mjd_tdb: float, out: Floats) -> None:
    """Write the heliocentric state (6,) of one body; of the Sun itself its barycentric state."""
    segment_state(layout, coefficients, body, mjd_tdb, out)
    if body == 0 or body >= FIRST_FURTHER:
        return
    other = np.empty(6)
    if body in (EARTH, _MOON):
        segment_state(layout, coefficients, EARTH + _MOON - body, mjd_tdb, other)
        for i in range(6):
            out[i] = out[i] - other[i] / EARTH_MOON_MASS_RATIO if body == EARTH else out[i] + other[i]
    segment_state(layout, coefficients, 0, mjd_tdb, other)
    for i in range(6):
        out[i] -= other[i]


@numba.njit(cache=True)
def _states(layout: Floats, coefficients: Floats, body: int, times: Floats, out: Floats) -> None:
    for k in range(times.shape[0]):
        heliocentric_body(layout, coefficients, body, times[k], out[k])


def body_states(solar_system: SolarSystem, body: int, mjd_tdb: NDArray[Any]) -> Floats:
    """Return heliocentric ICRF states ``(n, 6)`` of a body, au and au/day; of body 0, the Sun, the barycentric ones.

    Raises
    ------
    OutsideEphemerisError
        If a time lies outside the loaded span.
    """
    times = np.ascontiguousarray(mjd_tdb, np.float64).reshape(-1)
    require_span(solar_system, times)
    out = np.empty((len(times), 6))
    _states(solar_system.layout, solar_system.coefficients, body, times, out)
    return out


def heliocentric_earth(solar_system: SolarSystem, mjd_tdb: NDArray[Any]) -> Floats:
    """Return the heliocentric ICRF states ``(n, 6)`` of the Earth's centre, au and au/day."""
    return body_states(solar_system, EARTH, mjd_tdb)


def sun_velocities(solar_system: SolarSystem, mjd_tdb: NDArray[Any]) -> Floats:
    """Return the barycentric velocity ``(n, 3)`` of the Sun, au/day."""
    return np.ascontiguousarray(body_states(solar_system, 0, mjd_tdb)[:, 3:])
