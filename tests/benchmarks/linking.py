"""Linking simulated surveys, by class and size, beside the same idea in scipy: hypotheses in heliocentric distance and a KD tree.

``python -m tests.benchmarks linking`` links sizes S and M, the window at once and night by night, and adds what
``_survey_linking`` has measured and kept of size L and beside heliolinx, with the day. Our time is that of all classes. The peer
clusters with hypotheses for one class and fits nothing: most of its clusters are false, and what it finds is an upper bound.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from infra.telescope.detections.plan import SurveySettings
from infra.telescope.detections.populations import CLASSES
from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2
from processors.moving_objects.kepler import two_body
from processors.moving_objects.tracklets import Tracklets, form_tracklets
from tests.benchmarks._survey_linking import Sky, kept_surveys, measured, simulated
from tests.support.timing import Measured, attempt

__all__ = ["measure"]

Array = np.ndarray[Any, Any]

SEED = 20260921
RADIUS_AU = 2e5 / 149597870.7
"""Clustering radius of 200,000 km, as heliolinc's documentation advises."""

NAMES = {"MBA": "main belt", "NEO": "near Earth", "JT": "Trojans", "TNO": "beyond Neptune"}

DISTANCES_AU = {
    "MBA": np.arange(1.7, 3.75, 0.05),
    "NEO": np.arange(1.05, 1.7, 0.025),
    "JT": np.arange(4.6, 5.8, 0.1),
    "TNO": np.geomspace(30.0, 60.0, 30),
}
"""Hypotheses of the peer: a constant heliocentric distance each."""

COMPARED = {"S": tuple(NAMES), "M": ("MBA",)}
"""Classes for which the peer is asked, by size."""

PEER_SECONDS = 60.0
"""CPU time after which the peer is stopped."""

AT_ONCE = "ours, the window at once"


def measure() -> Iterator[Measured]:
    """Yield a row for each size, class and way; then those that were kept."""
    for size, classes in COMPARED.items():
        sky = simulated(SurveySettings(size=size, seed=SEED))
        if size == "S":
            measured(sky, "batch"), measured(sky, "nightly")  # compiles what needs compiling
        ours, nightly = measured(sky, "batch"), measured(sky, "nightly")
        title = f"link {size}, {len(sky.detections):,} detections"
        for name in classes:
            yield _beside_tree(title, ours, sky, name)
        yield _row(f"{title}, night by night", nightly, "NEO", AT_ONCE, ours["cpu_s"], _missing(ours, "NEO"))
    yield from _kept()


def _row(what: str, ours: dict[str, Any], name: str, peer: str, peer_s: float, peer_error: float) -> Measured:
    return Measured(
        what=what, ours_s=ours["cpu_s"], peer=peer, peer_s=peer_s, note=described(ours),
        error_of=f"{NAMES[name]} not found, %", ours_error=_missing(ours, name), peer_error=peer_error,
    )  # fmt: skip


def _missing(found: dict[str, Any], name: str) -> float:
    """Return which share of a class's findable objects was not found, per cent."""
    one = found["classes"][name]
    return 100.0 * (1.0 - one["found"] / one["findable"]) if one["findable"] else math.nan


def described(found: dict[str, Any]) -> str:
    """Say how complete and pure links are, and what they took."""
    classes = ", ".join(f"{NAMES[name]} {c['found']} of {c['findable']}" for name, c in found["classes"].items())
    worst = max((night["cpu_s"] for night in found.get("nights", ())), default=0.0)
    memory = f"; {found['peak_mb']} MB" if "day" in found else ""  # of a process that did not simulate as well
    return (
        f"{classes}; {found['pure']} of {found['links']} pure; {100 * found['recovered']:.1f} % of detections; "
        f"split {found['split']}{memory}" + (f"; worst night {worst:.1f} s" if worst else "")
    )


def _kept() -> Iterator[Measured]:
    """Yield what was measured before: heliolinx on the same detections, and size L."""
    surveys = kept_surveys("*-plain-*.json")
    for stem, found in surveys.items():
        survey, _, way = stem.rpartition("-")
        what, ours = f"link {survey.replace('-', ' ')}, kept {found.get('day', '')}", surveys.get(f"{survey}-batch")
        if way == "heliolinx" and ours:
            for name in ("NEO", "TNO"):
                yield _row(what, ours, name, "heliolinx, 213 hypotheses", found["cpu_s"], _missing(found, name))
        elif survey.startswith("L") and way == "batch":
            yield _row(what, found, "NEO", "none", math.nan, math.nan)
        elif survey.startswith("L") and way == "nightly" and ours:
            yield _row(f"{what}, night by night", found, "NEO", AT_ONCE, ours["cpu_s"], _missing(ours, "NEO"))


def _beside_tree(title: str, ours: dict[str, Any], sky: Sky, name: str) -> Measured:
    started = time.process_time()
    answer, problem = attempt(lambda: clusters(sky.detections, sky.observers, DISTANCES_AU[name]), cpu=PEER_SECONDS)
    peer_s = time.process_time() - started
    if problem:
        return _row(title, ours, name, f"scipy KD tree, no fits: {problem}", math.nan, math.nan)
    return _row(title, ours, name, "scipy KD tree, no fits", peer_s, _unclustered(*answer, sky, name))


def clusters(detections: Array, observers: Array, distances_au: Array) -> tuple[Tracklets, set[tuple[int, ...]]]:
    """Cluster tracklets that a constant heliocentric distance brings together at the middle of the survey, by a KD tree."""
    tracklets = form_tracklets(detections, observers)
    epoch = float(np.median(tracklets.mjd_tai))
    found: set[tuple[int, ...]] = set()
    for distance in distances_au:
        states, which = at_distance(tracklets, float(distance), epoch)
        scaled = np.hstack([states[:, :3], 5.0 * states[:, 3:]])
        tree = cKDTree(scaled)
        several = np.flatnonzero(tree.query_ball_point(scaled, RADIUS_AU, return_length=True) >= 3)
        for near in tree.query_ball_point(scaled[several], RADIUS_AU):
            members = which[near]
            if len(set(tracklets.night[members].tolist())) >= 3:
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
    bound = np.sum(velocity**2, axis=1) < 2 * GM_SUN_AU3_PER_DAY2 / distance
    which = np.flatnonzero(ok)[bound]
    return np.asarray(two_body(np.hstack([place, velocity])[bound], epoch - tracklets.mjd_tai[which])), which


def _unclustered(tracklets: Tracklets, found: set[tuple[int, ...]], sky: Sky, name: str) -> float:
    """Return which share of a class's findable objects has no cluster of the peer that is all its own, per cent."""
    true_detections, true_objects = sky.truth()
    owner = true_detections["object_id"]
    chosen = true_objects["findable"] & (true_objects["object_class"] == CLASSES.index(name))
    wanted = true_objects["object_id"][chosen]
    first, last = owner[tracklets.members[tracklets.offsets[:-1]]], owner[tracklets.members[tracklets.offsets[1:] - 1]]
    single = np.where(first == last, first, -1)
    own = {next(iter(owners)) for members in found if len(owners := set(single[list(members)].tolist())) == 1}
    return 100.0 * (1.0 - len(own & set(wanted.tolist())) / max(1, len(wanted)))
