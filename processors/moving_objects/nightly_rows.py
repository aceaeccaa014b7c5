"""One predicted object: whether a field sees it, and every number an alert's ssSource record takes from its orbit, compiled."""

from __future__ import annotations

from typing import Any

import erfa  # type: ignore[import-untyped]
import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.apparent import finish_light_time
from processors.moving_objects.constants import (
    ARCSEC_PER_RADIAN,
    AU_KM,
    GM_SUN_AU3_PER_DAY2,
    LIGHT_DAYS_PER_AU,
    OBLIQUITY_RADIANS,
    SECONDS_PER_DAY,
)
from processors.moving_objects.kepler import step
from processors.moving_objects.photometry import v_magnitude

__all__ = ["BLOCK", "PREDICTION", "describe", "described", "inside", "seen", "straight_light_time"]

Floats = NDArray[np.float64]
Rows = np.ndarray[Any, Any]

_DOUBLES = ("ephRa", "ephDec", "eclLambda", "eclBeta", "galLon", "galLat")
_SINGLES = (
    *("elongation", "phaseAngle", "topoRange", "topoRangeRate", "helioRange", "helioRangeRate", "ephVmag"),
    *("ephRate", "ephRateRa", "ephRateDec"),
    *("helio_x", "helio_y", "helio_z", "helio_vx", "helio_vy", "helio_vz", "helio_vtot"),
    *("topo_x", "topo_y", "topo_z", "topo_vx", "topo_vy", "topo_vz", "topo_vtot"),
    *("sigma_along_arcsec", "sigma_across_arcsec", "correlation"),
    *("smaa_arcsec", "smia_arcsec", "pa_deg"),
)

PREDICTION = np.dtype(
    [("ssObjectId", "<i8")] + [(name, "<f8") for name in _DOUBLES] + [(name, "<f4") for name in _SINGLES]
)
"""A predicted object. Names and units as in the alert's ssSource (degrees, degrees/day, au, km/s, mag); ecliptic and galactic
coordinates are those of the predicted place. Of the error ellipse: sigmas along the motion and across it with their correlation,
and its half axes with the position angle of the longer one (degrees east of north); NaN where the orbit has no covariance."""

BLOCK = 1024
"""Objects are described in blocks of so many: what is needed in passing stays in the processor's cache, and is not new memory of the
system's each time."""

_KM_PER_S = AU_KM / SECONDS_PER_DAY
_DEG = 180.0 / np.pi
_TO_GALACTIC = np.array(
    [
        [np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)]
        for a, b in (erfa.icrs2g(x, y) for x, y in ((0, 0), (np.pi / 2, 0), (0, np.pi / 2)))
    ]
).T.copy()
_COS_OBLIQUITY, _SIN_OBLIQUITY = np.cos(OBLIQUITY_RADIANS), np.sin(OBLIQUITY_RADIANS)


@numba.njit(cache=True, error_model="numpy", inline="always")
def straight_light_time(states: Floats, k: int, dt: float, observer: Floats, centre: Floats, chord: float) -> float:
    """Return the light time of an object on its straight line, or -1 if even with a bound on its bend it is out of the circle."""
    square, near = 0.0, 0.0
    r2 = states[k, 0] * states[k, 0] + states[k, 1] * states[k, 1] + states[k, 2] * states[k, 2]
    speed2 = states[k, 3] * states[k, 3] + states[k, 4] * states[k, 4] + states[k, 5] * states[k, 5]
    for i in range(3):
        p = states[k, i] + dt * states[k, i + 3] - observer[i]
        square += p * p
        near += p * centre[i]
    # Most are refused by a wider circle, which needs no root: 0.86 degrees cover bend and light time of all but extremes.
    wide = chord + 0.015
    cosine = 1.0 - 0.5 * wide * wide
    ordinary = square > 0.0025 and r2 > 0.09 and speed2 < 0.01 and abs(dt) < 0.31 and cosine > 0.0
    if ordinary and (near < 0.0 or near * near < cosine * cosine * square):
        return -1.0
    distance = np.sqrt(square)
    # Twice the bend of the path, for the pull changes a little, and the way gone while the light travels.
    bend = (GM_SUN_AU3_PER_DAY2 / r2 + 2e-9 / square) * dt * dt + 1e-7
    light = (np.sqrt(speed2) + 1e-5) * LIGHT_DAYS_PER_AU * 1.5 * (distance + bend)
    slack = chord + 2.0 * (bend + light) / distance
    if square < 0.0025:
        # It may have been nearer still, and turned by the Earth.
        slack += 0.02
    if 2.0 - 2.0 * near / distance > slack * slack:
        return -1.0
    return float(distance * LIGHT_DAYS_PER_AU)


