"""The smallest distance between an orbit and the Earth's: where, and with what difference of velocities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.moving_objects.cometary import ELEMENTS
from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2

__all__ = ["MOID", "earth_moids"]

Floats = NDArray[np.float64]
Array = np.ndarray[Any, Any]

MOID = np.dtype(
    [
        ("moid_au", "<f8"),
        ("delta_v_km_per_s", "<f8"),
        ("ecliptic_longitude_deg", "<f8"),
        ("true_anomaly_earth_deg", "<f8"),
        ("true_anomaly_deg", "<f8"),
    ]
)
"""The closest place of two orbits: distance, difference of the orbital velocities there, ecliptic longitude of the place on the
Earth's orbit, and true anomalies on the two orbits."""

EARTH_A_AU, EARTH_E = 1.00000261, 0.01671123
EARTH_PERIHELION_DEG, EARTH_PERIHELION_DEG_PER_CENTURY = 102.93768193, 0.32327364
"""Orbit of the Earth-Moon barycentre, in the ecliptic (Standish, "Keplerian Elements for Approximate Positions", 1800-2050)."""

_MJD_J2000 = 51544.5
_KM_PER_S = 149597870.7 / 86400
_STEPS = 720
_ROUNDS = 60
_NEWTON_STEPS = 12
_COS, _SIN = (f(-np.pi + (np.arange(_STEPS) + 0.5) * (2 * np.pi / _STEPS)) for f in (np.cos, np.sin))
"""Of the true anomalies at which the distance of a closed orbit is looked at."""


def earth_moids(elements: Array, epoch_mjd_tdb: Floats) -> Array:
    """Return the closest place to the Earth's orbit of each orbit, dtype ``MOID``; NaN where elements are.

    Every minimum of the distance along the orbit is looked at on a grid of half degrees of true anomaly, where the Earth's orbit
    is nearly a circle about its centre, and Newton's method in both anomalies goes on from the smallest ones. Where it leaves its
    half degrees, a golden section along the orbit takes its place.

    Parameters
    ----------
    elements
        As ``cometary.cometary_elements`` returns them; open orbits too.
    """
    rows = np.full(len(elements), np.nan, dtype=[(name, "<f8") for name in MOID.names or ()])
    if len(rows):
        table = np.stack([elements[name] for name in (ELEMENTS.names or ())[:5]], axis=1)
        out = np.full((len(rows), len(MOID.names or ())), np.nan)
        _moids(table, np.ascontiguousarray(epoch_mjd_tdb, np.float64), out)
        for k, name in enumerate(MOID.names or ()):
            rows[name] = out[:, k]
    return rows


@njit(cache=True)
def _axes(i: float, node: float, argperi: float) -> Floats:  # pragma: no cover
    """Unit vectors to perihelion and 90 degrees ahead, ecliptic."""
    co, so, cn, sn, ci, si = (
        math.cos(argperi),
        math.sin(argperi),
        math.cos(node),
        math.sin(node),
        math.cos(i),
        math.sin(i),
    )
    return np.array(
        [
            [co * cn - so * sn * ci, co * sn + so * cn * ci, so * si],
            [-so * cn - co * sn * ci, -so * sn + co * cn * ci, co * si],
        ]
    )


@njit(cache=True)
def _nearest(x: float, y: float, z: float) -> tuple[float, float]:  # pragma: no cover
    """Square of the distance from a place, in the frame of the Earth's perihelion, to its orbit, and where (eccentric anomaly)."""
    b = EARTH_A_AU * math.sqrt(1 - EARTH_E**2)
    anomaly = math.atan2(y / b, x / EARTH_A_AU + EARTH_E)
    for _ in range(8):
        c, s = math.cos(anomaly), math.sin(anomaly)
        dx, dy = EARTH_A_AU * (c - EARTH_E) - x, b * s - y
        slope = -dx * EARTH_A_AU * s + dy * b * c
        bend = (EARTH_A_AU * s) ** 2 + (b * c) ** 2 - dx * EARTH_A_AU * c - dy * b * s
        change = slope / bend if bend > 0 else 0.0
        anomaly -= change
        if abs(change) < 1e-15:
            break
    dx, dy = EARTH_A_AU * (math.cos(anomaly) - EARTH_E) - x, b * math.sin(anomaly) - y
    return dx * dx + dy * dy + z * z, anomaly


