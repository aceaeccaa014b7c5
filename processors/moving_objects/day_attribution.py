"""Attribution before linking: tonight's detections given to orbits that are known, imported ones and those of ours.

Each orbit is carried under all planets to the night and seen from the telescope at each visit, with its error ellipse. Where the
ellipse is small a single source is given to it; an orbit of ours that is less well known takes a whole tracklet, if one orbit
fits all that it has and the tracklet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import chdtri

from processors.association.sphere import unit_vectors
from processors.moving_objects.attribution import AttributionRules, Predicted, attribute_visit
from processors.moving_objects.discoveries import orbits_of_links
from processors.moving_objects.link_rules import CHANCE
from processors.moving_objects.nightly import HALF_NIGHT_DAYS, NightCatalogue, build_night
from processors.moving_objects.nightly_covariance import factors_of
from processors.moving_objects.nightly_query import predict_visit
from processors.moving_objects.observers import observer_states
from processors.moving_objects.orbits import known_orbits
from processors.moving_objects.solar_system import Observatory, SolarSystem
from processors.moving_objects.tracklets import TrackletRules, Tracklets, form_tracklets
from schemas.orbits import covariances_of, states_of

__all__ = [
    "Attributed",
    "Sky",
    "Uncertain",
    "attribute_sources",
    "attribute_uncertain",
    "catalogue_of",
    "joint_matches",
    "offsets_arcsec",
]

Array = np.ndarray[Any, Any]

SEARCH_DEG = 0.1
"""Farthest that a tracklet may lie from an uncertain orbit's place (LDM-156, attribution: radii from 0.004 to 0.1 degrees)."""

MARGIN_DEG = 0.02
"""How far beyond a visit's outermost detections orbits are predicted: what the widest small ellipse allows, and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sky:
    """What pulls, and where the telescope stands."""

    solar_system: SolarSystem
    observatory: Observatory

    def observers(self, detections: Array) -> Array:
        """Return the heliocentric state of the observer at each detection, au and au/day, shape (n, 6)."""
        return observer_states(self.solar_system, self.observatory, detections["midpoint_mjd_tai"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """Which orbit each detection was given to."""

    owner: Array
    """Row of the orbit, -1 for none, int64."""
    east_arcsec: Array
    """How far east of the predicted place it lies, on the great circle; NaN for none."""
    north_arcsec: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertain:
    """Objects of ours in a night's catalogue."""

    objects: Array
    """Rows of ``day_state.OBJECT``."""
    held: Sequence[Array]
    """The detections that each holds, rows of ``DETECTION``."""
    catalogue: NightCatalogue
    """Of the night (`attribute_sources`); object k is its number ``first + k``."""
    first: int
    any_ellipse: bool = False
    """Whether those whose place is well known are matched as well."""


def attribute_sources(
    detections: Array, orbits: Array, sky: Sky, rules: AttributionRules | None = None
) -> tuple[Attributed, NightCatalogue | None]:
    """Give the detections of a night to orbits whose places are well known, closest first and one to one in each visit.

    Parameters
    ----------
    detections
        Of one night, dtype ``DETECTION``; may be empty.
    orbits
        Rows of ``schemas.orbits.ORBIT_ROW``; one without a covariance is looked for as if it were exact.
    sky
        What pulls, over the epochs and the night, and where the telescope stands.
    rules
        Radius and limits.

    Returns
    -------
    tuple
        Whose each detection is, and the night's catalogue of the orbits (None where there is nothing to do); its numbers are
        rows of ``orbits``.
    """
    nobody = np.full(len(detections), -1, np.int64)
    unknown = np.full(len(detections), np.nan)
    if not len(detections) or not len(orbits):
        return Attributed(owner=nobody, east_arcsec=unknown, north_arcsec=unknown.copy()), None
    catalogue = catalogue_of(detections, orbits, sky)
    east, north = unknown, unknown.copy()
    for here in _visits(detections, catalogue):
        found = _predicted(detections[here], catalogue, sky)
        owner, _ = attribute_visit(detections[here], _places(found), rules)
        got = owner >= 0
        nobody[here[got]] = found["ssObjectId"][owner[got]]
        east[here[got]], north[here[got]] = offsets_arcsec(
            detections["ra"][here[got]], detections["dec"][here[got]], found[owner[got]]
        )
    return Attributed(owner=nobody, east_arcsec=east, north_arcsec=north), catalogue


