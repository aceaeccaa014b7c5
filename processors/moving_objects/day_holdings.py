"""Who holds which detection after a night was linked, and the orbits that follow.

A link in the window says which of the window's detections are its object's. Detections that came otherwise, and those of nights
before the window, stay with their object: of two links that were joined with the one that lasts, of a link that was dissolved
only if they are enough for an object by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from processors.moving_objects.day_attribution import Sky
from processors.moving_objects.day_state import HELD, OBJECT, DayState, How, nights_of, no_holdings
from processors.moving_objects.discoveries import Discoveries, orbits_of_links
from processors.moving_objects.linking_nightly import LinkedNight, NightlyState
from schemas.detections import DETECTION
from schemas.orbits import ORBIT_ROW, states_of

__all__ = ["CLAIM", "Fitted", "claims_of", "fitted_objects", "lasting"]

Array = np.ndarray[Any, Any]

CLAIM = np.dtype([*DETECTION.descr, ("link_id", "<i8"), ("how", "i1")])
"""A detection that a link's object claims."""

SCANNED_DAYS = 30.0
"""Longest arc whose orbit is searched for anew; a longer one starts from the orbit there is (two-body motion no longer holds)."""

GOOD_NIGHTS = 3
"""Nights with two detections that an object must have (Minor Planet Center, as linking asks)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Objects with their orbits after a night."""

    objects: Array
    """Dtype ``OBJECT``, in order of designations."""
    held: Array
    """Dtype ``HELD``, of these objects, in order of detection_id."""
    reasons: Mapping[str, tuple[str, ...]]
    """Why each object that was fitted may not be reported."""
    without_orbit: int
    """Links for which no fit converged; they are tried again the next night."""


def claims_of(before: DayState, after: NightlyState, changed: LinkedNight, attributed: Array) -> Array:
    """Return which detections each link's object claims after a night, dtype ``CLAIM``, by link and detection_id.

    Parameters
    ----------
    before
        The state before the night.
    after, changed
        What linking made of it.
    attributed
        Holdings of tonight that objects of ours got by attribution, dtype ``HELD``.
    """
    of_ours = before.held[before.of_ours()]
    old = _claims(np.concatenate([of_ours, attributed]), before.objects)
    old["link_id"] = _lasting(old["link_id"], changed.joined)
    alive = np.isin(old["link_id"], after.link_ids)
    gone = np.isin(old["link_id"], changed.dissolved) & ~alive
    in_window = np.isin(old["detection_id"], after.detections["detection_id"])
    kept = old[~((alive | gone) & in_window & (old["how"] == How.LINKED))]
    every = np.concatenate([_of_links(after), kept])
    every = every[np.lexsort((every["how"], every["detection_id"]))]
    every = every[np.diff(every["detection_id"], prepend=-1) != 0]
    every = every[np.lexsort((every["detection_id"], every["link_id"]))]
    short = _too_short(every[np.isin(every["link_id"], changed.dissolved)])
    return np.asarray(every[~np.isin(every["link_id"], short)])


