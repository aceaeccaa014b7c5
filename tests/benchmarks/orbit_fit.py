"""Orbits per second: our fits of fortnights beside scipy's least squares over heyoka's integration, and over our own two-body motion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
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
from processors.moving_objects.propagate import propagate
from processors.moving_objects.solar_system import SolarSystem
from processors.moving_objects.uncertainties import carry_covariance
from tests.support.orbit_arcs import FIRST_NIGHT_TAI, LATER_BACK_DAYS, TrueArcs, simulated_arcs, sky_error_arcsec
from tests.support.timing import Measured, beside

Array = np.ndarray[Any, Any]

LATER = "sky a week after the last night, median, arcsec"
MANY, FEW, SOME = 100, 10, 96
SCALES = np.array([1e-3] * 3 + [1e-5] * 3)


def measure() -> Iterator[Measured]:
    """Yield the comparisons, all per orbit."""
    truth = simulated_arcs("MBA", MANY, seed=1)
    grouped, system = truth.arcs(), load_solar_system(FIRST_NIGHT_TAI - 10, FIRST_NIGHT_TAI + 40)
    two_body = fit_many(grouped)
    few = take(grouped, np.arange(FEW))
    theirs = np.array([by_scipy(grouped, truth, two_body, k) for k in range(FEW)])
    row = beside(
        f"two-body fit with range scan, {FEW} orbits",
        lambda: fit_many(few),
        "scipy least_squares over two-body places",
        lambda: [by_scipy(grouped, truth, two_body, k) for k in range(FEW)],
        note="ours from nothing, theirs started at the answer plus 1e-3 au; " + quality(truth, two_body),
        errors=(
            LATER,
            _later(truth, two_body.states[:FEW], two_body.epochs_mjd_tdb, system),
            _later(truth, theirs, two_body.epochs_mjd_tdb, system),
        ),
    )
    yield _per_orbit(row, FEW)
    one, start = take(grouped, np.arange(SOME)), _first(two_body, SOME)
    final = refine(grouped, two_body, solar_system=system)
    row = beside(
        f"n-body refinement, {SOME} orbits",
        lambda: refine(one, start, solar_system=system),
        "heyoka integrations of the same differences",
        lambda: by_heyoka(truth, two_body, SOME),
        note="ours the whole fit by variational equations, theirs the integrations of one iteration and their compilation; the "
        "error beside ours is that of our two-body fits; " + quality(truth, final),
        errors=(
            LATER,
            _later(truth, final.states, final.epochs_mjd_tdb, system),
            _later(truth, two_body.states, two_body.epochs_mjd_tdb, system),
        ),
    )
    yield _per_orbit(row, SOME)


def quality(truth: TrueArcs, fits: OrbitFits) -> str:
    """Return how well fits agree with their detections and, in their own covariance, with the truth."""
    system = load_solar_system(FIRST_NIGHT_TAI - 10, FIRST_NIGHT_TAI + 40)
    states, covariances = carry_covariance(
        fits.states,
        fits.covariances,
        begin_mjd_tdb=fits.epochs_mjd_tdb,
        end_mjd_tdb=truth.epoch_mjd_tdb,
        solar_system=system,
    )
    apart = [d @ np.linalg.solve(c, d) / 6 for d, c in zip(states - truth.states, covariances, strict=True)]
    return f"medians of {len(apart)}: chi2/dof {np.median(fits.chi2 / fits.dof):.2f}, Mahalanobis^2/6 {np.median(apart):.2f}"


def _later(truth: TrueArcs, states: Array, epochs: Array, system: SolarSystem) -> float:
    """Return the median sky error a week after the last night, arcseconds."""
    at = truth.later_mjd_tdb - LATER_BACK_DAYS
    moved = np.array([propagate(system, s[None], e, at)[0] for s, e in zip(states, epochs, strict=False)])
    count = len(moved)
    part = replace(
        truth,
        later=truth.later[:count],
        later_observer=np.broadcast_to(truth.later_observer, (len(truth.later), 3))[:count],
    )
    return float(np.median(sky_error_arcsec(part, moved)))


def _per_orbit(row: Measured, count: int) -> Measured:
    return replace(row, note=f"ours {1e3 * row.ours_s / count:.2f} ms an orbit; {row.note}")


def _first(fits: OrbitFits, count: int) -> OrbitFits:
    values: dict[str, Any] = {field.name: getattr(fits, field.name) for field in fields(fits)}
    return OrbitFits(**{name: value[:count] for name, value in values.items()})


def by_scipy(grouped: Arcs, truth: TrueArcs, fits: OrbitFits, k: int) -> Array:
    """Fit an orbit by differences of places and return its state."""
    lo, hi = grouped.offsets[k], grouped.offsets[k + 1]
    rows, order = grouped.rows[lo:hi], grouped.order[lo:hi]
    observers, sun, dt = truth.observers[order], truth.sun_velocities[order], rows[:, 0] - fits.epochs_mjd_tdb[k]

    def residuals(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        states = np.broadcast_to(fits.states[k] + x * SCALES, (len(rows), 6))
        line = astrometric(states, observers=observers, sun_velocities=sun, dt_days=dt).topo[:, :3]
        along = np.einsum("ni,ni->n", line, rows[:, LINE_OF_SIGHT : LINE_OF_SIGHT + 3])
        sides = [np.einsum("ni,ni->n", line, rows[:, c : c + 3]) / along for c in (EAST, NORTH)]
        return np.concatenate([sides[0] * rows[:, WEIGHT_EAST], sides[1] * rows[:, WEIGHT_NORTH]])

    return np.asarray(fits.states[k] + least_squares(residuals, np.ones(6), method="lm").x * SCALES)


def by_heyoka(truth: TrueArcs, fits: OrbitFits, count: int) -> None:
    """Integrate what one iteration by differences needs: all orbits and six beside each, to the times of the detections."""
    shifts = np.vstack([np.zeros(6), np.diag(SCALES * 1e-3)])
    states = (fits.states[:count, None] + shifts).reshape(-1, 6)
    times = np.unique(truth.mjd_tdb[: truth.offsets[count]])
    with Ephemeris() as ephemeris:
        integrate(states, float(times[0]) - 1.0, times, ephemeris)
