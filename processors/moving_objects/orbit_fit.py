"""Two-body orbits of many objects by least squares, with true sigmas and their covariance.

Residuals are astrometric, in the tangent plane of each detection, with light time and the Sun's own motion in it; partials
are the closed-form ones of two-body motion. Good for arcs of some weeks (design page, section 3); `orbit_fit_nbody` refines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.arcs import TIME, WEIGHT_EAST, Arcs
from processors.moving_objects.constants import ARCSEC_PER_RADIAN, LIGHT_SPEED_AU_PER_DAY
from processors.moving_objects.fit_kernels import chi_square, from_state, state_partials, to_state
from processors.moving_objects.fit_loop import (
    CONVERGED,
    STALLED,
    UNDETERMINED,
    binding,
    covariance_of,
    minimise,
    reference_row,
)
from processors.moving_objects.initial_orbit import BOUND_PRIOR, RANGES_AU, SOLUTIONS_MOST, scan_arc, usable
from processors.moving_objects.kepler import step_with_partials
from processors.moving_objects.variational import Forces, no_forces

__all__ = [
    "CONSTRAINED",
    "CONVERGED",
    "STALLED",
    "UNDETERMINED",
    "UNUSABLE",
    "OrbitFits",
    "fit_many",
    "fitted",
    "transport",
]

Floats = NDArray[np.float64]

CONSTRAINED = 1
"""Converged, with the prior that the orbit is bound: without it the detections, just as well, gave a hyperbola."""

UNUSABLE = 2
"""Fewer than three detections at three times, a number that is not finite, or a sigma that is not positive."""

UNBOUND_CHI2 = 9.0
"""A hyperbola is believed where no ellipse fits within this of its chi2 (three sigmas), nor an orbit of the prior with the
prior's share counted."""

AMBIGUOUS_CHI2 = 16.0
"""Minima within this of the best one are still possible: they are counted."""

OUTLIERS_MOST = 0.2
"""Share of the detections of an object that may be set aside."""

ITERATIONS = 60
"""Steps of a fit; arcs that have a minimum take 3 to 10."""

TOLERANCE = 1e-6
"""A fit ends at a step of a thousandth of a sigma."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrbitFits:
    """Orbits fitted to the arcs of many objects.

    Parameters
    ----------
    epochs_mjd_tdb
        ``(objects,)`` epoch of the states.
    states
        ``(objects, 6)`` heliocentric ICRF, au and au/day; NaN where there is no fit.
    covariances
        ``(objects, 6, 6)`` of the states.
    chi2, dof
        ``(objects,)`` sum of squared residuals in sigmas over the detections in use, and degrees of freedom.
    rms_arcsec
        ``(objects,)`` root mean square residual per coordinate of the detections in use, not weighted.
    status
        ``(objects,)`` int8: CONVERGED, CONSTRAINED, UNUSABLE, STALLED or UNDETERMINED.
    minima
        ``(objects,)`` distinct minima within 16 of the best chi2; 1 where a start was given.
    residuals_arcsec
        ``(detections, 2)`` observed less computed, east (great circle) and north, in the order of the detections given.
    used
        ``(detections,)`` False for outliers set aside.
    """

    epochs_mjd_tdb: Floats
    states: Floats
    covariances: Floats
    chi2: Floats
    dof: NDArray[np.int64]
    rms_arcsec: Floats
    status: NDArray[np.int8]
    minima: NDArray[np.int64]
    residuals_arcsec: Floats
    used: NDArray[np.bool_]

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Whether each orbit is a converged one, with the prior or without."""
        return np.asarray(self.status <= CONSTRAINED)


@numba.njit(cache=True)
def _worst(
    residuals: Floats, partials: Floats, used: NDArray[np.bool_], frame: Floats, covariance: Floats
) -> tuple[int, float]:
    """Return the detection whose removal lowers chi2 the most, and by how much (linear, leverage included)."""
    worst, most = -1, 0.0
    for k in range(residuals.shape[0]):
        if not used[k]:
            continue
        rows = partials[k]
        h = rows @ covariance @ rows.T
        a, b, d = 1.0 - h[0, 0], -h[0, 1], 1.0 - h[1, 1]
        determinant = a * d - b * b
        if determinant < 1e-9:
            continue
        x, y = residuals[k]
        gain = (d * x * x - 2.0 * b * x * y + a * y * y) / determinant
        if gain > most:
            worst, most = k, gain
    return worst, most


