"""Candidate links between search and acceptance: sets of detections with the start of a fit, each set once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit

from processors.moving_objects.linking_fit import FitRows, fit_candidates, state_of

__all__ = [
    "Candidates",
    "assemble",
    "concatenated",
    "fitted",
    "good_nights",
    "limits_of",
    "none_like",
    "once_each",
    "replaced",
    "states",
    "without_worst_night",
]

Array = np.ndarray[Any, Any]

_RARE = 4.75
"""Normal deviate of one chance in a million: so rarely is a true link refused for its chi2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Links not yet decided, or accepted ones: members and orbit of each."""

    offsets: Array
    """Where each one's members begin, shape (n + 1,)."""
    members: Array
    """Positions of the detections, increasing within each."""
    unknowns: Array
    """See ``linking_fit``; shape (n, 6)."""
    axes: Array
    covariances: Array
    chi2: Array

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.chi2)

    def rows(self, which: Array) -> tuple[Array, Array]:
        """Return offsets and members of some."""
        counts = np.diff(self.offsets)[which]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return offsets, self.members[
            np.repeat(self.offsets[:-1][which] - offsets[:-1], counts) + np.arange(offsets[-1])
        ]

    def where(self, keep: Array) -> Candidates:
        """Return those that a mask or positions keep."""
        keep = np.flatnonzero(keep) if np.asarray(keep).dtype == bool else np.asarray(keep, np.int64)
        offsets, members = self.rows(keep)
        return Candidates(
            offsets=offsets,
            members=members,
            unknowns=self.unknowns[keep],
            axes=self.axes[keep],
            covariances=self.covariances[keep],
            chi2=self.chi2[keep],
        )

    def owners(self) -> Array:
        """Return whose each member is."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def with_members(self, keep: Array) -> Candidates:
        """Return the same with only those members that a mask keeps."""
        counts = np.bincount(self.owners()[keep], minlength=len(self))
        return replace(
            self, offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), members=self.members[keep]
        )


def none_like() -> Candidates:
    """Return no candidates."""
    return Candidates(
        offsets=np.zeros(1, np.int64),
        members=np.zeros(0, np.int64),
        unknowns=np.zeros((0, 6)),
        axes=np.zeros((0, 3, 3)),
        covariances=np.zeros((0, 6, 6)),
        chi2=np.zeros(0),
    )


def concatenated(parts: list[Candidates]) -> Candidates:
    """Return several as one."""
    parts = parts or [none_like()]
    shifts = np.cumsum([0] + [len(p.members) for p in parts[:-1]])
    return Candidates(
        offsets=np.concatenate([[0], *(p.offsets[1:] + s for p, s in zip(parts, shifts, strict=True))]).astype(
            np.int64
        ),
        members=np.concatenate([p.members for p in parts]),
        unknowns=np.concatenate([p.unknowns for p in parts]),
        axes=np.concatenate([p.axes for p in parts]),
        covariances=np.concatenate([p.covariances for p in parts]),
        chi2=np.concatenate([p.chi2 for p in parts]),
    )


@njit(cache=True)
def _union(sizes: Any, sets: Any, tracklet_offsets: Any, tracklet_members: Any) -> Any:
    """Return each set's detections, sorted, once each, and a hash of them."""
    total, at = 0, 0
    for t in sets:
        total += tracklet_offsets[t + 1] - tracklet_offsets[t]
    offsets, members, hashes = (
        np.zeros(sizes.shape[0] + 1, np.int64),
        np.empty(total, np.int64),
        np.empty(sizes.shape[0], np.uint64),
    )
    used = 0
    for s in range(sizes.shape[0]):
        begin = used
        for t in sets[at : at + sizes[s]]:
            for m in range(tracklet_offsets[t], tracklet_offsets[t + 1]):
                members[used] = tracklet_members[m]
                used += 1
        at += sizes[s]
        members[begin:used] = np.sort(members[begin:used])
        keep = begin
        value = np.uint64(1469598103934665603)
        for m in range(begin, used):
            if m > begin and members[m] == members[keep - 1]:
                continue
            members[keep] = members[m]
            value = (value ^ np.uint64(members[m] + 1)) * np.uint64(1099511628211)
            value ^= value >> np.uint64(29)
            keep += 1
        used = keep
        offsets[s + 1], hashes[s] = used, value
    return offsets, members[:used], hashes


