"""Whose a detection is: sources of a visit matched to the predicted places of known orbits, tracklets to links."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit

from processors.association.closest import allowed_arcsec, closest_first
from processors.association.matching import Points, candidate_pairs
from processors.association.rules import Rules
from processors.association.sphere import ARCSEC, local_offsets, unit_vectors
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
    widest_arcsec: float = 5.0
    """Major sigma beyond which a place says too little about a single source: such objects are left to their tracklets. In a fortnight
    of 5,000 sources a visit 1 arcsec leaves 2.4 per cent of the detections to them, 5 arcsec 0.12, and neither gives one wrongly
    (``tests.benchmarks attribution``)."""
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

    def where(self, which: Array) -> Predicted:
        """Return the places at some positions."""
        return Predicted(**{name: getattr(self, name)[which] for name in self.__slots__})


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
    errors = np.maximum(detections["ra_err_arcsec"], detections["dec_err_arcsec"]).astype(np.float64)
    source, one, east, north = _near(detections, errors, predicted.where(usable), rules)
    separation = np.hypot(east, north)
    allowed = allowed_arcsec(
        east,
        north,
        (predicted.major_arcsec[usable][one], predicted.minor_arcsec[usable][one], predicted.angle_deg[usable][one]),
        radius_arcsec=rules.radius_arcsec,
        sigmas=rules.sigmas,
        source_error_arcsec=errors[source],
    )
    inside = np.flatnonzero(separation <= allowed)
    names = detections["detection_id"][source[inside]]
    closeness = separation[inside] / allowed[inside]
    kept = inside[closest_first(source[inside], one[inside], closeness, names)]
    owner[source[kept]], far[source[kept]] = usable[one[kept]], separation[kept]
    return owner, far


def _near(
    detections: Array, errors: Array, predicted: Predicted, rules: AttributionRules
) -> tuple[Array, Array, Array, Array]:
    """Return pairs of detection and place within the widest radius, and how far east and north the detection lies, arcsec."""
    reach = rules.radius_arcsec + rules.sigmas * np.hypot(np.nanmax(predicted.major_arcsec), errors.max())
    pairs = candidate_pairs(
        _points(detections["ra"], detections["dec"]),
        _points(predicted.ra, predicted.dec),
        Rules(radius_arcsec=float(reach)),
    )
    ra, dec = predicted.ra[pairs.object], predicted.dec[pairs.object]
    seen = unit_vectors(detections["ra"][pairs.source], detections["dec"][pairs.source])
    east, north = local_offsets(ra, dec, unit_vectors(ra, dec), seen)
    return pairs.source, pairs.object, east, north


def _points(ra: Array, dec: Array) -> Points:
    nothing = np.full(len(ra), np.nan)
    return Points(ra=ra, dec=dec, ra_err=nothing, dec_err=nothing, vectors=unit_vectors(ra, dec))


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