@numba.njit(cache=True)
def _descend(
    p: Floats, reference: Floats, rows: Floats, used: NDArray[np.bool_], forces: Forces, residuals: Floats,
    partials: Floats, matrix: Floats,
) -> int:  # fmt: skip
    """Fit from ``p``; with the prior of a bound orbit where without it the result is a hyperbola no better. Return the status."""
    light_times = np.full(rows.shape[0], 1.0 / (p[2] * LIGHT_SPEED_AU_PER_DAY))
    first, state = p.copy(), np.empty(6)
    free, status = minimise(
        p, reference, rows, used, 0.0, False, ITERATIONS, TOLERANCE, forces, light_times, residuals, partials, matrix
    )
    to_state(p, reference, state)
    if status == CONVERGED and binding(state) <= 1.0:
        return status
    bound_residuals, bound_partials, bound_matrix = residuals.copy(), partials.copy(), matrix.copy()
    held, other = minimise(
        first, reference, rows, used, BOUND_PRIOR, False, ITERATIONS, TOLERANCE, forces, light_times,
        bound_residuals, bound_partials, bound_matrix,
    )  # fmt: skip
    to_state(first, reference, state)
    bound = binding(state) <= 1.0 and chi_square(bound_residuals, used) <= free + UNBOUND_CHI2
    if other != CONVERGED or (status == CONVERGED and not bound and held > free + UNBOUND_CHI2):
        return status
    p[:], residuals[:], partials[:], matrix[:] = first, bound_residuals, bound_partials, bound_matrix
    return CONSTRAINED


@numba.njit(cache=True)
def _set_aside(
    p: Floats, reference: Floats, rows: Floats, used: NDArray[np.bool_], limit: float, status: int, forces: Forces,
    residuals: Floats, partials: Floats, matrix: Floats,
) -> int:  # fmt: skip
    """Take outliers out one by one and fit again, while one stands out by more than ``limit`` sigmas; return the status."""
    frame, covariance = np.empty((6, 6)), np.empty((6, 6))
    for _ in range(int(OUTLIERS_MOST * rows.shape[0])):
        state_partials(p, reference, frame)
        if status > CONSTRAINED or not covariance_of(matrix, frame, covariance):
            break
        worst, gain = _worst(residuals, partials, used, frame, covariance)
        if gain <= limit * limit or used.sum() <= 4:
            break
        used[worst] = False
        status = _descend(p, reference, rows, used, forces, residuals, partials, matrix)
    return status


@numba.njit(cache=True)
def _start(
    rows: Floats, reference: Floats, used: NDArray[np.bool_], start: Floats, epoch: float, found: Floats, values: Floats
) -> int:
    """Write the starts of an arc into ``found``: the given state carried to the reference, or all minima of a scan."""
    if not np.isfinite(start[0]):
        return int(scan_arc(rows, used, RANGES_AU, found, values))
    moved, phi = np.empty(6), np.empty((6, 6))
    step_with_partials(start, reference[TIME] - epoch, moved, phi)
    from_state(moved, reference, found[0])
    values[0] = 0.0
    return 1 if found[0, 2] > 0.0 else 0


@numba.njit(cache=True)
def _fit_one(
    rows: Floats, start: Floats, start_epoch: float, limit: float, used: NDArray[np.bool_], forces: Forces,
    residuals: Floats, state: Floats, covariance: Floats,
) -> tuple[int, int, float]:  # fmt: skip
    """Fit one arc; write residuals in sigmas, state and covariance; return status, minima and chi2."""
    if not usable(rows):
        return UNUSABLE, 0, np.nan
    reference = rows[reference_row(rows)].copy()
    found, values = np.empty((SOLUTIONS_MOST, 6)), np.empty(SOLUTIONS_MOST)
    partials, matrix, frame = np.empty((rows.shape[0], 2, 6)), np.empty((6, 6)), np.empty((6, 6))
    count = _start(rows, reference, used, start, start_epoch, found, values)
    if count == 0:
        return UNDETERMINED, 0, np.nan
    p = found[0].copy()
    status = _descend(p, reference, rows, used, forces, residuals, partials, matrix)
    if limit > 0.0:
        status = _set_aside(p, reference, rows, used, limit, status, forces, residuals, partials, matrix)
    if status == UNDETERMINED:
        return status, count, np.nan
    to_state(p, reference, state)
    state_partials(p, reference, frame)
    if not covariance_of(matrix, frame, covariance):
        status = UNDETERMINED
    possible = 0
    for k in range(count):
        possible += values[k] <= values[0] + AMBIGUOUS_CHI2
    return status, possible, chi_square(residuals, used)


@numba.njit(cache=True)
def _fit_all(
    offsets: NDArray[np.int64], rows: Floats, starts: Floats, start_epochs: Floats, limit: float,
    forces: Forces, used: NDArray[np.bool_], residuals: Floats, epochs: Floats, states: Floats, covariances: Floats,
    status: NDArray[np.int8], minima: NDArray[np.int64], chi2: Floats,
) -> None:  # fmt: skip
    for k in range(offsets.shape[0] - 1):
        lo, hi = offsets[k], offsets[k + 1]
        arc = rows[lo:hi]
        status[k], minima[k], chi2[k] = _fit_one(
            arc, starts[k], start_epochs[k], limit, used[lo:hi], forces, residuals[lo:hi], states[k], covariances[k]
        )
        if status[k] <= CONSTRAINED:
            epochs[k] = arc[reference_row(arc), TIME]
        else:
            states[k], covariances[k] = np.nan, np.nan