@numba.njit(cache=True, error_model="numpy")
def inside(topo: Floats, centre: Floats, chord: float) -> bool:
    """Return whether a direction is in the circle of a centre and a chord."""
    distance = np.sqrt(topo[0] ** 2 + topo[1] ** 2 + topo[2] ** 2)
    apart = 0.0
    for i in range(3):
        apart += (topo[i] / distance - centre[i]) ** 2
    return bool(apart <= chord * chord)


@numba.njit(cache=True, error_model="numpy")
def seen(
    states: Floats,
    values: NDArray[np.float32],
    k: int,
    tau: float,
    dt: float,
    observer: Floats,
    sun_velocity: Floats,
    centre: Floats,
    chord: float,
    helio: Floats,
    topo: Floats,
) -> bool:
    """Return whether an object is in a circle, and write its heliocentric and topocentric states when its light left.

    Parameters
    ----------
    states, values, k
        Columns of the night's catalogue and which row.
    tau
        Light time on the straight line (`straight_light_time`).
    dt
        Days since the middle of the night.
    observer, sun_velocity
        ``(6,)`` heliocentric state of the observer and ``(3,)`` barycentric velocity of the Sun at the moment.
    centre, chord
        ``(3,)`` unit vector to the circle's centre and the chord of its radius.
    """
    gone = dt - tau
    x, y, z, vx, vy, vz = step(states[k, 0], states[k, 1], states[k, 2], states[k, 3], states[k, 4], states[k, 5], gone)
    half = 0.5 * gone * gone
    helio[0], helio[1], helio[2] = x + half * values[k, 0], y + half * values[k, 1], z + half * values[k, 2]
    helio[3], helio[4], helio[5] = vx + gone * values[k, 0], vy + gone * values[k, 1], vz + gone * values[k, 2]
    finish_light_time(tau, observer, sun_velocity, helio, topo)
    return bool(inside(topo, centre, chord))


def described(values: NDArray[np.float32], helio: Floats, topo: Floats, observers: Floats) -> Rows:
    """Return the rows of predicted objects, all columns but their numbers, which are 0.

    Parameters
    ----------
    values
        ``(n, 9)`` of the night's catalogue.
    helio, topo
        ``(n, 6)`` heliocentric and topocentric states when the light left, au and au/day.
    observers
        ``(n, 6)`` heliocentric states of the observer, or ``(1, 6)`` of one that sees all.

    Returns
    -------
    Rows
        dtype `PREDICTION`; NaN where a state has NaN.
    """
    rows = np.zeros(len(values), PREDICTION)
    for first in range(0, len(rows), BLOCK):
        part = slice(first, first + BLOCK)
        seen_by = observers[part] if len(observers) > 1 else observers
        describe(rows[part], values[part], helio[part], topo[part], seen_by)
    return rows


