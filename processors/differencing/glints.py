"""Rows of flashes: a tumbling satellite or a piece of debris glints at intervals and leaves points on a line.

Each flash lasts a moment, so it is on one snap only. Where the visit has two, sources that both saw take no part, and three in a row
are a train; with one snap a row must be so long that chance does not make it among that many sources.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from processors.differencing.snap_consistency import SnapPresence

__all__ = ["find_glint_trains"]

LINK_PIXELS = 60.0
"""Largest distance of neighbours in a train: 12 arcseconds."""

ACROSS_PIXELS = 1.5
"""Largest distance from the line: three errors of the position of a source at the threshold."""

LEAST_MEMBERS = 3

CHANCE_TRAINS = 0.02
"""Rows that chance may make in an image: what is likelier is no train."""

Pixels = NDArray[Any]


def find_glint_trains(sources: Pixels, shape: tuple[int, ...], presence: Pixels | None = None) -> NDArray[np.bool_]:
    """Tell which sources belong to rows of flashes.

    Parameters
    ----------
    sources
        DIASources with x, y, isNegative, isDipole and trailLength.
    shape
        Rows and columns of the image.
    presence
        For each source which snaps saw it (`SnapPresence`); None for a visit of one snap.

    Returns
    -------
    ndarray
        True for members of a train.
    """
    flagged = np.zeros(len(sources), dtype=bool)
    point = (sources["isNegative"] != 1) & (sources["isDipole"] != 1) & np.isnan(sources["trailLength"])
    if presence is not None:
        point &= np.asarray(presence) != SnapPresence.BOTH
    candidates = np.flatnonzero(point & np.isfinite(sources["x"]) & np.isfinite(sources["y"]))
    if len(candidates) < LEAST_MEMBERS:
        return flagged
    x, y = (sources[name][candidates].astype(np.float64) for name in ("x", "y"))
    pairs = cKDTree(np.column_stack([x, y])).query_pairs(LINK_PIXELS, output_type="ndarray").astype(np.int64)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    density = len(candidates) / float(shape[0] * shape[1])
    flagged[candidates] = np.asarray(_members(x, y, pairs, density))
    return flagged


@njit(cache=True)
def _members(x: Any, y: Any, pairs: Any, density: float) -> Any:
    """Tell who stands on a line through some pair that is longer than chance makes it."""
    out = np.zeros(x.shape[0], dtype=np.bool_)
    along, who = np.empty(x.shape[0]), np.empty(x.shape[0], dtype=np.int64)
    for n in range(pairs.shape[0]):
        i, j = pairs[n, 0], pairs[n, 1]
        distance = np.hypot(x[j] - x[i], y[j] - y[i])
        if distance < 2 * ACROSS_PIXELS:
            continue
        ux, uy = (x[j] - x[i]) / distance, (y[j] - y[i]) / distance
        count = 0
        for k in range(x.shape[0]):
            dx, dy = x[k] - x[i], y[k] - y[i]
            if abs(-dx * uy + dy * ux) <= ACROSS_PIXELS:
                along[count], who[count] = dx * ux + dy * uy, k
                count += 1
        order = np.argsort(along[:count])
        middle = int(np.argmin(np.abs(along[order])))
        low, high = middle, middle
        while low > 0 and along[order[low]] - along[order[low - 1]] <= LINK_PIXELS:
            low -= 1
        while high < count - 1 and along[order[high + 1]] - along[order[high]] <= LINK_PIXELS:
            high += 1
        length = along[order[high]] - along[order[low]]
        expected = density * 2 * ACROSS_PIXELS * (length + 2 * LINK_PIXELS)
        enough = high - low + 1 >= LEAST_MEMBERS
        if enough and pairs.shape[0] * _at_least(high - low - 1, expected) < CHANCE_TRAINS:
            for m in range(low, high + 1):
                out[who[order[m]]] = True
    return out


@njit(cache=True)
def _at_least(count: int, expected: float) -> float:
    """Return the chance of so many or more where so many are expected (Poisson)."""
    total = 0.0
    for k in range(count, count + 30):
        total += math.exp(k * math.log(max(expected, 1e-300)) - expected - math.lgamma(k + 1.0))
    return total
