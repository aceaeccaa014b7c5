"""Objects of ours that the imported catalogue has under another name: found by place and motion, proved by our own detections.

Where our orbit says an object is tonight, within its error ellipse, the catalogue is asked for orbits that move alike; one that passes through
every detection that the object holds is the same body. The catalogue's name and orbit stay. Ours remains as a provisional name: its
orbit ends as merged into the other, and everything that it held is attributed to that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from processors.association.sphere import unit_vectors
from processors.moving_objects.apparent import astrometric
from processors.moving_objects.attribution import AttributionRules
from processors.moving_objects.day_attribution import Sky, catalogue_of, offsets_arcsec
from processors.moving_objects.day_state import DayState, How
from processors.moving_objects.nightly import NightCatalogue
from processors.moving_objects.nightly_query import predict_all, predict_visit
from processors.moving_objects.propagate import propagate
from processors.moving_objects.solar_system import sun_velocities
from processors.moving_objects.timescales import tdb_from_tai
from schemas.orbits import states_of

__all__ = ["Identified", "identified", "with_identified"]

Array = np.ndarray[Any, Any]

FARTHEST_DEG = 0.5
"""Farthest from our place that the catalogue is searched: what three nights leave open after some months. Objects whose place is known
less well wait until they are seen again."""

PATCH_DEG = 2.0
"""Objects of ours in a square of this size are compared with the catalogue together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """What is the catalogue's."""

    names: Mapping[str, str] = field(default_factory=dict)
    """Our designation of each such object to the catalogue's."""
    held: Array
    """Their holdings under the catalogue's name, dtype ``day_state.HELD``, with offsets from its orbit; empty for none."""


def identified(
    state: DayState, tonight: Array, known: Array, catalogue: NightCatalogue | None, sky: Sky,
    rules: AttributionRules | None = None,
) -> Identified:  # fmt: skip
    """Return the objects of ours that are bodies of the imported catalogue.

    Parameters
    ----------
    state
        Before the night.
    tonight
        Detections of the night, dtype ``DETECTION``; only their times matter.
    known
        Imported orbits, rows of ``schemas.orbits.ORBIT_ROW``.
    catalogue
        Of the night, in which ``known`` has the numbers of its rows (`day_attribution.attribute_sources`); None, as for an empty night,
        compares nothing.
    sky
        What pulls, over all epochs and detections, and where the telescope stands.
    rules
        How near a prediction a detection must be.

    Returns
    -------
    Identified
        Of several orbits that pass through all of an object's detections the nearest counts. Nothing depends on any order.
    """
    rules = rules or AttributionRules()
    held = state.held[state.of_ours()]
    names, parts = dict[str, str](), [state.held[:0]]
    if catalogue is not None and len(known) and len(state.objects):
        held = held[np.lexsort((held["detection_id"], held["designation"]))]
        pairs, sigmas = _alike(state.objects, tonight, catalogue, len(known), sky, rules)
        for row, its in _proved(held, state.objects, known, (pairs, sigmas), sky, rules):
            names[str(state.objects["designation"][row])] = str(its["designation"][0])
            parts.append(its)
    return Identified(names=names, held=np.concatenate(parts))


def with_identified(state: DayState, found: Identified) -> DayState:
    """Return the state in which the catalogue has what is its own: no link and no orbit of ours holds it any more."""
    if not found.names:
        return state
    theirs = np.isin(state.objects["designation"], list(found.names))
    linking, links = state.linking, state.objects["link_id"][theirs]
    stay = ~np.isin(linking.link_ids, links)
    mine = linking.held | np.isin(linking.detections["detection_id"], found.held["detection_id"])
    mine[linking.links.where(~stay).members] = True
    linking = replace(linking, links=linking.links.where(stay), link_ids=linking.link_ids[stay], held=mine)
    held = np.concatenate([state.held[~np.isin(state.held["designation"], list(found.names))], found.held])
    held = held[np.argsort(held["detection_id"], kind="stable")]
    return replace(state, linking=linking, objects=state.objects[~theirs], held=held)


def _alike(
    objects: Array, tonight: Array, catalogue: NightCatalogue, imported: int, sky: Sky, rules: AttributionRules
) -> tuple[list[tuple[int, int]], list[float]]:
    """Return pairs of an object of ours and an imported orbit that are near each other and move alike, and the latter's error."""
    own, at = catalogue_of(tonight, objects, sky), catalogue.mid_night_mjd_tai
    ours = predict_all(own, sky.solar_system, sky.observatory, ra_deg=0.0, dec_deg=0.0, radius_deg=180.0, mjd_tai=at)
    reach = np.minimum(
        rules.radius_arcsec + rules.sigmas * np.nan_to_num(_column(ours, "smaa_arcsec")), FARTHEST_DEG * 3600.0
    )
    pairs, sigmas = [], []
    for patch in _patches(ours):
        centre, radius = _circle(ours[patch], float(reach[patch].max()) / 3600.0)
        found = predict_visit(
            catalogue,
            sky.solar_system,
            sky.observatory,
            ra_deg=centre[0],
            dec_deg=centre[1],
            radius_deg=radius,
            mjd_tai=at,
        )
        found = found[found["ssObjectId"] < imported]
        for one, far in zip(ours[patch], reach[patch], strict=True):
            near = found[_moves_alike(one, found, float(far), rules)]
            pairs += [(int(one["ssObjectId"]), int(other)) for other in near["ssObjectId"]]
            sigmas += np.minimum(np.nan_to_num(_column(near, "smaa_arcsec")), rules.widest_arcsec).tolist()
    return pairs, sigmas


