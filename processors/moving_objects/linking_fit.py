"""The fast fit that decides whether the members of a candidate link are one object.

Two-body motion, least squares by Levenberg and Marquardt with partial derivatives in closed form, from a start that the search
has found already. The unknowns are those of Bernstein and Khushalani (2000, AJ 120, 3323): offsets and rates on the tangent
plane of the start, inverse distance and its rate, in which even three nights of a distant object are nearly linear. A prior
keeps the radial motion near what the Sun can hold. The orbit that is kept is fitted again elsewhere, with every term.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from processors.association.sphere import ARCSEC
from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2, LIGHT_DAYS_PER_AU
from processors.moving_objects.detections import blocks, detection_vectors
from processors.moving_objects.kepler import step_with_partials

__all__ = ["FitRows", "fit_candidates", "predict_one", "rows_of", "state_of"]

Array = np.ndarray[Any, Any]

_ITERATIONS = 12
"""Steps at most; a candidate that is one object needs three or four."""

_CONVERGED = 0.01
"""Change of chi2 below which a fit has ended."""

_HOPELESS = 1e9
"""Chi2 at which a fit is given up, and what a failed one reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRows:
    """What a fit needs of every detection."""

    times: Array
    """MJD TAI, shape (n,)."""
    frames: Array
    """Unit vectors towards the detection, east and north of it, shape (n, 3, 3)."""
    sigmas: Array
    """East and north, radians, shape (n, 2)."""
    observers: Array
    """Heliocentric positions, au, shape (n, 3)."""


def rows_of(detections: Array, observers: Array, *, floor_arcsec: float = 0.01) -> FitRows:
    """Return what a fit needs of detections; errors below the floor are raised to it (10 mas: LSE-29, relative astrometry)."""
    frames, sigmas = np.zeros((len(detections), 3, 3)), np.empty((len(detections), 2))
    frames[:, 0] = detection_vectors(detections)
    for part in blocks(len(detections)):
        ra, dec = np.radians(detections["ra"][part]), np.radians(detections["dec"][part])
        sin_ra, cos_ra, sin_dec = np.sin(ra), np.cos(ra), np.sin(dec)
        frames[part, 1, 0], frames[part, 1, 1] = -sin_ra, cos_ra
        frames[part, 2, 0], frames[part, 2, 1], frames[part, 2, 2] = -sin_dec * cos_ra, -sin_dec * sin_ra, np.cos(dec)
    for column, name in enumerate(("ra_err_arcsec", "dec_err_arcsec")):
        sigmas[:, column] = detections[name]
    np.maximum(sigmas, floor_arcsec, out=sigmas)
    sigmas *= ARCSEC
    return FitRows(
        times=np.ascontiguousarray(detections["midpoint_mjd_tai"]),
        frames=frames,
        sigmas=sigmas,
        observers=np.ascontiguousarray(observers[:, :3]),
    )


@njit(cache=True)
def state_of(p: Any, axes: Any, view: Any, state: Any) -> None:
    """Write the heliocentric state of the unknowns (a, b, gamma, and their rates) in a frame (forward, first, second)."""
    for k in range(3):
        state[k] = view[k] + (axes[0, k] + p[0] * axes[1, k] + p[1] * axes[2, k]) / p[2]
        state[3 + k] = view[3 + k] + (p[5] * axes[0, k] + p[3] * axes[1, k] + p[4] * axes[2, k]) / p[2]