def fit_many(
    grouped: Arcs,
    *,
    starts: Floats | None = None,
    start_epochs_mjd_tdb: Floats | None = None,
    outlier_sigmas: float = 0.0,
) -> OrbitFits:
    """Fit a two-body orbit to the detections of each object.

    Parameters
    ----------
    grouped
        The arcs (`arcs.arcs`).
    starts, start_epochs_mjd_tdb
        ``(objects, 6)`` states and ``(objects,)`` epochs to start from; objects without (NaN, or None for all) are scanned
        for all minima (`initial_orbit.scan`) and fitted from the best.
    outlier_sigmas
        Set detections aside that stand out by more than this, worst first, never more than a fifth; 0 keeps all.

    Returns
    -------
    OrbitFits
        One row per object, in the order given. Nothing is raised for an object that cannot be fitted: see its status.
    """
    return fitted(grouped, starts, start_epochs_mjd_tdb, outlier_sigmas, no_forces())


def fitted(
    grouped: Arcs, starts: Floats | None, start_epochs_mjd_tdb: Floats | None, outlier_sigmas: float, forces: Forces
) -> OrbitFits:
    """Do what `fit_many` does, under any forces."""
    n, m = len(grouped), len(grouped.rows)
    if starts is None or start_epochs_mjd_tdb is None:
        starts, start_epochs_mjd_tdb = np.full((n, 6), np.nan), np.full(n, np.nan)
    used, residuals = np.ones(m, np.bool_), np.full((m, 2), np.nan)
    epochs, states, covariances = np.full(n, np.nan), np.full((n, 6), np.nan), np.full((n, 6, 6), np.nan)
    status, minima, chi2 = np.zeros(n, np.int8), np.zeros(n, np.int64), np.full(n, np.nan)
    _fit_all(
        grouped.offsets, grouped.rows, np.ascontiguousarray(starts, np.float64),
        np.ascontiguousarray(start_epochs_mjd_tdb, np.float64), float(outlier_sigmas), forces, used, residuals, epochs,
        states, covariances, status, minima, chi2,
    )  # fmt: skip
    return _assembled(
        grouped, epochs=epochs, states=states, covariances=covariances, chi2=chi2, status=status, minima=minima,
        residuals=residuals, used=used,
    )  # fmt: skip


def _assembled(
    grouped: Arcs,
    *,
    epochs: Floats,
    states: Floats,
    covariances: Floats,
    chi2: Floats,
    status: NDArray[np.int8],
    minima: NDArray[np.int64],
    residuals: Floats,
    used: NDArray[np.bool_],
) -> OrbitFits:
    """Return fits from what a kernel wrote: residuals in sigmas by row of the arcs become arc seconds by detection given."""
    arcsec = residuals / grouped.rows[:, WEIGHT_EAST : WEIGHT_EAST + 2] * ARCSEC_PER_RADIAN
    owner = np.repeat(np.arange(len(grouped)), np.diff(grouped.offsets))
    counts = np.bincount(owner[used], minlength=len(grouped))
    squares = np.bincount(owner[used], (arcsec[used] ** 2).sum(axis=1), minlength=len(grouped))
    back = np.empty_like(grouped.order)
    back[grouped.order] = np.arange(len(grouped.order))
    return OrbitFits(
        epochs_mjd_tdb=epochs,
        states=states,
        covariances=covariances,
        chi2=chi2,
        dof=2 * counts - 6,
        rms_arcsec=np.sqrt(squares / np.maximum(2 * counts, 1)),
        status=status,
        minima=minima,
        residuals_arcsec=arcsec[back],
        used=used[back],
    )


@numba.njit(cache=True)
def _transport_all(states: Floats, covariances: Floats, dt: Floats, out: Floats, out_covariances: Floats) -> None:
    phi = np.empty((6, 6))
    for k in range(states.shape[0]):
        step_with_partials(states[k], dt[k], out[k], phi)
        out_covariances[k] = phi @ covariances[k] @ phi.T


def transport(states: Floats, covariances: Floats, dt_days: NDArray[np.float64] | float) -> tuple[Floats, Floats]:
    """Carry states ``(n, 6)`` and their covariances ``(n, 6, 6)`` over ``dt_days`` of two-body motion."""
    states = np.ascontiguousarray(states, np.float64)
    dt = np.ascontiguousarray(np.broadcast_to(np.asarray(dt_days, np.float64), len(states)))
    out, out_covariances = np.empty_like(states), np.empty((len(states), 6, 6))
    _transport_all(states, np.ascontiguousarray(covariances, np.float64), dt, out, out_covariances)
    return out, out_covariances
