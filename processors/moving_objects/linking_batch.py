"""Linking a whole window at once: from detections to links in one call, for a search by hand and for judging the nightly one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from processors.moving_objects.detections import validated_detections
from processors.moving_objects.linking import LinkingRules, link, window_of
from processors.moving_objects.linking_candidates import states
from processors.moving_objects.tracklet_pruning import PruningRules, plausible_tracklets, stationary_detections
from processors.moving_objects.tracklets import TrackletRules, form_tracklets

__all__ = ["Links", "link_detections"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Links of a window."""

    members: tuple[Array, ...]
    """Increasing detection_id of each link's members."""
    states: Array
    """Heliocentric ICRF states, au and au/day, shape (n, 6): a start for the final fit."""
    epoch_mjd_tai: float
    chi2: Array


def link_detections(
    detections: Array, observers: Array, *, tracklet_rules: TrackletRules | None = None,
    pruning: PruningRules | None = None, rules: LinkingRules | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Links:  # fmt: skip
    """Link the detections of a window of nights.

    Parameters
    ----------
    detections
        Rows of ``DETECTION`` in any order; may be empty, and rows may be repeated.
    observers
        Heliocentric position and velocity of the observer at each row, au and au/day, shape (n, 6).
    tracklet_rules, pruning, rules
        Limits.
    progress
        Told, after "tracklets" and each family of hypotheses, its name, how many links it gave and how many tracklets are free.

    Returns
    -------
    Links
        In increasing order of their first member; no detection is in two. The same for any order of the rows.

    Raises
    ------
    InvalidDetectionsError
        See ``validated_detections``.
    """
    rows = validated_detections(detections)
    order = np.argsort(detections["detection_id"], kind="stable")
    place = order[np.searchsorted(detections["detection_id"][order], rows["detection_id"])]
    own = np.ascontiguousarray(np.asarray(observers, np.float64).reshape(-1, 6)[place])
    window = window_of(rows, own, form_tracklets(rows, own, tracklet_rules))
    likely = plausible_tracklets(rows, window.tracklets, window.index, pruning)
    likely &= window.tracklets.untouched(stationary_detections(rows, pruning))
    window.tracklets = window.tracklets.where(likely)
    progress("tracklets", 0, len(window.tracklets))
    found = link(window, rules, progress=progress)
    ids = [
        np.sort(rows["detection_id"][found.members[a:b]])
        for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)
    ]
    in_order = np.argsort(np.array([i[0] for i in ids], np.int64), kind="stable")
    return Links(
        members=tuple(ids[k] for k in in_order),
        states=states(found, window.view)[in_order],
        epoch_mjd_tai=window.epoch,
        chi2=found.chi2[in_order],
    )
