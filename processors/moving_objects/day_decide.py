"""One night of DayMOPS as a function: from the state before it and the night's candidates to the state after it.

Known orbits take what is theirs first, objects of ours among it that are theirs. The rest is linked with the window; objects whose detections changed are fitted again; new
ones are compared with those that left the window, and looked for in what past nights left over. Of what no link took, objects in the
window get what their orbits predict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from processors.moving_objects.day_attribution import (
    Attributed,
    Sky,
    Uncertain,
    attribute_sources,
    attribute_uncertain,
    joint_matches,
)
from processors.moving_objects.day_candidates import NightCandidates
from processors.moving_objects.day_holdings import CLAIM, Fitted, claims_of, fitted_objects, lasting
from processors.moving_objects.day_identified import identified, with_identified
from processors.moving_objects.day_past import found_before, past_of
from processors.moving_objects.day_state import HELD, DayRules, DayState, How, nights_of, no_holdings
from processors.moving_objects.day_window import given_back, overlooked, taken_out
from processors.moving_objects.detections import validated_detections
from processors.moving_objects.errors import DayTooLargeError
from processors.moving_objects.linking_nightly import LinkedNight, NightlyState, link_night
from processors.moving_objects.nightly import NightCatalogue
from processors.moving_objects.tracklets import measure_tracklets
from schemas.detections import DETECTION
from schemas.orbits import ORBIT_ROW

__all__ = ["DayStep", "decide_night"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayStep:
    """What a night made of the state."""

    state: DayState
    merged: Mapping[str, str] = field(default_factory=dict)
    """Designation of an object that ended to the one that has its detections now."""
    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Why each object that was fitted may not be reported."""
    counts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What attribution made of a night."""

    rest: Array
    """Detections that nobody took, in canonical order."""
    ours: Array
    """Holdings of objects of ours, dtype ``HELD``."""
    imported: Array
    """Holdings of imported objects."""
    inactive: Array
    """Objects of ours that have left the window, rows of ``OBJECT``."""
    catalogue: NightCatalogue | None
    first: int


def decide_night(
    state: DayState, night: NightCandidates, known: Array, sky: Sky, rules: DayRules | None = None
) -> DayStep:
    """Return what DayMOPS makes of a night.

    Parameters
    ----------
    state
        After the nights before; ``day_state.begin_days()`` at first. Nights may be missing in between.
    night
        Its candidates, in any order; may be empty. Those that the state has already count once.
    known
        Imported orbits, rows of ``schemas.orbits.ORBIT_ROW``; those that are objects of ours are left out.
    sky
        What pulls, over all epochs and nights, and where the telescope stands.
    rules
        Limits.

    Raises
    ------
    InvalidDetectionsError
        When detections break their contract.
    DayTooLargeError
        When there are more detections or objects than the rules allow.
    """
    rules = rules or DayRules()
    tonight = validated_detections(night.detections)
    seen = np.concatenate([state.held["detection_id"], state.linking.detections["detection_id"]])
    tonight = tonight[~np.isin(tonight["detection_id"], seen)]
    _require_room(state, len(tonight), rules)
    known = known[~np.isin(known["designation"], state.objects["designation"])]
    given = _attributed(state, tonight, known, sky, rules)
    theirs = identified(state, tonight, known, given.catalogue, sky, rules.nightly.attribution)
    if theirs.names:
        state = with_identified(state, theirs)
        given = _attributed(state, tonight, known, sky, rules)
    linking, changed = link_night(state.linking, given.rest, sky.observers(given.rest), rules.nightly)
    linking, changed = _rejoined(state, linking, changed, given, sky)
    linking, ours = _looked_again(state, linking, given, sky, rules)
    fitted = fitted_objects(state, claims_of(state, linking, changed, ours), sky)
    if len(fitted.objects) > rules.objects_most:
        raise DayTooLargeError(
            f"{len(fitted.objects)} objects exceed the {rules.objects_most} that the settings allow."
        )
    before = np.concatenate([state.past, _left(state, linking)])
    linking = given_back(linking, _lost(state, fitted), rules.nightly)
    after, fitted = _with_precovered(state, linking, fitted, before, sky, rules)
    merged = {**_merged(state, changed, after), **theirs.names}
    counts = {
        "detections": float(len(tonight)),
        "attributed_known": float(len(given.imported)),
        "attributed_ours": float(len(ours)),
        "identified": float(len(theirs.names)),
        "precovered": float((after.held["how"] == How.PRECOVERED).sum() - (state.held["how"] == How.PRECOVERED).sum()),
        "links": float(len(linking.link_ids)),
        "links_without_orbit": float(fitted.without_orbit),
        "orbits": float(len(after.objects)),
        "reportable": float(after.objects["reportable"].sum()),
        "free_tracklets": float(len(linking.tracklets)),
    }
    after = replace(after, held=_sorted(np.concatenate([after.held, _imported(state, given, linking)])))
    return DayStep(state=after, merged=merged, reasons=fitted.reasons, counts=counts)


def _require_room(state: DayState, tonight: int, rules: DayRules) -> None:
    total = tonight + len(state.linking.detections) + len(state.past)
    if total > rules.detections_most:
        raise DayTooLargeError(
            f"{total} detections, {tonight} of them of this night, exceed the {rules.detections_most} that the settings allow."
        )


def _attributed(state: DayState, tonight: Array, known: Array, sky: Sky, rules: DayRules) -> _Given:
    """Give tonight's detections to imported orbits and to objects of ours that have left the window."""
    inactive = state.objects[~state.active()]
    orbits = np.concatenate([known, _as_orbits(inactive)])
    first = len(known)
    got, catalogue = attribute_sources(tonight, orbits, sky, rules.nightly.attribution)
    rest = tonight[got.owner < 0]
    ours = _holdings(tonight, got, orbits, got.owner >= first)
    if catalogue is not None and len(inactive):
        uncertain = Uncertain(objects=inactive, held=_held_by(state.held, inactive), catalogue=catalogue, first=first)
        owner = attribute_uncertain(rest, uncertain, sky, rules.nightly.tracklets)
        nothing = np.full(len(rest), np.nan)
        further = Attributed(owner=owner, east_arcsec=nothing, north_arcsec=nothing)
        ours = np.concatenate([ours, _holdings(rest, further, _as_orbits(inactive), owner >= 0)])
        rest = rest[owner < 0]
    imported = _holdings(tonight, got, orbits, (got.owner >= 0) & (got.owner < first))
    return _Given(rest=rest, ours=ours, imported=imported, inactive=inactive, catalogue=catalogue, first=first)


