"""Detections that an accepted link predicts: single ones, second pairs of a night, nights that the search missed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit

from processors.association.sphere import ARCSEC
from processors.moving_objects.detections import blocks
from processors.moving_objects.kepler import step
from processors.moving_objects.linking_candidates import Candidates, fitted, limits_of, replaced
from processors.moving_objects.linking_fit import FitRows, predict_one, state_of

__all__ = ["VisitIndex", "extended", "index_visits"]

Array = np.ndarray[Any, Any]

_RADIUS_ARCSEC = 2.0
"""Farthest a predicted place may be from its detection, and widest error ellipse (3.5 sigma) that is searched at all: in
5,000 detections per visit a chance one lies so near in one of 600 empty places."""

_CHI2 = 18.0
"""Greatest chi2 of a detection against its prediction (two degrees of freedom): one true one of eight thousand is lost."""

_SIGMAS = 3.5


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitIndex:
    """The visits of a window and their detections in order of declination."""

    times: Array
    """MJD TAI, shape (v,)."""
    observers: Array
    centres: Array
    """Unit vectors of the middle of each visit's detections, shape (v, 3)."""
    radii: Array
    """Radians, of a circle about all of them."""
    starts: Array
    """Where each visit begins in ``order``, shape (v + 1,)."""
    order: Array
    """Positions of the detections."""
    heights: Array
    """Third component of their unit vectors, increasing within a visit."""
    visit_of: Array
    """Position of the visit of each detection."""
    looked: Array
    """Visits in which links look for more, boolean, shape (v,)."""


def index_visits(visits: Array, rows: FitRows) -> VisitIndex:
    """Index detections by visit.

    Parameters
    ----------
    visits
        Identifier of each detection's visit, shape (n,); may be empty.
    rows
        The detections as the fits see them.
    """
    _, first, visit_of = np.unique(visits, return_index=True, return_inverse=True)
    vectors = rows.frames[:, 0]
    order = np.lexsort((vectors[:, 2], visit_of))
    counts = np.bincount(visit_of, minlength=len(first))
    sums = np.stack([np.bincount(visit_of, vectors[:, k], minlength=len(first)) for k in range(3)], axis=1)
    centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-300)
    radii = np.zeros(len(first))
    for part in blocks(len(visit_of)):
        chord = np.linalg.norm(vectors[part] - centres[visit_of[part]], axis=1)
        np.maximum.at(radii, visit_of[part], 2.0 * np.arcsin(np.minimum(1.0, 0.5 * chord)))
    return VisitIndex(
        times=rows.times[first],
        observers=rows.observers[first],
        centres=centres,
        radii=radii,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        order=order,
        heights=np.ascontiguousarray(vectors[order, 2]),
        visit_of=visit_of,
        looked=np.ones(len(first), bool),
    )


def extended(
    links: Candidates, index: VisitIndex, rows: FitRows, view: Array, epoch: float, taken: Array
) -> Candidates:
    """Add free detections where links predict them, fit again and keep what fits.

    Parameters
    ----------
    links
        Fitted links.
    index, rows, view, epoch
        The window's.
    taken
        Which detections a link holds; changed in place.

    Returns
    -------
    Candidates
        The links in the same order, each with at most one detection of a visit added; no detection goes to two.
    """
    for _ in range(2):
        link, detection = _wanted(links, index, rows, view, epoch, taken)
        if not len(link):
            break
        links = _with_added(links, link, detection, rows, view, epoch, taken)
    return links


def _wanted(
    links: Candidates, index: VisitIndex, rows: FitRows, view: Array, epoch: float, taken: Array
) -> tuple[Array, Array]:
    """Return pairs of a link and a free detection, closest first and one to one."""
    link, detection, chi2 = _predicted(
        links.offsets, links.members, links.unknowns, links.axes, links.covariances, view, epoch, index.times,
        index.observers, index.centres, index.radii, index.starts, index.order, index.heights, index.visit_of, index.looked,
        rows.frames, rows.sigmas, taken,
    )  # fmt: skip
    order = np.lexsort((link, detection, chi2))
    _, first = np.unique(detection[order], return_index=True)
    chosen = order[np.sort(first)]
    return link[chosen], detection[chosen]


def _with_added(
    links: Candidates, link: Array, detection: Array, rows: FitRows, view: Array, epoch: float, taken: Array
) -> Candidates:
    """Fit the links that gain detections again; what does not fit is left out, or all of it."""
    touched = np.unique(link)
    old = links.where(touched)
    owner = np.concatenate([old.owners(), np.searchsorted(touched, link)])
    members, added = np.concatenate([old.members, detection]), np.repeat([False, True], [len(old.members), len(link)])
    for _ in range(2):
        order = np.lexsort((members, owner))
        owner, members, added = owner[order], members[order], added[order]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(touched)))]).astype(np.int64)
        new, each = fitted(replace(old, offsets=offsets, members=members), rows, view, epoch)
        keep = ~(added & ((each > _CHI2) | (new.chi2 > limits_of(new))[owner]))
        if keep.all():
            break
        owner, members, added = owner[keep], members[keep], added[keep]
    better = new.where(new.chi2 <= np.maximum(limits_of(new), old.chi2))
    accepted = np.flatnonzero(new.chi2 <= np.maximum(limits_of(new), old.chi2))
    taken[better.members] = True
    return replaced(links, touched[accepted], better)


