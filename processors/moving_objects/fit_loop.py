"""The iteration of an orbit fit (Levenberg-Marquardt), compiled: one object at a time, in the parameters of `fit_kernels`."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.arcs import LINE_OF_SIGHT, TIME
from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2
from processors.moving_objects.fit_kernels import (
    chi_square,
    normal_equations,
    residuals_and_partials,
    solve,
    state_partials,
    to_state,
)
from processors.moving_objects.variational import Forces

__all__ = [
    "CONVERGED",
    "STALLED",
    "UNDETERMINED",
    "binding",
    "covariance_of",
    "minimise",
    "bound_prior",
    "reference_row",
]

Floats = NDArray[np.float64]

CONVERGED = 0
"""The last step was a small part of a sigma."""

STALLED = 4
"""No convergence within the iterations allowed."""

UNDETERMINED = 5
"""The normal equations are singular, or the start itself gives no residuals."""

DAMPING_START = 1e-5
"""First damping of the normal equations, relative to their diagonal."""

DAMPING_MOST = 1e10
"""Damping at which no step helps any more: the fit stands where rounding lets it."""

RANGE_STEP = 3.0
"""The inverse distance may change by at most this factor in one iteration."""

SETTLED = 1e-4
"""Square of the step left, in sigmas, below which a fit that cannot go on has converged."""

BINDING_PER_RADIAL = 5.0 / 3.0
"""Width of the prior of the energy over that of the radial velocity: 0.25 where that is 0.15, so that a parabola is at two
sigmas."""

SPEED_MOST = 4.0
"""Steps to more than this many times the square of the escape velocity are refused: 1I near the Sun had 1.5."""


@numba.njit(cache=True)
def reference_row(rows: Floats) -> int:
    """Return the row nearest to the middle of an arc in time (the first of equals)."""
    middle = 0.5 * (rows[0, TIME] + rows[rows.shape[0] - 1, TIME])
    best = 0
    for k in range(1, rows.shape[0]):
        if abs(rows[k, TIME] - middle) < abs(rows[best, TIME] - middle):
            best = k
    return best


@numba.njit(cache=True)
def binding(state: Floats) -> float:
    """Return the square of the speed over that of the escape velocity: below 1 the orbit is an ellipse."""
    r = np.sqrt(state[0] ** 2 + state[1] ** 2 + state[2] ** 2)
    return float((state[3] ** 2 + state[4] ** 2 + state[5] ** 2) * r / (2.0 * GM_SUN_AU3_PER_DAY2))


@numba.njit(cache=True)
def _pseudo_observation(value: float, slope: Floats, frame: Floats, matrix: Floats, vector: Floats) -> None:
    """Add to the normal equations that ``value``, in sigmas, should be 0; ``slope`` (6,) is by the Cartesian state."""
    row = np.zeros(6)
    for j in range(6):
        for i in range(6):
            row[j] += slope[i] * frame[i, j]
    for i in range(6):
        vector[i] -= row[i] * value
        for j in range(6):
            matrix[i, j] += row[i] * row[j]


@numba.njit(cache=True)
def bound_prior(state: Floats, frame: Floats, reference: Floats, width: float, matrix: Floats, vector: Floats) -> float:
    """Add to the normal equations that an orbit is bound; return the chi2 of it.

    Two statements, for arcs too short to tell: the heliocentric velocity along the line of sight is 0 +- ``width`` times
    escape, and the square of the speed over that of escape 0.5 (a circle) +- 5/3 ``width``.
    """
    if width <= 0.0:
        return 0.0
    r2, v2, radial = 0.0, 0.0, 0.0
    for i in range(3):
        r2 += state[i] ** 2
        v2 += state[i + 3] ** 2
        radial += state[i + 3] * reference[LINE_OF_SIGHT + i]
    r = np.sqrt(r2)
    slow, fast = np.empty(6), np.empty(6)
    weight = np.sqrt(r / (2.0 * GM_SUN_AU3_PER_DAY2)) / width
    tight = 1.0 / (BINDING_PER_RADIAL * width)
    for i in range(3):
        slow[i] = 0.5 * radial * weight * state[i] / r2
        slow[i + 3] = weight * reference[LINE_OF_SIGHT + i]
        fast[i] = tight * v2 / (2.0 * GM_SUN_AU3_PER_DAY2) * state[i] / r
        fast[i + 3] = tight * r / GM_SUN_AU3_PER_DAY2 * state[i + 3]
    excess = (v2 * r / (2.0 * GM_SUN_AU3_PER_DAY2) - 0.5) * tight
    _pseudo_observation(radial * weight, slow, frame, matrix, vector)
    _pseudo_observation(excess, fast, frame, matrix, vector)
    return float((radial * weight) ** 2 + excess**2)


@numba.njit(cache=True)
def _hold_range(matrix: Floats, vector: Floats) -> None:
    """Take the inverse distance out of the normal equations."""
    for i in range(6):
        matrix[2, i] = 0.0
        matrix[i, 2] = 0.0
    matrix[2, 2] = 1.0
    vector[2] = 0.0


@numba.njit(cache=True)
def _quadratic(matrix: Floats, step: Floats) -> float:
    total = 0.0
    for i in range(6):
        for j in range(6):
            total += step[i] * matrix[i, j] * step[j]
    return total


@numba.njit(cache=True)
def _dot(a: Floats, b: Floats) -> float:
    total = 0.0
    for i in range(6):
        total += a[i] * b[i]
    return total


@numba.njit(cache=True)
def _measure(
    p: Floats,
    reference: Floats,
    rows: Floats,
    used: NDArray[np.bool_],
    prior: float,
    hold: bool,
    forces: Forces,
    light_times: Floats,
    residuals: Floats,
    partials: Floats,
    matrix: Floats,
    vector: Floats,
) -> float:
    """Write residuals and normal equations at ``p``; return chi2 with the prior's share."""
    state, frame = np.empty(6), np.empty((6, 6))
    to_state(p, reference, state)
    if not binding(state) < SPEED_MOST:
        return np.inf
    state_partials(p, reference, frame)
    residuals_and_partials(state, reference[TIME], rows, light_times, forces, residuals, partials)
    normal_equations(residuals, partials, used, frame, matrix, vector)
    total = chi_square(residuals, used) + bound_prior(state, frame, reference, prior, matrix, vector)
    if hold:
        _hold_range(matrix, vector)
    return total if np.isfinite(total) else np.inf