def attribute_uncertain(
    detections: Array, known: Uncertain, sky: Sky, rules: TrackletRules | None = None
) -> Array:  # fmt: skip
    """Give tracklets of a night to objects of ours whose places are not well known, where one orbit fits everything.

    Parameters
    ----------
    detections
        Of one night, in canonical order, not given to any orbit yet.
    known
        Objects of ours.
    sky
        What pulls, and where the telescope stands.
    rules
        How tracklets are formed.

    Returns
    -------
    Array
        Row of the object of each detection, -1 for none. An object gets one tracklet at most, the one that fits best.
    """
    owner = np.full(len(detections), -1, np.int64)
    if not len(known.objects) or not len(detections):
        return owner
    tracklets = form_tracklets(detections, sky.observers(detections), rules)
    members = [detections[own] for own in np.split(tracklets.members, tracklets.offsets[1:-1])]
    for k, t in joint_matches(detections, tracklets, members, known, sky):
        own = tracklets.members[tracklets.offsets[t] : tracklets.offsets[t + 1]]
        if (owner[own] < 0).all():
            owner[own] = k
    return owner


def joint_matches(
    detections: Array, tracklets: Tracklets, additions: Sequence[Array], known: Uncertain, sky: Sky
) -> list[tuple[int, int]]:
    """Return pairs of an object of ours and a tracklet that are one body: near its place, and one orbit fits both.

    Parameters
    ----------
    detections, tracklets
        Of one night.
    additions
        What each tracklet would bring along, rows of ``DETECTION``: its members, or those of its whole link.
    known, sky
        See `attribute_uncertain`.

    Returns
    -------
    list
        Row of the object and position of the tracklet, best fit first, each once.
    """
    pairs = _near(detections, tracklets, known, sky)
    if not pairs:
        return []
    ids = [np.sort(np.concatenate([known.held[k], additions[t]])["detection_id"]) for k, t in pairs]
    every = np.concatenate([*(known.held[k] for k in {k: 0 for k, _ in pairs}), *additions])
    _, once = np.unique(every["detection_id"], return_index=True)
    of = known.objects[[k for k, _ in pairs]]
    joint = orbits_of_links(
        every[once], list(range(len(pairs))), ids, solar_system=sky.solar_system, observatory=sky.observatory,
        starts=(states_of(of), np.asarray(of["epoch_mjd_tdb"], np.float64)),
    )  # fmt: skip
    place = {members: n for n, members in enumerate(joint.members)}
    ranked = []
    for (k, t), members in zip(pairs, ids, strict=True):
        n = place.get(tuple(members.tolist()))
        limit = chdtri(2 * len(members) - 6, CHANCE)
        if n is not None and joint.chi2[n] <= limit:
            ranked.append((float(joint.chi2[n] / limit), k, t))
    return _each_once(sorted(ranked))


def _each_once(ranked: list[tuple[float, int, int]]) -> list[tuple[int, int]]:
    chosen: list[tuple[int, int]] = []
    for _, k, t in ranked:
        if all(k != other and t != tracklet for other, tracklet in chosen):
            chosen.append((k, t))
    return chosen


def catalogue_of(detections: Array, orbits: Array, sky: Sky) -> NightCatalogue:
    """Return the orbits at the middle of the night's detections, numbered by their rows."""
    times = detections["midpoint_mjd_tai"]
    states, epochs = states_of(orbits), np.asarray(orbits["epoch_mjd_tdb"], np.float64)
    good = np.flatnonzero(np.isfinite(states).all(axis=1) & np.isfinite(epochs))
    known = known_orbits(
        good,
        states[good],
        epochs[good],
        h=orbits["h"][good],
        slope=orbits["g"][good],
        factors=factors_of(covariances_of(orbits[good])),
    )
    middle = 0.5 * float(times.min() + times.max())
    return build_night(sky.solar_system, sky.observatory, known, middle)[0]


