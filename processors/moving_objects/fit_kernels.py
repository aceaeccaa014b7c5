"""The mathematics of an orbit fit, compiled: residuals with their partials, damped normal equations, one iteration loop.

An orbit is carried in six numbers about the line of sight of one detection of the arc (the reference): the offset (a, b) on
its tangent plane and its rates, the inverse distance g, and the radial velocity w,

    position = observer + (n + a E + b N) / g,      velocity = observer's velocity + (a' E + b' N) / g + w n.

In these numbers the sky positions of a short arc are nearly linear (Bernstein and Khushalani 2000, AJ 120, 3323), for a
main-belt asteroid as for a TNO whose distance and radial velocity are all but unknown; in Cartesian coordinates they are not.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.arcs import (
    EAST,
    LINE_OF_SIGHT,
    NORTH,
    OBSERVER,
    OBSERVER_VELOCITY,
    SUN_VELOCITY,
    TIME,
    WEIGHT_EAST,
    WEIGHT_NORTH,
)
from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2, LIGHT_SPEED_AU_PER_DAY
from processors.moving_objects.kepler import step_with_partials
from processors.moving_objects.variational import Forces, advance, is_two_body

__all__ = [
    "chi_square",
    "from_state",
    "light_time_shift",
    "normal_equations",
    "project",
    "residuals_and_partials",
    "solve",
    "state_partials",
    "to_state",
]

Floats = NDArray[np.float64]


@numba.njit(cache=True)
def to_state(p: Floats, reference: Floats, state: Floats) -> None:
    """Write the Cartesian state of parameters ``p`` about a row ``reference`` of the arc into ``state``."""
    for i in range(3):
        n, e, t = reference[LINE_OF_SIGHT + i], reference[EAST + i], reference[NORTH + i]
        state[i] = reference[OBSERVER + i] + (n + p[0] * e + p[1] * t) / p[2]
        state[i + 3] = reference[OBSERVER_VELOCITY + i] + (p[3] * e + p[4] * t) / p[2] + p[5] * n


@numba.njit(cache=True)
def from_state(state: Floats, reference: Floats, p: Floats) -> None:
    """Write the parameters of a Cartesian state about a row of the arc into ``p``; ``p[2] <= 0`` if it lies behind."""
    for k in range(6):
        p[k] = 0.0
    for i in range(3):
        d = state[i] - reference[OBSERVER + i]
        v = state[i + 3] - reference[OBSERVER_VELOCITY + i]
        p[0] += d * reference[EAST + i]
        p[1] += d * reference[NORTH + i]
        p[2] += d * reference[LINE_OF_SIGHT + i]
        p[3] += v * reference[EAST + i]
        p[4] += v * reference[NORTH + i]
        p[5] += v * reference[LINE_OF_SIGHT + i]
    p[2] = 1.0 / p[2] if p[2] != 0.0 else -1.0
    for k in (0, 1, 3, 4):
        p[k] *= p[2]


@numba.njit(cache=True)
def state_partials(p: Floats, reference: Floats, out: Floats) -> None:
    """Write the derivatives of the Cartesian state by the parameters, ``(6, 6)``, into ``out``."""
    out[:] = 0.0
    for i in range(3):
        n, e, t = reference[LINE_OF_SIGHT + i], reference[EAST + i], reference[NORTH + i]
        out[i, 0] = e / p[2]
        out[i, 1] = t / p[2]
        out[i, 2] = -(n + p[0] * e + p[1] * t) / p[2] ** 2
        out[i + 3, 2] = -(p[3] * e + p[4] * t) / p[2] ** 2
        out[i + 3, 3] = e / p[2]
        out[i + 3, 4] = t / p[2]
        out[i + 3, 5] = n


@numba.njit(cache=True)
def light_time_shift(x: Floats, row: Floats, tau: float) -> float:
    """Return by how much the light time differs from ``tau``, for a heliocentric state ``x`` at ``row``'s time less tau.

    The object moves on its parabola of the moment, the Sun on its straight line, while the difference is found by Newton's
    method; the observer stays where it is.
    """
    r3 = (x[0] * x[0] + x[1] * x[1] + x[2] * x[2]) ** 1.5
    shift = 0.0
    for _ in range(3):
        distance2, rate = 0.0, 0.0
        for i in range(3):
            pull = GM_SUN_AU3_PER_DAY2 * x[i] / r3
            moved = x[i] - shift * x[i + 3] - 0.5 * shift * shift * pull
            sight = moved - row[OBSERVER + i] - (tau + shift) * row[SUN_VELOCITY + i]
            distance2 += sight * sight
            rate -= sight * (x[i + 3] + shift * pull + row[SUN_VELOCITY + i])
        distance = np.sqrt(distance2)
        miss = distance - (tau + shift) * LIGHT_SPEED_AU_PER_DAY
        shift -= miss / (rate / distance - LIGHT_SPEED_AU_PER_DAY)
    return shift


@numba.njit(cache=True)
def project(x: Floats, phi: Floats, row: Floats, tau: float, residual: Floats, partials: Floats) -> float:
    """Write the weighted residual (east, north) of a detection and its partials by the epoch's state; return the light time.

    Parameters
    ----------
    x, phi
        Heliocentric state at the time of the detection less ``tau``, and its partials ``(6, 6)`` by the epoch's state.
    row
        The detection (columns of `arcs`).
    tau
        Light time assumed, days; what is missing is put right with the motion of the moment.
    residual, partials
        ``(2,)`` and ``(2, 6)``, written. A prediction more than 90 degrees away gives NaN.
    """
    shift = light_time_shift(x, row, tau)
    tau += shift
    r3 = (x[0] * x[0] + x[1] * x[1] + x[2] * x[2]) ** 1.5
    east, north, along, distance2 = 0.0, 0.0, 0.0, 0.0
    drift_e, drift_n, drift_l, approach = 0.0, 0.0, 0.0, 0.0
    for i in range(3):
        pull = GM_SUN_AU3_PER_DAY2 * x[i] / r3
        sight = x[i] - shift * x[i + 3] - 0.5 * shift * shift * pull - row[OBSERVER + i] - tau * row[SUN_VELOCITY + i]
        drift = x[i + 3] + row[SUN_VELOCITY + i]
        distance2 += sight * sight
        approach += sight * drift
        east += sight * row[EAST + i]
        north += sight * row[NORTH + i]
        along += sight * row[LINE_OF_SIGHT + i]
        drift_e += drift * row[EAST + i]
        drift_n += drift * row[NORTH + i]
        drift_l += drift * row[LINE_OF_SIGHT + i]
    if not along > 0.0:
        residual[:] = np.nan
        return tau
    distance = np.sqrt(distance2)
    xi, eta = east / along, north / along
    residual[0] = -xi * row[WEIGHT_EAST]
    residual[1] = -eta * row[WEIGHT_NORTH]
    # Later light comes from an earlier place: d(tau) follows from the change of the distance it causes.
    delay = 1.0 / (distance * LIGHT_SPEED_AU_PER_DAY + approach)
    bend_e = (drift_e - xi * drift_l) / along
    bend_n = (drift_n - eta * drift_l) / along
    for k in range(6):
        de, dn, stretch = 0.0, 0.0, 0.0
        for i in range(3):
            moved = phi[i, k] - shift * phi[i + 3, k]
            sight = x[i] - row[OBSERVER + i]
            de += moved * (row[EAST + i] - xi * row[LINE_OF_SIGHT + i])
            dn += moved * (row[NORTH + i] - eta * row[LINE_OF_SIGHT + i])
            stretch += moved * sight
        partials[0, k] = (de / along - bend_e * stretch * delay) * row[WEIGHT_EAST]
        partials[1, k] = (dn / along - bend_n * stretch * delay) * row[WEIGHT_NORTH]
    return tau


@numba.njit(cache=True)
def _two_body(
    state: Floats, epoch: float, rows: Floats, light_times: Floats, residuals: Floats, partials: Floats
) -> None:
    x, phi = np.empty(6), np.empty((6, 6))
    for k in range(rows.shape[0]):
        step_with_partials(state, rows[k, TIME] - light_times[k] - epoch, x, phi)
        light_times[k] = project(x, phi, rows[k], light_times[k], residuals[k], partials[k])


@numba.njit(cache=True)
def _perturbed(
    state: Floats, epoch: float, rows: Floats, light_times: Floats, forces: Forces, residuals: Floats, partials: Floats
) -> None:
    """Integrate outwards from the epoch, to the later detections and then to the earlier ones."""
    first = 0
    while first < rows.shape[0] and rows[first, TIME] - light_times[first] < epoch:
        first += 1
    for direction in (1, -1):
        x, phi, time = state.copy(), np.eye(6), epoch
        k = first if direction == 1 else first - 1
        while 0 <= k < rows.shape[0]:
            emission = rows[k, TIME] - light_times[k]
            advance(x, phi, time, emission, forces)
            time = emission
            light_times[k] = project(x, phi, rows[k], light_times[k], residuals[k], partials[k])
            k += direction


@numba.njit(cache=True)
def residuals_and_partials(
    state: Floats, epoch: float, rows: Floats, light_times: Floats, forces: Forces, residuals: Floats, partials: Floats
) -> None:
    """Write weighted residuals ``(n, 2)`` and partials ``(n, 2, 6)`` by the Cartesian state of ``epoch``.

    ``light_times`` ``(n,)`` are the last known ones; they are brought up to date. ``forces`` are those of `variational`.
    """
    if is_two_body(forces):
        _two_body(state, epoch, rows, light_times, residuals, partials)
    else:
        _perturbed(state, epoch, rows, light_times, forces, residuals, partials)
    for k in range(rows.shape[0]):
        if not np.isfinite(light_times[k]):
            light_times[k] = 0.0


@numba.njit(cache=True)
def chi_square(residuals: Floats, used: NDArray[np.bool_]) -> float:
    """Return the sum of squares of the residuals in use; NaN where one is NaN."""
    total = 0.0
    for k in range(residuals.shape[0]):
        if used[k]:
            total += residuals[k, 0] ** 2 + residuals[k, 1] ** 2
    return total


@numba.njit(cache=True)
def normal_equations(
    residuals: Floats, partials: Floats, used: NDArray[np.bool_], frame: Floats, matrix: Floats, vector: Floats
) -> None:
    """Write the normal matrix ``(6, 6)`` and right-hand side ``(6,)`` in parameters whose state partials are ``frame``."""
    matrix[:] = 0.0
    vector[:] = 0.0
    row = np.empty(6)
    for k in range(residuals.shape[0]):
        if not used[k]:
            continue
        for axis in range(2):
            for j in range(6):
                total = 0.0
                for i in range(6):
                    total += partials[k, axis, i] * frame[i, j]
                row[j] = total
            for i in range(6):
                vector[i] += row[i] * residuals[k, axis]
                for j in range(i + 1):
                    matrix[i, j] += row[i] * row[j]
    for i in range(6):
        for j in range(i):
            matrix[j, i] = matrix[i, j]


@numba.njit(cache=True)
def solve(matrix: Floats, vector: Floats, damping: float, step: Floats) -> bool:  # noqa: PLR0912
    """Solve ``(M + damping diag M) step = vector`` by Cholesky on the scaled matrix; False if it is not positive definite."""
    size = vector.shape[0]
    scale = np.empty(size)
    lower = np.zeros((size, size))
    for i in range(size):
        if not matrix[i, i] > 0.0:
            return False
        scale[i] = 1.0 / np.sqrt(matrix[i, i])
    for i in range(size):
        for j in range(i + 1):
            total = matrix[i, j] * scale[i] * scale[j]
            if i == j:
                total += damping
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            if i == j:
                if not total > 1e-15:
                    return False
                lower[i, i] = np.sqrt(total)
            else:
                lower[i, j] = total / lower[j, j]
    for i in range(size):
        total = vector[i] * scale[i]
        for k in range(i):
            total -= lower[i, k] * step[k]
        step[i] = total / lower[i, i]
    for i in range(size - 1, -1, -1):
        total = step[i]
        for k in range(i + 1, size):
            total -= lower[k, i] * step[k]
        step[i] = total / lower[i, i]
    for i in range(size):
        step[i] *= scale[i]
    return True
