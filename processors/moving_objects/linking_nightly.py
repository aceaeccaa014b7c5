"""Linking night by night: known links take tonight's detections first, what is left is linked with the window's.

The state between nights is a value: the detections of the window with their tracklets, and the links. A night is a function
from state and detections to state, so that a replay gives the same links. A link keeps the identifier it was founded with,
the least detection_id of its members then; of two that are joined the older one's remains.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from processors.moving_objects.attribution import AttributionRules, attribute_tracklets
from processors.moving_objects.detections import night_numbers, no_detections, validated_detections
from processors.moving_objects.kepler import two_body
from processors.moving_objects.linking import LinkingRules, Window, link, window_of
from processors.moving_objects.linking_candidates import (
    Candidates,
    concatenated,
    good_nights,
    none_like,
    states,
)
from processors.moving_objects.linking_extend import extended
from processors.moving_objects.linking_search import tangent_basis
from processors.moving_objects.merging import merged, unlinked
from processors.moving_objects.tracklet_pruning import PruningRules, plausible_tracklets, stationary_detections
from processors.moving_objects.tracklets import TrackletRules, Tracklets, form_tracklets, joined, measure_tracklets

__all__ = ["LinkedNight", "NightlyRules", "NightlyState", "begin", "link_night", "restore"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NightlyRules:
    """All limits of a night's linking."""

    window_nights: int = 14
    """Nights that are linked with each other (LDM-151: 14, a stretch of 30)."""
    tracklets: TrackletRules = field(default_factory=TrackletRules)
    pruning: PruningRules = field(default_factory=PruningRules)
    linking: LinkingRules = field(default_factory=LinkingRules)
    attribution: AttributionRules = field(default_factory=AttributionRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class NightlyState:
    """What is kept between nights."""

    detections: Array
    """Of the window, in the order of ``validated_detections``."""
    observers: Array
    """Heliocentric position and velocity at each, au and au/day, shape (n, 6)."""
    tracklets: Tracklets
    """Free ones."""
    links: Candidates
    """Members are positions among the detections; the unknowns hold at ``epoch`` as seen from ``view``."""
    link_ids: Array
    """Identifier of each link, int64."""
    view: Array
    epoch: float
    """MJD TAI."""
    held: Array
    """Detections of the window that belong to links that have left it, boolean: they are never linked again."""

    def states(self) -> Array:
        """Return the links' heliocentric ICRF states at the epoch, au and au/day, shape (n, 6)."""
        return states(self.links, self.view)

    def members(self) -> list[Array]:
        """Return the detection_id of each link's members."""
        ids = self.detections["detection_id"][self.links.members]
        return np.split(ids, self.links.offsets[1:-1]) if len(self.links) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedNight:
    """What a night changed, by the links' identifiers."""

    founded: Array
    """Links that are new."""
    grown: Array
    """Older ones with new members."""
    joined: tuple[tuple[int, int], ...]
    """Pairs of a link that ended and the one that holds its members now."""
    dissolved: Array
    """Links that the fit no longer allows: their free detections may be linked anew."""
    retired: Array
    """Links that left the window, to be recognised by prediction from now on."""


def begin() -> NightlyState:
    """Return the state before the first night."""
    detections, observers = no_detections(), np.zeros((0, 6))
    empty = measure_tracklets(detections, observers, offsets=np.zeros(1, np.int64), members=np.zeros(0, np.int64))
    return NightlyState(
        detections=detections,
        observers=observers,
        tracklets=empty,
        links=none_like(),
        link_ids=np.zeros(0, np.int64),
        view=np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        epoch=0.0,
        held=np.zeros(0, bool),
    )


def link_night(
    state: NightlyState, detections: Array, observers: Array, rules: NightlyRules | None = None
) -> tuple[NightlyState, LinkedNight]:
    """Link the detections of a night with the window's.

    Parameters
    ----------
    state
        After the night before, or ``begin()``; nights may be missing in between.
    detections
        Of one night, dtype ``DETECTION``, in any order, later than the state's; those that are there already count once;
        may be empty.
    observers
        Heliocentric position and velocity of the observer at each, au and au/day, shape (n, 6).
    rules
        Limits.

    Returns
    -------
    tuple
        The state after the night, and what changed.

    Raises
    ------
    InvalidDetectionsError
        See ``validated_detections``.
    """
    rules = rules or NightlyRules()
    new, new_observers = _ordered(state, detections, observers)
    if not len(new):
        return state, LinkedNight(
            founded=np.zeros(0, np.int64), grown=np.zeros(0, np.int64), joined=(), dissolved=np.zeros(0, np.int64),
            retired=np.zeros(0, np.int64),
        )  # fmt: skip
    tonight = int(night_numbers(new["midpoint_mjd_tai"])[-1])
    state, retired = _without_old(state, tonight - rules.window_nights)
    places = np.concatenate([state.observers, new_observers])
    window, fresh = _opened(state, new, places, rules)
    # a state that lost its oldest night is a copy: what the window holds now need not stay in memory a third time
    state = replace(state, detections=window.detections, observers=places, tracklets=window.tracklets)
    links, dissolved, freed = _carried(state, window)
    restore(window, freed, places, rules)
    ids = links[1]
    before = np.diff(links[0].offsets)
    known = _recognised(window, links[0], fresh, rules)
    grown = ids[np.diff(known.offsets) > before]
    found = _searched(window, tonight, rules)
    everything, all_ids, pairs = _joined(window, known, ids, found)
    after = NightlyState(
        detections=window.detections,
        observers=places,
        tracklets=window.tracklets.where(window.tracklets.untouched(window.taken)),
        links=everything,
        link_ids=all_ids,
        view=window.view,
        epoch=window.epoch,
        held=np.concatenate([state.held, np.zeros(len(new), bool)]),
    )
    changed = LinkedNight(
        founded=np.setdiff1d(all_ids, state.link_ids),
        grown=np.intersect1d(grown, all_ids),
        joined=pairs,
        dissolved=dissolved,
        retired=retired,
    )
    return after, changed


def _ordered(state: NightlyState, detections: Array, observers: Array) -> tuple[Array, Array]:
    """Return the detections that are new, in canonical order, with their observers."""
    new = validated_detections(detections)
    new = new[~np.isin(new["detection_id"], state.detections["detection_id"])]
    order = np.argsort(detections["detection_id"], kind="stable")
    place = order[np.searchsorted(detections["detection_id"][order], new["detection_id"])]
    return new, np.ascontiguousarray(np.asarray(observers, np.float64).reshape(-1, 6)[place])


def _without_old(state: NightlyState, last_out: int) -> tuple[NightlyState, Array]:
    """Return the state without the nights up to one, and the links that left with them."""
    nights = night_numbers(state.detections["midpoint_mjd_tai"])
    keep = nights > last_out
    if keep.all():
        return state, np.zeros(0, np.int64)
    shift = np.cumsum(keep) - 1
    links = state.links.with_members(keep[state.links.members])
    stay = good_nights(links, nights) >= 3
    inside = state.tracklets.where(state.tracklets.night > last_out)
    held = state.held.copy()
    held[links.where(~stay).members] = True
    links = links.where(stay)
    return replace(
        state,
        detections=state.detections[keep],
        observers=state.observers[keep],
        tracklets=replace(inside, members=shift[inside.members]),
        links=replace(links, members=shift[links.members]),
        link_ids=state.link_ids[stay],
        held=held[keep],
    ), np.sort(state.link_ids[~stay])


def _opened(state: NightlyState, new: Array, observers: Array, rules: NightlyRules) -> tuple[Window, Tracklets]:
    """Return the window with tonight's detections, and tonight's tracklets; the observers are those of both."""
    detections = np.concatenate([state.detections, new])
    fresh = form_tracklets(new, observers[len(state.detections) :], rules.tracklets)
    both = joined([state.tracklets, fresh], [0, len(state.detections)])
    window = window_of(detections, observers, both)
    likely = plausible_tracklets(detections, both, window.index, rules.pruning)
    likely &= both.untouched(stationary_detections(detections, rules.pruning))
    window.tracklets = both.where(likely)
    window.taken[: len(state.held)] = state.held
    window.taken[state.links.members] = True
    tonight = window.tracklets.members[window.tracklets.offsets[:-1]] >= len(state.detections)
    return window, window.tracklets.where(tonight)


def _carried(state: NightlyState, window: Window) -> tuple[tuple[Candidates, Array], Array, Array]:
    """Return the links at the window's epoch with their identifiers, those that no longer fit, and detections set free."""
    links = _rebased(state, window)
    owner = np.full(len(window.detections), -1, np.int64)
    owner[links.members] = links.owners()
    kept, free = unlinked(links, window.rows, window.nights, window.view, window.epoch)
    window.taken[free] = False
    which = owner[kept.members[kept.offsets[:-1]]] if len(kept) else np.zeros(0, np.int64)
    gone = np.setdiff1d(np.arange(len(links)), which)
    return (kept, state.link_ids[which]), np.sort(state.link_ids[gone]), free


def restore(window: Window, freed: Array, observers: Array, rules: NightlyRules) -> None:
    """Put the tracklets of detections that were set free back into the pool: they left it when they were taken.

    Parameters
    ----------
    window
        Its tracklets are changed; the detections are not marked as taken any more.
    freed
        Positions of the detections, ascending; may be empty.
    observers
        Heliocentric position and velocity of the observer at each detection of the window, shape (n, 6).
    rules
        Limits.
    """
    if not len(freed):
        return
    rows = np.flatnonzero(np.isin(window.nights, window.nights[freed]) & ~window.taken)
    formed = form_tracklets(window.detections[rows], observers[rows], rules.tracklets)
    formed = replace(formed, members=rows[formed.members])
    loose = np.ones(len(window.detections), bool)
    loose[freed] = False
    formed = formed.where(~formed.untouched(~loose))
    likely = plausible_tracklets(window.detections, formed, window.index, rules.pruning)
    likely &= formed.untouched(stationary_detections(window.detections, rules.pruning))
    both = joined([window.tracklets, formed.where(likely)], [0, 0])
    first, last = both.members[both.offsets[:-1]], both.members[both.offsets[1:] - 1]
    window.tracklets = both.where(np.lexsort((last, first, both.night)))


def _rebased(state: NightlyState, window: Window) -> Candidates:
    """Return the links with unknowns at the window's epoch and viewpoint."""
    links = state.links
    if not len(links):
        return links
    relative = np.asarray(two_body(state.states(), window.epoch - state.epoch)) - window.view
    distance = np.linalg.norm(relative[:, :3], axis=1)
    axes, unknowns = np.empty((len(links), 3, 3)), np.zeros((len(links), 6))
    axes[:, 0] = relative[:, :3] / distance[:, None]
    for k in range(len(links)):
        tangent_basis(axes[k, 0], axes[k, 1:])
    unknowns[:, 2] = 1.0 / distance
    for column, axis in ((3, 1), (4, 2), (5, 0)):
        unknowns[:, column] = np.sum(relative[:, 3:] * axes[:, axis], axis=1) / distance
    return replace(links, unknowns=unknowns, axes=axes)


def _recognised(window: Window, links: Candidates, fresh: Tracklets, rules: NightlyRules) -> Candidates:
    """Return the links with tonight's tracklets and single detections; they are marked as taken."""
    free = fresh.where(fresh.untouched(window.taken))
    links, _ = attribute_tracklets(links, free, window.rows, window.view, window.epoch, rules.attribution)
    window.taken[links.members] = True
    tonight = night_numbers(window.index.times) == window.nights[-1]
    index = replace(window.index, looked=tonight)
    return extended(links, index, window.rows, window.view, window.epoch, window.taken)


def _searched(window: Window, tonight: int, rules: NightlyRules) -> Candidates:
    """Return new links that hold one of tonight's tracklets."""
    everything = window.tracklets
    near = everything.untouched(window.taken) & _reaches_tonight(window, tonight)
    window.tracklets = everything.where(near)
    found = link(window, rules.linking, seeds=window.tracklets.night == tonight)
    window.tracklets = everything
    return found


def _reaches_tonight(window: Window, tonight: int) -> Array:
    """Return which tracklets, moving on as they do, come near a field of tonight.

    Half a degree and seven tenths of the way are left for how the motion bends: what passes near the Earth in the window slows
    down to a fifth.
    """
    pool, index = window.tracklets, window.index
    here = night_numbers(index.times) == tonight
    days = float(np.median(index.times[here])) - pool.mjd_tai
    speed = np.linalg.norm(pool.rate, axis=1)
    way = speed * np.abs(days)
    turn = np.minimum(way, np.pi)
    ahead = pool.rate / np.maximum(speed, 1e-12)[:, None] * np.sign(days)[:, None]
    place = pool.vector * np.cos(turn)[:, None] + ahead * np.sin(turn)[:, None]
    slack = np.radians(0.5) + 0.7 * way
    near = np.zeros(len(pool), bool)
    for centre, radius in zip(index.centres[here], index.radii[here], strict=True):
        near |= place @ centre > np.cos(np.minimum(radius + slack, np.pi))
    return near


def _joined(
    window: Window, known: Candidates, ids: Array, found: Candidates
) -> tuple[Candidates, Array, tuple[tuple[int, int], ...]]:
    """Return all links after joining those of one object, their identifiers, and pairs of an ended and a lasting one."""
    founded = window.detections["detection_id"][found.members]
    least = np.minimum.reduceat(founded, found.offsets[:-1]) if len(found) else np.zeros(0, np.int64)
    links, names, pairs = concatenated([known, found]), np.concatenate([ids, least]), []
    before = -1
    while len(links) != before:
        before = len(links)
        links, into = merged(links, window.rows, window.view, window.epoch)
        order = np.lexsort((names, into))
        first = np.concatenate([[True], into[order][1:] != into[order][:-1]])[: len(order)]
        lasting = np.repeat(names[order][first], np.diff(np.append(np.flatnonzero(first), len(order))))
        pairs += [(int(a), int(b)) for a, b in zip(names[order], lasting, strict=True) if a != b]
        names = names[order][first]
    return links, names, tuple(pairs)
