"""Motion about the Sun with planets and Moon, and its variational equations integrated along, in compiled code.

A step splits the motion: the exact two-body drift about the Sun with its closed-form partials, and kicks by everything else
(planets, Moon, further bodies, the Sun's first post-Newtonian term). Two kicks a step at the Gaussian nodes leave errors of the
fourth order in the step times the perturbation (Laskar and Robutel 2001, CeMDA 80, 39: SABA2). The partials of a kick are the
tidal tensor of the bodies; that of the post-Newtonian term, a part in 1e8, is left out of the partials, not of the motion.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2, LIGHT_SPEED_AU_PER_DAY
from processors.moving_objects.kepler import step_with_partials
from processors.moving_objects.solar_system import SolarSystem, gms, heliocentric_positions

__all__ = ["Forces", "advance", "forces_of", "is_two_body", "no_forces", "perturbed_states"]

Floats = NDArray[np.float64]

Forces = tuple[Floats, Floats, Floats]
"""Layout and coefficients of the Solar System and GM of its bodies; empty for two-body motion."""

LONGEST_STEP_DAYS = 2.0
"""Longest step: in the main belt its error over a fortnight is below a microarcsecond."""

NEAR_SHARE = 0.1
"""A step is at most this share of the time in which the distance to the Sun, or to a planet that matters, is travelled."""

MATTERS = 1e-4
"""A body whose pull is more than this share of the Sun's limits the step."""

_OUTER = 0.5 - np.sqrt(3.0) / 6.0
_INNER = np.sqrt(3.0) / 3.0


@numba.njit(cache=True)
def no_forces() -> Forces:
    """Return the forces of two-body motion: none beside the Sun's."""
    return np.zeros((0, 5)), np.zeros(0), np.zeros(0)


@numba.njit(cache=True)
def is_two_body(forces: Forces) -> bool:
    """Whether only the Sun pulls."""
    return bool(forces[2].shape[0] == 0)


def forces_of(solar_system: SolarSystem) -> Forces:
    """Return the forces of all bodies of a Solar System, as compiled code takes them."""
    return (
        np.ascontiguousarray(solar_system.layout),
        np.ascontiguousarray(solar_system.coefficients),
        np.ascontiguousarray(gms(solar_system)),
    )


@numba.njit(cache=True)
def _relativity(x: Floats, dt: float) -> None:
    """Kick a heliocentric state by the Sun's first post-Newtonian term (Moyer 2000, equation 4-61, one body)."""
    r2 = x[0] ** 2 + x[1] ** 2 + x[2] ** 2
    v2 = x[3] ** 2 + x[4] ** 2 + x[5] ** 2
    radial = 4.0 * (x[0] * x[3] + x[1] * x[4] + x[2] * x[5])
    r = np.sqrt(r2)
    scale = dt * GM_SUN_AU3_PER_DAY2 / (LIGHT_SPEED_AU_PER_DAY**2 * r2 * r)
    along = 4.0 * GM_SUN_AU3_PER_DAY2 / r - v2
    for i in range(3):
        x[i + 3] += scale * (along * x[i] + radial * x[i + 3])


@numba.njit(cache=True)
def _kick(x: Floats, phi: Floats, time: float, dt: float, forces: Forces, bodies: Floats) -> None:
    """Change velocities and their partials by the pull of all bodies but the Sun during ``dt``."""
    layout, coefficients, gm = forces
    heliocentric_positions(layout, coefficients, time, bodies)
    pull, tide = np.zeros(3), np.zeros((3, 3))
    for b in range(1, gm.shape[0]):
        dx, dy, dz = bodies[b, 0] - x[0], bodies[b, 1] - x[1], bodies[b, 2] - x[2]
        d2 = dx * dx + dy * dy + dz * dz
        s2 = bodies[b, 0] ** 2 + bodies[b, 1] ** 2 + bodies[b, 2] ** 2
        near, far = gm[b] / (d2 * np.sqrt(d2)), gm[b] / (s2 * np.sqrt(s2))
        pull[0] += near * dx - far * bodies[b, 0]
        pull[1] += near * dy - far * bodies[b, 1]
        pull[2] += near * dz - far * bodies[b, 2]
        steep = 3.0 * near / d2
        tide[0, 0] += steep * dx * dx - near
        tide[0, 1] += steep * dx * dy
        tide[0, 2] += steep * dx * dz
        tide[1, 1] += steep * dy * dy - near
        tide[1, 2] += steep * dy * dz
        tide[2, 2] += steep * dz * dz - near
    tide[1, 0], tide[2, 0], tide[2, 1] = tide[0, 1], tide[0, 2], tide[1, 2]
    for i in range(3):
        x[i + 3] += dt * pull[i]
        for k in range(6):
            phi[i + 3, k] += dt * (tide[i, 0] * phi[0, k] + tide[i, 1] * phi[1, k] + tide[i, 2] * phi[2, k])
    _relativity(x, dt)


