"""Orbits from nothing: every distance from 0.02 to 300 au is tried, and every minimum that is found there is kept.

At each distance of a grid the other five numbers are nearly linear: a linear solution on the parabola of the Sun's pull
starts a fit with the distance held. The chi2 of these fits, as a function of distance, shows all valleys; from the bottom of
each (and from both ends) a free fit goes down. A few nights near a stationary point or at low elongation fit at several
distances: all are returned, best first, so that a caller can hold them until another night decides.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    Arcs,
)
from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2, LIGHT_SPEED_AU_PER_DAY
from processors.moving_objects.fit_kernels import solve, to_state
from processors.moving_objects.fit_loop import CONVERGED, STALLED, binding, minimise, reference_row
from processors.moving_objects.variational import no_forces

__all__ = ["BOUND_PRIOR", "RANGES_AU", "SOLUTIONS_MOST", "Solutions", "scan", "scan_arc", "usable"]

Floats = NDArray[np.float64]

RANGES_AU = np.concatenate([np.geomspace(0.02, 20.0, 26), np.geomspace(20.0, 300.0, 18)[1:]])
"""Topocentric distances tried. The page's scan had 13 (section 4); valleys of near-Earth objects are narrower than that. Far out
a distance wrong by a share d makes a false speed of d times the Earth's, which must stay near the escape velocity: the steps
are finer there."""

RADIAL_PRIOR = 0.5
"""Width of the prior of the radial velocity in escape velocities while the distance is held: isotropic bound orbits have 0.4."""

BOUND_PRIOR = 0.15
"""The same where a free fit leaves the Sun. Detections that do not tell the radial velocity are of distant objects: eccentricity
0.3, common among them, gives 0.15 of escape as root mean square."""

RADIAL_STIFF = 1e-5
"""Width that leaves the radial velocity at 0 whatever the detections say."""

START_SPEED_MOST = 3.0
"""A start without radial velocity may have this many times the square of the escape velocity: the fit brings it back."""

HELD_ITERATIONS = 4
"""Steps at each distance: the start is good, and only the shape of the valley is asked for."""

FREE_ITERATIONS = 60
"""Steps of the free fit, more than ever needed by an arc that has a minimum."""

TOLERANCE = 1e-6
"""A free fit ends at a step of a thousandth of a sigma."""

SOLUTIONS_MOST = 6
"""Minima kept per object."""

SAME_MINIMUM = 0.01
"""Two minima whose distances differ by less than this fraction, and whose chi2 by less than 0.1, are one."""

GOOD_CHI2_PER_DOF = 3.0
"""Where the best of the valleys fits worse than this, the fit goes down from every distance: a valley may be narrower than
the grid."""

NEAREST_SUN_AU = 0.3
"""The parabola of the start is not steeper than here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solutions:
    """All minima of many objects.

    Parameters
    ----------
    count
        ``(objects,)`` minima found, 0 where the detections determine none.
    epochs_mjd_tdb
        ``(objects,)`` epoch of the states: the time of the detection nearest to mid-arc.
    states
        ``(objects, 6, 6)``: heliocentric ICRF states, au and au/day, best first; NaN beyond ``count``.
    chi2
        ``(objects, 6)``, NaN beyond ``count``.
    """

    count: NDArray[np.int64]
    epochs_mjd_tdb: Floats
    states: Floats
    chi2: Floats


@numba.njit(cache=True)
def usable(rows: Floats) -> bool:
    """Whether an arc can determine an orbit: three detections at three times, every number finite, every sigma positive."""
    if rows.shape[0] < 3:
        return False
    times = 1
    for k in range(rows.shape[0]):
        for i in range(rows.shape[1]):
            if not np.isfinite(rows[k, i]):
                return False
        if not (rows[k, WEIGHT_EAST] > 0.0 and rows[k, WEIGHT_EAST + 1] > 0.0):
            return False
        if k > 0 and rows[k, TIME] > rows[k - 1, TIME]:
            times += 1
    return times >= 3


