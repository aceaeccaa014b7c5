"""Arcs of detections of known orbits, for the tests of the fits: populations, pairs of visits a night, honest noise.

The motion is heyoka's (`infra.telescope.detections.integration`), observer and Sun are jplephem's and ERFA's: nothing here comes
from what is tested.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.telescope.detections.integration import integrate
from infra.telescope.detections.kepler import states as two_body_states
from infra.telescope.detections.motion import NODES_DAYS, NightPaths, seen_from
from infra.telescope.detections.populations import draw
from infra.telescope.detections.solar_system import Ephemeris, site, tdb_of
from processors.moving_objects.arcs import Arcs, arcs
from processors.moving_objects.detections import DETECTION

__all__ = ["FIRST_NIGHT_TAI", "TrueArcs", "simulated_arcs", "sky_error_arcsec", "subset"]

Floats = NDArray[np.float64]

FIRST_NIGHT_TAI = 61000.2
"""Midnight of the first night at Cerro Pachon, November 2025."""

VISITS = 4
"""Visits a night, half an hour apart; an object is seen in two neighbouring ones."""

FLOOR_ARCSEC, PER_SNR_ARCSEC = 0.012, 0.7
"""Sigma of a position: a floor and the seeing over S/N, in quadrature."""

DEPTH_MAG = 24.5
"""Magnitude at S/N 5."""

BRIGHTNESS_SLOPE = 0.3
"""d log N / dm of the objects observed, down to magnitude 24.2."""

ELONGATION_DEG = 80.0
"""Objects nearer to the Sun than this in mid-arc are not observed."""

LATER_DAYS = 7.0
"""How long after the last night a prediction is judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueArcs:
    """Simulated detections and what they truly are.

    ``detections`` rows of object k are ``offsets[k]:offsets[k + 1]``; ``states`` heliocentric ICRF at ``epoch_mjd_tdb``;
    ``later`` unit vectors from the observer at ``later_mjd_tdb``.
    """

    detections: NDArray[np.void]
    offsets: NDArray[np.int64]
    mjd_tdb: Floats
    observers: Floats
    sun_velocities: Floats
    h: Floats
    epoch_mjd_tdb: float
    states: Floats
    later_mjd_tdb: float
    later_observer: Floats
    later_sun_velocity: Floats
    later: Floats
    later_states: Floats

    def arcs(self) -> Arcs:
        """Return the arcs as the fits read them."""
        return arcs(
            self.detections,
            self.offsets,
            mjd_tdb=self.mjd_tdb,
            observers=self.observers,
            sun_velocities=self.sun_velocities,
        )


def simulated_arcs(name: str, count: int, *, seed: int, nights: int = 14, seen: tuple[int, int] = (4, 6)) -> TrueArcs:
    """Observe ``count`` bodies of a class of `populations.CLASSES` over some nights.

    Parameters
    ----------
    name, count, seed
        The class, how many bodies, and the seed of everything drawn.
    nights
        Length of the arc: the first and the last night are always among those seen.
    seen
        Fewest and most nights on which an object is seen (twice each).
    """
    random = np.random.default_rng([seed, *name.encode()])
    midnights = np.asarray(FIRST_NIGHT_TAI + np.arange(nights), np.float64)
    with Ephemeris() as ephemeris:
        epoch = float(np.floor(tdb_of(midnights[0]))) - 1.0
        states = _observable(name, count, epoch, nights, random, ephemeris)
        nodes = (tdb_of(midnights)[:, None] + NODES_DAYS).ravel()
        later_tai = midnights[-1] + LATER_DAYS
        later_nodes = float(tdb_of(later_tai)) + NODES_DAYS
        moved = integrate(states, epoch, np.concatenate([nodes, later_nodes]), ephemeris)
        return _observed(name, moved, midnights, later_tai, random, seen, ephemeris)


def _observable(
    name: str, count: int, epoch: float, nights: int, random: np.random.Generator, ephemeris: Ephemeris
) -> Floats:
    """Return heliocentric states at the epoch of bodies that are in the night sky in mid-arc."""
    earth = ephemeris.states("Earth", epoch + nights / 2)[0] - ephemeris.states("Sun", epoch + nights / 2)[0]
    found: list[Floats] = []
    while sum(map(len, found)) < count:
        drawn = draw(name, 4 * count, float(np.arctan2(earth[1], earth[0])), random).elements
        line = two_body_states(drawn, nights / 2)[:, :3] - earth[:3]
        distance = np.linalg.norm(line, axis=1)
        toward_sun = line @ -earth[:3] / distance / np.linalg.norm(earth[:3])
        # Within a tenth of an au of the Earth two-body motion over a fortnight is no model: those are tested apart.
        found.append(two_body_states(drawn)[(toward_sun < np.cos(np.radians(ELONGATION_DEG))) & (distance > 0.1)])
    return np.concatenate(found)[:count]