def _column(rows: Array, name: str) -> Array:
    return np.asarray(rows[name], np.float64)


def _patches(ours: Array) -> Iterator[Array]:
    """Yield the rows of each patch of the sky."""
    zone = np.floor(ours["ephDec"] / PATCH_DEG)
    column = np.floor(ours["ephRa"] * np.cos(np.radians((zone + 0.5) * PATCH_DEG)) / PATCH_DEG)
    _, which = np.unique(np.stack([zone, column], axis=1), axis=0, return_inverse=True)
    for patch in range(int(which.max(initial=-1)) + 1):
        yield np.flatnonzero(which.reshape(-1) == patch)


def _circle(rows: Array, margin_deg: float) -> tuple[tuple[float, float], float]:
    """Return the middle of some places and the radius of a circle about all of them, with a margin, degrees."""
    vectors = unit_vectors(rows["ephRa"], rows["ephDec"])
    middle = vectors.mean(axis=0)
    middle /= np.linalg.norm(middle)
    widest = 2.0 * np.arcsin(np.minimum(1.0, 0.5 * np.linalg.norm(vectors - middle, axis=1).max()))
    ra = float(np.degrees(np.arctan2(middle[1], middle[0])) % 360.0)
    dec = float(np.degrees(np.arcsin(np.clip(middle[2], -1.0, 1.0))))
    return (ra, dec), float(np.degrees(widest)) + margin_deg + 1e-4


def _moves_alike(one: Any, found: Array, far_arcsec: float, rules: AttributionRules) -> Array:
    """Return which places are within reach of ours and move as it does: an error of place has grown over some ten days."""
    east, north = offsets_arcsec(found["ephRa"], found["ephDec"], one)
    slack = (rules.tracklet_rate_arcsec_per_day + 0.1 * far_arcsec) / 3600.0
    turn = np.hypot(_column(found, "ephRateRa") - one["ephRateRa"], _column(found, "ephRateDec") - one["ephRateDec"])
    return np.asarray((np.hypot(east, north) <= far_arcsec) & (turn <= slack))


def _proved(
    held: Array, objects: Array, known: Array, alike: tuple[list[tuple[int, int]], list[float]], sky: Sky,
    rules: AttributionRules,
) -> Iterator[tuple[int, Array]]:  # fmt: skip
    """Yield each object of which an imported orbit passes through every detection, and its holdings under that one's name."""
    pairs, sigmas = alike
    low, high = (np.searchsorted(held["designation"], objects["designation"], side=side) for side in ("left", "right"))
    best: dict[int, tuple[float, int, Array]] = {}
    for (row, other), sigma in zip(pairs, sigmas, strict=True):
        mine = held[low[row] : high[row]]
        its = _under(mine, known[other], sky)
        far = np.hypot(its["offset_ra_arcsec"], its["offset_dec_arcsec"])
        errors = np.maximum(_column(mine, "ra_err_arcsec"), _column(mine, "dec_err_arcsec"))
        share = far / (rules.radius_arcsec + rules.sigmas * np.hypot(errors, sigma))
        if len(mine) and (share <= 1.0).all():
            ranked = float(np.mean(share)), other, its
            best[row] = min(best.get(row, ranked), ranked, key=lambda one: one[:2])
    yield from ((row, best[row][2]) for row in sorted(best))


def _under(mine: Array, orbit: Any, sky: Sky) -> Array:
    """Return holdings as those of another orbit, with their offsets from it; NaN where it cannot be carried there."""
    its, times = mine.copy(), tdb_from_tai(mine["midpoint_mjd_tai"])
    states = np.repeat(states_of(np.array([orbit])), len(mine), axis=0)
    places = astrometric(
        propagate(sky.solar_system, states, float(orbit["epoch_mjd_tdb"]), times),
        observers=sky.observers(mine),
        sun_velocities=sun_velocities(sky.solar_system, times),
    )
    its["designation"], its["ss_object_id"], its["how"] = orbit["designation"], orbit["ss_object_id"], How.IDENTIFIED
    there = {"ephRa": places.ra_deg, "ephDec": places.dec_deg}
    its["offset_ra_arcsec"], its["offset_dec_arcsec"] = offsets_arcsec(mine["ra"], mine["dec"], there)
    return its
