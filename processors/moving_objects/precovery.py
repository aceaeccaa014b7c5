"""Precovery: detections of past nights that belong to an orbit just found, one night after the other, the latest first.

After each night the orbit is fitted again with what was added, so that the next, earlier night is searched with smaller errors.
What a fit under all planets does not take as well as a true detection is refused (LSST moving object pipeline, "Precovery").
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from processors.moving_objects.arcs import Arcs, arcs
from processors.moving_objects.detections import night_numbers, validated_detections
from processors.moving_objects.orbit_fit import OrbitFits, fitted
from processors.moving_objects.precovery_search import PrecoveryRules, Trials, meetings, trials_of
from processors.moving_objects.solar_system import SolarSystem, sun_velocities
from processors.moving_objects.timescales import tdb_from_tai
from processors.moving_objects.variational import forces_of
from schemas.orbits import states_of

__all__ = ["PRECOVERED", "Holdings", "PrecoveryRules", "precover"]

Array = np.ndarray[Any, Any]
Floats = NDArray[np.float64]

PRECOVERED = np.dtype([("orbit", "<i8"), ("detection_id", "<i8"), ("chi2", "<f8")])
"""A detection that now belongs to an orbit: its place among the orbits, and by how much chi2 rose with the detections of its
night."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """The detections that orbits hold already, orbit k ``detections[offsets[k]:offsets[k + 1]]``."""

    detections: Array
    """Rows of ``DETECTION``."""
    offsets: NDArray[np.int64]
    observers: Floats
    """Heliocentric states of the observer at each."""


@dataclass(slots=True)
class _Pool:
    """All detections with their observers, and which are whose; grows night by night."""

    detections: Array
    observers: Floats
    members: list[NDArray[np.int64]]
    fits: OrbitFits
    rows: list[tuple[int, int, float]] = field(default_factory=list)


def precover(
    orbits: Array,
    held: Holdings,
    detections: Array,
    observers: Floats,
    *,
    solar_system: SolarSystem,
    rules: PrecoveryRules | None = None,
) -> Array:
    """Search the detections of past nights for those of orbits.

    The covariances that set the radius are those of the fit to what is held, made here and again after each night. The answer
    does not depend on the order of the detections; each goes to one orbit at most, the nearest in Mahalanobis distance first.

    Parameters
    ----------
    orbits
        Rows of ``schemas.orbits.ORBIT_ROW``: start of the fits, H (NaN where unknown) and G.
    held
        What each orbit holds; in a visit that an orbit has been found in, no other detection becomes its own.
    detections
        Rows of ``DETECTION`` that nobody holds, of any nights; may be empty.
    observers
        Heliocentric states ``(n, 6)`` of the observer at each.
    solar_system
        Bodies that pull; its span must hold all detections.
    rules
        Radii and tolerances.

    Returns
    -------
    Array
        Rows of ``PRECOVERED``, by orbit and detection_id. An orbit whose own detections have no fit gets none.

    Raises
    ------
    InvalidDetectionsError
        If detections break their contract.
    OutsideEphemerisError
        If a detection lies outside the span.
    """
    rules = rules or PrecoveryRules()
    if not len(orbits) or not len(detections):
        return np.zeros(0, PRECOVERED)
    free, seen_from = _in_order(detections, observers)
    first_free = len(held.detections)
    members = [np.arange(lo, hi) for lo, hi in zip(held.offsets[:-1], held.offsets[1:], strict=True)]
    everything = np.concatenate([held.detections, free])
    everyone = np.concatenate([held.observers, seen_from])
    start = states_of(orbits), np.ascontiguousarray(orbits["epoch_mjd_tdb"])
    fits = _fit(everything, everyone, members, start, solar_system)
    pool = _Pool(detections=everything, observers=everyone, members=members, fits=fits)
    nights = night_numbers(free["midpoint_mjd_tai"])
    brightness = orbits["h"].astype(np.float64), orbits["g"].astype(np.float64)
    # Sorted by time: a night is one run of rows. The latest first, since the arc ends there.
    for night in np.unique(nights)[::-1].tolist():
        rows = first_free + np.arange(np.searchsorted(nights, night), np.searchsorted(nights, night, side="right"))
        _search_night(pool, rows, brightness, solar_system, rules)
    return np.array(sorted(pool.rows), PRECOVERED)


def _in_order(detections: Array, observers: Floats) -> tuple[Array, Floats]:
    """Return detections in their canonical order, each once, with their observers."""
    ordered = validated_detections(detections)
    ids = np.argsort(detections["detection_id"], kind="stable")
    places = ids[np.searchsorted(detections["detection_id"][ids], ordered["detection_id"])]
    return ordered, np.ascontiguousarray(observers[places])


def _search_night(
    pool: _Pool, rows: NDArray[np.int64], brightness: tuple[Floats, Floats], solar_system: SolarSystem,
    rules: PrecoveryRules,
) -> None:  # fmt: skip
    """Add the detections of one night to the orbits that they fit."""
    tonight, fits = pool.detections[rows], pool.fits
    states = np.where(fits.ok[:, None], fits.states, np.nan)
    found = meetings(
        states, fits.covariances, fits.epochs_mjd_tdb, *brightness, tonight, pool.observers[rows],
        solar_system=solar_system, rules=rules,
    )  # fmt: skip
    trials = trials_of(_without_own_visits(found, pool, tonight), tonight, rules)
    if not len(trials.orbit):
        return
    members = [
        np.concatenate([pool.members[k], rows[list(own)]])
        for k, own in zip(trials.orbit.tolist(), trials.members, strict=True)
    ]
    start = fits.states[trials.orbit], fits.epochs_mjd_tdb[trials.orbit]
    refitted = _fit(pool.detections, pool.observers, members, start, solar_system)
    chosen = _consistent_and_disjoint(trials, refitted, fits, rules)
    rises = refitted.chi2 - fits.chi2[trials.orbit]
    for t in chosen:
        orbit = int(trials.orbit[t])
        pool.members[orbit] = members[t]
        ids = tonight["detection_id"][list(trials.members[t])].tolist()
        pool.rows.extend((orbit, identifier, float(rises[t])) for identifier in ids)
    pool.fits = _replaced(fits, trials.orbit[chosen], refitted, np.array(chosen, np.int64))


def _without_own_visits(found: Any, pool: _Pool, tonight: Array) -> Any:
    """Leave out meetings in visits that the orbit holds a detection of."""
    own = {
        (k, visit)
        for k in np.unique(found.orbit).tolist()
        for visit in pool.detections["visit"][pool.members[k]].tolist()
    }
    visits = tonight["visit"][found.detection].tolist()
    kept = np.array([(k, v) not in own for k, v in zip(found.orbit.tolist(), visits, strict=True)], bool)
    return replace(found, **{name: getattr(found, name)[kept] for name in found.__slots__})


def _fit(
    detections: Array, observers: Floats, members: list[NDArray[np.int64]], start: tuple[Floats, Floats],
    solar_system: SolarSystem,
) -> OrbitFits:  # fmt: skip
    """Fit orbits under all forces to the detections of each, from states and epochs."""
    return fitted(_arcs(detections, observers, members, solar_system), *start, 0.0, forces_of(solar_system))


def _arcs(detections: Array, observers: Floats, members: list[NDArray[np.int64]], solar_system: SolarSystem) -> Arcs:
    rows = np.concatenate(members)
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in members])])
    times = tdb_from_tai(detections["midpoint_mjd_tai"][rows])
    return arcs(
        detections[rows], offsets, mjd_tdb=times, observers=observers[rows],
        sun_velocities=sun_velocities(solar_system, times),
    )  # fmt: skip


def _consistent_and_disjoint(
    trials: Trials, refitted: OrbitFits, before: OrbitFits, rules: PrecoveryRules
) -> list[int]:
    """Return the trials to take: those that the fit allows, one for an orbit, no detection twice.

    Groups of more detections come first: that they move as predicted says more than that one of them is near. Then the nearest.
    """
    added = np.array([len(own) for own in trials.members])
    rise = refitted.chi2 - before.chi2[trials.orbit]
    good = refitted.ok & (rise <= chdtri(2 * added, rules.chance))
    first = np.array([own[0] for own in trials.members])
    order = np.lexsort((first, trials.orbit, trials.mahalanobis2, -added))
    orbits: set[int] = set()
    taken: set[int] = set()
    chosen = []
    for t in order.tolist():
        own = trials.members[t]
        if good[t] and int(trials.orbit[t]) not in orbits and taken.isdisjoint(own):
            orbits.add(int(trials.orbit[t]))
            taken.update(own)
            chosen.append(t)
    return chosen


def _replaced(fits: OrbitFits, orbits: NDArray[np.int64], new: OrbitFits, rows: NDArray[np.int64]) -> OrbitFits:
    """Return fits with those of some orbits replaced (per detection nothing is kept: it is not asked for)."""
    names = ("epochs_mjd_tdb", "states", "covariances", "chi2", "dof", "rms_arcsec", "status", "minima")
    columns = {name: getattr(fits, name).copy() for name in names}
    for name in names:
        columns[name][orbits] = getattr(new, name)[rows]
    return replace(fits, **columns)
