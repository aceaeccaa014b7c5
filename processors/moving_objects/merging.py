"""One object in two links: found by where both would be at the epoch, proved by a joint fit; and a wrong member taken out again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numba import njit

from processors.association.sphere import ARCSEC
from processors.moving_objects.linking_candidates import (
    Candidates,
    concatenated,
    fitted,
    good_nights,
    limits_of,
    replaced,
    without_worst_night,
)
from processors.moving_objects.linking_fit import FitRows
from processors.moving_objects.sky_index import sky_order, zone_starts, zone_window

__all__ = ["merged", "proximity_pairs", "unlinked"]

Array = np.ndarray[Any, Any]

_RADIUS_ARCSEC = 120.0
"""Farthest two links of one object are apart at the epoch: what a rate of a three-night arc leaves open over a week."""

_RATE_ARCSEC_PER_DAY = 60.0
"""The same for the rate."""


def merged(links: Candidates, rows: FitRows, view: Array, epoch: float) -> tuple[Candidates, Array]:
    """Join links that are one object.

    Two links are one where their arrivals are near and one orbit fits the detections of both as well as a true link must.
    Each link is joined once per call, nearest pair first; call again until nothing is joined.

    Returns
    -------
    tuple
        The links, and for each link given the position of the one that holds its detections now.
    """
    first, second = proximity_pairs(links.unknowns, links.axes)
    into = np.arange(len(links))
    if not len(first):
        return links, into
    joint, _ = fitted(_joined_pairs(links, first, second), rows, view, epoch)
    other, _ = fitted(_joined_pairs(links, second, first), rows, view, epoch)
    better = np.flatnonzero(other.chi2 < joint.chi2)
    joint = replaced(joint, better, other.where(better))
    chosen = _matching(first, second, joint.chi2 - limits_of(joint), len(links))
    if not len(chosen):
        return links, into
    kept = np.ones(len(links), bool)
    kept[first[chosen]] = kept[second[chosen]] = False
    rest = np.flatnonzero(kept)
    into[rest] = np.arange(len(rest))
    into[first[chosen]] = into[second[chosen]] = len(rest) + np.arange(len(chosen))
    return concatenated([links.where(rest), joint.where(chosen)]), into


def unlinked(links: Candidates, rows: FitRows, nights: Array, view: Array, epoch: float) -> tuple[Candidates, Array]:
    """Take the worst night out of links that a fit no longer allows, and dissolve those that then are too short.

    Parameters
    ----------
    links
        Links, perhaps with members added or with an orbit from elsewhere.
    rows, view, epoch
        The window's.
    nights
        Night of each detection.

    Returns
    -------
    tuple
        The links that remain (three nights with two detections, and fitting), and the detections that are free again.
    """
    before = np.sort(links.members)
    links, each = fitted(links, rows, view, epoch)
    good = [links.where(links.chi2 <= limits_of(links))]
    for _ in range(2):
        bad = links.chi2 > limits_of(links)
        if not bad.any():
            break
        links = without_worst_night(links.where(bad), each[bad[links.owners()]], nights)
        links = links.where(good_nights(links, nights) >= 3)
        links, each = fitted(links, rows, view, epoch)
        good.append(links.where(links.chi2 <= limits_of(links)))
    remaining = concatenated(good)
    return remaining, np.setdiff1d(before, remaining.members)


def proximity_pairs(unknowns: Array, axes: Array) -> tuple[Array, Array]:
    """Return pairs of links (first below second) whose arrivals at the epoch are near in direction and rate."""
    if not len(unknowns):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    direction = axes[:, 0] + unknowns[:, 0, None] * axes[:, 1] + unknowns[:, 1, None] * axes[:, 2]
    size = np.linalg.norm(direction, axis=1, keepdims=True)
    rate = unknowns[:, 3, None] * axes[:, 1] + unknowns[:, 4, None] * axes[:, 2] + unknowns[:, 5, None] * axes[:, 0]
    direction, rate = direction / size, rate / size
    rate -= np.sum(rate * direction, axis=1, keepdims=True) * direction
    first, second = _near(direction, rate, _RADIUS_ARCSEC * ARCSEC, _RATE_ARCSEC_PER_DAY * ARCSEC)
    order = np.lexsort((second, first))
    return first[order], second[order]


def _joined_pairs(links: Candidates, first: Array, second: Array) -> Candidates:
    """Return candidates with the members of both, starting from the first one's orbit."""
    counts = np.diff(links.offsets)
    one, other = links.where(first), links.where(second)
    owner = np.concatenate([one.owners(), other.owners()])
    members = np.concatenate([one.members, other.members])
    order = np.lexsort((members, owner))
    offsets = np.concatenate([[0], np.cumsum(counts[first] + counts[second])]).astype(np.int64)
    return replace(one, offsets=offsets, members=members[order])


def _matching(first: Array, second: Array, excess: Array, count: int) -> Array:
    """Return the pairs to join, best fit first, each link once."""
    used, chosen = np.zeros(count, bool), []
    for p in np.lexsort((second, first, excess)):
        if excess[p] > 0.0:
            break
        if not used[first[p]] and not used[second[p]]:
            used[first[p]] = used[second[p]] = True
            chosen.append(p)
    return np.array(sorted(chosen), np.int64)


@njit(cache=True)
def _near(direction: Any, rate: Any, radius: float, rate_radius: float) -> Any:
    height = max(2.0 * radius, 0.001)
    order, zones, ras = sky_order(direction, height)
    starts = zone_starts(zones, height)
    first, second = np.empty(256, np.int64), np.empty(256, np.int64)
    count = 0
    for p in range(order.shape[0]):
        i = order[p]
        for zone in range(max(0, zones[p] - 1), min(starts.shape[0] - 2, zones[p] + 1) + 1):
            a, b, c, d = zone_window(ras, starts, zone, height, ras[p], radius)
            for q in range(a, b + d - c):
                j = order[q if q < b else c + q - b]
                if j <= i:
                    continue
                far, fast = 0.0, 0.0
                for k in range(3):
                    far += (direction[i, k] - direction[j, k]) ** 2
                    fast += (rate[i, k] - rate[j, k]) ** 2
                if far > radius * radius or fast > rate_radius * rate_radius:
                    continue
                if count == first.shape[0]:
                    first, second = np.append(first, first), np.append(second, second)
                first[count], second[count] = i, j
                count += 1
    return first[:count], second[:count]
