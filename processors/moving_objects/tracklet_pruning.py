"""What cannot be a moving object is taken out before the search: sources that stand still, pairs that contradict themselves.

The search over nights costs with the square of the false tracklets where the Earth is near, so each is worth an honest look.
The locus of rate and position angle that a Solar System object can have at its elongation is not asked here: the search asks
it for each hypothesis, where it is exact (the orbit must be bound).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from processors.association.sphere import ARCSEC
from processors.moving_objects.detections import detection_vectors, night_numbers
from processors.moving_objects.linking_extend import VisitIndex
from processors.moving_objects.sky_index import sky_order, zone_starts, zone_window
from processors.moving_objects.tracklets import Tracklets

__all__ = ["PruningRules", "plausible_tracklets", "stationary_detections"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningRules:
    """Limits of pruning."""

    stationary_arcsec: float = 0.8
    """How far apart detections of a source that stands still may be: four sigma of a poor difference image."""
    stationary_times: int = 3
    """How often, on two nights at least, a place must be seen: chance does it once in a million at 5,000 sources a visit."""
    amplitude_mag: float = 1.2
    """Change of brightness of one object within a tracklet in one band, besides five sigma (light curves: Warner et al. 2009)."""
    colour_mag: float = 1.0
    """More of it in different bands, from the spread of asteroid colours (Ivezic et al. 2001, AJ 122, 2749)."""
    missed_visits: int = 2
    """Visits of the same night that should have seen a tracklet and did not, at which it is given up."""
    bright_mag: float = 1.0
    """How much brighter than a visit's faint end a source must be to be expected there."""


def stationary_detections(detections: Array, rules: PruningRules | None = None) -> Array:
    """Return which detections belong to sources that stand still.

    Parameters
    ----------
    detections
        Rows of ``DETECTION`` of several nights; may be empty.
    rules
        Radius and number of times.

    Returns
    -------
    Array
        Boolean, shape (n,). Never true where all detections are of one night.
    """
    rules = rules or PruningRules()
    nights = night_numbers(detections["midpoint_mjd_tai"])
    vectors, visits = detection_vectors(detections), np.ascontiguousarray(detections["visit"])
    return np.asarray(_stationary(vectors, nights, visits, rules.stationary_arcsec * ARCSEC, rules.stationary_times))


def plausible_tracklets(
    detections: Array, tracklets: Tracklets, index: VisitIndex, rules: PruningRules | None = None
) -> Array:
    """Return which tracklets agree in brightness and are not missed by visits that should have seen them.

    Parameters
    ----------
    detections
        Those of the tracklets.
    tracklets
        May be empty.
    index
        Visits of these detections.
    rules
        Limits.
    """
    rules = rules or PruningRules()
    if not len(tracklets):
        return np.zeros(0, bool)
    agree = _brightness_agrees(detections, tracklets, rules)
    mags = detections["mag"][tracklets.members]
    faintest = np.fmax.reduceat(np.where(np.isfinite(mags), mags, np.inf), tracklets.offsets[:-1])
    missed = _missed(
        tracklets.offsets, tracklets.members, tracklets.mjd_tai, tracklets.vector, tracklets.rate, tracklets.night,
        faintest.astype(np.float64), index.times, index.centres, index.radii, index.starts, index.order, index.heights,
        index.visit_of, night_numbers(index.times), detection_vectors(detections),
        _faint_ends(detections, index) - rules.bright_mag,
    )  # fmt: skip
    return np.asarray(agree & (missed < rules.missed_visits))


def _brightness_agrees(detections: Array, tracklets: Tracklets, rules: PruningRules) -> Array:
    first, last = tracklets.members[tracklets.offsets[:-1]], tracklets.members[tracklets.offsets[1:] - 1]
    change = np.abs(detections["mag"][first] - detections["mag"][last])
    error = np.hypot(detections["mag_err"][first], detections["mag_err"][last])
    allowed = rules.amplitude_mag + np.where(
        detections["band"][first] == detections["band"][last], 0.0, rules.colour_mag
    )
    return np.asarray(~(change > allowed + 5.0 * error))  # an unknown magnitude contradicts nothing


def _faint_ends(detections: Array, index: VisitIndex) -> Array:
    """Return the magnitude that nine of ten of a visit's detections are brighter than; where unknown, nothing is expected."""
    ends = np.full(len(index.times), -np.inf)
    for v in range(len(index.times)):
        mags = detections["mag"][index.order[index.starts[v] : index.starts[v + 1]]]
        mags = mags[np.isfinite(mags)]
        if len(mags):
            ends[v] = np.quantile(mags, 0.9)
    return ends


@njit(cache=True)
def _stationary(vectors: Any, nights: Any, visits: Any, radius: float, times: int) -> Any:
    height = 0.002
    order, zones, ras = sky_order(vectors, height)
    starts = zone_starts(zones, height)
    out = np.zeros(vectors.shape[0], np.bool_)
    for p in range(order.shape[0]):
        i = order[p]
        seen, other_night = 1, False
        for zone in range(max(0, zones[p] - 1), min(starts.shape[0] - 2, zones[p] + 1) + 1):
            a, b, c, d = zone_window(ras, starts, zone, height, ras[p], radius)
            for q in range(a, b + d - c):
                j = order[q if q < b else c + q - b]
                if visits[i] == visits[j]:
                    continue
                far = 0.0
                for k in range(3):
                    far += (vectors[i, k] - vectors[j, k]) ** 2
                if far <= radius * radius:
                    seen += 1
                    other_night = other_night or nights[i] != nights[j]
        out[i] = other_night and seen >= times
    return out


@njit(cache=True)
def _missed(
    offsets: Any, members: Any, times: Any, vectors: Any, rates: Any, nights: Any, mags: Any, visit_times: Any, centres: Any,
    radii: Any, starts: Any, order: Any, heights: Any, visit_of: Any, visit_nights: Any, places: Any, limits: Any,
) -> Any:  # fmt: skip
    """Return how many visits of its night should have seen each tracklet and hold nothing where it would be.

    A visit should have if the place lies well inside its field with other detections about, and the tracklet is well above
    its faint end.
    """
    out, radius, about = np.zeros(times.shape[0], np.int64), 3.0 * ARCSEC, 0.003
    own = np.zeros(visit_times.shape[0], np.bool_)
    place = np.empty(3)
    for t in range(times.shape[0]):
        own[:] = False
        for m in range(offsets[t], offsets[t + 1]):
            own[visit_of[members[m]]] = True
        for v in range(visit_times.shape[0]):
            if visit_nights[v] != nights[t] or own[v] or mags[t] > limits[v]:
                continue
            days = visit_times[v] - times[t]
            if abs(days) > 0.1:
                continue
            size, cosine = 0.0, 0.0
            for k in range(3):
                place[k] = vectors[t, k] + rates[t, k] * days
                size += place[k] ** 2
            place /= math.sqrt(size)
            for k in range(3):
                cosine += place[k] * centres[v, k]
            if cosine < math.cos(0.95 * radii[v]):
                continue
            low = starts[v] + np.searchsorted(heights[starts[v] : starts[v + 1]], place[2] - about)
            high = starts[v] + np.searchsorted(heights[starts[v] : starts[v + 1]], place[2] + about)
            near, there = 0, False
            for q in range(low, high):
                far = 0.0
                for k in range(3):
                    far += (places[order[q], k] - place[k]) ** 2
                near += 1 if far < about * about else 0
                there = there or far < radius * radius
            if near >= 3 and not there:
                out[t] += 1
    return out
