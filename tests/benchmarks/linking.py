"""Linking simulated surveys, by class and size, beside the same idea in scipy: hypotheses in heliocentric distance and a KD tree.

``python -m tests.benchmarks linking`` measures size S; ``python -m tests.benchmarks.linking M L`` measures and prints larger ones.
The peer clusters only, with hypotheses for the main belt, and fits nothing: its count of objects is an upper bound.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from infra.ephemerides import load_solar_system, observatory
from infra.telescope.detections.plan import SurveySettings
from infra.telescope.detections.survey import Survey, simulate_survey
from processors.moving_objects.detections import DETECTION
from processors.moving_objects.kepler import two_body
from processors.moving_objects.linking_batch import link_detections
from processors.moving_objects.observers import observer_states
from processors.moving_objects.tracklets import Tracklets, form_tracklets
from tests.support.linking_score import LinkingScore, score_links
from tests.support.timing import Measured, beside

__all__ = ["measure"]

Array = np.ndarray[Any, Any]

SEED = 20260921
RADIUS_AU = 2e5 / 149597870.7
"""Clustering radius of 200,000 km, as heliolinc's documentation advises."""

DISTANCES_AU = np.arange(1.7, 3.75, 0.05)
"""Hypotheses of the peer: a constant heliocentric distance each, forty-one of them."""


def measure(sizes: tuple[str, ...] = ("S",)) -> Iterator[Measured]:
    """Yield the comparison for each size."""
    for size in sizes:
        survey = simulate_survey(SurveySettings(size=size, seed=SEED))
        detections = survey.detections.astype(DETECTION)
        observers = observers_of(detections)
        links = link_detections(detections, observers)
        score = score_links(links.members, survey.detections, survey.true_detections, survey.true_objects)
        yield beside(
            f"link survey {size}, {len(detections):,} detections",
            lambda d=detections, o=observers: link_detections(d, o),
            "scipy KD tree, main belt only, no fits",
            lambda d=detections, o=observers: clusters(d, o),
            note=f"{described(score)}; the peer: {clustered(detections, observers, survey)}",
        )


def observers_of(detections: Array) -> Array:
    """Return the states of Rubin at the detections."""
    times, place = np.unique(detections["midpoint_mjd_tai"], return_inverse=True)
    system = load_solar_system(float(times[0]) - 2.0, float(times[-1]) + 2.0)
    return np.asarray(observer_states(system, observatory("X05"), times))[place]


def described(score: LinkingScore) -> str:
    """Say how complete and pure links are."""
    classes = ", ".join(f"{name} {c.found} of {c.findable}" for name, c in score.classes.items())
    return f"{classes}, {score.pure} of {score.links} pure, {100 * score.detections_recovered:.1f} % of detections"


def clusters(detections: Array, observers: Array) -> tuple[Tracklets, set[tuple[int, ...]]]:
    """Cluster tracklets that a constant heliocentric distance brings together at the middle of the survey, by a KD tree."""
    tracklets = form_tracklets(detections, observers)
    epoch = float(np.median(tracklets.mjd_tai))
    found: set[tuple[int, ...]] = set()
    for distance in DISTANCES_AU:
        states, which = at_distance(tracklets, float(distance), epoch)
        scaled = np.hstack([states[:, :3], 5.0 * states[:, 3:]])
        for near in cKDTree(scaled).query_ball_point(scaled, RADIUS_AU):
            members = which[near]
            if len(near) >= 3 and len(np.unique(tracklets.night[members])) >= 3:
                found.add(tuple(sorted(members.tolist())))
    return tracklets, found


def at_distance(tracklets: Tracklets, distance: float, epoch: float) -> tuple[Array, Array]:
    """Return states at the epoch of the tracklets that can be at a heliocentric distance, and which they are."""
    site, u = tracklets.observer[:, :3], tracklets.vector
    along = np.sum(site * u, axis=1)
    under = along**2 - np.sum(site**2, axis=1) + distance**2
    ok = under > 0.0
    rho = -along[ok] + np.sqrt(under[ok])
    place = site[ok] + rho[:, None] * u[ok]
    side = tracklets.observer[ok, 3:] + rho[:, None] * tracklets.rate[ok]
    rho_dot = -np.sum(side * place, axis=1) / np.sum(u[ok] * place, axis=1)
    velocity = side + rho_dot[:, None] * u[ok]
    bound = np.sum(velocity**2, axis=1) < 2 * 2.9591220828e-4 / distance
    which = np.flatnonzero(ok)[bound]
    return np.asarray(two_body(np.hstack([place, velocity])[bound], epoch - tracklets.mjd_tai[which])), which


def clustered(detections: Array, observers: Array, survey: Survey) -> str:
    """Say how many main-belt objects have a cluster of the peer that is all their own."""
    tracklets, found = clusters(detections, observers)
    owner = survey.true_detections["object_id"]
    belt = survey.true_objects["object_id"][
        survey.true_objects["findable"] & (survey.true_objects["object_class"] == 0)
    ]
    own = set()
    for members in found:
        rows = np.concatenate([tracklets.members[tracklets.offsets[t] : tracklets.offsets[t + 1]] for t in members])
        if len(np.unique(owner[rows])) == 1:
            own.add(int(owner[rows[0]]))
    return f"{len(own & set(belt.tolist()))} of {len(belt)} of the main belt in pure clusters"


if __name__ == "__main__":
    for row in measure(tuple(sys.argv[1:]) or ("S",)):
        print(f"{row.what}: {row.ours_s:.1f} s, {row.peer}: {row.peer_s:.1f} s, ratio {row.ratio:.1f}; {row.note}")