@njit(cache=True)
def _hashes(offsets: Any, members: Any) -> Any:
    out = np.empty(offsets.shape[0] - 1, np.uint64)
    for s in range(out.shape[0]):
        value = np.uint64(1469598103934665603)
        for m in range(offsets[s], offsets[s + 1]):
            value = (value ^ np.uint64(members[m] + 1)) * np.uint64(1099511628211)
            value ^= value >> np.uint64(29)
        out[s] = value
    return out


def assemble(sizes: Array, sets: Array, results: Array, starts: Array, tracklets: tuple[Array, Array]) -> Candidates:
    """Make candidates of sets of tracklets, each set of detections once.

    Parameters
    ----------
    sizes, sets
        Sizes of the sets and their tracklets, one set after the other.
    results
        Unknowns of the start (six numbers), shape (m, 6).
    starts
        Frames of the unknowns, shape (m, 3, 3).
    tracklets
        Offsets and members of the tracklets.
    """
    offsets, members, hashes = _union(sizes, sets, *tracklets)
    _, first = np.unique(hashes, return_index=True)
    everything = Candidates(
        offsets=offsets,
        members=members,
        unknowns=results,
        axes=starts,
        covariances=np.zeros((len(sizes), 6, 6)),
        chi2=np.full(len(sizes), np.inf),
    )
    return everything.where(np.sort(first))


def once_each(candidates: Candidates) -> Candidates:
    """Return candidates with each set of detections once: the first."""
    _, first = np.unique(_hashes(candidates.offsets, candidates.members), return_index=True)
    return candidates.where(np.sort(first))


def fitted(candidates: Candidates, rows: FitRows, view: Array, epoch: float) -> tuple[Candidates, Array]:
    """Fit each candidate from its start; return them fitted, and the chi2 of each member."""
    n = len(candidates)
    done = replace(
        candidates,
        unknowns=candidates.unknowns.copy(),
        covariances=np.zeros((n, 6, 6)),
        chi2=np.full(n, 1e9),
    )
    each = np.zeros(len(candidates.members))
    fit_candidates(
        done.offsets, done.members, rows.times, rows.frames, rows.sigmas, rows.observers, view, epoch, done.unknowns,
        done.axes, done.covariances, done.chi2, each,
    )  # fmt: skip
    return done, each


def good_nights(candidates: Candidates, nights: Array) -> Array:
    """Return for each candidate how many nights hold at least two of its detections."""
    owner, night = candidates.owners(), nights[candidates.members]
    if not len(owner):
        return np.zeros(len(candidates), np.int64)
    new = np.concatenate([[True], (owner[1:] != owner[:-1]) | (night[1:] != night[:-1])])
    begin = np.flatnonzero(new)
    counts = np.diff(np.append(begin, len(owner)))
    return np.bincount(owner[begin][counts >= 2], minlength=len(candidates))


def without_worst_night(candidates: Candidates, each: Array, nights: Array) -> Candidates:
    """Return candidates without the night that fits worst (mean chi2 of its detections)."""
    owner, night = candidates.owners(), nights[candidates.members]
    new = np.concatenate([[True], (owner[1:] != owner[:-1]) | (night[1:] != night[:-1])])
    group = np.cumsum(new) - 1
    mean = np.bincount(group, each) / np.bincount(group)
    group_owner = owner[new]
    order = np.lexsort((-mean, group_owner))
    worst = order[np.concatenate([[True], group_owner[order][1:] != group_owner[order][:-1]])]
    return candidates.with_members(~np.isin(group, worst))


def limits_of(candidates: Candidates) -> Array:
    """Return the greatest chi2 that a true link reaches (Wilson and Hilferty 1931), for 2 n - 6 degrees of freedom."""
    dof = np.maximum(2.0 * np.diff(candidates.offsets) - 6.0, 1.0)
    return np.asarray(dof * (1.0 - 2.0 / (9.0 * dof) + _RARE * np.sqrt(2.0 / (9.0 * dof))) ** 3)


def states(candidates: Candidates, view: Array) -> Array:
    """Return the heliocentric states at the epoch, au and au/day, shape (n, 6)."""
    out = np.empty((len(candidates), 6))
    for k in range(len(candidates)):
        state_of(candidates.unknowns[k], candidates.axes[k], view, out[k])
    return out


def replaced(links: Candidates, which: Array, better: Candidates) -> Candidates:
    """Return the links with those at some positions replaced."""
    place = np.arange(len(links))
    place[which] = len(links) + np.arange(len(which))
    return concatenated([links, better]).where(place)
