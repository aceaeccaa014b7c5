"""Whose a detection is: sources of a visit matched to the predicted places of known orbits, tracklets to links."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit

from processors.association.sphere import ARCSEC, unit_vectors
from processors.moving_objects.kepler import two_body
from processors.moving_objects.linking_candidates import Candidates, fitted, limits_of, replaced, states
from processors.moving_objects.linking_fit import FitRows
from processors.moving_objects.sky_index import sky_order, zone_starts, zone_window
from processors.moving_objects.tracklets import Tracklets

__all__ = ["AttributionRules", "Predicted", "attribute_tracklets", "attribute_visit"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionRules:
    """Limits of attribution."""

    radius_arcsec: float = 1.0
    """Of a perfectly known place (ap_association: nearest source within 1 arcsec)."""
    sigmas: float = 3.0
    """Of the prediction and the detection that are added."""
    widest_arcsec: float = 1.0
    """Major sigma beyond which a place says too little about a single source: such objects are left to their tracklets."""
    tracklet_arcsec: float = 150.0
    """Farthest a tracklet may be from a link's prediction: a three-night arc a week later is off by 30 arcsec at the 95th
    percentile."""
    tracklet_rate_arcsec_per_day: float = 60.0
    """The same for the rate, besides three sigma of the tracklet's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """Predicted places of known objects at a visit, one element each."""

    ra: Array
    """Degrees; NaN where there is no prediction."""
    dec: Array
    major_arcsec: Array
    """Sigma along the major axis of the error ellipse."""
    minor_arcsec: Array
    angle_deg: Array
    """Position angle of the major axis, east of north."""


def attribute_visit(
    detections: Array, predicted: Predicted, rules: AttributionRules | None = None
) -> tuple[Array, Array]:
    """Match the detections of a visit to predicted places, closest first and one to one.

    Closeness is the separation over the radius allowed in its direction: 1 arcsec plus three sigma of prediction and
    detection. Equal closeness is decided by the objects' and detections' positions in the arrays.

    Parameters
    ----------
    detections
        Rows of ``DETECTION``; may be empty.
    predicted
        Places; those with NaN or an ellipse wider than the rules allow match nothing.
    rules
        Radius and limits.

    Returns
    -------
    tuple
        For each detection the position of its object or -1, and the separation in arcsec (NaN where none).
    """
    rules = rules or AttributionRules()
    owner, far = np.full(len(detections), -1, np.int64), np.full(len(detections), np.nan)
    usable = np.flatnonzero(
        np.isfinite(predicted.ra) & np.isfinite(predicted.dec) & (predicted.major_arcsec <= rules.widest_arcsec)
    )
    if not len(usable) or not len(detections):
        return owner, far
    angle = np.radians(predicted.angle_deg[usable])
    ellipse = np.stack(
        [predicted.major_arcsec[usable], predicted.minor_arcsec[usable], np.sin(angle), np.cos(angle)], axis=1
    )
    errors = np.maximum(detections["ra_err_arcsec"], detections["dec_err_arcsec"]).astype(np.float64)
    one, source, closeness, separation = _close(
        unit_vectors(predicted.ra[usable], predicted.dec[usable]), np.ascontiguousarray(ellipse, np.float64),
        unit_vectors(detections["ra"], detections["dec"]), errors, rules.radius_arcsec, rules.sigmas,
    )  # fmt: skip
    used = np.zeros(len(usable), bool)
    for p in np.lexsort((detections["detection_id"][source], one, closeness)):
        if not used[one[p]] and owner[source[p]] < 0:
            used[one[p]] = True
            owner[source[p]], far[source[p]] = usable[one[p]], separation[p]
    return owner, far


def attribute_tracklets(
    links: Candidates, tracklets: Tracklets, rows: FitRows, view: Array, epoch: float,
    rules: AttributionRules | None = None,
) -> tuple[Candidates, Array]:  # fmt: skip
    """Add tracklets of one night to the links whose joint fit allows it, best first, one tracklet a link.

    Parameters
    ----------
    links
        Fitted links.
    tracklets
        Free tracklets of one night, members as positions in ``rows``.
    rows, view, epoch
        Detections, viewpoint and epoch of the links' unknowns.

    Returns
    -------
    tuple
        The links in their order, and for each tracklet the position of its link or -1. No detection goes to two links.
    """
    rules = rules or AttributionRules()
    owner = np.full(len(tracklets), -1, np.int64)
    if not len(links) or not len(tracklets):
        return links, owner
    time = float(np.median(tracklets.mjd_tai))
    observer = tracklets.observer[int(np.argmin(np.abs(tracklets.mjd_tai - time)))]
    places, rates = _seen(links, view, epoch, time, observer)
    moved = tracklets.vector + tracklets.rate * (time - tracklets.mjd_tai)[:, None]
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    link, tracklet = _meetings(
        places, rates, moved, tracklets.rate, tracklets.rate_sigma, rules.tracklet_arcsec * ARCSEC,
        rules.tracklet_rate_arcsec_per_day * ARCSEC,
    )  # fmt: skip
    if not len(link):
        return links, owner
    trial, _ = fitted(_with_tracklets(links, link, tracklets, tracklet), rows, view, epoch)
    excess = trial.chi2 - limits_of(trial)
    taken, used, chosen = np.zeros(len(rows.times), bool), np.zeros(len(links), bool), []
    for p in np.lexsort((tracklet, link, trial.chi2 - links.chi2[link])):
        own = tracklets.members[tracklets.offsets[tracklet[p]] : tracklets.offsets[tracklet[p] + 1]]
        if excess[p] <= 0.0 and not used[link[p]] and not taken[own].any():
            used[link[p]], taken[own], owner[tracklet[p]] = True, True, link[p]
            chosen.append(p)
    return replaced(links, link[chosen], trial.where(np.array(chosen, np.int64))), owner


