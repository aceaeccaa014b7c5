"""Linking over nights: hypotheses about range, one after the other, over a pool of tracklets that shrinks.

Families of cells are searched in turn. What a cell's tracklets suggest is fitted, the best links are accepted (most nights,
most detections, least chi2), their detections leave the pool, and with them every false tracklet that used one. So the many
objects that are easy pay once, and the wide and dear cells about the Earth see a small pool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit

from processors.moving_objects.detections import night_numbers
from processors.moving_objects.hypotheses import ARRIVAL, Cell, Family, arrivals, cells_of, families
from processors.moving_objects.kepler import two_body
from processors.moving_objects.linking_candidates import (
    Candidates,
    assemble,
    concatenated,
    fitted,
    good_nights,
    limits_of,
    none_like,
    once_each,
    without_worst_night,
)
from processors.moving_objects.linking_extend import VisitIndex, extended, index_visits
from processors.moving_objects.linking_fit import FitRows, rows_of
from processors.moving_objects.linking_search import find_sets, tangent_basis
from processors.moving_objects.merging import merged
from processors.moving_objects.tracklets import Tracklets

__all__ = ["LinkingRules", "Window", "accept", "link", "tidied", "window_of"]

Array = np.ndarray[Any, Any]

_SAMPLED = 2000
"""Arrivals that say how wide a cell's search is: every so-many-th, enough for a quantile of 0.98."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkingRules:
    """How links are searched."""

    families: tuple[Family, ...] = field(default_factory=families)
    nights: int = 3
    """Nights with two detections that a link needs."""
    pair_chi2: float = 20.0
    """Greatest chi2 of two tracklets in a cell (two degrees of freedom, and the floor of the linear model)."""
    triple_chi2: float = 30.0
    """Of three (six degrees of freedom)."""
    more_chi2: float = 20.0
    """What each further tracklet may add (four)."""
    reach_deg: float = 1.2
    """Farthest two arrivals may be apart, whatever the cell."""
    rounds: int = 3
    """How often conflicting or contaminated candidates are cut and fitted again."""


@dataclass(slots=True, kw_only=True)
class Window:
    """The detections of some nights with what is known of them so far."""

    detections: Array
    """In the order of ``validated_detections``."""
    tracklets: Tracklets
    rows: FitRows
    index: VisitIndex
    nights: Array
    epoch: float
    """MJD TAI of the arrivals, the middle of the window."""
    view: Array
    """Heliocentric position and velocity of the viewpoint at the epoch."""
    half_span_days: float
    taken: Array
    """Which detections a link holds."""


def window_of(detections: Array, observers: Array, tracklets: Tracklets) -> Window:
    """Prepare a window of nights for the search.

    Parameters
    ----------
    detections
        In the order of ``validated_detections``; may be empty.
    observers
        Heliocentric position and velocity of the observer at each, au and au/day, shape (n, 6).
    tracklets
        Of these detections.
    """
    times = detections["midpoint_mjd_tai"]
    first, last = (float(times[0]), float(times[-1])) if len(times) else (0.0, 0.0)
    epoch = 0.5 * (first + last)
    rows = rows_of(detections, observers)
    view = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    if len(times):
        near = int(np.argmin(np.abs(times - epoch)))
        view = np.asarray(two_body(observers[near : near + 1], epoch - times[near : near + 1]))[0]
    return Window(
        detections=detections,
        tracklets=tracklets,
        rows=rows,
        index=index_visits(detections["visit"], rows),
        nights=night_numbers(times),
        epoch=epoch,
        view=np.ascontiguousarray(view, np.float64),
        half_span_days=0.5 * (last - first),
        taken=np.zeros(len(detections), bool),
    )