def _looked_again(
    state: DayState, linking: NightlyState, given: _Given, sky: Sky, rules: DayRules
) -> tuple[NightlyState, Array]:
    """Return the window after the second look at its objects, and tonight's holdings of all objects of ours."""
    orbits = _as_orbits(state.objects)
    rest, got = overlooked(linking, given.rest, orbits, state.objects["link_id"], sky, rules.nightly)
    more = _holdings(rest, got, orbits, got.owner >= 0)
    return taken_out(linking, more["detection_id"]), np.concatenate([given.ours, more])


def _lost(state: DayState, fitted: Fitted) -> Array:
    """Return the detections that objects of ours had by attribution, and that none has any more."""
    attributed = state.held[state.of_ours() & (state.held["how"] == How.ATTRIBUTED)]
    return np.setdiff1d(attributed["detection_id"], fitted.held["detection_id"])


def _rejoined(
    state: DayState, linking: NightlyState, changed: LinkedNight, given: _Given, sky: Sky
) -> tuple[NightlyState, LinkedNight]:
    """Give links that are new tonight to the objects that left the window and are found again in them."""
    new = np.flatnonzero(np.isin(linking.link_ids, changed.founded))
    if given.catalogue is None or not len(new) or not len(given.inactive):
        return linking, changed
    members = [linking.links.members[linking.links.offsets[k] : linking.links.offsets[k + 1]] for k in new.tolist()]
    last = nights_of(linking.detections)[-1]
    of_night = [m[nights_of(linking.detections[m]) == last] for m in members]
    tracklets = measure_tracklets(
        linking.detections, linking.observers,
        offsets=np.concatenate([[0], np.cumsum([len(m) for m in of_night])]).astype(np.int64),
        members=np.concatenate(of_night),
    )  # fmt: skip
    known = Uncertain(
        objects=given.inactive,
        held=_held_by(np.concatenate([state.held, given.ours]), given.inactive),
        catalogue=given.catalogue,
        first=given.first,
        any_ellipse=True,
    )
    additions = [linking.detections[m] for m in members]
    ids, pairs = linking.link_ids.copy(), []
    for k, t in joint_matches(linking.detections, tracklets, additions, known, sky):
        old, renamed = int(given.inactive["link_id"][k]), int(ids[new[t]])
        pairs.append((renamed, old))
        ids[new[t]] = old
    return replace(linking, link_ids=ids), replace(changed, joined=(*changed.joined, *pairs))


