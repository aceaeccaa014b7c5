"""What the night's catalogue stores of each object, computed at the middle of the night, compiled."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.apparent import retarded
from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2
from processors.moving_objects.forces import perturbation, relativity
from processors.moving_objects.nightly_covariance import sky_ellipse

__all__ = ["VALUES", "middle_of_night", "reorder"]

Floats = NDArray[np.float64]

VALUES = 9
"""Numbers per object beside its state: perturbing acceleration (3), H, slope, its kind, sigma along the motion and across it
(au), and their correlation."""

_TOPOCENTRE_TURNS_AU = 1e-4
"""More than the 8.5e-5 au by which the observer's place on the Earth changes in half a day."""


@numba.njit(cache=True, error_model="numpy")
def _reach(helio: Floats, topo: Floats, half_night: float, direction: Floats) -> float:
    """Return a bound, radians, on how far an object gets from its place of midnight in half a night.

    The motion across the line of sight is at most its velocity's part across, plus half its acceleration and the observer's,
    plus the turn of the Earth; the distance shrinks by as much at most.
    """
    r2 = helio[0] ** 2 + helio[1] ** 2 + helio[2] ** 2
    distance = np.sqrt(topo[0] ** 2 + topo[1] ** 2 + topo[2] ** 2)
    radial, square = 0.0, 0.0
    for i in range(3):
        radial += topo[i + 3] * direction[i]
        square += topo[i + 3] ** 2
    # Twice the Sun's pull covers its change during the night; the Earth's pull counts for what passes it closely.
    pull = 2.0 * GM_SUN_AU3_PER_DAY2 / r2 + 3.5e-4 + 2e-9 / max(distance * distance, 1e-9)
    bend = 0.5 * pull * half_night**2 + _TOPOCENTRE_TURNS_AU
    across = np.sqrt(max(square - radial * radial, 0.0)) * half_night + bend
    nearest = distance - abs(radial) * half_night - bend
    return np.arctan2(across, nearest) if nearest > 0.0 else np.pi


@numba.njit(cache=True, error_model="numpy")
def middle_of_night(
    states: Floats,
    factors: NDArray[np.float32],
    observer: Floats,
    sun_velocity: Floats,
    bodies: Floats,
    gm: Floats,
    of_sun: Floats,
    half_night: float,
    directions: Floats,
    reach: Floats,
    values: NDArray[np.float32],
) -> None:
    """Write what is stored of each object; H, slope and its kind stay as they are.

    Parameters
    ----------
    states, factors
        ``(n, 6)`` states at the middle of the night, ``(n, 21)`` square roots of their covariances.
    observer, sun_velocity, bodies, gm, of_sun
        Heliocentric state of the observer, velocity of the Sun, and the bodies that pull, then.
    half_night
        Days from the middle of the night to its ends.
    directions, reach, values
        ``(n, 3)`` unit vectors to the astrometric places, ``(n,)`` bound on the motion till the ends of the night (radians; pi
        for a state that is NaN), ``(n, 9)`` the numbers stored; written.
    """
    helio, topo, along, across, direction = np.empty(6), np.empty(6), np.empty(3), np.empty(3), np.empty(3)
    for k in range(states.shape[0]):
        x, y, z, vx, vy, vz = states[k]
        px, py, pz = perturbation(x, y, z, bodies, gm, of_sun)
        rx, ry, rz = relativity(x, y, z, vx, vy, vz)
        values[k, 0], values[k, 1], values[k, 2] = px + rx, py + ry, pz + rz
        retarded(states[k], observer, sun_velocity, helio, topo)
        distance = np.sqrt(topo[0] ** 2 + topo[1] ** 2 + topo[2] ** 2)
        radial = 0.0
        for i in range(3):
            direction[i] = topo[i] / distance
            directions[k, i] = direction[i]
            radial += topo[i + 3] * direction[i]
        reach[k] = _reach(helio, topo, half_night, direction)
        speed = 0.0
        for i in range(3):
            along[i] = topo[i + 3] - radial * direction[i]
            speed += along[i] ** 2
        speed = np.sqrt(speed)
        for i in range(3):
            along[i] /= speed
        across[0] = direction[1] * along[2] - direction[2] * along[1]
        across[1] = direction[2] * along[0] - direction[0] * along[2]
        across[2] = direction[0] * along[1] - direction[1] * along[0]
        sigma_along, sigma_across, correlation = sky_ellipse(factors[k], along, across)
        values[k, 6], values[k, 7], values[k, 8] = sigma_along, sigma_across, correlation


@numba.njit(cache=True, error_model="numpy")
def reorder(rows: NDArray[np.float32], order: NDArray[np.int64]) -> None:
    """Put rows in place into an order, cycle by cycle: without the second copy that indexing would take.

    Parameters
    ----------
    rows
        ``(n, k)``, changed: row i becomes what row ``order[i]`` was.
    order
        Each number below n once.
    """
    done = np.zeros(rows.shape[0], np.bool_)
    kept = np.empty(rows.shape[1], rows.dtype)
    for begin in range(rows.shape[0]):
        if done[begin]:
            continue
        kept[:] = rows[begin]
        at = begin
        while order[at] != begin:
            rows[at] = rows[order[at]]
            done[at] = True
            at = order[at]
        rows[at] = kept
        done[at] = True