def _visits(detections: Array, catalogue: NightCatalogue) -> list[Array]:
    """Return the positions of each visit's detections; a visit outside the hours that a catalogue serves is left out."""
    apart = np.abs(detections["midpoint_mjd_tai"] - catalogue.mid_night_mjd_tai)
    inside = np.flatnonzero(apart < HALF_NIGHT_DAYS)
    return [inside[detections["visit"][inside] == visit] for visit in np.unique(detections["visit"][inside])]


def _predicted(detections: Array, catalogue: NightCatalogue, sky: Sky, margin_deg: float = MARGIN_DEG) -> Array:
    """Return the orbits in and around the circle of a visit's detections, at the middle of their times."""
    vectors = unit_vectors(detections["ra"], detections["dec"])
    centre = vectors.mean(axis=0)
    centre /= np.linalg.norm(centre)
    radius = np.degrees(2.0 * np.arcsin(0.5 * np.linalg.norm(vectors - centre, axis=1).max()))
    return predict_visit(
        catalogue,
        sky.solar_system,
        sky.observatory,
        ra_deg=float(np.degrees(np.arctan2(centre[1], centre[0])) % 360.0),
        dec_deg=float(np.degrees(np.arcsin(np.clip(centre[2], -1.0, 1.0)))),
        radius_deg=float(radius) + margin_deg,
        mjd_tai=float(np.median(detections["midpoint_mjd_tai"])),
    )


def _places(found: Array) -> Predicted:
    """Return predicted places; without a covariance, as if exact."""
    return Predicted(
        ra=found["ephRa"],
        dec=found["ephDec"],
        major_arcsec=np.nan_to_num(found["smaa_arcsec"].astype(np.float64)),
        minor_arcsec=np.nan_to_num(found["smia_arcsec"].astype(np.float64)),
        angle_deg=np.nan_to_num(found["pa_deg"].astype(np.float64)),
    )


def offsets_arcsec(ra: Array, dec: Array, found: Any) -> tuple[Array, Array]:
    """Return how far east, on the great circle, and north of predicted places (``ephRa``, ``ephDec``, degrees) others lie, arcsec."""
    east = (ra - found["ephRa"] + 180.0) % 360.0 - 180.0
    return east * np.cos(np.radians(found["ephDec"])) * 3600.0, (dec - found["ephDec"]) * 3600.0


def _near(detections: Array, tracklets: Tracklets, known: Uncertain, sky: Sky) -> list[tuple[int, int]]:
    """Return pairs of an object and a tracklet that begins near its place and moves as it does."""
    pairs: list[tuple[int, int]] = []
    begins = tracklets.members[tracklets.offsets[:-1]]
    for here in _visits(detections, known.catalogue):
        found = _predicted(detections[here], known.catalogue, sky, SEARCH_DEG)
        wide = known.any_ellipse | (found["smaa_arcsec"] > AttributionRules().widest_arcsec)
        number = found["ssObjectId"] - known.first
        mine = wide & (number >= 0) & (number < len(known.objects))
        starting = np.flatnonzero(np.isin(begins, here)).tolist()
        pairs += [
            (k, t)
            for row, k in zip(found[mine], number[mine].tolist(), strict=True)
            for t in starting
            if _agrees(row, detections, tracklets, t)
        ]
    return sorted(set(pairs))


def _agrees(row: Any, detections: Array, tracklets: Tracklets, t: int) -> bool:
    """Tell whether a tracklet begins within three sigma of a predicted place, and moves at its rate as well as both are known."""
    start = detections[tracklets.members[tracklets.offsets[t]]]
    east, north = offsets_arcsec(start["ra"], start["dec"], row)
    if np.hypot(east, north) > min(1.0 + 3.0 * float(row["smaa_arcsec"]), SEARCH_DEG * 3600.0):
        return False
    ra = np.radians(float(start["ra"]))
    to_east = np.array([-np.sin(ra), np.cos(ra), 0.0])
    to_north = np.cross(unit_vectors(start["ra"], start["dec"]).reshape(3), to_east)
    moved = np.degrees([tracklets.rate[t] @ to_east, tracklets.rate[t] @ to_north])
    slack = AttributionRules().tracklet_rate_arcsec_per_day / 3600.0 + 3.0 * np.degrees(float(tracklets.rate_sigma[t]))
    return bool(np.hypot(moved[0] - row["ephRateRa"], moved[1] - row["ephRateDec"]) <= slack)