@njit(cache=True)
def _nearest(
    direction: Any, partials: Any, covariance: Any, begin: int, end: int, order: Any, heights: Any, frames: Any, sigmas: Any,
    taken: Any,
) -> Any:  # fmt: skip
    """Return the free detection of a visit that fits a prediction best, and its chi2; -1 where none does."""
    radius = _RADIUS_ARCSEC * ARCSEC
    low = begin + np.searchsorted(heights[begin:end], direction[2] - radius)
    high = begin + np.searchsorted(heights[begin:end], direction[2] + radius, side="right")
    best, lowest = -1, _CHI2
    rows = np.empty((2, 6))
    for q in range(low, high):
        d = order[q]
        far = 0.0
        for k in range(3):
            far += (frames[d, 0, k] - direction[k]) ** 2
        if taken[d] or far > radius * radius:
            continue
        miss, var = np.zeros(2), np.zeros(3)
        for axis in range(2):
            f = frames[d, 1 + axis]
            miss[axis] = -(f[0] * direction[0] + f[1] * direction[1] + f[2] * direction[2])
            for n in range(6):
                rows[axis, n] = f[0] * partials[0, n] + f[1] * partials[1, n] + f[2] * partials[2, n]
        for n in range(6):
            for k in range(6):
                var[0] += rows[0, n] * covariance[n, k] * rows[0, k]
                var[1] += rows[0, n] * covariance[n, k] * rows[1, k]
                var[2] += rows[1, n] * covariance[n, k] * rows[1, k]
        limit = (radius / _SIGMAS) ** 2
        if var[0] + var[2] > limit:
            return -1, 0.0
        a, b, c = var[0] + sigmas[d, 0] ** 2, var[1], var[2] + sigmas[d, 1] ** 2
        chi2 = (c * miss[0] ** 2 - 2.0 * b * miss[0] * miss[1] + a * miss[1] ** 2) / (a * c - b * b)
        if chi2 < lowest:
            best, lowest = d, chi2
    return best, lowest


@njit(cache=True)
def _predicted(
    offsets: Any, members: Any, unknowns: Any, axes: Any, covariances: Any, view: Any, epoch: float, times: Any, observers: Any,
    centres: Any, radii: Any, starts: Any, order: Any, heights: Any, visit_of: Any, looked: Any, frames: Any, sigmas: Any, taken: Any,
) -> Any:  # fmt: skip
    """Return links, detections and chi2 wherever a link's prediction meets a free detection of a visit it has none of."""
    n, visits = offsets.shape[0] - 1, times.shape[0]
    link, detection, chi2 = np.empty(1024, np.int64), np.empty(1024, np.int64), np.empty(1024)
    work, partials, state, has = np.empty((9, 6)), np.empty((3, 6)), np.empty(6), np.zeros(visits, np.bool_)
    count = 0
    for c in range(n):
        has[:] = False
        for m in range(offsets[c], offsets[c + 1]):
            has[visit_of[members[m]]] = True
        state_of(unknowns[c], axes[c], view, state)
        for v in range(visits):
            if (
                has[v]
                or not looked[v]
                or not _in_field(state, unknowns[c, 2], times[v] - epoch, observers[v], centres[v], radii[v])
            ):
                continue
            predict_one(
                unknowns[c], axes[c], view, times[v] - epoch, observers[v], 0.0057755 / unknowns[c, 2], work, partials
            )
            best, value = _nearest(
                work[0], partials, covariances[c], starts[v], starts[v + 1], order, heights, frames, sigmas, taken
            )
            if best < 0:
                continue
            if count == link.shape[0]:
                link, detection, chi2 = np.append(link, link), np.append(detection, detection), np.append(chi2, chi2)
            link[count], detection[count], chi2[count] = c, best, value
            count += 1
    return link[:count], detection[:count], chi2[:count]


@njit(cache=True)
def _in_field(state: Any, gamma: float, days: float, observer: Any, centre: Any, radius: float) -> bool:
    """Whether an object lies in a visit's field, give or take its light time."""
    later = step(state[0], state[1], state[2], state[3], state[4], state[5], days - 0.0057755 / gamma)
    x, y, z = later[0] - observer[0], later[1] - observer[1], later[2] - observer[2]
    cosine = (x * centre[0] + y * centre[1] + z * centre[2]) / math.sqrt(x * x + y * y + z * z)
    return bool(cosine > math.cos(min(math.pi, radius + 1e-4)))