def link(
    window: Window, rules: LinkingRules | None = None, *, seeds: Array | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Candidates:  # fmt: skip
    """Find links among the tracklets of a window; the detections they hold are marked as taken.

    Parameters
    ----------
    window
        Changed in place: ``taken``, and ``tracklets``, of which the free ones remain.
    rules
        Limits of the search.
    seeds
        Which tracklets a link must contain one of, boolean over the tracklets; all if None.
    progress
        Told the name of each family, how many links it gave and how many tracklets are free afterwards.

    Returns
    -------
    Candidates
        Accepted links in the order of acceptance; no detection is in two.
    """
    rules = rules or LinkingRules()
    found: list[Candidates] = []
    if len(np.unique(window.tracklets.night)) < rules.nights:
        return none_like()
    pool = _pool_of(window, seeds)
    for family in rules.families:
        new = []
        for cell in cells_of(family, window.half_span_days):
            new.append(accept(window, _candidates(window, pool, cell, family, rules), rules))
            pool = _left(window, pool) if len(new[-1]) else pool
        links = tidied(window, concatenated(new))
        pool = _left(window, pool) if len(links) else pool
        found.append(links)
        progress(family.name, len(links), len(pool.tracklets))
    return tidied(window, concatenated(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    """The free tracklets, gathered anew only when links have taken some: cells that give none are many."""

    tracklets: Tracklets
    seeded: Array | None
    """Which of them a link must contain one of, boolean; all if None."""
    seeds: Tracklets | None
    """Those."""

    def without(self, taken: Array) -> _Pool:
        """Return the pool without the tracklets that hold a detection that a mask marks."""
        free = self.tracklets.untouched(taken)
        if free.all():
            return self
        return _Pool(
            tracklets=self.tracklets.where(free),
            seeded=None if self.seeded is None else self.seeded[free],
            seeds=None if self.seeds is None else self.seeds.where(self.seeds.untouched(taken)),
        )


def _pool_of(window: Window, seeds: Array | None) -> _Pool:
    """Return the free tracklets of a window and which of them are seeds."""
    everything = window.tracklets
    own = None if seeds is None else everything.where(seeds)
    return _left(window, _Pool(tracklets=everything, seeded=seeds, seeds=own))


def _left(window: Window, pool: _Pool) -> _Pool:
    """Return what is free of a pool; the window keeps no other, for a million detections have a hundred megabytes of it."""
    pool = pool.without(window.taken)
    window.tracklets = pool.tracklets
    return pool


def tidied(window: Window, links: Candidates) -> Candidates:
    """Join links of one object and add the free detections that the links predict, until neither changes anything."""
    before = -1
    while len(links) != before:
        before = len(links)
        links, _ = merged(links, window.rows, window.view, window.epoch)
    return extended(links, window.index, window.rows, window.view, window.epoch, window.taken)


def _candidates(window: Window, pool: _Pool, cell: Cell, family: Family, rules: LinkingRules) -> Candidates:
    """Return what one cell suggests."""
    if pool.seeds is not None and not len(_arrived(window, pool.seeds, cell)[1]):
        return none_like()
    tracklets = pool.tracklets
    arrival, which = _arrived(window, tracklets, cell)
    if len(which) < rules.nights:
        return none_like()
    noise = np.empty((len(which), 3))
    noise[:, 0], noise[:, 1] = tracklets.sigma[which], tracklets.rate_sigma[which]
    noise[:, 2] = window.epoch - tracklets.mjd_tai[which]
    seeded = np.ones(len(which), bool) if pool.seeded is None else pool.seeded[which]
    bend, span = np.radians(family.bend_arcsec / 3600.0), max(window.half_span_days, 1.0)
    reach = _reach(arrival, noise, seeded, cell, rules)
    sizes, members, results = find_sets(
        arrival, noise, tracklets.night[which], seeded, reach, np.array([0.5 * bend, bend / span]),
        np.array([cell.gamma_half, cell.gamma_dot_half]), np.array([rules.pair_chi2, rules.triple_chi2, rules.more_chi2]),
    )  # fmt: skip
    if not len(sizes):
        return none_like()
    seed = members[np.concatenate([[0], np.cumsum(sizes)[:-1]])]
    unknowns, axes = _starts(arrival[seed].astype(np.float64), results, cell.numbers())
    return assemble(sizes, which[members], unknowns, axes, (tracklets.offsets, tracklets.members))


def _arrived(window: Window, tracklets: Tracklets, cell: Cell) -> tuple[Array, Array]:
    """Return the arrivals of the tracklets that a cell can hold, and which they are."""
    arrival, which = np.empty((len(tracklets), ARRIVAL), np.float32), np.empty(len(tracklets), np.int64)
    count = arrivals(
        tracklets.mjd_tai, tracklets.vector, tracklets.rate, tracklets.rate_sigma, tracklets.observer, window.view,
        window.epoch, cell.numbers(), arrival, which,
    )  # fmt: skip
    return arrival[:count], which[:count]


def _reach(arrival: Array, noise: Array, seeded: Array, cell: Cell, rules: LinkingRules) -> Array:
    """Return how far apart two arrivals of one object may be in this cell, direction and rate.

    Seen at both ends of the window an object's arrivals are off in opposite directions. Where every tracklet starts a set one
    in the middle finds both; tonight's alone lie at one end, and have to reach across.
    """
    out = []
    few = slice(None, None, max(1, len(arrival) // _SAMPLED))
    some, error = arrival[few], noise[few]
    own = arrival[seeded][:_SAMPLED] if not seeded.all() else arrival[:0]
    for column, sigma in ((6, np.hypot(error[:, 0], error[:, 1] * error[:, 2])), (9, error[:, 1])):
        reach = _share(_moved(some, column, cell), 0.98) + 5.0 * _share(sigma, 0.9)
        out.append(reach + (_share(_moved(own, column, cell), 0.5) if len(own) else 0.0))
    return np.array([min(out[0], np.radians(rules.reach_deg)), out[1]])


def _moved(arrival: Array, column: int, cell: Cell) -> Array:
    """Return how far the edge of a cell moves arrivals from its middle."""
    by_gamma, by_rate = arrival[:, column : column + 3], arrival[:, column + 6 : column + 9]
    moved = np.sqrt(np.einsum("ij,ij->i", by_gamma, by_gamma)) * cell.gamma_half
    return np.asarray(moved + np.sqrt(np.einsum("ij,ij->i", by_rate, by_rate)) * cell.gamma_dot_half)


def _share(values: Array, share: float) -> float:
    """Return the least value that a share of the values does not exceed."""
    place = min(len(values) - 1, int(share * len(values)))
    return float(np.partition(values, place)[place])


@njit(cache=True)
def _starts(seeds: Any, results: Any, cell: Any) -> Any:
    """Return unknowns and frames at which the fit of each set starts."""
    n = seeds.shape[0]
    unknowns, axes = np.zeros((n, 6)), np.empty((n, 3, 3))
    e = np.empty((2, 3))
    for s in range(n):
        u, w = seeds[s, :3].copy(), seeds[s, 3:6].copy()
        tangent_basis(u, e)
        for k in range(3):
            u[k] += results[s, 2] * e[0, k] + results[s, 4] * e[1, k]
            w[k] += results[s, 3] * e[0, k] + results[s, 5] * e[1, k]
        u /= np.sqrt(np.sum(u * u))
        tangent_basis(u, e)
        axes[s, 0], axes[s, 1], axes[s, 2] = u, e[0], e[1]
        unknowns[s, 2] = max(cell[0] + results[s, 0], 0.2 * cell[0])
        unknowns[s, 3], unknowns[s, 4] = np.sum(w * e[0]), np.sum(w * e[1])
        unknowns[s, 5] = cell[2] + results[s, 1]
    return unknowns, axes


def accept(window: Window, candidates: Candidates, rules: LinkingRules) -> Candidates:
    """Fit candidates and accept the best, most nights first, so that no detection is in two links."""
    accepted: list[Candidates] = []
    rest = candidates
    for _ in range(rules.rounds):
        rest = rest.where(good_nights(rest, window.nights) >= rules.nights)
        if not len(rest):
            break
        rest, each = fitted(rest, window.rows, window.view, window.epoch)
        good = rest.chi2 <= limits_of(rest)
        chosen, beaten = _greedy(window, rest, np.flatnonzero(good))
        accepted.append(rest.where(chosen))
        owner = rest.owners()
        cut = (
            without_worst_night(rest.where(~good), each[~good[owner]], window.nights) if (~good).any() else none_like()
        )
        again = rest.where(beaten)
        both = concatenated([again, cut])
        rest = once_each(both.with_members(~window.taken[both.members]))
    return concatenated(accepted)


def _greedy(window: Window, candidates: Candidates, good: Array) -> tuple[Array, Array]:
    """Mark the detections of the links taken in order of quality; return those links and the ones beaten to a detection."""
    sizes = np.diff(candidates.offsets)[good]
    quality = candidates.chi2[good] / np.maximum(2.0 * sizes - 6.0, 1.0)
    first = candidates.members[candidates.offsets[good]] if len(good) else good
    nights = good_nights(candidates, window.nights)[good]
    order = good[np.lexsort((first, quality, -sizes, -nights))]
    chosen = _take(order, candidates.offsets, candidates.members, window.taken)
    return order[chosen], order[~chosen]


@njit(cache=True)
def _take(order: Any, offsets: Any, members: Any, taken: Any) -> Any:
    chosen = np.zeros(order.shape[0], np.bool_)
    for s in range(order.shape[0]):
        own = members[offsets[order[s]] : offsets[order[s] + 1]]
        free = True
        for m in own:
            free = free and not taken[m]
        if free:
            chosen[s] = True
            for m in own:
                taken[m] = True
    return chosen
