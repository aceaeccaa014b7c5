"""Tracklets: the detections of one night that may be one moving source, at least one pair of visits apart.

Two detections say next to nothing about whether they belong together; the search over nights decides. What is decided here
is only what can be known in one night: how fast things move, that trails agree, and that three detections on one line are one
tracklet and not three.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from processors.association.sphere import ARCSEC
from processors.moving_objects.detections import detection_vectors, night_numbers
from processors.moving_objects.sky_index import sky_order, zone_starts, zone_window

__all__ = ["TrackletRules", "Tracklets", "form_tracklets", "joined", "measure_tracklets"]

Array = np.ndarray[Any, Any]

_MOST_PARTNERS = 4096
"""Partners of one detection that are looked at; far above what a crowded field has (3 at 5,000 sources per visit)."""

_MOST_IN_CHAIN = 32
"""Detections of a tracklet at most: a field is not visited more often in the span of a tracklet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackletRules:
    """How tracklets are formed."""

    rate_deg_per_day: float = 2.0
    """Fastest pair of detections without trails (LDM-156: intra-night linking)."""
    trailed_rate_deg_per_day: float = 10.0
    """Fastest pair of trailed detections (LSE-61: objects up to 10 deg/day)."""
    span_days: float = 0.0625
    """Longest time between the first and last detection: 90 minutes, the pair that counts for a discovery."""
    arc_arcsec: float = 1.0
    """Shortest arc: below it lie stationary sources seen twice."""
    line_arcsec: float = 0.3
    """How far from the line through two others a further detection may lie, besides 4 sigma."""
    exposure_seconds: float = 30.0
    """Exposure that draws the trail (OSS: 30 s visits)."""
    untrailed_arcsec: float = 1.6
    """Longest motion during an exposure that may leave no trail: one and a half widths of a poor image (1.1 arcsec)."""
    trail_arcsec: float = 0.7
    """How far a trail's length and the motion during an exposure may differ, besides a fifth of the length: five sigma at
    S/N 7."""
    trail_deg: float = 30.0
    """How far a trail's angle may differ from the direction of motion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracklets:
    """Tracklets as arrays, in order of night, first and last detection."""

    offsets: Array
    """Where each tracklet's members begin in ``members``, shape (n + 1,)."""
    members: Array
    """Positions of the detections, in order of time within a tracklet."""
    night: Array
    """Number of the night, int64, shape (n,)."""
    mjd_tai: Array
    """Middle of the first and last detection's times."""
    vector: Array
    """Unit vector at that time, shape (n, 3)."""
    rate: Array
    """Change of the unit vector, per day, at right angles to it, shape (n, 3)."""
    sigma: Array
    """Error of the position, radians."""
    rate_sigma: Array
    """Error of the rate, radians per day."""
    observer: Array
    """Observer's heliocentric position and velocity over the arc, au and au/day, shape (n, 6)."""

    def __len__(self) -> int:
        """Return the number of tracklets."""
        return len(self.night)

    def where(self, keep: Array) -> Tracklets:
        """Return the tracklets that a mask or an increasing array of positions keeps."""
        keep = np.flatnonzero(keep) if np.asarray(keep).dtype == bool else np.asarray(keep, np.int64)
        counts = np.diff(self.offsets)[keep]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        members = self.members[np.repeat(self.offsets[:-1][keep] - offsets[:-1], counts) + np.arange(offsets[-1])]
        rest = {name: getattr(self, name)[keep] for name in self.__slots__ if name not in ("offsets", "members")}
        return Tracklets(offsets=offsets, members=members, **rest)

    def untouched(self, taken: Array) -> Array:
        """Return which tracklets have no member among the detections that a mask marks."""
        if not len(self):
            return np.zeros(0, bool)
        return np.asarray(np.add.reduceat(taken[self.members].astype(np.int64), self.offsets[:-1]) == 0)