@numba.njit(cache=True)
def _linear_start(rows: Floats, reference: Floats, distance: float, width: float, p: Floats) -> bool:
    """Write the parameters of the orbit at a distance that fits best on the parabola of the Sun's pull.

    The radial velocity is held near 0 with a ``width`` in escape velocities.
    """
    matrix, vector, answer, row = np.zeros((5, 5)), np.zeros(5), np.zeros(5), np.empty(5)
    place = np.empty(3)
    r2 = 0.0
    for i in range(3):
        place[i] = reference[OBSERVER + i] + distance * reference[LINE_OF_SIGHT + i]
        r2 += place[i] ** 2
    r = max(np.sqrt(r2), NEAREST_SUN_AU)
    tau = distance / LIGHT_SPEED_AU_PER_DAY
    for k in range(rows.shape[0]):
        dt = rows[k, TIME] - tau - reference[TIME]
        for axis in range(2):
            side, known = EAST + 3 * axis, 0.0
            row[:] = 0.0
            for i in range(3):
                u = rows[k, side + i]
                fall = place[i] * (1.0 - 0.5 * GM_SUN_AU3_PER_DAY2 / r**3 * dt * dt)
                known += u * (rows[k, OBSERVER + i] + tau * rows[k, SUN_VELOCITY + i] - fall)
                row[0] += u * reference[EAST + i]
                row[1] += u * reference[NORTH + i]
                row[2 + i] = u * dt
            weight = rows[k, WEIGHT_EAST + axis] / distance
            for a in range(5):
                vector[a] += weight * weight * row[a] * known
                for b in range(5):
                    matrix[a, b] += weight * weight * row[a] * row[b]
    stiffness = r / (2.0 * GM_SUN_AU3_PER_DAY2 * width**2)
    for a in range(3):
        for b in range(3):
            matrix[2 + a, 2 + b] += stiffness * reference[LINE_OF_SIGHT + a] * reference[LINE_OF_SIGHT + b]
    if not solve(matrix, vector, 0.0, answer):
        return False
    p[:] = 0.0
    p[0], p[1], p[2] = answer[0] / distance, answer[1] / distance, 1.0 / distance
    for i in range(3):
        speed = answer[2 + i] - reference[OBSERVER_VELOCITY + i]
        p[3] += speed * reference[EAST + i] / distance
        p[4] += speed * reference[NORTH + i] / distance
        p[5] += speed * reference[LINE_OF_SIGHT + i]
    return True


@numba.njit(cache=True)
def _bound_start(rows: Floats, reference: Floats, distance: float, p: Floats) -> bool:
    """Write the start at a distance; False where none is near to bound.

    A wrong distance is wrong by hundreds of sigmas for a bright TNO, and a radial velocity beyond escape makes up for it: then
    that velocity is held at 0.
    """
    state = np.empty(6)
    for width, fastest in ((RADIAL_PRIOR, 1.0), (RADIAL_STIFF, START_SPEED_MOST)):
        if _linear_start(rows, reference, distance, width, p):
            to_state(p, reference, state)
            if binding(state) < fastest:
                return True
    return False


@numba.njit(cache=True)
def _is_valley(profile: Floats, k: int) -> bool:
    """Whether a distance is a local minimum of the profile; the ends and the edges of gaps count."""
    if not np.isfinite(profile[k]):
        return False
    lower = k == 0 or not profile[k - 1] < profile[k]
    return lower and (k == profile.shape[0] - 1 or not profile[k + 1] < profile[k])


@numba.njit(cache=True)
def _keep(p: Floats, chi2: float, count: int, found: Floats, values: Floats) -> int:
    """Insert a minimum into the list by chi2 unless it is there; return the new length."""
    for k in range(count):
        if abs(found[k, 2] / p[2] - 1.0) < SAME_MINIMUM and abs(values[k] - chi2) < 0.1:
            return count
    place = count
    while place > 0 and chi2 < values[place - 1]:
        place -= 1
    if place >= SOLUTIONS_MOST:
        return count
    for k in range(min(count, SOLUTIONS_MOST - 1), place, -1):
        found[k], values[k] = found[k - 1], values[k - 1]
    found[place], values[place] = p, chi2
    return min(count + 1, SOLUTIONS_MOST)