@njit(cache=True)
def _distance(true: float, p: float, e: float, axes: Floats) -> tuple[float, float]:  # pragma: no cover
    r = p / (1 + e * math.cos(true))
    c, s = r * math.cos(true), r * math.sin(true)
    return _nearest(c * axes[0, 0] + s * axes[1, 0], c * axes[0, 1] + s * axes[1, 1], c * axes[0, 2] + s * axes[1, 2])


@njit(cache=True)
def _narrow(low: float, high: float, p: float, e: float, axes: Floats) -> float:  # pragma: no cover
    """Golden section."""
    golden = (math.sqrt(5.0) - 1) / 2
    a, b = high - golden * (high - low), low + golden * (high - low)
    at_a, at_b = _distance(a, p, e, axes)[0], _distance(b, p, e, axes)[0]
    for _ in range(_ROUNDS):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - golden * (high - low)
            at_a = _distance(a, p, e, axes)[0]
        else:
            low, a, at_a = a, b, at_b
            b = low + golden * (high - low)
            at_b = _distance(b, p, e, axes)[0]
    return (low + high) / 2


@njit(cache=True)
def _speed_difference(true: float, anomaly: float, p: float, e: float, axes: Floats) -> float:  # pragma: no cover
    """Length of the difference of the two orbital velocities, au/day."""
    scale = math.sqrt(GM_SUN_AU3_PER_DAY2 / p)
    along, ahead = -scale * math.sin(true), scale * (e + math.cos(true))
    motion = math.sqrt(GM_SUN_AU3_PER_DAY2 / EARTH_A_AU) / (1 - EARTH_E * math.cos(anomaly))
    vx, vy = -motion * math.sin(anomaly), motion * math.sqrt(1 - EARTH_E**2) * math.cos(anomaly)
    dx = along * axes[0, 0] + ahead * axes[1, 0] - vx
    dy = along * axes[0, 1] + ahead * axes[1, 1] - vy
    return math.sqrt(dx * dx + dy * dy + (along * axes[0, 2] + ahead * axes[1, 2]) ** 2)


@njit(cache=True)
def _about(c: float, s: float, p: float, e: float, axes: Floats) -> float:  # pragma: no cover
    """Square of the distance to the Earth's orbit at a true anomaly's cosine and sine, to some 1e-7 of itself.

    An ellipse of the Earth's eccentricity is a circle about its own centre less 1.4e-4 au at the ends of its minor axis.
    """
    r = p / (1 + e * c)
    x = r * (c * axes[0, 0] + s * axes[1, 0]) + EARTH_A_AU * EARTH_E
    y = r * (c * axes[0, 1] + s * axes[1, 1])
    z = r * (c * axes[0, 2] + s * axes[1, 2])
    square = x * x + y * y
    flat = EARTH_A_AU * (1 - math.sqrt(1 - EARTH_E**2))
    across = math.sqrt(square) - EARTH_A_AU + (flat * y * y / square if square > 0 else flat)
    return float(across * across + z * z)