def describe(rows: Rows, values: NDArray[np.float32], helio: Floats, topo: Floats, observers: Floats) -> None:
    """Write every column but the number into given rows, at most `BLOCK` of them; the other arguments as `described` has them."""
    y, x, cosines = np.empty((8, len(rows))), np.empty((8, len(rows))), np.empty((2, len(rows)))
    _write_numbers(values, helio, topo, observers, rows, y, x, cosines)
    # Angles of all objects at once: four times quicker than one by one.
    _write_angles(np.arctan2(y, x), np.arccos(cosines), rows)


@numba.njit(cache=True, error_model="numpy")
def _write_angles(angles: Floats, of_cosines: Floats, rows: Rows) -> None:
    """Write angles given in radians: three longitudes, three latitudes, direction of motion, twice the ellipse's turn."""
    for k in range(rows.shape[0]):
        row = rows[k]
        row["ephRa"], row["eclLambda"], row["galLon"] = (
            _around(angles[0, k] * _DEG),
            _around(angles[1, k] * _DEG),
            _around(angles[2, k] * _DEG),
        )
        row["ephDec"], row["eclBeta"], row["galLat"] = angles[3, k] * _DEG, angles[4, k] * _DEG, angles[5, k] * _DEG
        row["elongation"], row["phaseAngle"] = of_cosines[0, k] * _DEG, of_cosines[1, k] * _DEG
        # The axis "across" lies 90 degrees north of "along" as seen on the sky with east to the left: position angle less 90.
        turned = (angles[6, k] - 0.5 * angles[7, k]) * _DEG
        row["pa_deg"] = turned + 180.0 if turned < 0.0 else (turned - 180.0 if turned >= 180.0 else turned)


@numba.njit(cache=True, error_model="numpy", inline="always")
def _around(degrees: float) -> float:
    return degrees + 360.0 if degrees < 0.0 else degrees


@numba.njit(cache=True, error_model="numpy")
def _write_numbers(
    values: NDArray[np.float32],
    helio: Floats,
    topo: Floats,
    observers: Floats,
    rows: Rows,
    y: Floats,
    x: Floats,
    cosines: Floats,
) -> None:
    """Write what is no angle into rows, and of what the angles are made: sines and cosines, or multiples of both."""
    for k in range(rows.shape[0]):
        observer = observers[k] if observers.shape[0] > 1 else observers[0]
        left, sight, own = helio[k], topo[k], values[k]
        delta = np.sqrt(sight[0] ** 2 + sight[1] ** 2 + sight[2] ** 2)
        r = np.sqrt(left[0] ** 2 + left[1] ** 2 + left[2] ** 2)
        _directions(sight[0] / delta, sight[1] / delta, sight[2] / delta, k, y, x)
        sun = np.sqrt(observer[0] ** 2 + observer[1] ** 2 + observer[2] ** 2)
        towards, back = 0.0, 0.0
        for i in range(3):
            towards -= observer[i] * sight[i]
            back += left[i] * sight[i]
        cosines[0, k] = min(1.0, max(-1.0, towards / (sun * delta)))
        cosines[1, k] = min(1.0, max(-1.0, back / (r * delta)))
        rows[k]["ephVmag"] = v_magnitude(own[3], own[4], int(own[5]), r * delta, cosines[1, k])
        _ranges(left, sight, r, delta, rows[k])
        _rates(own, left, sight, observer, delta, rows[k], k, y, x)


@numba.njit(cache=True, error_model="numpy", inline="always")
def _directions(x: float, y: float, z: float, k: int, sines: Floats, cosines: Floats) -> None:
    """Write longitudes, then latitudes, of a unit vector on the equator, the ecliptic and the galaxy."""
    sines[0, k], cosines[0, k], sines[3, k], cosines[3, k] = y, x, z, np.sqrt(x * x + y * y)
    north, up = _COS_OBLIQUITY * y + _SIN_OBLIQUITY * z, _COS_OBLIQUITY * z - _SIN_OBLIQUITY * y
    sines[1, k], cosines[1, k], sines[4, k], cosines[4, k] = north, x, up, np.sqrt(x * x + north * north)
    g = _TO_GALACTIC
    gx = g[0, 0] * x + g[0, 1] * y + g[0, 2] * z
    gy = g[1, 0] * x + g[1, 1] * y + g[1, 2] * z
    gz = g[2, 0] * x + g[2, 1] * y + g[2, 2] * z
    sines[2, k], cosines[2, k], sines[5, k], cosines[5, k] = gy, gx, gz, np.sqrt(gx * gx + gy * gy)