def form_tracklets(detections: Array, observers: Array, rules: TrackletRules | None = None) -> Tracklets:
    """Form the tracklets of each night.

    Parameters
    ----------
    detections
        Rows of ``DETECTION`` in the order of ``validated_detections``, of one night or several; may be empty.
    observers
        Heliocentric ICRF position and velocity of the observer at each detection, au and au/day, shape (n, 6).
    rules
        Limits; the defaults are the Rubin design's.

    Returns
    -------
    Tracklets
        Every pair within the limits; three or more detections on one line are one tracklet.
    """
    rules = rules or TrackletRules()
    nights = night_numbers(detections["midpoint_mjd_tai"])
    vectors = detection_vectors(detections)
    bounds = np.flatnonzero(np.diff(nights)) + 1
    parts = [
        _of_night(detections, vectors, int(a), int(b), rules)
        for a, b in zip(np.append(0, bounds), np.append(bounds, len(nights)), strict=True)
        if b > a
    ]
    counts = np.concatenate([p[0] for p in parts]) if parts else np.zeros(0, np.int64)
    members = np.concatenate([p[1] for p in parts]) if parts else np.zeros(0, np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return measure_tracklets(detections, observers, offsets=offsets, members=members, vectors=vectors)


def measure_tracklets(
    detections: Array, observers: Array, *, offsets: Array, members: Array, vectors: Array | None = None
) -> Tracklets:
    """Measure tracklets given by their members (see ``Tracklets`` for what is measured); unit vectors are computed if None."""
    first, last = members[offsets[:-1]], members[offsets[1:] - 1]
    times, vectors = detections["midpoint_mjd_tai"], detection_vectors(detections) if vectors is None else vectors
    span = np.where(last != first, times[last] - times[first], 1.0)
    middle = vectors[first] + vectors[last]
    middle = middle / np.linalg.norm(middle, axis=1, keepdims=True)
    rate = (vectors[last] - vectors[first]) / span[:, None]
    rate -= np.sum(rate * middle, axis=1, keepdims=True) * middle
    error = np.maximum(detections["ra_err_arcsec"], detections["dec_err_arcsec"]).astype(np.float64) * ARCSEC
    summed = np.hypot(error[first], error[last])
    position = 0.5 * (observers[first, :3] + observers[last, :3])
    velocity = (observers[last, :3] - observers[first, :3]) / span[:, None]
    return Tracklets(
        offsets=offsets,
        members=members,
        night=night_numbers(times[first]),
        mjd_tai=0.5 * (times[first] + times[last]),
        vector=middle,
        rate=rate,
        sigma=0.5 * summed,
        rate_sigma=summed / span,
        observer=np.hstack([position, velocity]),
    )


def joined(parts: list[Tracklets], shifts: list[int]) -> Tracklets:
    """Return several sets of tracklets as one; the members of each set are shifted to their place in a common array."""
    offsets = [np.zeros(1, np.int64)]
    before = 0
    for part in parts:
        offsets.append(part.offsets[1:] + before)
        before += len(part.members)
    names = [n for n in Tracklets.__slots__ if n not in ("offsets", "members")]
    return Tracklets(
        offsets=np.concatenate(offsets),
        members=np.concatenate([p.members + s for p, s in zip(parts, shifts, strict=True)]),
        **{name: np.concatenate([getattr(p, name) for p in parts]) for name in names},
    )


def _of_night(detections: Array, vectors: Array, begin: int, end: int, rules: TrackletRules) -> tuple[Array, Array]:
    """Return how many members each tracklet of a night has, and the members."""
    here = detections[begin:end]
    _, visits = np.unique(here["visit"], return_inverse=True)
    sigma = np.maximum(here["ra_err_arcsec"], here["dec_err_arcsec"]).astype(np.float64) * ARCSEC
    trail = np.stack([here["trail_length_arcsec"], here["trail_angle_deg"]], axis=1).astype(np.float64)
    height = math.radians(rules.trailed_rate_deg_per_day if (trail[:, 0] > 0).any() else rules.rate_deg_per_day)
    height = min(height * rules.span_days, math.pi / 4)
    numbers = (
        math.radians(rules.rate_deg_per_day), math.radians(rules.trailed_rate_deg_per_day), rules.span_days,
        rules.arc_arcsec * ARCSEC, rules.exposure_seconds, rules.trail_arcsec, math.radians(rules.trail_deg),
        rules.untrailed_arcsec,
    )  # fmt: skip
    times = np.ascontiguousarray(
        here["midpoint_mjd_tai"]
    )  # a strided column would be compiled for apart from one of a single row
    first, second = _pairs(vectors[begin:end], times, visits, trail, height, numbers)
    in_order = np.lexsort((second, first))
    chains = _chains(
        first[in_order], second[in_order], vectors[begin:end], times, visits, sigma, rules.line_arcsec * ARCSEC,
    )  # fmt: skip
    counts, members = _without_parts(*chains)
    return counts, members + begin


@njit(cache=True)
def _trails_agree(one: Any, other: Any, way: float, angle: float, span: float, numbers: Any) -> bool:
    """Whether the trails of two detections agree with each other and with the motion between them."""
    exposure, slack, turn = numbers[4], numbers[5], numbers[6]
    drawn = math.degrees(way / span) * 3600.0 * exposure / 86400.0
    for trail in (one, other):
        if trail[0] <= 0.0:
            if drawn > numbers[7]:
                return False
            continue
        if abs(trail[0] - drawn) > slack + 0.2 * trail[0]:
            return False
        off = abs(math.radians(trail[1]) - angle) % math.pi
        if min(off, math.pi - off) > turn:
            return False
    return True


@njit(cache=True)
def _position_angle(one: Any, other: Any) -> float:
    """Return the direction from one unit vector to another, east of north, radians."""
    east = one[0] * other[1] - one[1] * other[0]
    across = math.hypot(one[0], one[1])
    north = other[2] * across * across - one[2] * (one[0] * other[0] + one[1] * other[1])
    return math.atan2(east, north)


@njit(cache=True)
def _pairs(vectors: Any, times: Any, visits: Any, trail: Any, height: float, numbers: Any) -> Any:
    """Return every pair (earlier, later) within the limits."""
    rate, fast, span, arc = numbers[0], numbers[1], numbers[2], numbers[3]
    order, zones, ras = sky_order(vectors, height)
    starts = zone_starts(zones, height)
    first, second = np.empty(1024, np.int64), np.empty(1024, np.int64)
    count = 0
    for p in range(order.shape[0]):
        i = order[p]
        radius = (fast if trail[i, 0] > 0.0 else rate) * span
        for zone in range(max(0, zones[p] - 1), min(starts.shape[0] - 2, zones[p] + 1) + 1):
            a, b, c, d = zone_window(ras, starts, zone, height, ras[p], radius)
            for q in range(a, b + d - c):
                j = order[q if q < b else c + q - b]
                dt = times[j] - times[i]
                if dt <= 0.0 or dt > span or visits[i] == visits[j]:
                    continue
                both = trail[i, 0] > 0.0 and trail[j, 0] > 0.0
                dx, dy, dz = vectors[j, 0] - vectors[i, 0], vectors[j, 1] - vectors[i, 1], vectors[j, 2] - vectors[i, 2]
                way = math.sqrt(dx * dx + dy * dy + dz * dz)
                if way < arc or way > (fast if both else rate) * dt:
                    continue
                angle = _position_angle(vectors[i], vectors[j])
                if not _trails_agree(trail[i], trail[j], way, angle, dt, numbers):
                    continue
                if count == first.shape[0]:
                    first, second = np.append(first, first), np.append(second, second)
                first[count], second[count] = i, j
                count += 1
    return first[:count], second[:count]


@njit(cache=True)
def _chains(first: Any, second: Any, vectors: Any, times: Any, visits: Any, sigma: Any, line: float) -> Any:
    """Return for each pair the detections on its line that pair with its first one (itself included): counts and members."""
    counts, members = np.empty(first.shape[0], np.int64), np.empty(first.shape[0] * 2 + 64, np.int64)
    used, begin = 0, 0
    chain = np.empty(_MOST_IN_CHAIN, np.int64)
    for p in range(first.shape[0]):
        i, j = first[p], second[p]
        if p > 0 and first[p - 1] != i:
            begin = p
        length = 2
        chain[0], chain[1] = i, j
        span = times[j] - times[i]
        stop = p + 1
        while stop < first.shape[0] and first[stop] == i:
            stop += 1
        for q in range(begin, min(stop, begin + _MOST_PARTNERS)):
            k = second[q]
            if visits[k] == visits[j] or length == _MOST_IN_CHAIN:
                continue
            part = (times[k] - times[i]) / span
            off = 0.0
            for axis in range(3):
                on_line = vectors[i, axis] + part * (vectors[j, axis] - vectors[i, axis])
                off += (vectors[k, axis] - on_line) ** 2
            error = math.sqrt(sigma[k] ** 2 + (part * sigma[j]) ** 2 + ((1.0 - part) * sigma[i]) ** 2)
            if off <= (line + 4.0 * error) ** 2 and _new_visit(chain, length, visits, k):
                chain[length] = k
                length += 1
        chain[:length] = np.sort(chain[:length])
        if used + length > members.shape[0]:
            members = np.append(members, np.empty(members.shape[0], np.int64))
        members[used : used + length] = chain[:length]
        counts[p] = length
        used += length
    return counts, members[:used]


@njit(cache=True)
def _new_visit(chain: Any, length: int, visits: Any, k: int) -> bool:
    seen = False
    for m in range(length):
        seen = seen or visits[chain[m]] == visits[k]
    return not seen


def _without_parts(counts: Array, members: Array) -> tuple[Array, Array]:
    """Leave out chains whose first and last detections lie in a chain that is longer or the same and earlier."""
    offsets = np.concatenate([[0], np.cumsum(counts)])
    order = np.lexsort((np.arange(len(counts)), -counts))
    keep = np.zeros(len(counts), bool)
    covered: set[tuple[int, int]] = set()
    long = order[counts[order] > 2]
    for c in long:
        chain = members[offsets[c] : offsets[c + 1]].tolist()
        keep[c] = not all((a, b) in covered for a in chain for b in chain if a < b)
        covered.update((a, b) for a in chain for b in chain if a < b)
    pairs = np.flatnonzero(counts == 2)
    if len(pairs) and covered:
        ends = zip(members[offsets[pairs]].tolist(), members[offsets[pairs] + 1].tolist(), strict=True)
        keep[pairs] = [pair not in covered for pair in ends]
    else:
        keep[pairs] = True
    kept = np.flatnonzero(keep)
    rows = np.repeat(offsets[kept] - np.concatenate([[0], np.cumsum(counts[kept])[:-1]]), counts[kept])
    return counts[kept], members[rows + np.arange(counts[kept].sum())]
