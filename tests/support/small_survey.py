"""A small survey about opposition, for tests of the search: two-body motion, an Earth of its own, a few hundred objects.

It shares the step of two-body motion with what it tests and nothing else; the large surveys of the benchmarks are propagated
by an independent integrator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2, LIGHT_DAYS_PER_AU, OBLIQUITY_RADIANS
from processors.moving_objects.detections import DETECTION
from processors.moving_objects.kepler import two_body

__all__ = ["SmallSurvey", "small_survey"]

Array = np.ndarray[Any, Any]

BEGIN_MJD = 61304.0
COS, SIN = np.cos(OBLIQUITY_RADIANS), np.sin(OBLIQUITY_RADIANS)
TO_EQUATOR = np.array([[1.0, 0.0, 0.0], [0.0, COS, -SIN], [0.0, SIN, COS]])


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallSurvey:
    """Detections with their observers and what they are."""

    detections: Array
    observers: Array
    owner: Array
    """Object of each detection, -1 for false ones."""
    kind: Array
    """0 main belt, 1 near the Earth, 2 Trojan, 3 distant; of each object."""
    states: Array
    """Of each object at BEGIN_MJD + 7 (TAI)."""

    def findable(self) -> Array:
        """Return the objects seen twice in three nights or more."""
        night = np.floor(self.detections["midpoint_mjd_tai"] - 0.5).astype(int)
        real = self.owner >= 0
        pairs, counts = np.unique(np.stack([self.owner[real], night[real]]), axis=1, return_counts=True)
        objects, nights = np.unique(pairs[0][counts >= 2], return_counts=True)
        return objects[nights >= 3]


def observer_at(mjd: Array) -> Array:
    """Return heliocentric states of an observer on an Earth in circular motion."""
    angle = 2 * np.pi * (np.asarray(mjd) - 61304.0) / 365.25
    motion = 2 * np.pi / 365.25
    earth = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1) @ TO_EQUATOR.T
    speed = motion * np.stack([-np.sin(angle), np.cos(angle), 0 * angle], 1) @ TO_EQUATOR.T
    turn, radius, spin = (
        2 * np.pi * 1.0027379 * np.asarray(mjd),
        4.2635e-5 * np.cos(np.radians(30.2)),
        2 * np.pi * 1.0027379,
    )
    site = radius * np.stack([np.cos(turn), np.sin(turn), 0 * turn - np.tan(np.radians(30.2))], 1)
    return np.hstack([earth + site, speed + radius * spin * np.stack([-np.sin(turn), np.cos(turn), 0 * turn], 1)])


def small_survey(
    *, seed: int, counts: tuple[int, int, int, int] = (220, 25, 15, 12), false_per_visit: int = 150, nights: tuple[int, ...] = (0, 3, 6, 9, 12)
) -> SmallSurvey:  # fmt: skip
    """Observe objects about opposition in two visits a night, 35 minutes apart."""
    rng = np.random.default_rng(seed)
    middle = BEGIN_MJD + 7.0
    states = np.concatenate([_objects(rng, kind, n, middle) for kind, n in enumerate(counts)])
    kind = np.repeat(np.arange(4), counts)
    rows, observers, owners = [], [], []
    for visit, time in enumerate(BEGIN_MJD + n + 0.7 + gap for n in nights for gap in (0.0, 0.0243)):
        observer = observer_at(np.array([time]))[0]
        place, rate = _seen(states, time - middle, observer)
        centre = observer_at(np.array([middle]))[0, :3]
        centre /= np.linalg.norm(centre)
        own = np.flatnonzero(place @ centre > np.cos(np.radians(2.6)))
        false = centre + np.radians(2.5) * rng.uniform(-1, 1, (false_per_visit, 3))
        everything = np.concatenate([place[own], false / np.linalg.norm(false, axis=1, keepdims=True)])
        speed = np.concatenate([np.linalg.norm(rate[own], axis=1), np.zeros(false_per_visit)])
        rows.append(_rows(rng, visit, time, everything, speed, rate[own]))
        observers.append(np.repeat(observer[None], len(everything), 0))
        owners.append(np.concatenate([own, np.full(false_per_visit, -1)]))
    detections = np.concatenate(rows)
    detections["detection_id"] = 1000 + 3 * np.arange(len(detections))
    return SmallSurvey(
        detections=detections,
        observers=np.concatenate(observers),
        owner=np.concatenate(owners),
        kind=kind,
        states=states,
    )


def _objects(rng: np.random.Generator, kind: int, count: int, middle: float) -> Array:
    """Draw states a given distance from the Earth, about opposition, on bound orbits of the kind."""
    low, high = ((1.1, 2.2), (0.25, 0.6), (4.1, 4.3), (30.0, 45.0))[kind]
    earth = observer_at(np.array([middle]))[0]
    away = earth[:3] / np.linalg.norm(earth[:3])
    place = away + np.radians(1.9) * rng.uniform(-1, 1, (count, 3))
    place = earth[:3] + rng.uniform(low, high, count)[:, None] * place / np.linalg.norm(place, axis=1, keepdims=True)
    r = np.linalg.norm(place, axis=1, keepdims=True)
    pole = TO_EQUATOR @ np.array([0.0, 0.0, 1.0])
    forward = np.cross(pole, place) / np.linalg.norm(np.cross(pole, place), axis=1, keepdims=True)
    tilt = np.radians(8.0) * rng.normal(size=(count, 1))
    circular = np.sqrt(GM_SUN_AU3_PER_DAY2 / r)
    speed = circular * (np.cos(tilt) * forward + np.sin(tilt) * pole) * rng.uniform(0.94, 1.06, (count, 1))
    return np.hstack([place, speed + circular * 0.08 * rng.normal(size=(count, 1)) * place / r])


def _seen(states: Array, days: float, observer: Array) -> tuple[Array, Array]:
    """Return directions (with light time) and rates of states carried from their epoch."""
    light = np.zeros(len(states))
    for _ in range(4):
        relative = np.asarray(two_body(states, days - light)) - observer
        distance = np.linalg.norm(relative[:, :3], axis=1)
        light = distance * LIGHT_DAYS_PER_AU
    place = relative[:, :3] / distance[:, None]
    return place, (relative[:, 3:] - np.sum(relative[:, 3:] * place, 1, keepdims=True) * place) / distance[:, None]


def _rows(rng: np.random.Generator, visit: int, time: float, place: Array, speed: Array, rate: Array) -> Array:
    """Return detections with noise, and trails where the motion in 30 s is over an arcsecond."""
    rows = np.zeros(len(place), DETECTION)
    sigma = rng.uniform(0.03, 0.12, len(place))
    dec = np.arcsin(place[:, 2]) + np.radians(sigma / 3600) * rng.normal(size=len(place))
    ra = np.arctan2(place[:, 1], place[:, 0]) + np.radians(sigma / 3600) * rng.normal(size=len(place)) / np.cos(dec)
    rows["visit"], rows["midpoint_mjd_tai"], rows["band"] = 500 + visit, time, 2
    rows["ra"], rows["dec"] = np.degrees(ra) % 360.0, np.degrees(dec)
    rows["ra_err_arcsec"] = rows["dec_err_arcsec"] = sigma
    rows["mag"], rows["mag_err"] = 22.0 + 0.1 * rng.normal(size=len(place)), 0.1
    length = np.degrees(speed) * 3600 * 30 / 86400
    trailed = np.flatnonzero(length > 1.0)
    rows["trail_length_arcsec"][trailed] = length[trailed]
    east = -np.sin(ra[trailed]) * rate[trailed, 0] + np.cos(ra[trailed]) * rate[trailed, 1]
    rows["trail_angle_deg"][trailed] = np.degrees(np.arctan2(east, rate[trailed, 2] / np.cos(dec[trailed]))) % 180.0
    return rows
