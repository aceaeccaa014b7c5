"""What pulls at a small body besides the Sun's Newtonian attraction, compiled."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2, LIGHT_SPEED_AU_PER_DAY
from processors.moving_objects.solar_system import FIRST_FURTHER

__all__ = ["indirect", "kick", "perturbation", "relativity"]

Floats = NDArray[np.float64]

_MU = GM_SUN_AU3_PER_DAY2
_MU_OVER_C2 = GM_SUN_AU3_PER_DAY2 / LIGHT_SPEED_AU_PER_DAY**2

_ITSELF_WITHIN_AU2 = (3e-5) ** 2
"""A body 4,500 km from one of the sixteen asteroids is taken to be that asteroid, which does not pull at itself."""


@numba.njit(cache=True, error_model="numpy")
def indirect(bodies: Floats, gm: Floats, out: Floats) -> None:
    """Write the acceleration of the Sun by the bodies (3,): heliocentric coordinates lose it."""
    out[:] = 0.0
    for k in range(1, bodies.shape[0]):
        r2 = bodies[k, 0] ** 2 + bodies[k, 1] ** 2 + bodies[k, 2] ** 2
        pull = gm[k] / (r2 * np.sqrt(r2))
        for i in range(3):
            out[i] += pull * bodies[k, i]


@numba.njit(cache=True, error_model="numpy")
def perturbation(
    x: float, y: float, z: float, bodies: Floats, gm: Floats, of_sun: Floats
) -> tuple[float, float, float]:
    """Return the acceleration by planets, Moon and asteroids in heliocentric coordinates, au/day^2.

    Parameters
    ----------
    x, y, z
        Heliocentric place of the small body, au.
    bodies, gm
        ``(n, 3)`` heliocentric places (row 0, the Sun, is left out) and GM.
    of_sun
        ``(3,)`` acceleration of the Sun by the same bodies (`indirect`).
    """
    ax, ay, az = -of_sun[0], -of_sun[1], -of_sun[2]
    for k in range(1, bodies.shape[0]):
        dx, dy, dz = bodies[k, 0] - x, bodies[k, 1] - y, bodies[k, 2] - z
        d2 = dx * dx + dy * dy + dz * dz
        if k >= FIRST_FURTHER and d2 < _ITSELF_WITHIN_AU2:
            continue
        pull = gm[k] / (d2 * np.sqrt(d2))
        ax += pull * dx
        ay += pull * dy
        az += pull * dz
    return ax, ay, az


@numba.njit(cache=True, error_model="numpy")
def relativity(x: float, y: float, z: float, vx: float, vy: float, vz: float) -> tuple[float, float, float]:
    """Return the first post-Newtonian acceleration by the Sun's mass (Moyer 2003, equation 4-26 with one mass)."""
    r2 = x * x + y * y + z * z
    r = np.sqrt(r2)
    factor = _MU_OVER_C2 / (r2 * r)
    along = factor * (4.0 * _MU / r - (vx * vx + vy * vy + vz * vz))
    radial = 4.0 * factor * (x * vx + y * vy + z * vz)
    return along * x + radial * vx, along * y + radial * vy, along * z + radial * vz


@numba.njit(cache=True, error_model="numpy")
def kick(state: Floats, h: float, bodies: Floats, gm: Floats, of_sun: Floats) -> None:
    """Change the velocity in ``state`` (6,) by the perturbing acceleration over ``h`` days.

    Relativity depends on the velocity itself: it is taken at the middle of the change, so that the step can be undone.
    """
    x, y, z = state[0], state[1], state[2]
    ax, ay, az = perturbation(x, y, z, bodies, gm, of_sun)
    half = 0.5 * h
    rx, ry, rz = relativity(x, y, z, state[3] + half * ax, state[4] + half * ay, state[5] + half * az)
    state[3] += h * (ax + rx)
    state[4] += h * (ay + ry)
    state[5] += h * (az + rz)