@njit(cache=True)
def predict_one(
    p: Any, axes: Any, view: Any, days: float, observer: Any, light: float, work: Any, partials: Any
) -> Any:
    """Return light time and distance of an object seen ``days`` after the epoch; write direction and its partials.

    Parameters
    ----------
    light
        Light time to assume, days; one Newton step brings the answer to it up to date.
    work
        Scratch, shape (9, 6): row 0 holds the direction afterwards.
    partials
        Of the direction's three components by the six unknowns, shape (3, 6).
    """
    state, later, phi = work[1], work[2], work[3:9]
    state_of(p, axes, view, state)
    step_with_partials(state, days - light, later, phi)
    rho2 = 0.0
    for k in range(3):
        work[0, k] = later[k] - observer[k]
        rho2 += work[0, k] ** 2
    rho = math.sqrt(rho2)
    newer = rho * LIGHT_DAYS_PER_AU
    for k in range(3):
        work[0, k] += later[3 + k] * (light - newer)
    rho = math.sqrt(work[0, 0] ** 2 + work[0, 1] ** 2 + work[0, 2] ** 2)
    for k in range(3):
        work[0, k] /= rho
    inverse = 1.0 / p[2]
    for k in range(3):
        by_gamma = 0.0
        for m in range(3):
            by_gamma += phi[k, m] * (state[m] - view[m]) + phi[k, 3 + m] * (state[3 + m] - view[3 + m])
        partials[k, 2] = -by_gamma * inverse
        for n in range(2):
            first, second = 0.0, 0.0
            for m in range(3):
                first += phi[k, m] * axes[1 + n, m]
                second += phi[k, 3 + m] * axes[1 + n, m]
            partials[k, n], partials[k, 3 + n] = first * inverse, second * inverse
        radial = 0.0
        for m in range(3):
            radial += phi[k, 3 + m] * axes[0, m]
        partials[k, 5] = radial * inverse
    for n in range(6):
        along = partials[0, n] * work[0, 0] + partials[1, n] * work[0, 1] + partials[2, n] * work[0, 2]
        for k in range(3):
            partials[k, n] = (partials[k, n] - along * work[0, k]) / rho
    return newer, rho


@njit(cache=True)
def _radial_prior(gamma: float, axes: Any, view: Any) -> Any:
    """Return centre and sigma of gamma_dot: no motion along the line of sight, give or take the speed of escape.

    A bound orbit never pays more than one; without it a short arc of a distant object slides along its valley to a hyperbola
    near by.
    """
    inverse = 1.0 / max(gamma, 1e-4)
    along, r2 = 0.0, 0.0
    for k in range(3):
        along += view[3 + k] * axes[0, k]
        r2 += (view[k] + inverse * axes[0, k]) ** 2
    return -along / inverse, math.sqrt(2.0 * GM_SUN_AU3_PER_DAY2 / math.sqrt(r2)) / inverse


@njit(cache=True)
def _normal(
    p: Any, axes: Any, view: Any, epoch: float, which: Any, times: Any, frames: Any, sigmas: Any, observers: Any, lights: Any,
    chi2s: Any, normal: Any, right: Any, work: Any, partials: Any,
) -> float:  # fmt: skip
    """Fill the normal equations of a set of detections; write each one's chi2; return the sum, the prior's share included."""
    normal[:], right[:] = 0.0, 0.0
    centre, spread = _radial_prior(p[2], axes, view)
    total = ((p[5] - centre) / spread) ** 2
    normal[5, 5], right[5] = 1.0 / spread**2, (centre - p[5]) / spread**2
    row = np.empty(6)
    for m in range(which.shape[0]):
        d = which[m]
        lights[m], _ = predict_one(p, axes, view, times[d] - epoch, observers[d], lights[m], work, partials)
        chi2s[m] = 0.0
        for axis in range(2):
            f, inverse = frames[d, 1 + axis], 1.0 / sigmas[d, axis]
            miss = -(f[0] * work[0, 0] + f[1] * work[0, 1] + f[2] * work[0, 2]) * inverse
            for n in range(6):
                row[n] = (f[0] * partials[0, n] + f[1] * partials[1, n] + f[2] * partials[2, n]) * inverse
            chi2s[m] += miss * miss
            for n in range(6):
                right[n] += row[n] * miss
                for k in range(n + 1):
                    normal[n, k] += row[n] * row[k]
        total += chi2s[m]
    return float(total)


@njit(cache=True)
def _factor(normal: Any, damping: float, lower: Any) -> bool:
    """Write the Cholesky factor of the damped normal matrix; False if it is not positive."""
    for i in range(6):
        for j in range(i + 1):
            s = normal[i, j] * (1.0 + damping if i == j else 1.0)
            for k in range(j):
                s -= lower[i, k] * lower[j, k]
            if i == j:
                if not s > 0.0:
                    return False
                lower[i, i] = math.sqrt(s)
            else:
                lower[i, j] = s / lower[j, j]
    return True


