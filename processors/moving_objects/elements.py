"""Orbital elements: heliocentric, ecliptic of J2000, for every conic; perihelion distance and time leave no conic out."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2, OBLIQUITY_RADIANS
from processors.moving_objects.errors import InvalidOrbitsError
from processors.moving_objects.kepler import stumpff, two_body

__all__ = ["ELEMENTS", "elements_of", "perihelion_time_from_mean_anomaly", "states_of", "to_ecliptic", "to_equatorial"]

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
    r, v = ecliptic[:, :3], ecliptic[:, 3:]
    distance = np.linalg.norm(r, axis=1)
    momentum = np.cross(r, v)
    h = np.linalg.norm(momentum, axis=1)
    pole = momentum / h[:, None]
    towards = np.cross(v, momentum) / _MU - r / distance[:, None]
    e = np.linalg.norm(towards, axis=1)
    node = _directions(np.stack([-pole[:, 1], pole[:, 0], np.zeros(len(pole))], axis=1), np.array([1.0, 0, 0]))
    perihelion = _directions(towards, node)
    rows = np.zeros(len(r), ELEMENTS)
    rows["epoch_mjd_tdb"] = epoch_mjd_tdb
    rows["q_au"], rows["e"] = h * h / (_MU * (1.0 + e)), e
    rows["i_deg"] = np.degrees(np.arctan2(np.hypot(pole[:, 0], pole[:, 1]), pole[:, 2]))
    rows["node_deg"] = np.degrees(np.arctan2(node[:, 1], node[:, 0])) % 360.0
    rows["argperi_deg"] = np.degrees(_angle(node, perihelion, pole)) % 360.0
    beta = 2.0 * _MU / distance - (v * v).sum(axis=1)
    since = np.empty(len(r))
    _since_perihelion(rows["q_au"].copy(), e, beta, _angle(perihelion, r, pole), since)
    rows["peri_mjd_tdb"] = rows["epoch_mjd_tdb"] - since
    return _completed(rows, beta, since)


def _completed(rows: Rows, beta: Floats, since: Floats) -> Rows:
    """Fill the columns that follow from the others."""
    closed = (beta > 0.0) & (rows["e"] < 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rows["a_au"] = np.where(beta == 0.0, np.inf, _MU / beta)
        motion = np.where(closed, beta**1.5 / _MU, np.nan)
    rows["mean_anomaly_deg"] = np.degrees(motion * since) % 360.0
    rows["period_days"] = 2.0 * np.pi / motion
    return rows


def _directions(vectors: Floats, otherwise: Floats) -> Floats:
    """Return unit vectors, or ``otherwise`` where there is no direction."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(length < _ROUND, otherwise, vectors / length))


def _angle(one: Floats, other: Floats, pole: Floats) -> Floats:
    """Return the angle from one vector to another in the plane of a pole."""
    return np.asarray(np.arctan2((np.cross(one, other) * pole).sum(axis=1), (one * other).sum(axis=1)))


@numba.njit(cache=True, error_model="numpy")
def _since_perihelion(q: Floats, e: Floats, beta: Floats, true_anomaly: Floats, out: Floats) -> None:
    """Write the days since perihelion, by the universal anomaly: one formula for all conics."""
    for k in range(q.shape[0]):
        # (1 - e) / (1 + e), without the rounding of 1 - e.
        ratio = beta[k] * q[k] / (_MU * (1.0 + e[k]))
        sine, cosine = np.sin(0.5 * true_anomaly[k]), np.cos(0.5 * true_anomaly[k])
        scale = 2.0 * np.sqrt(q[k] / (_MU * (1.0 + e[k])))
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
        _, c1, _, c3 = stumpff(beta[k] * s * s)
        out[k] = q[k] * s * c1 + _MU * s * s * s * c3


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