@numba.njit(cache=True)
def minimise(
    p: Floats,
    reference: Floats,
    rows: Floats,
    used: NDArray[np.bool_],
    prior: float,
    hold: bool,
    iterations: int,
    tolerance: float,
    forces: Forces,
    light_times: Floats,
    residuals: Floats,
    partials: Floats,
    matrix: Floats,
) -> tuple[float, int]:
    """Go down from ``p`` to the nearest minimum of chi2; return it (with the prior's share) and a status.

    Parameters
    ----------
    p
        ``(6,)`` start, overwritten by the minimum.
    reference, rows, used
        The reference row, the ``(n, 21)`` arc (`arcs`), and which detections count.
    prior
        Width of the prior of the radial velocity in escape velocities; 0 for none.
    hold
        Keep the distance as it is and fit the other five.
    iterations, tolerance
        At most so many steps; stop below this square of a step in sigmas.
    forces
        What pulls beside the Sun (`variational`).
    light_times
        ``(n,)`` first light times in days, kept up to date.
    residuals, partials, matrix
        ``(n, 2)``, ``(n, 2, 6)`` and ``(6, 6)``: written, of the minimum.
    """
    count = rows.shape[0]
    vector, old_vector, step, trial = np.empty(6), np.empty(6), np.empty(6), np.empty(6)
    new_residuals, new_partials = np.empty((count, 2)), np.empty((count, 2, 6))
    new_matrix, new_vector = np.empty((6, 6)), np.empty(6)
    best = _measure(p, reference, rows, used, prior, hold, forces, light_times, residuals, partials, matrix, vector)
    if not np.isfinite(best):
        return np.inf, UNDETERMINED
    damping, growth = DAMPING_START, 2.0
    for _ in range(iterations):
        if not solve(matrix, vector, damping, step):
            damping = max(damping * 10.0, 1e-8)
            if damping > DAMPING_MOST:
                return best, UNDETERMINED
            continue
        shrink = min(1.0, (1.0 - 1.0 / RANGE_STEP) * p[2] / max(abs(step[2]), 1e-300))
        for i in range(6):
            trial[i] = p[i] + shrink * step[i]
        size = _quadratic(matrix, step)
        total = _measure(
            trial,
            reference,
            rows,
            used,
            prior,
            hold,
            forces,
            light_times,
            new_residuals,
            new_partials,
            new_matrix,
            new_vector,
        )
        if total <= best or size < tolerance:
            gain = best - total
            old_vector[:] = vector
            if total <= best:
                p[:], vector[:] = trial, new_vector
                residuals[:], partials[:], matrix[:] = new_residuals, new_partials, new_matrix
                best = total
            if size < tolerance and shrink == 1.0 and damping < 1.0:
                return best, CONVERGED
            # Where the step did what the linear model said the damping falls fast, where it did half of it not at all.
            foreseen = max(2.0 * _dot(step, old_vector) - size, 1e-300)
            damping = max(damping * max(0.1, 1.0 - (2.0 * gain / foreseen - 1.0) ** 3), 1e-9)
            growth = 2.0
        else:
            damping *= growth
            growth *= 2.0
            if damping > DAMPING_MOST:
                break
    # A wall (an escape velocity, rounding) also stops the damping: only where the free step is small is this a minimum.
    settled = solve(matrix, vector, 0.0, step) and _quadratic(matrix, step) < SETTLED
    return best, CONVERGED if settled else STALLED


@numba.njit(cache=True)
def covariance_of(matrix: Floats, frame: Floats, out: Floats) -> bool:
    """Write the covariance of the Cartesian state of a normal matrix in parameters; False if it has none."""
    unit, column, inverse = np.zeros(6), np.empty(6), np.empty((6, 6))
    for k in range(6):
        unit[:] = 0.0
        unit[k] = 1.0
        if not solve(matrix, unit, 0.0, column):
            return False
        inverse[:, k] = column
    half = np.zeros((6, 6))
    for i in range(6):
        for j in range(6):
            for k in range(6):
                half[i, j] += frame[i, k] * inverse[k, j]
    for i in range(6):
        for j in range(i + 1):
            total = 0.0
            for k in range(6):
                total += half[i, k] * frame[j, k]
            out[i, j] = total
            out[j, i] = total
    return True
