"""Orbits per second: our fits of fortnights beside scipy's least squares over heyoka's integration, and over our own two-body motion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from infra.ephemerides import load_solar_system
from infra.telescope.detections.integration import integrate
from infra.telescope.detections.solar_system import Ephemeris
from processors.moving_objects.apparent import astrometric
from processors.moving_objects.arcs import EAST, LINE_OF_SIGHT, NORTH, WEIGHT_EAST, WEIGHT_NORTH, Arcs, take
from processors.moving_objects.orbit_fit import OrbitFits, fit_many
from processors.moving_objects.orbit_fit_nbody import refine
from tests.support.orbit_arcs import FIRST_NIGHT_TAI, TrueArcs, simulated_arcs
from tests.support.timing import Measured, beside

MANY, FEW, SOME = 100, 10, 96
SCALES = np.array([1e-3] * 3 + [1e-5] * 3)


def measure() -> Iterator[Measured]:
    """Yield the comparisons, all per orbit."""
    truth = simulated_arcs("MBA", MANY, seed=1)
    grouped, system = truth.arcs(), load_solar_system(FIRST_NIGHT_TAI - 10, FIRST_NIGHT_TAI + 40)
    two_body = fit_many(grouped)
    few = take(grouped, np.arange(FEW))
    yield beside(
        f"two-body fit with range scan, {FEW} orbits",
        lambda: fit_many(few),
        "scipy least_squares over two-body places",
        lambda: [by_scipy(grouped, truth, two_body, k) for k in range(FEW)],
        note="ours from nothing, theirs started at the answer plus 1e-3 au",
    )
    one = take(grouped, np.arange(SOME))
    start = _first(two_body, SOME)
    yield beside(
        f"n-body refinement, {SOME} orbits",
        lambda: refine(one, start, solar_system=system),
        "heyoka integrations of the same differences",
        lambda: by_heyoka(truth, two_body, SOME),
        note="ours the whole fit by variational equations, theirs the integrations of one iteration and their compilation",
    )


def _first(fits: OrbitFits, count: int) -> OrbitFits:
    from dataclasses import fields

    values: dict[str, Any] = {field.name: getattr(fits, field.name) for field in fields(fits)}
    return OrbitFits(**{name: value[:count] for name, value in values.items()})


def by_scipy(grouped: Arcs, truth: TrueArcs, fits: OrbitFits, k: int) -> np.ndarray[Any, Any]:
    """Fit an orbit by differences of places."""
    lo, hi = grouped.offsets[k], grouped.offsets[k + 1]
    rows, order = grouped.rows[lo:hi], grouped.order[lo:hi]
    observers, sun, dt = truth.observers[order], truth.sun_velocities[order], rows[:, 0] - fits.epochs_mjd_tdb[k]

    def residuals(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        states = np.broadcast_to(fits.states[k] + x * SCALES, (len(rows), 6))
        line = astrometric(states, observers=observers, sun_velocities=sun, dt_days=dt).topo[:, :3]
        along = np.einsum("ni,ni->n", line, rows[:, LINE_OF_SIGHT : LINE_OF_SIGHT + 3])
        sides = [np.einsum("ni,ni->n", line, rows[:, c : c + 3]) / along for c in (EAST, NORTH)]
        return np.concatenate([sides[0] * rows[:, WEIGHT_EAST], sides[1] * rows[:, WEIGHT_NORTH]])

    return np.asarray(least_squares(residuals, np.ones(6), method="lm").x)


def by_heyoka(truth: TrueArcs, fits: OrbitFits, count: int) -> None:
    """Integrate what one iteration by differences needs: all orbits and six beside each, to the times of the detections."""
    shifts = np.vstack([np.zeros(6), np.diag(SCALES * 1e-3)])
    states = (fits.states[:count, None] + shifts).reshape(-1, 6)
    times = np.unique(truth.mjd_tdb[: truth.offsets[count]])
    with Ephemeris() as ephemeris:
        integrate(states, float(times[0]) - 1.0, times, ephemeris)