@numba.njit(cache=True)
def _drift(x: Floats, phi: Floats, dt: float, out: Floats, part: Floats, whole: Floats) -> None:
    """Carry state and partials along the conic of the moment."""
    step_with_partials(x, dt, out, part)
    for i in range(6):
        x[i] = out[i]
        for k in range(6):
            total = 0.0
            for j in range(6):
                total += part[i, j] * phi[j, k]
            whole[i, k] = total
    phi[:] = whole


@numba.njit(cache=True)
def _longest(x: Floats, time: float, forces: Forces, bodies: Floats) -> float:
    """Return the longest step that the neighbourhood allows."""
    layout, coefficients, gm = forces
    r2 = x[0] ** 2 + x[1] ** 2 + x[2] ** 2
    speed = np.sqrt(x[3] ** 2 + x[4] ** 2 + x[5] ** 2)
    longest = min(LONGEST_STEP_DAYS, NEAR_SHARE * np.sqrt(r2) / speed)
    heliocentric_positions(layout, coefficients, time, bodies)
    for b in range(1, gm.shape[0]):
        d2 = (bodies[b, 0] - x[0]) ** 2 + (bodies[b, 1] - x[1]) ** 2 + (bodies[b, 2] - x[2]) ** 2
        if gm[b] * r2 > MATTERS * GM_SUN_AU3_PER_DAY2 * d2:
            s2 = bodies[b, 0] ** 2 + bodies[b, 1] ** 2 + bodies[b, 2] ** 2
            # The two may meet head on: the planet's speed is that of a circle at its distance.
            closing = speed + np.sqrt(GM_SUN_AU3_PER_DAY2 / np.sqrt(s2)) + np.sqrt(2.0 * gm[b] / np.sqrt(d2))
            longest = min(longest, NEAR_SHARE * np.sqrt(d2) / closing)
    return float(longest)


@numba.njit(cache=True)
def advance(x: Floats, phi: Floats, begin: float, end: float, forces: Forces) -> None:
    """Carry a heliocentric state (6,) and its partials (6, 6) from ``begin`` to ``end`` (MJD TDB) in place.

    Steps adapt to the nearest body; a state that is not finite stays so.
    """
    bodies = np.empty((forces[2].shape[0], 3))
    out, part, whole = np.empty(6), np.empty((6, 6)), np.empty((6, 6))
    if is_two_body(forces):
        _drift(x, phi, end - begin, out, part, whole)
        return
    time = begin
    while time != end and np.isfinite(end):
        longest = _longest(x, time, forces, bodies)
        if not longest > 0.0:
            x[:] = np.nan
            return
        rest = end - time
        dt = rest / np.ceil(abs(rest) / longest)
        _drift(x, phi, _OUTER * dt, out, part, whole)
        _kick(x, phi, time + _OUTER * dt, 0.5 * dt, forces, bodies)
        _drift(x, phi, _INNER * dt, out, part, whole)
        _kick(x, phi, time + (1.0 - _OUTER) * dt, 0.5 * dt, forces, bodies)
        _drift(x, phi, _OUTER * dt, out, part, whole)
        time = end if abs(rest) <= longest else time + dt


@numba.njit(cache=True)
def _advance_all(states: Floats, phi: Floats, begin: Floats, end: Floats, forces: Forces) -> None:
    for k in range(states.shape[0]):
        for i in range(6):
            phi[k, i, i] = 1.0
        advance(states[k], phi[k], begin[k], end[k], forces)


def perturbed_states(
    states: Floats, *, begin_mjd_tdb: Floats | float, end_mjd_tdb: Floats | float, solar_system: SolarSystem
) -> tuple[Floats, Floats]:
    """Return states ``(n, 6)`` at another time and their partials ``(n, 6, 6)`` by those given.

    Parameters
    ----------
    states
        ``(n, 6)`` heliocentric ICRF, au and au/day.
    begin_mjd_tdb, end_mjd_tdb
        One time for all or ``(n,)``; the span of the Solar System must hold them.
    solar_system
        Bodies that pull.
    """
    out = np.array(states, np.float64).reshape(-1, 6)
    phi = np.zeros((len(out), 6, 6))
    times = [
        np.ascontiguousarray(np.broadcast_to(np.asarray(t, np.float64), len(out))) for t in (begin_mjd_tdb, end_mjd_tdb)
    ]
    _advance_all(out, phi, times[0], times[1], forces_of(solar_system))
    return out, phi