@numba.njit(cache=True, error_model="numpy", inline="always")
def _ranges(helio: Floats, topo: Floats, r: float, delta: float, row: np.void) -> None:
    row["topoRange"], row["helioRange"] = delta, r
    row["topoRangeRate"] = (topo[0] * topo[3] + topo[1] * topo[4] + topo[2] * topo[5]) / delta * _KM_PER_S
    row["helioRangeRate"] = (helio[0] * helio[3] + helio[1] * helio[4] + helio[2] * helio[5]) / r * _KM_PER_S
    row["helio_x"], row["helio_y"], row["helio_z"] = helio[0], helio[1], helio[2]
    row["helio_vx"], row["helio_vy"], row["helio_vz"] = helio[3] * _KM_PER_S, helio[4] * _KM_PER_S, helio[5] * _KM_PER_S
    row["helio_vtot"] = np.sqrt(helio[3] ** 2 + helio[4] ** 2 + helio[5] ** 2) * _KM_PER_S
    row["topo_x"], row["topo_y"], row["topo_z"] = topo[0], topo[1], topo[2]
    row["topo_vx"], row["topo_vy"], row["topo_vz"] = topo[3] * _KM_PER_S, topo[4] * _KM_PER_S, topo[5] * _KM_PER_S
    row["topo_vtot"] = np.sqrt(topo[3] ** 2 + topo[4] ** 2 + topo[5] ** 2) * _KM_PER_S


@numba.njit(cache=True, error_model="numpy", inline="always")
def _rates(
    values: NDArray[np.float32],
    helio: Floats,
    topo: Floats,
    observer: Floats,
    delta: float,
    row: np.void,
    k: int,
    y: Floats,
    x: Floats,
) -> None:
    """Write the speed across the sky and the error ellipse, whose axes lie along and across it."""
    approach = (topo[0] * topo[3] + topo[1] * topo[4] + topo[2] * topo[5]) / delta
    # Light from a receding body comes later and later: its clock runs slow by the rate of the light time.
    slow = 1.0 / (1.0 + approach * LIGHT_DAYS_PER_AU)
    wx = helio[3] * slow - observer[3]
    wy = helio[4] * slow - observer[4]
    wz = helio[5] * slow - observer[5]
    flat = np.sqrt(topo[0] ** 2 + topo[1] ** 2)
    ca, sa = (topo[0] / flat, topo[1] / flat) if flat > 0.0 else (1.0, 0.0)
    cd, sd = flat / delta, topo[2] / delta
    east = (-sa * wx + ca * wy) / delta
    north = (-sd * (ca * wx + sa * wy) + cd * wz) / delta
    rate = np.sqrt(east * east + north * north)
    row["ephRate"], row["ephRateRa"], row["ephRateDec"] = rate * _DEG, east * _DEG, north * _DEG
    scale = ARCSEC_PER_RADIAN / delta
    along, across, correlation = values[6] * scale, values[7] * scale, values[8]
    row["sigma_along_arcsec"], row["sigma_across_arcsec"], row["correlation"] = along, across, correlation
    mean, half = 0.5 * (along**2 + across**2), 0.5 * (along**2 - across**2)
    mixed = correlation * along * across
    spread = np.sqrt(half * half + mixed * mixed)
    row["smaa_arcsec"], row["smia_arcsec"] = np.sqrt(mean + spread), np.sqrt(max(mean - spread, 0.0 * mean))
    y[6, k], x[6, k], y[7, k], x[7, k] = east, north, mixed, half