def _with_precovered(
    state: DayState, linking: NightlyState, fitted: Fitted, before: Array, sky: Sky, rules: DayRules
) -> tuple[DayState, Fitted]:
    """Return the state with what past nights have of new objects, and their orbits."""
    new = ~np.isin(fitted.objects["designation"], state.objects["designation"])
    found = found_before(fitted, new, before, sky, rules.precovery)
    if len(found):
        claims = np.concatenate([_as_claims(fitted), found])
        claims = claims[np.lexsort((claims["detection_id"], claims["link_id"]))]
        basis = DayState(linking=linking, past=before, objects=fitted.objects, held=fitted.held)
        again = fitted_objects(basis, claims, sky)
        fitted = replace(again, reasons={**fitted.reasons, **again.reasons}, without_orbit=fitted.without_orbit)
    past = past_of(before, fitted.held, linking, rules)
    return DayState(linking=linking, past=past, objects=fitted.objects, held=fitted.held), fitted


def _as_claims(fitted: Fitted) -> Array:
    claims = np.zeros(len(fitted.held), CLAIM)
    for name in (*(DETECTION.names or ()), "how"):
        claims[name] = fitted.held[name]
    place = np.searchsorted(fitted.objects["designation"], fitted.held["designation"])
    claims["link_id"] = fitted.objects["link_id"][place]
    return claims


def _left(state: DayState, linking: NightlyState) -> Array:
    """Return the detections that left the window tonight, without what the imported catalogue has of them."""
    rows, theirs = state.linking.detections, state.held["detection_id"][state.held["how"] == How.IDENTIFIED]
    stay = np.isin(rows["detection_id"], linking.detections["detection_id"]) | np.isin(rows["detection_id"], theirs)
    return np.asarray(rows[~stay])


def _imported(state: DayState, given: _Given, linking: NightlyState) -> Array:
    """Return the holdings of imported objects in the window, tonight's among them, and what objects of ours had found of them."""
    every = np.concatenate([state.held[~state.of_ours()], given.imported])
    if not len(linking.detections) or not len(every):
        return np.asarray(every)
    return np.asarray(every[(nights_of(every) >= nights_of(linking.detections)[0]) | (every["how"] == How.IDENTIFIED)])


def _merged(state: DayState, changed: LinkedNight, after: DayState) -> dict[str, str]:
    """Return which objects of before ended in which of now."""
    name = {int(row["link_id"]): str(row["designation"]) for row in np.concatenate([after.objects, state.objects])}
    into, merged = dict(changed.joined), dict[str, str]()
    for row in state.objects[~np.isin(state.objects["designation"], after.objects["designation"])]:
        link = lasting(int(row["link_id"]), into)
        if link != int(row["link_id"]) and link in name:
            merged[str(row["designation"])] = name[link]
    return merged


def _as_orbits(objects: Array) -> Array:
    rows = np.zeros(len(objects), ORBIT_ROW)
    for name in ORBIT_ROW.names or ():
        rows[name] = objects[name]
    return rows


def _holdings(detections: Array, got: Attributed, orbits: Array, which: Array) -> Array:
    rows = np.zeros(int(which.sum()), HELD)
    if not len(rows):
        return no_holdings()
    for name in DETECTION.names or ():
        rows[name] = detections[name][which]
    owner = orbits[got.owner[which]]
    rows["designation"], rows["ss_object_id"] = owner["designation"], owner["ss_object_id"]
    rows["how"] = How.ATTRIBUTED
    rows["offset_ra_arcsec"], rows["offset_dec_arcsec"] = got.east_arcsec[which], got.north_arcsec[which]
    return rows


def _held_by(held: Array, objects: Array) -> list[Array]:
    """Return the detections of each object, dtype ``DETECTION``."""
    rows = np.zeros(len(held), DETECTION)
    for name in DETECTION.names or ():
        rows[name] = held[name]
    order = np.argsort(held["designation"], kind="stable")
    names = held["designation"][order]
    low, high = (np.searchsorted(names, objects["designation"], side=side) for side in ("left", "right"))
    return [rows[order[a:b]] for a, b in zip(low.tolist(), high.tolist(), strict=True)]


def _sorted(held: Array) -> Array:
    return np.asarray(held[np.argsort(held["detection_id"], kind="stable")])