@njit(cache=True)
def _back(lower: Any, right: Any, out: Any) -> None:
    """Solve with a Cholesky factor."""
    for i in range(6):
        s = right[i]
        for k in range(i):
            s -= lower[i, k] * out[k]
        out[i] = s / lower[i, i]
    for i in range(5, -1, -1):
        s = out[i]
        for k in range(i + 1, 6):
            s -= lower[k, i] * out[k]
        out[i] = s / lower[i, i]


@njit(cache=True)
def _fit_one(
    p: Any, axes: Any, view: Any, epoch: float, which: Any, times: Any, frames: Any, sigmas: Any, observers: Any, lights: Any,
    chi2s: Any, lower: Any, work: Any, partials: Any, scratch: Any,
) -> float:  # fmt: skip
    """Fit from ``p``, in place; return chi2 and leave the factor of the normal matrix; ``_HOPELESS`` where there is no orbit."""
    normal, right, step, trial = scratch[:6], scratch[6], scratch[7], scratch[8]
    lights[:] = LIGHT_DAYS_PER_AU / p[2]
    chi2 = _normal(
        p, axes, view, epoch, which, times, frames, sigmas, observers, lights, chi2s, normal, right, work, partials
    )
    damping = 1e-6
    for _ in range(_ITERATIONS):
        if not chi2 < _HOPELESS or not _factor(normal, damping, lower):
            return _HOPELESS
        _back(lower, right, step)
        for k in range(6):
            trial[k] = p[k] + step[k]
        if trial[2] < 0.3 * p[2] or trial[2] > 3.0 * p[2]:
            trial[2] = min(max(trial[2], 0.3 * p[2]), 3.0 * p[2])
        kept_normal, kept_right = normal.copy(), right.copy()
        new = _normal(
            trial,
            axes,
            view,
            epoch,
            which,
            times,
            frames,
            sigmas,
            observers,
            lights,
            chi2s,
            normal,
            right,
            work,
            partials,
        )
        if new <= chi2 + 1e-6:
            p[:] = trial
            done = chi2 - new < _CONVERGED
            chi2, damping = new, damping * 0.1
            if done:
                break
        else:
            normal[:], right[:] = kept_normal, kept_right
            damping = max(damping, 1e-6) * 30.0
            if damping > 1e8:
                break
    _normal(p, axes, view, epoch, which, times, frames, sigmas, observers, lights, chi2s, normal, right, work, partials)
    if not _factor(normal, 1e-12, lower):
        return _HOPELESS
    return chi2


@njit(cache=True)
def _invert(lower: Any, out: Any) -> None:
    unit = np.zeros(6)
    for k in range(6):
        unit[:] = 0.0
        unit[k] = 1.0
        _back(lower, unit, out[k])


@njit(cache=True)
def fit_candidates(
    offsets: Any, members: Any, times: Any, frames: Any, sigmas: Any, observers: Any, view: Any, epoch: float, unknowns: Any,
    axes: Any, covariances: Any, chi2: Any, detection_chi2: Any,
) -> None:  # fmt: skip
    """Fit every candidate from its start.

    Parameters
    ----------
    offsets, members
        Detections of each candidate, positions in the rows.
    times, frames, sigmas, observers
        See ``FitRows``.
    view, epoch
        Viewpoint (au, au/day) and MJD TAI at which the unknowns hold.
    unknowns
        Start, and the fit afterwards, shape (n, 6).
    axes
        Frames of the unknowns: forward, first, second, shape (n, 3, 3).
    covariances
        Of the unknowns, written, shape (n, 6, 6); zero where the fit failed.
    chi2
        Written, shape (n,); 1e9 where the fit failed.
    detection_chi2
        Of each member, written.
    """
    work, partials, scratch, lower = np.empty((9, 6)), np.empty((3, 6)), np.empty((9, 6)), np.zeros((6, 6))
    for c in range(offsets.shape[0] - 1):
        which = members[offsets[c] : offsets[c + 1]]
        lights, chi2s = np.empty(which.shape[0]), np.zeros(which.shape[0])
        chi2[c] = _fit_one(
            unknowns[c], axes[c], view, epoch, which, times, frames, sigmas, observers, lights, chi2s, lower, work, partials,
            scratch,
        )  # fmt: skip
        detection_chi2[offsets[c] : offsets[c + 1]] = chi2s
        if chi2[c] < _HOPELESS:
            _invert(lower, covariances[c])
        else:
            covariances[c] = 0.0
