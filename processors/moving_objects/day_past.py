"""What past nights left over: free detections before the window, and the new objects that are found in them."""

from __future__ import annotations

from typing import Any

import numpy as np

from processors.moving_objects.day_attribution import Sky
from processors.moving_objects.day_holdings import CLAIM, Fitted
from processors.moving_objects.day_state import DayRules, How, nights_of
from processors.moving_objects.detections import validated_detections
from processors.moving_objects.linking_nightly import NightlyState
from processors.moving_objects.precovery import Holdings, PrecoveryRules, precover
from schemas.detections import DETECTION
from schemas.orbits import ORBIT_ROW

__all__ = ["found_before", "past_of"]

Array = np.ndarray[Any, Any]


def found_before(fitted: Fitted, new: Array, past: Array, sky: Sky, rules: PrecoveryRules) -> Array:
    """Return what free detections of past nights the new objects have, dtype ``day_holdings.CLAIM``.

    Parameters
    ----------
    fitted
        Objects with their orbits and holdings.
    new
        Which objects are new, boolean.
    past
        Detections of nights before the window, dtype ``DETECTION``; those that somebody holds are left out.
    sky, rules
        What pulls and where the telescope stands; radii.
    """
    free = past[~np.isin(past["detection_id"], fitted.held["detection_id"])]
    objects = fitted.objects[new]
    if not len(free) or not len(objects):
        return np.zeros(0, CLAIM)
    orbits = np.zeros(len(objects), ORBIT_ROW)
    for name in ORBIT_ROW.names or ():
        orbits[name] = objects[name]
    found = precover(
        orbits,
        _holdings(fitted.held, objects, sky),
        free,
        sky.observers(free),
        solar_system=sky.solar_system,
        rules=rules,
    )
    claims = np.zeros(len(found), CLAIM)
    order = np.argsort(free["detection_id"], kind="stable")
    rows = free[order[np.searchsorted(free["detection_id"][order], found["detection_id"])]]
    for name in DETECTION.names or ():
        claims[name] = rows[name]
    claims["link_id"], claims["how"] = objects["link_id"][found["orbit"]], How.PRECOVERED
    return claims


def past_of(past: Array, held: Array, linking: NightlyState, rules: DayRules) -> Array:
    """Return the free detections of the nights before the window that are kept, in canonical order."""
    if not len(past) or not len(linking.detections):
        return past
    last = int(nights_of(linking.detections)[-1])
    keep = nights_of(past) > last - rules.nightly.window_nights - rules.past_nights
    return validated_detections(past[keep & ~np.isin(past["detection_id"], held["detection_id"])])


def _holdings(held: Array, objects: Array, sky: Sky) -> Holdings:
    order = np.argsort(held["designation"], kind="stable")
    names = held["designation"][order]
    low, high = (np.searchsorted(names, objects["designation"], side=side) for side in ("left", "right"))
    rows = np.zeros(int((high - low).sum()), DETECTION)
    own = np.concatenate([order[a:b] for a, b in zip(low.tolist(), high.tolist(), strict=True)])
    for name in DETECTION.names or ():
        rows[name] = held[name][own]
    offsets = np.concatenate([[0], np.cumsum(high - low)]).astype(np.int64)
    return Holdings(detections=rows, offsets=offsets, observers=sky.observers(rows))
