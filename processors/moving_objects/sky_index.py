"""Points of the sky sorted by zones of declination and right ascension: every neighbour within a radius, poles and RA = 0 included."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

__all__ = ["moving_order", "ranges", "sky_order", "zone_starts", "zone_window"]

Array = np.ndarray[Any, Any]


@njit(cache=True)
def _zone_and_ra(vector: Any, height: float) -> Any:
    """Return the zone and the right ascension, radians in 0 to 2 pi, of a unit vector."""
    ra = math.atan2(vector[1], vector[0])
    if ra < 0.0:
        ra += 2.0 * math.pi
    dec = math.asin(min(1.0, max(-1.0, vector[2])))
    return int((dec + 0.5 * math.pi) / height), ra


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
        zones[i], ras[i] = _zone_and_ra(vectors[i], height)
        keys[i] = zones[i] * 8.0 + ras[i]
    order = np.argsort(keys, kind="mergesort")
    return order, zones[order], ras[order]


@njit(cache=True)
def zone_starts(zones: Any, height: float, steps: int = 1) -> Any:
    """Return where each zone (or each step of a zone) begins among sorted ones, with one more entry for the end."""
    count = (int(math.pi / height) + 2) * steps
    starts = np.zeros(count + 1, np.int64)
    for zone in zones:
        starts[zone + 1] += 1
    for k in range(count):
        starts[k + 1] += starts[k]
    return starts


@njit(cache=True)
def zone_window(ras: Any, starts: Any, zone: int, height: float, ra: float, radius: float, steps: int = 1) -> Any:
    """Return two ranges (begin, end, begin, end) that hold every point of a zone within a radius in right ascension.

    The radius is widened by the cosine of the declination farthest from the equator that the zone or its neighbours hold;
    about a pole the whole zone is returned.
    """
    begin, end = starts[zone], starts[zone + 1]
    if begin == end:
        return begin, end, 0, 0
    low = (zone // steps) * height - 0.5 * math.pi
    high = low + height
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


@njit(cache=True)
def moving_order(vectors: Any, rates: Any, height: float, width: float) -> Any:
    """Return the order of moving points by zone, by the third component of the rate in steps, and by right ascension.

    Parameters
    ----------
    vectors, rates
        Unit vectors and their change, shape (n, 3).
    height
        Height of a zone, radians.
    width
        Width of a step of the rate.

    Returns
    -------
    tuple
        The order; bin (zone times steps plus step) and right ascension of each point in that order; how many steps there are.
    """
    n = vectors.shape[0]
    least, most = 0.0, 0.0
    for i in range(n):
        least, most = min(least, rates[i, 2]), max(most, rates[i, 2])
    steps = int((most - least) / width) + 1
    ras, keys, bins = np.empty(n, np.float64), np.empty(n, np.float64), np.empty(n, np.int64)
    for i in range(n):
        zone, ras[i] = _zone_and_ra(vectors[i], height)
        bins[i] = zone * steps + min(steps - 1, int((rates[i, 2] - least) / width))
        keys[i] = bins[i] * 8.0 + ras[i]
    order = np.argsort(keys, kind="mergesort")
    return order, bins[order], ras[order], steps


@njit(cache=True)
def ranges(value: int, steps: int, zones: int, out: Any) -> int:
    """Write the bins that neighbour a bin of ``moving_order`` and itself; return how many (at most nine)."""
    zone, step = value // steps, value % steps
    count = 0
    for z in range(max(0, zone - 1), min(zones - 1, zone + 1) + 1):
        for s in range(max(0, step - 1), min(steps - 1, step + 1) + 1):
            out[count] = z * steps + s
            count += 1
    return count