@numba.njit(cache=True)
def scan_arc(rows: Floats, used: NDArray[np.bool_], ranges: Floats, found: Floats, values: Floats) -> int:
    """Write all minima of one arc, best first, as parameters about its reference row; return how many.

    Parameters
    ----------
    rows, used
        The ``(n, 21)`` arc and which detections count.
    ranges
        Distances to try, au, ascending.
    found, values
        ``(6, 6)`` parameters and ``(6,)`` chi2, written.
    """
    reference = rows[reference_row(rows)].copy()
    count, size, alone = rows.shape[0], ranges.shape[0], no_forces()
    residuals, partials, matrix = np.empty((count, 2)), np.empty((count, 2, 6)), np.empty((6, 6))
    starts, profile, light_times = np.empty((size, 6)), np.full(size, np.inf), np.empty(count)
    for k in range(size):
        if _bound_start(rows, reference, ranges[k], starts[k]):
            light_times[:] = ranges[k] / LIGHT_SPEED_AU_PER_DAY
            profile[k], _ = minimise(
                starts[k], reference, rows, used, RADIAL_PRIOR, True, HELD_ITERATIONS, 1e-2, alone,
                light_times, residuals, partials, matrix,
            )  # fmt: skip
    minima, state, tried = 0, np.empty(6), np.zeros(size, np.bool_)
    for everywhere in (False, True):
        if everywhere and minima > 0 and values[0] <= GOOD_CHI2_PER_DOF * max(2 * used.sum() - 6, 1):
            break
        for k in range(size):
            if tried[k] or not np.isfinite(profile[k]) or not (everywhere or _is_valley(profile, k)):
                continue
            tried[k] = True
            p = starts[k].copy()
            light_times[:] = ranges[k] / LIGHT_SPEED_AU_PER_DAY
            chi2, status = minimise(
                p, reference, rows, used, 0.0, False, FREE_ITERATIONS, TOLERANCE, alone,
                light_times, residuals, partials, matrix,
            )  # fmt: skip
            to_state(p, reference, state)
            if status == STALLED or (status == CONVERGED and binding(state) > 1.0):
                p[:] = starts[k]
                chi2, status = minimise(
                    p, reference, rows, used, BOUND_PRIOR, False, FREE_ITERATIONS, TOLERANCE, alone,
                    light_times, residuals, partials, matrix,
                )  # fmt: skip
            if status == CONVERGED:
                minima = _keep(p, chi2, minima, found, values)
    return minima


@numba.njit(cache=True)
def _scan_all(
    offsets: NDArray[np.int64], rows: Floats, ranges: Floats, count: NDArray[np.int64], epochs: Floats, states: Floats,
    chi2: Floats,
) -> None:  # fmt: skip
    found, values = np.empty((SOLUTIONS_MOST, 6)), np.empty(SOLUTIONS_MOST)
    for k in range(offsets.shape[0] - 1):
        arc = rows[offsets[k] : offsets[k + 1]]
        count[k] = 0
        if not usable(arc):
            continue
        used = np.ones(arc.shape[0], np.bool_)
        reference = arc[reference_row(arc)]
        epochs[k] = reference[TIME]
        count[k] = scan_arc(arc, used, ranges, found, values)
        for m in range(count[k]):
            to_state(found[m], reference, states[k, m])
            chi2[k, m] = values[m]


def scan(grouped: Arcs, *, ranges_au: Floats = RANGES_AU) -> Solutions:
    """Return every orbit that fits the detections of each object locally best.

    Parameters
    ----------
    grouped
        The arcs (`arcs.arcs`). Fewer than three detections at three times, NaN or sigmas that are not positive give no
        solution.
    ranges_au
        Topocentric distances to start from, ascending.

    Returns
    -------
    Solutions
        Best first. An unbound minimum is replaced by the one a prior of the radial velocity leaves, its chi2 with the prior.
    """
    n = len(grouped)
    count, epochs = np.zeros(n, np.int64), np.full(n, np.nan)
    states, chi2 = np.full((n, SOLUTIONS_MOST, 6), np.nan), np.full((n, SOLUTIONS_MOST), np.nan)
    _scan_all(grouped.offsets, grouped.rows, np.ascontiguousarray(ranges_au, np.float64), count, epochs, states, chi2)
    return Solutions(count=count, epochs_mjd_tdb=epochs, states=states, chi2=chi2)