def fitted_objects(before: DayState, claims: Array, sky: Sky) -> Fitted:
    """Return the objects that claims stand for; those whose detections changed are fitted again.

    An object whose new fit does not converge keeps its orbit; a link without any orbit is no object yet.
    """
    edges = np.flatnonzero(np.diff(claims["link_id"], prepend=-1, append=-1))
    parts = [claims[a:b] for a, b in pairwise(edges)] if len(claims) else []
    had = {int(row["link_id"]): row for row in before.objects}
    ids_before = _ids_of(before)
    again = [p for p in parts if ids_before.get(int(p["link_id"][0])) != p["detection_id"].tobytes()]
    found = _fit(again, had, sky)
    place = {int(link): n for n, link in enumerate(found.link_ids)}
    rows, held, reasons = [], [], dict[str, tuple[str, ...]]()
    held_before = {int(row["detection_id"]): row for row in before.held}
    for part in parts:
        link = int(part["link_id"][0])
        n = place.get(link)
        if n is not None:
            rows.append(_object(found.orbits, n, link))
            held.append(_held(part, rows[-1], found.orbits.residuals_arcsec[n]))
            reasons[str(rows[-1]["designation"])] = found.orbits.reasons[n]
        elif link in had:
            rows.append(had[link])
            held.append(_kept_rows(part, had[link], held_before))
    objects = np.array(rows, OBJECT) if rows else np.zeros(0, OBJECT)
    every = np.concatenate(held) if held else no_holdings()
    return Fitted(
        objects=objects[np.argsort(objects["designation"], kind="stable")],
        held=every[np.argsort(every["detection_id"], kind="stable")],
        reasons=reasons,
        without_orbit=len(parts) - len(rows),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    link_ids: list[int]
    orbits: Discoveries


def _fit(parts: list[Array], had: Mapping[int, Any], sky: Sky) -> _Found:
    links = [int(p["link_id"][0]) for p in parts]
    detections = np.concatenate(parts) if parts else np.zeros(0, CLAIM)
    members = [p["detection_id"] for p in parts]
    starts = np.full((len(parts), 6), np.nan), np.full(len(parts), np.nan)
    for k, part in enumerate(parts):
        if links[k] in had and np.ptp(part["midpoint_mjd_tai"]) > SCANNED_DAYS:
            starts[0][k] = states_of(had[links[k]].reshape(1))[0]
            starts[1][k] = had[links[k]]["epoch_mjd_tdb"]
    orbits = orbits_of_links(
        detections, links, members, solar_system=sky.solar_system, observatory=sky.observatory, starts=starts
    )
    by_members = {tuple(sorted(m.tolist())): link for m, link in zip(members, links, strict=True)}
    return _Found(link_ids=[by_members[m] for m in orbits.members], orbits=orbits)


def _kept_rows(claims: Array, row: Any, known: Mapping[int, Any]) -> Array:
    """Return an object's claims as holdings; offsets are those that were known of the same holder, NaN otherwise."""
    held = _held(claims, row, np.full((len(claims), 2), np.nan))
    for one in held:
        old = known.get(int(one["detection_id"]))
        if old is not None and old["designation"] == row["designation"]:
            one["offset_ra_arcsec"], one["offset_dec_arcsec"] = old["offset_ra_arcsec"], old["offset_dec_arcsec"]
    return held


def _held(claims: Array, row: Any, offsets: Array) -> Array:
    held = np.zeros(len(claims), HELD)
    for name in (*(DETECTION.names or ()), "how"):
        held[name] = claims[name]
    held["designation"], held["ss_object_id"] = row["designation"], row["ss_object_id"]
    held["offset_ra_arcsec"], held["offset_dec_arcsec"] = offsets[:, 0], offsets[:, 1]
    return held


def _object(found: Discoveries, n: int, link_id: int) -> Any:
    row = np.zeros((), OBJECT)
    for name in ORBIT_ROW.names or ():
        row[name] = found.rows[name][n]
    row["link_id"], row["chi2"], row["reportable"] = link_id, found.chi2[n], not found.reasons[n]
    return row[()]


def _ids_of(state: DayState) -> dict[int, bytes]:
    """Return the detections of each object as bytes, by its link."""
    rows = _claims(state.held[state.of_ours()], state.objects)
    rows = rows[np.lexsort((rows["detection_id"], rows["link_id"]))]
    edges = np.flatnonzero(np.diff(rows["link_id"], prepend=-1, append=-1)) if len(rows) else np.zeros(0, np.int64)
    return {int(rows["link_id"][a]): rows["detection_id"][a:b].tobytes() for a, b in pairwise(edges)}


def _claims(held: Array, objects: Array) -> Array:
    rows = np.zeros(len(held), CLAIM)
    for name in (*(DETECTION.names or ()), "how"):
        rows[name] = held[name]
    if len(held):
        rows["link_id"] = objects["link_id"][np.searchsorted(objects["designation"], held["designation"])]
    return rows


def _of_links(linking: NightlyState) -> Array:
    rows = np.zeros(len(linking.links.members), CLAIM)
    for name in DETECTION.names or ():
        rows[name] = linking.detections[name][linking.links.members]
    rows["link_id"], rows["how"] = linking.link_ids[linking.links.owners()], How.LINKED
    return rows


def lasting(link_id: int, into: Mapping[int, int]) -> int:
    """Return the identifier that a link has after all joins, each an ended one and the one that holds its members now."""
    seen = {link_id}
    while link_id in into and into[link_id] not in seen:
        link_id = into[link_id]
        seen.add(link_id)
    return link_id


def _lasting(link_ids: Array, joined: tuple[tuple[int, int], ...]) -> Array:
    into = dict(joined)
    each, inverse = np.unique(link_ids, return_inverse=True)
    return np.array([lasting(one, into) for one in each.tolist()], np.int64)[inverse]


def _too_short(claims: Array) -> Array:
    """Return the links that have too few good nights for an object."""
    nights = nights_of(claims)
    each, counts = np.unique(np.stack([claims["link_id"], nights], axis=1), axis=0, return_counts=True)
    good = np.unique(each[counts >= 2][:, 0], return_counts=True)
    return np.setdiff1d(claims["link_id"], good[0][good[1] >= GOOD_NIGHTS])
