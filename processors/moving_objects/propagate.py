"""Motion of small bodies under Sun, planets, Moon and, if wanted, sixteen asteroids, with the Sun's relativity.

A step is: half along the conic, a kick by everything else, half along the conic (Wisdom and Holman 1991, AJ 102, 1528). Its
error has even powers of the step's length only and is small with the perturbations, so that steps divided in 1, 2, 3, ...
extrapolate to length zero (Gragg's method with this step in place of the midpoint rule), and the last change of the
extrapolation tells when to stop. Where that does not suffice, near a planet, the step is halved.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from processors.moving_objects.asteroids import ASTEROID_EPOCH_MJD_TDB, ASTEROID_GM, ASTEROID_STATES
from processors.moving_objects.forces import indirect, kick
from processors.moving_objects.kepler import step
from processors.moving_objects.solar_system import (
    SolarSystem,
    gms,
    heliocentric_positions,
    require_span,
)

__all__ = ["carry", "carry_one", "propagate", "with_asteroids"]

Floats = NDArray[np.float64]

TOLERANCE_AU = 1e-13
"""Last change of the extrapolation at which a step of one body is accepted, relative beyond 1 au: 15 mm."""

COMMON_TOLERANCE_AU = 1e-11
"""The same for steps that all bodies take together; the change is that of the order below, its error is some 1e-2 of it."""

LONGEST_STEP_DAYS = 16.0
"""Longest step of one body."""

FIRST_STEP_DAYS = 8.0
"""Step tried first."""

SHORTEST_STEP_DAYS = 1e-6
"""A body that needs shorter steps falls into a planet or the Sun: its state becomes NaN."""

COMMON_STEP_DAYS = 4.0
"""Steps that all bodies take together are at most this long."""

_LEVELS = 7
"""A step is divided in up to seven."""

_COMMON_LEVELS = 3

_RECORD_DAYS = 32.0
_RECORD_DEGREE = 13
"""A body of the main belt needs some twelve Chebyshev terms for a metre in the 32 to 64 days of a record."""


@numba.njit(cache=True, error_model="numpy")
def _drift(state: Floats, dt: float) -> None:
    moved = step(state[0], state[1], state[2], state[3], state[4], state[5], dt)
    for i in range(6):
        state[i] = moved[i]


@numba.njit(cache=True, error_model="numpy")
def _extrapolate(table: Floats, level: int) -> float:
    """Turn ``table`` (levels, 6), whose row ``level`` is new, into extrapolated values; return the last change, au.

    Row j holds the value extrapolated from the divisions j + 1 to level + 1; row 0 becomes the best.
    """
    change = np.inf
    for j in range(level - 1, -1, -1):
        ratio = (level + 1.0) / (j + 1.0)
        factor = 1.0 / (ratio * ratio - 1.0)
        change = 0.0
        for i in range(6):
            new = table[j + 1, i] + factor * (table[j + 1, i] - table[j, i])
            if i < 3:
                change = max(change, abs(new - table[j + 1, i]))
            table[j, i] = new
    return change


@numba.njit(cache=True, error_model="numpy")
def _adaptive_step(
    state: Floats, begin: float, length: float, layout: Floats, coefficients: Floats, gm: Floats, table: Floats
) -> int:
    """Write into ``table[0]`` the state after one step; return the divisions used, or 0 if it does not converge."""
    bodies, of_sun = np.empty((layout.shape[0], 3)), np.empty(3)
    scale = max(1.0, np.sqrt(state[0] ** 2 + state[1] ** 2 + state[2] ** 2))
    for level in range(_LEVELS):
        h = length / (level + 1)
        table[level] = state
        _drift(table[level], 0.5 * h)
        for part in range(level + 1):
            heliocentric_positions(layout, coefficients, begin + (part + 0.5) * h, bodies)
            indirect(bodies, gm, of_sun)
            kick(table[level], h, bodies, gm, of_sun)
            _drift(table[level], h if part < level else 0.5 * h)
        change = _extrapolate(table, level)
        if level > 0 and change < TOLERANCE_AU * scale:
            return level + 1
        # Three divisions tell whether the step is hopeless.
        if level == 3 and change > 1e-3 * scale:
            return 0
    return 0


@numba.njit(cache=True, error_model="numpy")
def carry_one(state: Floats, begin: float, end: float, layout: Floats, coefficients: Floats, gm: Floats) -> None:
    """Carry one state (6,) in place from ``begin`` to ``end`` (MJD TDB), steps chosen by the error; NaN if it fails."""
    table = np.empty((_LEVELS, 6))
    time, length = begin, FIRST_STEP_DAYS if end > begin else -FIRST_STEP_DAYS
    while time != end:
        last = abs(length) >= abs(end - time)
        tried = end - time if last else length
        divisions = _adaptive_step(state, time, tried, layout, coefficients, gm, table)
        if divisions == 0:
            length = 0.5 * tried
            if not abs(length) > SHORTEST_STEP_DAYS:
                state[:] = np.nan
                return
            continue
        state[:] = table[0]
        time = end if last else time + tried
        if divisions <= 4 and not last:
            length = np.sign(length) * min(2.0 * abs(length), LONGEST_STEP_DAYS)


@numba.njit(cache=True, error_model="numpy")
def _carry_each(states: Floats, begin: Floats, end: Floats, layout: Floats, coefficients: Floats, gm: Floats) -> None:
    for k in range(states.shape[0]):
        if np.isfinite(states[k]).all() and np.isfinite(begin[k]) and np.isfinite(end[k]):
            carry_one(states[k], begin[k], end[k], layout, coefficients, gm)
        else:
            states[k] = np.nan


@numba.njit(cache=True, error_model="numpy")
def _common_step(
    states: Floats,
    begin: float,
    length: float,
    tolerance: float,
    bodies: Floats,
    of_sun: Floats,
    layout: Floats,
    coefficients: Floats,
    gm: Floats,
) -> None:
    """Carry all states by one step; ``bodies`` (kicks, bodies, 3) and ``of_sun`` are tabulated division by division."""
    levels = 2 if bodies.shape[0] == 3 else 3
    table, spare = np.empty((levels, 6)), np.empty((_LEVELS, 6))
    for k in range(states.shape[0]):
        state, at, change = states[k], 0, np.inf
        for level in range(levels):
            h = length / (level + 1)
            table[level] = state
            _drift(table[level], 0.5 * h)
            for part in range(level + 1):
                kick(table[level], h, bodies[at], gm, of_sun[at])
                _drift(table[level], h if part < level else 0.5 * h)
                at += 1
            change = _extrapolate(table, level)
        if change < tolerance:
            state[:] = table[0]
        elif np.isfinite(state).all():
            spare[0] = state
            carry_one(spare[0], begin, begin + length, layout, coefficients, gm)
            state[:] = spare[0]
        else:
            state[:] = np.nan


@numba.njit(cache=True, error_model="numpy")
def _tabulate(
    begin: float, length: float, levels: int, layout: Floats, coefficients: Floats, gm: Floats
) -> tuple[Floats, Floats]:
    kicks = levels * (levels + 1) // 2
    bodies, of_sun = np.empty((kicks, layout.shape[0], 3)), np.empty((kicks, 3))
    at = 0
    for level in range(levels):
        for part in range(level + 1):
            heliocentric_positions(layout, coefficients, begin + (part + 0.5) * length / (level + 1), bodies[at])
            indirect(bodies[at], gm, of_sun[at])
            at += 1
    return bodies, of_sun


def propagate(
    solar_system: SolarSystem,
    states: NDArray[Any],
    epochs_mjd_tdb: float | NDArray[Any],
    mjd_tdb: float | NDArray[Any],
) -> Floats:
    """Carry heliocentric states from epochs of their own to times of their own.

    Parameters
    ----------
    solar_system
        Bodies that pull, over the whole span.
    states
        ``(n, 6)``, au and au/day, ICRF axes.
    epochs_mjd_tdb, mjd_tdb
        One or ``(n,)`` each; either direction of time.

    Returns
    -------
    NDArray
        ``(n, 6)``. NaN where the state has NaN or the body falls into another on its way.

    Raises
    ------
    OutsideEphemerisError
        If a time lies outside the span of ``solar_system``.
    """
    carried = np.array(states, np.float64, order="C").reshape(-1, 6)
    begin, end = (
        np.ascontiguousarray(np.broadcast_to(t, (len(carried),)), np.float64) for t in (epochs_mjd_tdb, mjd_tdb)
    )
    require_span(solar_system, begin)
    require_span(solar_system, end)
    _carry_each(carried, begin, end, solar_system.layout, solar_system.coefficients, gms(solar_system))
    return carried


def carry(solar_system: SolarSystem, states: NDArray[Any], begin_mjd_tdb: float, end_mjd_tdb: float) -> Floats:
    """Carry many heliocentric states from one common epoch to another, in steps that they take together.

    Arguments, answer and errors are those of `propagate`; the bodies are tabulated once for all states, which makes a day of a
    million states a matter of one CPU second. States near a planet are carried one by one.
    """
    carried = np.array(states, np.float64, order="C").reshape(-1, 6)
    require_span(solar_system, np.array([begin_mjd_tdb, end_mjd_tdb]))
    span = end_mjd_tdb - begin_mjd_tdb
    count = int(np.ceil(abs(span) / COMMON_STEP_DAYS))
    arrays = solar_system.layout, solar_system.coefficients, gms(solar_system)
    for number in range(count):
        begin, length = begin_mjd_tdb + span * number / count, span / count
        levels = 2 if abs(length) <= 2.0 else _COMMON_LEVELS
        bodies, of_sun = _tabulate(begin, length, levels, *arrays)
        _common_step(carried, begin, length, COMMON_TOLERANCE_AU, bodies, of_sun, *arrays)
    return carried


def with_asteroids(solar_system: SolarSystem) -> SolarSystem:
    """Return the same Solar System with the sixteen heaviest asteroids among the bodies that pull.

    They are integrated from their states of 2023, which the span must cover (`infra.ephemerides.load_solar_system` sees to
    that): first without one another, then with the places so found. Each decade takes some tenths of a second.
    """
    bare = _with_records(solar_system, solar_system)
    return _with_records(solar_system, bare)


def _with_records(solar_system: SolarSystem, pulled_by: SolarSystem) -> SolarSystem:
    """Return ``solar_system`` with Chebyshev records of the asteroids, moving under the bodies of another."""
    begin, end = solar_system.begin_mjd_tdb, solar_system.end_mjd_tdb
    count = max(1, int(np.floor((end - begin) / _RECORD_DAYS)))
    days = (end - begin) / count
    nodes = np.cos(np.pi * (np.arange(_RECORD_DEGREE) + 0.5) / _RECORD_DEGREE)[::-1]
    times = (begin + days * (np.arange(count)[:, None] + 0.5 * (1.0 + nodes))).reshape(-1)
    places = _asteroid_places(times, pulled_by)
    tracks = places.reshape(len(ASTEROID_STATES), count, _RECORD_DEGREE, 3)
    inverse = np.linalg.inv(chebyshev.chebvander(nodes, _RECORD_DEGREE - 1))
    records = np.einsum("dn,brnx->brxd", inverse, tracks).reshape(len(ASTEROID_STATES), -1)
    first = len(solar_system.coefficients) + np.arange(len(records)) * records.shape[1]
    layout = [[begin, days, _RECORD_DEGREE, count, at] for at in first]
    return SolarSystem(
        begin_mjd_tdb=begin,
        end_mjd_tdb=end,
        layout=np.concatenate([solar_system.layout, np.array(layout, np.float64)]),
        coefficients=np.concatenate([solar_system.coefficients, records.reshape(-1)]),
        further_gm=ASTEROID_GM,
    )


def _asteroid_places(times: Floats, solar_system: SolarSystem) -> Floats:
    """Return heliocentric places ``(16, times, 3)`` of the asteroids at sorted times."""
    require_span(solar_system, ASTEROID_EPOCH_MJD_TDB)
    places = np.empty((len(ASTEROID_STATES), len(times), 3))
    middle = int(np.searchsorted(times, ASTEROID_EPOCH_MJD_TDB))
    for walk in (range(middle, len(times)), range(middle - 1, -1, -1)):
        states, at = ASTEROID_STATES, ASTEROID_EPOCH_MJD_TDB
        for k in walk:
            states = propagate(solar_system, states, at, times[k])
            at = times[k]
            places[:, k] = states[:, :3]
    return places
