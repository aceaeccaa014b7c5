"""A night's second look at objects in the window: what their links did not take although their orbits predict it.

Links are compared with a night by the two-body motion of a quick fit, within limits for links that are hardly known. An object in the
window has an orbit under all planets as well, as long as its last night gave it one, and that says more: of a fortnight's detections
of size M one in a hundred is found by it alone. What is given here is the object's and not its link's: it is marked as held in the
window, so that nothing else is linked with it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from processors.moving_objects.day_attribution import Attributed, Sky, attribute_sources
from processors.moving_objects.linking import window_of
from processors.moving_objects.linking_nightly import NightlyRules, NightlyState, restore
from schemas.orbits import covariances_of

__all__ = ["given_back", "overlooked", "taken_out"]

Array = np.ndarray[Any, Any]


def overlooked(
    linking: NightlyState, tonight: Array, orbits: Array, link_ids: Array, sky: Sky, rules: NightlyRules
) -> tuple[Array, Attributed]:
    """Give tonight's free detections to objects in the window whose orbits predict them.

    Parameters
    ----------
    linking
        The window after tonight's linking.
    tonight
        Detections of the night that went into it, dtype ``DETECTION``; may be empty.
    orbits
        Of objects of ours, rows of ``schemas.orbits.ORBIT_ROW``; those without a covariance are left to their links.
    link_ids
        The link of each; one whose link is not in the window gets nothing.
    sky, rules
        What pulls and where the telescope stands; limits.

    Returns
    -------
    tuple
        Tonight's detections that no link took, and which of ``orbits`` each is given to. An object gets no second detection of a
        visit.
    """
    linked = linking.detections[linking.links.members]
    rest = tonight[~np.isin(tonight["detection_id"], linked["detection_id"])]
    usable = np.isin(link_ids, linking.link_ids) & np.isfinite(covariances_of(orbits)).all(axis=(1, 2))
    rows = np.flatnonzero(usable)
    got, _ = attribute_sources(rest, orbits[rows], sky, rules.attribution)
    owner = np.where(got.owner >= 0, rows[got.owner] if len(rows) else -1, -1)
    seen = set(zip(linking.link_ids[linking.links.owners()].tolist(), linked["visit"].tolist(), strict=True))
    for place in np.flatnonzero(owner >= 0).tolist():
        if (int(link_ids[owner[place]]), int(rest["visit"][place])) in seen:
            owner[place] = -1
    return rest, replace(got, owner=owner)


def taken_out(linking: NightlyState, detection_ids: Array) -> NightlyState:
    """Return the window with some detections held, and without the tracklets that used them."""
    if not len(detection_ids):
        return linking
    held = linking.held | np.isin(linking.detections["detection_id"], detection_ids)
    return replace(linking, held=held, tracklets=linking.tracklets.where(linking.tracklets.untouched(held)))


def given_back(linking: NightlyState, detection_ids: Array, rules: NightlyRules) -> NightlyState:
    """Return the window with some of the held detections free again, and with their tracklets; the inverse of `taken_out`."""
    free = linking.held & np.isin(linking.detections["detection_id"], detection_ids)
    if not free.any():
        return linking
    held = linking.held & ~free
    window = window_of(linking.detections, linking.observers, linking.tracklets)
    window.taken[:] = held
    window.taken[linking.links.members] = True
    restore(window, np.flatnonzero(free), linking.observers, rules)
    return replace(linking, held=held, tracklets=window.tracklets)
