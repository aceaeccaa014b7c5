"""Attribution judged on a simulated survey: orbits fitted to what earlier nights saw, carried to tonight, matched to tonight's sources.

The survey's motion is heyoka's, the fits and the propagation are ours; which detections are one object is taken from the truth, so
that attribution alone is judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from infra.ephemerides import load_solar_system, observatory
from infra.telescope.detections.survey import Survey
from processors.association.sphere import unit_vectors
from processors.moving_objects.apparent import astrometric
from processors.moving_objects.attribution import AttributionRules
from processors.moving_objects.day_attribution import Sky, attribute_sources
from processors.moving_objects.detections import DETECTION, night_numbers
from processors.moving_objects.discoveries import orbits_of_links
from processors.moving_objects.observers import observer_states
from processors.moving_objects.propagate import propagate
from processors.moving_objects.solar_system import sun_velocities
from processors.moving_objects.timescales import tdb_from_tai
from schemas.orbits import states_of

__all__ = ["AttributionCase", "AttributionScore", "case_of", "judge"]

Array = np.ndarray[Any, Any]

NEAR_DEG = 3.0
"""Orbits of objects that were last seen farther than this from tonight's visits are not fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionCase:
    """Known orbits, and visits of a night with whose each detection truly is."""

    orbits: Array
    """Rows of ``ORBIT_ROW``."""
    owner: Array
    """object_id of each orbit."""
    detections: Array
    truth: Array
    """object_id of each detection, -1 for false ones."""
    sky: Sky

    def score(self, answer: Array) -> AttributionScore:
        """Compare an answer, an object_id or -1 for each detection, with the truth."""
        known = np.isin(self.truth, self.owner) & (self.truth > 0)
        total = int(known.sum())
        return AttributionScore(
            known=total,
            right=float((answer[known] == self.truth[known]).sum() / total),
            unmatched=float((answer[known] < 0).sum() / total),
            wrong=float(((answer > 0) & (answer != self.truth)).sum() / total),
        )

    def places(self, detections: Array) -> tuple[Array, Array, Array]:
        """Return rows of the orbits and their places (degrees) on the whole sky at a visit's time, by n-body propagation."""
        mjd = float(detections["midpoint_mjd_tai"][0])
        tdb = float(tdb_from_tai(mjd))
        states = propagate(self.sky.solar_system, states_of(self.orbits), self.orbits["epoch_mjd_tdb"], tdb)
        seen = astrometric(
            states,
            observers=observer_states(self.sky.solar_system, self.sky.observatory, mjd),
            sun_velocities=sun_velocities(self.sky.solar_system, np.array([tdb])),
        )
        return np.arange(len(states)), seen.ra_deg, seen.dec_deg


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionScore:
    """Shares of the detections of known objects."""

    known: int
    """Detections tonight of objects with an orbit."""
    right: float
    unmatched: float
    wrong: float
    """Detections, of whatever, that were given to an orbit that is not theirs."""


def case_of(
    survey: Survey, *, nights_before: int, visits: int, sources_a_visit: int = 0, seed: int = 0
) -> AttributionCase:
    """Make a case of a survey.

    Parameters
    ----------
    nights_before
        How many nights of the survey are known; the first visits of the next are tonight's.
    visits
        How many of them.
    sources_a_visit
        Fill each visit with false sources up to so many; 0 leaves it as it is.
    seed
        Of the false sources.
    """
    detections, owner = survey.detections.astype(DETECTION), survey.true_detections["object_id"]
    number = night_numbers(detections["midpoint_mjd_tai"])
    tonight = np.unique(number)[nights_before]
    chosen = np.unique(detections["visit"][number == tonight])[:visits]
    now = np.isin(detections["visit"], chosen)
    places = unit_vectors(detections["ra"], detections["dec"])
    centres = [places[detections["visit"] == v].mean(axis=0) for v in chosen]
    near = np.any([places @ c / np.linalg.norm(c) > np.cos(np.radians(NEAR_DEG)) for c in centres], axis=0)
    past = np.flatnonzero(
        (number < tonight) & (owner > 0) & np.isin(owner, np.unique(owner[near & (number < tonight)]))
    )
    ids = _seen_on_three_nights(owner[past], number[past])
    members = _members(detections["detection_id"][past], owner[past], ids)
    times = detections["midpoint_mjd_tai"]
    sky = Sky(
        solar_system=load_solar_system(float(times.min()) - 5.0, float(times.max()) + 5.0),
        observatory=observatory(survey.settings.observatory),
    )
    orbits = orbits_of_links(
        detections[past], ids.tolist(), members, solar_system=sky.solar_system, observatory=sky.observatory
    )
    by_least = {int(one[0]): int(object_id) for one, object_id in zip(members, ids, strict=True)}
    tonights, truth = _filled(detections[now], owner[now], sources_a_visit, seed)
    return AttributionCase(
        orbits=orbits.rows,
        owner=np.array([by_least[one[0]] for one in orbits.members], np.int64),
        detections=tonights,
        truth=truth,
        sky=sky,
    )


def _seen_on_three_nights(owner: Array, night: Array) -> Array:
    pairs, counts = np.unique(np.stack([owner, night]), axis=1, return_counts=True)
    objects, nights = np.unique(pairs[0][counts >= 2], return_counts=True)
    return np.asarray(objects[nights >= 3])


def _members(detection_id: Array, owner: Array, ids: Array) -> list[Array]:
    order = np.lexsort((detection_id, owner))
    begin, end = np.searchsorted(owner[order], ids), np.searchsorted(owner[order], ids, side="right")
    return [detection_id[order[a:b]] for a, b in zip(begin, end, strict=True)]


def _filled(detections: Array, owner: Array, sources: int, seed: int) -> tuple[Array, Array]:
    """Return the detections with false ones all over each visit's field."""
    random, rows, truth = np.random.default_rng(seed), [detections], [owner]
    for visit in np.unique(detections["visit"]):
        own = detections[detections["visit"] == visit]
        false = np.repeat(own[:1], max(0, sources - len(own)))
        false["ra"] = random.uniform(own["ra"].min(), own["ra"].max(), len(false))
        false["dec"] = random.uniform(own["dec"].min(), own["dec"].max(), len(false))
        false["ra_err_arcsec"] = false["dec_err_arcsec"] = random.choice(own["dec_err_arcsec"], len(false))
        false["trail_length_arcsec"] = false["trail_angle_deg"] = 0.0
        rows.append(false)
        truth.append(np.full(len(false), -1, np.int64))
    everything = np.concatenate(rows)
    everything["detection_id"] = np.arange(len(everything)) + 1
    return everything, np.concatenate(truth)


def judge(case: AttributionCase, rules: AttributionRules | None = None) -> AttributionScore:
    """Attribute tonight's detections and compare with the truth."""
    given, _ = attribute_sources(case.detections, case.orbits, case.sky, rules)
    return case.score(np.where(given.owner >= 0, case.owner[given.owner], -1))
