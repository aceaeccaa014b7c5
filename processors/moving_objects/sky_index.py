"""Points of the sky sorted by zones of declination and right ascension: every neighbour within a radius, poles and RA = 0 included."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

__all__ = ["sky_order", "zone_starts", "zone_window"]

Array = np.ndarray[Any, Any]


@njit(cache=True)
def sky_order(vectors: Any, height: float) -> Any:
    """Return the order of points by zone and right ascension, with the zone and right ascension (radians) of each in that order.

    Parameters
    ----------
    vectors
        Unit vectors, shape (n, 3).
    height
        Height of a zone, radians.
    """
    n = vectors.shape[0]
    zones, ras, keys = np.empty(n, np.int32), np.empty(n, np.float64), np.empty(n, np.float64)
    for i in range(n):
        ra = math.atan2(vectors[i, 1], vectors[i, 0])
        if ra < 0.0:
            ra += 2.0 * math.pi
        dec = math.asin(min(1.0, max(-1.0, vectors[i, 2])))
        zones[i] = int((dec + 0.5 * math.pi) / height)
        ras[i] = ra
        keys[i] = zones[i] * 8.0 + ra
    order = np.argsort(keys, kind="mergesort")
    return order, zones[order], ras[order]


@njit(cache=True)
def zone_starts(zones: Any, height: float) -> Any:
    """Return where each zone begins among sorted zones, with one more entry for the end."""
    count = int(math.pi / height) + 2
    starts = np.zeros(count + 1, np.int64)
    for zone in zones:
        starts[zone + 1] += 1
    for k in range(count):
        starts[k + 1] += starts[k]
    return starts


@njit(cache=True)
def zone_window(ras: Any, starts: Any, zone: int, height: float, ra: float, radius: float) -> Any:
    """Return two ranges (begin, end, begin, end) that hold every point of a zone within a radius in right ascension.

    The radius is widened by the cosine of the declination farthest from the equator that the zone or its neighbours hold;
    about a pole the whole zone is returned.
    """
    begin, end = starts[zone], starts[zone + 1]
    low, high = zone * height - 0.5 * math.pi, (zone + 1) * height - 0.5 * math.pi
    farthest = max(abs(low), abs(high)) + radius
    if farthest >= 0.5 * math.pi - radius:
        return begin, end, 0, 0
    half = 2.0 * math.asin(min(1.0, math.sin(0.5 * radius) / math.cos(farthest)))
    if half >= 0.5 * math.pi:
        return begin, end, 0, 0
    here, first, last = ras[begin:end], ra - half, ra + half
    a, b = begin + np.searchsorted(here, first), begin + np.searchsorted(here, last, side="right")
    if first < 0.0:
        return a, b, begin + np.searchsorted(here, first + 2.0 * math.pi), end
    if last > 2.0 * math.pi:
        return a, b, begin, begin + np.searchsorted(here, last - 2.0 * math.pi, side="right")
    return a, b, 0, 0
