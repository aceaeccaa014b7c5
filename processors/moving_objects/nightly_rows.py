"""One predicted object: whether a field sees it, and every number an alert's ssSource record takes from its orbit, compiled."""

from __future__ import annotations

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

__all__ = ["PREDICTION", "describe", "inside", "seen", "straight_light_time"]

Floats = NDArray[np.float64]

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


@numba.njit(cache=True, error_model="numpy")
def _degrees_around(y: float, x: float) -> float:
    angle = np.arctan2(y, x) * _DEG
    return float(angle + 360.0 if angle < 0.0 else angle)


@numba.njit(cache=True, error_model="numpy")
def _latitude(x: float, y: float, z: float) -> float:
    return float(np.arctan2(z, np.sqrt(x * x + y * y)) * _DEG)


@numba.njit(cache=True, error_model="numpy")
def _angle_deg(cosine: float) -> float:
    return float(np.arccos(min(1.0, max(-1.0, cosine))) * _DEG)


@numba.njit(cache=True, error_model="numpy", inline="always")
def describe(values: NDArray[np.float32], helio: Floats, topo: Floats, observer: Floats, row: np.void) -> None:
    """Write every column of a predicted object but its number.

    Parameters
    ----------
    values
        ``(9,)`` of the night's catalogue.
    helio, topo, observer
        ``(6,)`` heliocentric and topocentric state when the light left, heliocentric state of the observer, au and au/day.
    row
        A row of dtype `PREDICTION`.
    """
    delta = np.sqrt(topo[0] ** 2 + topo[1] ** 2 + topo[2] ** 2)
    r = np.sqrt(helio[0] ** 2 + helio[1] ** 2 + helio[2] ** 2)
    sun = np.sqrt(observer[0] ** 2 + observer[1] ** 2 + observer[2] ** 2)
    x, y, z = topo[0] / delta, topo[1] / delta, topo[2] / delta
    row["ephRa"], row["ephDec"] = _degrees_around(y, x), _latitude(x, y, z)
    ex, ey, ez = x, _COS_OBLIQUITY * y + _SIN_OBLIQUITY * z, _COS_OBLIQUITY * z - _SIN_OBLIQUITY * y
    row["eclLambda"], row["eclBeta"] = _degrees_around(ey, ex), _latitude(ex, ey, ez)
    g = _TO_GALACTIC
    gx = g[0, 0] * x + g[0, 1] * y + g[0, 2] * z
    gy = g[1, 0] * x + g[1, 1] * y + g[1, 2] * z
    gz = g[2, 0] * x + g[2, 1] * y + g[2, 2] * z
    row["galLon"], row["galLat"] = _degrees_around(gy, gx), _latitude(gx, gy, gz)
    towards, back = 0.0, 0.0
    for i in range(3):
        towards -= observer[i] * topo[i]
        back += helio[i] * topo[i]
    cosine = min(1.0, max(-1.0, back / (r * delta)))
    row["elongation"], row["phaseAngle"] = _angle_deg(towards / (sun * delta)), np.arccos(cosine) * _DEG
    row["ephVmag"] = v_magnitude(values[3], values[4], int(values[5]), r * delta, cosine)
    _ranges(helio, topo, r, delta, row)
    _rates(values, helio, topo, observer, delta, row)


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
    values: NDArray[np.float32], helio: Floats, topo: Floats, observer: Floats, delta: float, row: np.void
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
    # The axis "across" lies 90 degrees north of "along" as seen on the sky with east to the left: position angle less 90.
    turn = 0.5 * np.arctan2(mixed, half)
    row["pa_deg"] = (np.arctan2(east, north) * _DEG - turn * _DEG) % 180.0