def _seen(links: Candidates, view: Array, epoch: float, time: float, observer: Array) -> tuple[Array, Array]:
    """Return directions and rates of links at a time, to first order in the light time."""
    state = states(links, view)
    days = time - epoch - 0.0057755 / np.maximum(links.unknowns[:, 2], 1e-4)
    relative = np.asarray(two_body(state, days)) - observer
    distance = np.linalg.norm(relative[:, :3], axis=1, keepdims=True)
    place = relative[:, :3] / distance
    along = np.sum(relative[:, 3:] * place, axis=1, keepdims=True)
    return place, (relative[:, 3:] - along * place) / distance


def _with_tracklets(links: Candidates, link: Array, tracklets: Tracklets, tracklet: Array) -> Candidates:
    """Return each link of a list with the members of a tracklet added."""
    old, new = links.where(link), tracklets.where(tracklet)
    owner = np.concatenate([old.owners(), np.repeat(np.arange(len(tracklet)), np.diff(new.offsets))])
    members = np.concatenate([old.members, new.members])
    order = np.lexsort((members, owner))
    offsets = np.concatenate([[0], np.cumsum(np.diff(old.offsets) + np.diff(new.offsets))]).astype(np.int64)
    return replace(old, offsets=offsets, members=members[order])


@njit(cache=True)
def _close(places: Any, ellipse: Any, sources: Any, errors: Any, radius: float, sigmas: float) -> Any:
    """Return pairs of object and source within the radius of their direction, with closeness and separation in arcsec."""
    widest = 0.0
    for i in range(places.shape[0]):
        widest = max(widest, ellipse[i, 0])
    reach = (radius + sigmas * np.hypot(widest, np.max(errors))) * ARCSEC
    height = max(2.0 * reach, 0.001)
    order, zones, ras = sky_order(sources, height)
    starts = zone_starts(zones, height)
    own, own_zones, own_ras = sky_order(places, height)
    one, source = np.empty(256, np.int64), np.empty(256, np.int64)
    closeness, separation = np.empty(256), np.empty(256)
    count = 0
    for p in range(own.shape[0]):
        i = own[p]
        across = np.hypot(places[i, 0], places[i, 1])
        for zone in range(max(0, own_zones[p] - 1), min(starts.shape[0] - 2, own_zones[p] + 1) + 1):
            a, b, c, d = zone_window(ras, starts, zone, height, own_ras[p], reach)
            for q in range(a, b + d - c):
                j = order[q if q < b else c + q - b]
                dx, dy, dz = sources[j, 0] - places[i, 0], sources[j, 1] - places[i, 1], sources[j, 2] - places[i, 2]
                far = np.sqrt(dx * dx + dy * dy + dz * dz) / ARCSEC
                if far * ARCSEC > reach:
                    continue
                sigma = ellipse[i, 0]
                if across > 0.0 and far > 0.0:
                    east = (dy * places[i, 0] - dx * places[i, 1]) / across / (far * ARCSEC)
                    north = (dz * across - places[i, 2] * (dx * places[i, 0] + dy * places[i, 1]) / across) / (
                        far * ARCSEC
                    )
                    along = east * ellipse[i, 2] + north * ellipse[i, 3]
                    sigma = np.sqrt((along * ellipse[i, 0]) ** 2 + max(0.0, 1.0 - along * along) * ellipse[i, 1] ** 2)
                allowed = radius + sigmas * np.hypot(sigma, errors[j])
                if far > allowed:
                    continue
                if count == one.shape[0]:
                    one, source = np.append(one, one), np.append(source, source)
                    closeness, separation = np.append(closeness, closeness), np.append(separation, separation)
                one[count], source[count], closeness[count], separation[count] = i, j, far / allowed, far
                count += 1
    return one[:count], source[:count], closeness[:count], separation[:count]


@njit(cache=True)
def _meetings(places: Any, rates: Any, moved: Any, own_rates: Any, own_sigmas: Any, radius: float, slack: float) -> Any:
    """Return pairs of a link and a tracklet that are near in place and rate."""
    height = max(2.0 * radius, 0.001)
    order, zones, ras = sky_order(moved, height)
    starts = zone_starts(zones, height)
    own, own_zones, own_ras = sky_order(places, height)
    link, tracklet = np.empty(256, np.int64), np.empty(256, np.int64)
    count = 0
    for p in range(own.shape[0]):
        i = own[p]
        for zone in range(max(0, own_zones[p] - 1), min(starts.shape[0] - 2, own_zones[p] + 1) + 1):
            a, b, c, d = zone_window(ras, starts, zone, height, own_ras[p], radius)
            for q in range(a, b + d - c):
                j = order[q if q < b else c + q - b]
                far, fast = 0.0, 0.0
                for k in range(3):
                    far += (moved[j, k] - places[i, k]) ** 2
                    fast += (own_rates[j, k] - rates[i, k]) ** 2
                if far > radius * radius or fast > (slack + 3.0 * own_sigmas[j]) ** 2:
                    continue
                if count == link.shape[0]:
                    link, tracklet = np.append(link, link), np.append(tracklet, tracklet)
                link[count], tracklet[count] = i, j
                count += 1
    return link[:count], tracklet[:count]
