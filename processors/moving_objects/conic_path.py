"""The path of a conic in space, to be drawn: points along it in the ecliptic, as far as one wants to look."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["conic_path", "position_on"]

Floats = NDArray[np.float64]


def conic_path(elements: Any, *, farthest_au: float, points: int = 181) -> Floats:
    """Return points along an orbit, heliocentric, ecliptic of J2000, au.

    Parameters
    ----------
    elements
        One row of `cometary.ELEMENTS`: q, e, i, node, argperi.
    farthest_au
        An orbit that goes farther, or never comes back, is drawn to this distance.
    points
        How many; equally spaced in a turn that gives the far side of long ellipses its share.

    Returns
    -------
    NDArray
        ``(points, 3)`` from one end to the other, the first and last the same of an orbit that closes within ``farthest_au``;
        ``(0, 3)`` where an element is not finite or the perihelion lies beyond ``farthest_au``.
    """
    q, e = float(elements["q"]), float(elements["e"])
    if (
        not np.isfinite([q, e, elements["i"], elements["node"], elements["argperi"]]).all()
        or not 0.0 < q <= farthest_au
    ):
        return np.zeros((0, 3))
    limit = np.pi
    if e > 0.0:
        # r = q (1 + e) / (1 + e cos v) is the farthest at this cosine; below -1 the whole orbit is nearer.
        cosine = (q * (1.0 + e) / farthest_au - 1.0) / e
        limit = float(np.arccos(np.clip(cosine, -1.0, 1.0)))
    turn = np.linspace(-1.0, 1.0, points)
    if limit == np.pi:
        eccentric = np.pi * turn
        anomaly = 2.0 * np.arctan2(np.sqrt(1.0 + e) * np.sin(eccentric / 2), np.sqrt(1.0 - e) * np.cos(eccentric / 2))
    else:
        anomaly = limit * turn
    r = q * (1.0 + e) / (1.0 + e * np.cos(anomaly))
    return position_on(elements, r, anomaly)


def position_on(elements: Any, r_au: Floats, true_anomaly: Floats) -> Floats:
    """Return places ``(n, 3)`` in the ecliptic at distances and true anomalies (radians) of an orbit's plane."""
    i, node, argument = (np.radians(float(elements[name])) for name in ("i", "node", "argperi"))
    angle = argument + np.asarray(true_anomaly)
    c, s = np.cos(angle), np.sin(angle)
    x = c * np.cos(node) - s * np.sin(node) * np.cos(i)
    y = c * np.sin(node) + s * np.cos(node) * np.cos(i)
    return np.asarray(np.asarray(r_au)[:, None] * np.stack([x, y, s * np.sin(i)], axis=1))
