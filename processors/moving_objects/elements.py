"""Orbital elements: heliocentric, ecliptic of J2000, for every conic; perihelion distance and time leave no conic out."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2, OBLIQUITY_RADIANS
from processors.moving_objects.errors import InvalidOrbitsError
from processors.moving_objects.kepler import stumpff, two_body

__all__ = [
    "ELEMENTS",
    "conic_elements",
    "elements_of",
    "perihelion_time_from_mean_anomaly",
    "states_of",
    "to_ecliptic",
    "to_equatorial",
]

Floats = NDArray[np.float64]
Rows = np.ndarray[Any, Any]

ELEMENTS = np.dtype(
    [(n, "<f8") for n in ("epoch_mjd_tdb", "q_au", "e", "i_deg", "node_deg", "argperi_deg", "peri_mjd_tdb")]
    + [(n, "<f8") for n in ("a_au", "mean_anomaly_deg", "period_days")]
)
"""Elements of one orbit. The last three follow from the others: a is negative for a hyperbola and infinite for a parabola, mean
anomaly and period are NaN for both. Where node or perihelion do not exist (i = 0, e = 0) they are taken at the equinox or node."""

_MU = GM_SUN_AU3_PER_DAY2

_ROUND = 1e-12
"""Eccentricity, or sine of the inclination, below which direction of perihelion or node is noise."""


def to_ecliptic(vectors: NDArray[Any]) -> Floats:
    """Turn equatorial (ICRF) vectors ``(n, 3)`` or states ``(n, 6)`` to the ecliptic of J2000."""
    return _about_x(vectors, -OBLIQUITY_RADIANS)


def to_equatorial(vectors: NDArray[Any]) -> Floats:
    """Turn ecliptic vectors ``(n, 3)`` or states ``(n, 6)`` to the equator (ICRF)."""
    return _about_x(vectors, OBLIQUITY_RADIANS)


def _about_x(vectors: NDArray[Any], angle: float) -> Floats:
    out = np.array(vectors, np.float64)
    c, s = np.cos(angle), np.sin(angle)
    for first in range(0, out.shape[-1], 3):
        y, z = out[..., first + 1].copy(), out[..., first + 2].copy()
        out[..., first + 1], out[..., first + 2] = c * y - s * z, s * y + c * z
    return out


def elements_of(states: NDArray[Any], epoch_mjd_tdb: float | NDArray[Any]) -> Rows:
    """Return the osculating elements ``(n,)`` of heliocentric ICRF states ``(n, 6)``; NaN where a state has NaN."""
    ecliptic = to_ecliptic(np.asarray(states, np.float64).reshape(-1, 6))
    columns = np.empty((len(ecliptic), len(ELEMENTS.names or ())))
    columns[:, 0] = epoch_mjd_tdb
    _write_elements(ecliptic, columns)
    return columns.view(ELEMENTS).reshape(-1)


@numba.njit(cache=True, error_model="numpy")
def _write_elements(ecliptic: Floats, columns: Floats) -> None:
    for k in range(len(ecliptic)):
        conic_elements(ecliptic[k], columns[k])


@numba.njit(cache=True, error_model="numpy")
def conic_elements(state: Floats, out: Floats) -> None:
    """Write the elements of an ecliptic state ``(6,)`` into the columns of ``ELEMENTS`` ``(10,)``, whose first, the epoch, is given."""
    x, y, z, vx, vy, vz = state
    distance, v2 = np.sqrt(x * x + y * y + z * z), vx * vx + vy * vy + vz * vz
    hx, hy, hz = y * vz - z * vy, z * vx - x * vz, x * vy - y * vx
    h = np.sqrt(hx * hx + hy * hy + hz * hz)
    px, py, pz = hx / h, hy / h, hz / h
    # The vector to perihelion, e long.
    ex = (vy * hz - vz * hy) / _MU - x / distance
    ey = (vz * hx - vx * hz) / _MU - y / distance
    ez = (vx * hy - vy * hx) / _MU - z / distance
    e, tilt = np.sqrt(ex * ex + ey * ey + ez * ez), np.sqrt(px * px + py * py)
    nx, ny = (1.0, 0.0) if tilt < _ROUND else (-py / tilt, px / tilt)
    if e < _ROUND:
        ex, ey, ez = nx, ny, 0.0
    out[1], out[2] = h * h / (_MU * (1.0 + e)), e
    out[3], out[4] = np.degrees(np.arctan2(tilt, pz)), np.degrees(np.arctan2(ny, nx)) % 360.0
    out[5] = np.degrees(_angle(nx, ny, 0.0, ex, ey, ez, px, py, pz)) % 360.0
    beta = 2.0 * _MU / distance - v2
    since = _since_perihelion(out[1], e, beta, _angle(ex, ey, ez, x, y, z, px, py, pz))
    out[6] = out[0] - since
    motion = beta**1.5 / _MU if beta > 0.0 and e < 1.0 else np.nan
    out[7] = np.inf if beta == 0.0 else _MU / beta
    out[8], out[9] = np.degrees(motion * since) % 360.0, 2.0 * np.pi / motion


@numba.njit(cache=True, error_model="numpy", inline="always")
def _angle(ax: float, ay: float, az: float, bx: float, by: float, bz: float, px: float, py: float, pz: float) -> float:
    """Return the angle from one vector to another in the plane of a pole."""
    across = (ay * bz - az * by) * px + (az * bx - ax * bz) * py + (ax * by - ay * bx) * pz
    return float(np.arctan2(across, ax * bx + ay * by + az * bz))


@numba.njit(cache=True, error_model="numpy")
def _since_perihelion(q: float, e: float, beta: float, true_anomaly: float) -> float:
    """Return the days since perihelion, by the universal anomaly: one formula for all conics."""
    # (1 - e) / (1 + e), without the rounding of 1 - e.
    ratio = beta * q / (_MU * (1.0 + e))
    sine, cosine = np.sin(0.5 * true_anomaly), np.cos(0.5 * true_anomaly)
    scale = 2.0 * np.sqrt(q / (_MU * (1.0 + e)))
    tangent = sine / cosine
    x = ratio * tangent * tangent
    if abs(x) < 1e-3:
        s = scale * tangent * (1.0 - x * (1.0 / 3.0 - x * (0.2 - x * (1.0 / 7.0 - x * (1.0 / 9.0 - x / 11.0)))))
    elif ratio > 0.0:
        root = np.sqrt(ratio)
        s = scale / root * np.arctan2(root * sine, cosine)
    else:
        root = np.sqrt(-ratio)
        s = scale / root * np.arctanh(root * tangent)
    _, c1, _, c3 = stumpff(beta * s * s)
    return float(q * s * c1 + _MU * s * s * s * c3)


def states_of(elements: Rows, mjd_tdb: float | NDArray[Any] | None = None) -> Floats:
    """Return heliocentric ICRF states ``(n, 6)`` on the conics of elements.

    Parameters
    ----------
    elements
        Rows with at least ``q_au``, ``e``, ``i_deg``, ``node_deg``, ``argperi_deg``, ``peri_mjd_tdb`` and, where no time is given,
        ``epoch_mjd_tdb``.
    mjd_tdb
        Time of the states; the elements' epoch if None.

    Raises
    ------
    InvalidOrbitsError
        If a perihelion distance is not positive or an eccentricity negative.
    """
    q, e = elements["q_au"], elements["e"]
    if ((q <= 0.0) | (e < 0.0)).any():
        raise InvalidOrbitsError(
            "A perihelion distance must be positive and an eccentricity not negative: correct the row."
        )
    zero = np.zeros(len(q))
    at_perihelion = np.stack([q, zero, zero, zero, np.sqrt(_MU * (1.0 + e) / q), zero], axis=1)
    times = elements["epoch_mjd_tdb"] if mjd_tdb is None else np.broadcast_to(mjd_tdb, q.shape)
    states = two_body(at_perihelion, np.ascontiguousarray(times - elements["peri_mjd_tdb"]))
    for angle, axis in (("argperi_deg", 2), ("i_deg", 0), ("node_deg", 2)):
        states = _turned(states, np.radians(elements[angle]), axis)
    return to_equatorial(states)


def _turned(states: Floats, angle: Floats, axis: int) -> Floats:
    out = states.copy()
    c, s = np.cos(angle), np.sin(angle)
    for first in (0, 3):
        a, b = first + (axis + 1) % 3, first + (axis + 2) % 3
        out[:, a], out[:, b] = c * states[:, a] - s * states[:, b], s * states[:, a] + c * states[:, b]
    return out


def perihelion_time_from_mean_anomaly(
    epoch_mjd_tdb: NDArray[Any], a_au: NDArray[Any], mean_anomaly_deg: NDArray[Any]
) -> Floats:
    """Return the nearest time of perihelion, MJD TDB, of ellipses given as MPCORB gives them."""
    motion = np.sqrt(_MU / np.asarray(a_au, np.float64) ** 3)
    anomaly = (np.radians(np.asarray(mean_anomaly_deg, np.float64)) + np.pi) % (2.0 * np.pi) - np.pi
    return np.asarray(epoch_mjd_tdb - anomaly / motion)