def _observed(
    name: str,
    moved: Floats,
    midnights: Floats,
    later_tai: float,
    random: np.random.Generator,
    seen: tuple[int, int],
    ephemeris: Ephemeris,
) -> TrueArcs:
    count, place = moved.shape[1], site("X05")
    nights = _nights_seen(count, len(midnights), seen, random)
    first_visit = random.integers(0, VISITS - 1, nights.shape)
    mag = np.maximum(24.2 + np.log10(1.0 - random.uniform(size=count)) / BRIGHTNESS_SLOPE, 17.0)
    tables: list[NDArray[np.void]] = []
    owners: list[NDArray[np.intp]] = []
    for night, midnight in enumerate(midnights):
        paths = NightPaths.through(moved[3 * night : 3 * night + 3], float(tdb_of(midnight)) + float(NODES_DAYS[1]))
        for visit in range(VISITS):
            own = np.flatnonzero(
                nights[:, night] & (visit - first_visit[:, night] >= 0) & (visit - first_visit[:, night] <= 1)
            )
            when = midnight + (visit - VISITS / 2) * 0.5 / 24 + random.uniform(0, 0.004)
            line, _ = seen_from(paths.take(own), ephemeris.observer(place, np.array([when]))[0], float(tdb_of(when)))
            tables.append(_rows(line, when, VISITS * night + visit, mag[own], random))
            owners.append(own)
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    detections = np.concatenate(tables)[order]
    detections["detection_id"] = np.arange(len(detections)) + 1
    tdb = tdb_of(detections["midpoint_mjd_tai"])
    middle = 3 * (len(midnights) // 2) + 1
    epoch = float(tdb_of(midnights[len(midnights) // 2])) + float(NODES_DAYS[1])
    helio = moved[middle] - ephemeris.states("Sun", epoch)[0]
    later_tdb = float(tdb_of(later_tai))
    later_paths = NightPaths.through(moved[-3:], later_tdb + float(NODES_DAYS[1]))
    later_observer = ephemeris.observer(place, np.array([later_tai]))[0]
    later, later_place = seen_from(later_paths, later_observer, later_tdb)
    sun_later = ephemeris.states("Sun", later_tdb)[0]
    return TrueArcs(
        detections=detections,
        offsets=np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))]).astype(np.int64),
        mjd_tdb=tdb,
        observers=_observers(ephemeris, detections["midpoint_mjd_tai"], tdb),
        sun_velocities=ephemeris.states("Sun", tdb)[:, 3:],
        h=mag - 5 * np.log10(np.linalg.norm(later, axis=1) * np.linalg.norm(later_place - sun_later[:3], axis=1)),
        epoch_mjd_tdb=epoch,
        states=helio,
        later_mjd_tdb=later_tdb,
        later_observer=later_observer - sun_later[:3],
        later_sun_velocity=sun_later[3:],
        later=later / np.linalg.norm(later, axis=1, keepdims=True),
        later_states=moved[-2] - ephemeris.states("Sun", later_tdb + float(NODES_DAYS[1]))[0],
    )


def _nights_seen(count: int, nights: int, seen: tuple[int, int], random: np.random.Generator) -> NDArray[np.bool_]:
    """Return which nights each object is seen on, the first and the last always."""
    score = random.uniform(size=(count, nights))
    score[:, [0, -1]] = -1.0
    rank = np.argsort(np.argsort(score, axis=1), axis=1)
    return rank < random.integers(seen[0], seen[1] + 1, count)[:, None]


def _rows(line: Floats, when: float, visit: int, mag: Floats, random: np.random.Generator) -> NDArray[np.void]:
    snr = 5.0 * 10 ** (0.4 * (DEPTH_MAG - mag))
    rows = np.zeros(len(line), DETECTION)
    sigma = np.hypot(FLOOR_ARCSEC, PER_SNR_ARCSEC / snr).astype(np.float32)
    rows["visit"], rows["midpoint_mjd_tai"] = visit, when
    rows["ra_err_arcsec"] = rows["dec_err_arcsec"] = sigma
    rows["mag"], rows["mag_err"] = mag + random.normal(size=len(mag)) / snr, 1.0857 / snr
    rows["band"] = visit % 6
    ra = np.degrees(np.arctan2(line[:, 1], line[:, 0]))
    dec = np.degrees(np.arctan2(line[:, 2], np.hypot(line[:, 0], line[:, 1])))
    east, north = random.normal(size=(2, len(line))) * sigma / 3600
    rows["ra"], rows["dec"] = (ra + east / np.cos(np.radians(dec))) % 360, dec + north
    return rows


def _observers(ephemeris: Ephemeris, tai: Floats, tdb: Floats) -> Floats:
    """Return heliocentric states of the observer; its velocity from the difference of two minutes."""
    place, half = site("X05"), 60.0 / 86400
    at, before, after = (ephemeris.observer(place, tai + shift) for shift in (0.0, -half, half))
    sun = ephemeris.states("Sun", tdb)
    return np.hstack([at - sun[:, :3], (after - before) / (2 * half) - sun[:, 3:]])


def subset(truth: TrueArcs, kept: NDArray[np.bool_]) -> Arcs:
    """Return the arcs with only some of the detections."""
    owner = np.repeat(np.arange(len(truth.offsets) - 1), np.diff(truth.offsets))
    counts = np.bincount(owner[kept], minlength=len(truth.offsets) - 1)
    return arcs(
        truth.detections[kept],
        np.concatenate([[0], np.cumsum(counts)]),
        mjd_tdb=truth.mjd_tdb[kept],
        observers=truth.observers[kept],
        sun_velocities=truth.sun_velocities[kept],
    )


def sky_error_arcsec(truth: TrueArcs, states: Floats) -> Floats:
    """Return how far predictions are off at the later date, from two-body or other states at the later paths' middle."""
    delay = np.zeros(len(states))
    for _ in range(4):
        back = (LATER_BACK_DAYS - delay)[:, None]
        r = np.linalg.norm(states[:, :3], axis=1, keepdims=True)
        place = states[:, :3] + back * states[:, 3:] - 0.5 * back**2 * 2.9591220828e-4 * states[:, :3] / r**3
        line = place - truth.later_observer - delay[:, None] * truth.later_sun_velocity
        distance = np.linalg.norm(line, axis=1)
        delay = distance / 173.14463267
    line /= distance[:, None]
    return np.asarray(np.degrees(np.linalg.norm(line - truth.later, axis=1)) * 3600)


LATER_BACK_DAYS = -float(NODES_DAYS[1])
"""From the middle node of the later night to the time of the prediction."""