@njit(cache=True)
def _together(true: float, within: float, p: float, e: float, axes: Floats) -> tuple[float, float]:  # pragma: no cover
    """Newton's method in both anomalies; the square of the distance, and the true anomaly, or NaN where it does not stay near."""
    b = EARTH_A_AU * math.sqrt(1 - EARTH_E**2)
    anomaly, began = _distance(true, p, e, axes)[1], true
    for _ in range(_NEWTON_STEPS):
        c, s = math.cos(true), math.sin(true)
        ce, se = math.cos(anomaly), math.sin(anomaly)
        w = 1 / (1 + e * c)
        earth = (EARTH_A_AU * (ce - EARTH_E), b * se, 0.0)
        along = (-EARTH_A_AU * se, b * ce, 0.0)
        square, by_true, by_earth, tt, te, ee = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(3):
            first = p * w * w * (-s * axes[0, i] + (e + c) * axes[1, i])
            apart = p * w * (c * axes[0, i] + s * axes[1, i]) - earth[i]
            second = 2 * e * s * w * first - p * w * w * (c * axes[0, i] + s * axes[1, i])
            square += apart * apart
            by_true += apart * first
            by_earth -= apart * along[i]
            tt += first * first + apart * second
            te -= first * along[i]
            # The second derivative of the Earth's place points from it to the centre of the ellipse.
            ee += along[i] * along[i]
        ee += (p * w * (c * axes[0, 0] + s * axes[1, 0]) - earth[0]) * EARTH_A_AU * ce
        ee += (p * w * (c * axes[0, 1] + s * axes[1, 1]) - earth[1]) * b * se
        determinant = tt * ee - te * te
        if not (tt > 0 and determinant > 1e-14 * tt * ee):
            break
        change = (by_true * ee - by_earth * te) / determinant
        true -= change
        anomaly -= (by_earth * tt - by_true * te) / determinant
        if not abs(true - began) < within:
            break
        if abs(change) < 1e-9:
            # The next step would be its square.
            return _distance(true, p, e, axes)[0], true
    return math.nan, began


@njit(cache=True)
def _least(reach: float, p: float, e: float, axes: Floats, squares: Floats) -> tuple[float, float]:  # pragma: no cover
    """Square of the smallest distance and the true anomaly where it is."""
    step = 2 * reach / _STEPS
    for j in range(_STEPS):
        if e < 1:
            squares[j] = _about(_COS[j], _SIN[j], p, e, axes)
        else:
            true = -reach + (j + 0.5) * step
            squares[j] = _about(math.cos(true), math.sin(true), p, e, axes)
    least = squares.min()
    best, best_true = math.inf, 0.0
    for j in range(_STEPS):
        before, after = squares[j - 1], squares[(j + 1) % _STEPS]
        if squares[j] <= before and squares[j] <= after and squares[j] < least + 0.05:
            middle = -reach + (j + 0.5) * step
            square, true = _together(middle, 2 * step, p, e, axes)
            if not square <= squares[j] + 1e-6:
                true = _narrow(middle - step, middle + step, p, e, axes)
                square = _distance(true, p, e, axes)[0]
            if square < best:
                best, best_true = square, true
    return best, best_true


@njit(cache=True)
def _moids(elements: Floats, epochs: Floats, out: Floats) -> None:  # pragma: no cover
    squares = np.empty(_STEPS)
    for k in range(len(elements)):
        q, e = elements[k, 0], elements[k, 1]
        if not (q > 0 and math.isfinite(elements[k].sum())):
            continue
        perihelion = EARTH_PERIHELION_DEG + EARTH_PERIHELION_DEG_PER_CENTURY * (epochs[k] - _MJD_J2000) / 36525
        axes = _axes(
            math.radians(elements[k, 2]), math.radians(elements[k, 3] - perihelion), math.radians(elements[k, 4])
        )
        p = q * (1 + e)
        # An open orbit ends at its asymptote.
        reach = math.pi if e < 1 else math.acos(-1 / e) * (1 - 1e-6)
        best, best_true = _least(reach, p, e, axes, squares)
        anomaly = _distance(best_true, p, e, axes)[1]
        root = math.sqrt((1 + EARTH_E) / (1 - EARTH_E))
        earth = math.degrees(2 * math.atan(root * math.tan(anomaly / 2)))
        out[k, 0] = math.sqrt(best)
        out[k, 1] = _speed_difference(best_true, anomaly, p, e, axes) * _KM_PER_S
        out[k, 2] = (earth + perihelion) % 360.0
        out[k, 3], out[k, 4] = earth % 360.0, math.degrees(best_true) % 360.0
