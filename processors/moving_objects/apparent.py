"""Astrometric places: where an observer sees a body among the stars of a catalogue, light time taken into account.

Light left the body ``tau`` days before it arrived. In heliocentric coordinates the Sun moved meanwhile, some 8e-6 au/day about
the barycentre: leaving that out costs 5 mas. Stellar aberration and the bending of light are those of the catalogue's stars
nearby and stay out (Explanatory Supplement, third edition, 7.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2, LIGHT_DAYS_PER_AU
from processors.moving_objects.kepler import step

__all__ = ["AstrometricPlaces", "astrometric", "finish_light_time", "retarded"]

Floats = NDArray[np.float64]

_LIGHT_TIME_STEPS = 6
"""Each step leaves v/c, 1e-4 to 1e-3, of the last one's change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AstrometricPlaces:
    """Places and the vectors they come from; shapes ``(n,)`` and ``(n, 6)``."""

    ra_deg: Floats
    """ICRS, 0 to 360."""
    dec_deg: Floats
    delta_au: Floats
    """Distance that the light travelled."""
    helio: Floats
    """Heliocentric state when the light left, au and au/day."""
    topo: Floats
    """State relative to the observer at arrival, au and au/day."""


@numba.njit(cache=True, error_model="numpy")
def finish_light_time(tau: float, observer: Floats, sun_velocity: Floats, helio: Floats, topo: Floats) -> float:
    """Put right a light time that is good to v/c, with ``helio`` the state that much earlier; return the light time, days.

    What is missing, 1e-6 days and at most 1e-4, is gone along the path's parabola: that leaves less than a metre. Newton's steps
    take the speed along the line of sight into account: what one of them leaves is some 1e-8 of its own length.
    """
    r2 = helio[0] ** 2 + helio[1] ** 2 + helio[2] ** 2
    pull = GM_SUN_AU3_PER_DAY2 / (r2 * np.sqrt(r2))
    late = 0.0
    for _ in range(_LIGHT_TIME_STEPS):
        square, receding = 0.0, 0.0
        for i in range(3):
            place = helio[i] - late * (helio[i + 3] + 0.5 * late * pull * helio[i])
            topo[i] = place - observer[i] - (tau + late) * sun_velocity[i]
            square += topo[i] * topo[i]
            receding += topo[i] * (helio[i + 3] + sun_velocity[i])
        distance = np.sqrt(square)
        change = (distance * LIGHT_DAYS_PER_AU - tau - late) / (1.0 + receding / distance * LIGHT_DAYS_PER_AU)
        late += change
        if not abs(change) > 1e-6:
            break
    bend = 0.5 * late * late * pull
    turn = late * pull
    for i in range(3):
        place, speed = helio[i], helio[i + 3]
        helio[i] = place - late * speed - bend * place
        helio[i + 3] = speed + turn * place
        topo[i] = helio[i] - observer[i] - (tau + late) * sun_velocity[i]
        topo[i + 3] = helio[i + 3] - observer[i + 3]
    return tau + late


@numba.njit(cache=True, error_model="numpy")
def retarded(state: Floats, observer: Floats, sun_velocity: Floats, helio: Floats, topo: Floats) -> float:
    """Write heliocentric and topocentric state when the light left and return the light time, days.

    Parameters
    ----------
    state
        ``(6,)`` heliocentric state at the time the light arrives.
    observer
        ``(6,)`` heliocentric state of the observer then.
    sun_velocity
        ``(3,)`` barycentric velocity of the Sun.
    helio, topo
        ``(6,)``, written.
    """
    square = 0.0
    for i in range(3):
        square += (state[i] - observer[i]) ** 2
    tau = np.sqrt(square) * LIGHT_DAYS_PER_AU
    moved = step(state[0], state[1], state[2], state[3], state[4], state[5], -tau)
    for i in range(6):
        helio[i] = moved[i]
    return finish_light_time(tau, observer, sun_velocity, helio, topo)


@numba.njit(cache=True, error_model="numpy")
def _places(states: Floats, dt: Floats, observers: Floats, sun: Floats, helio: Floats, topo: Floats) -> None:
    now = np.empty(6)
    for k in range(states.shape[0]):
        moved = step(states[k, 0], states[k, 1], states[k, 2], states[k, 3], states[k, 4], states[k, 5], dt[k])
        for i in range(6):
            now[i] = moved[i]
        retarded(now, observers[k], sun[k], helio[k], topo[k])


def astrometric(
    states: NDArray[Any],
    *,
    observers: NDArray[Any],
    sun_velocities: NDArray[Any],
    dt_days: float | NDArray[Any] = 0.0,
) -> AstrometricPlaces:
    """Return astrometric places of bodies, one for each row.

    Parameters
    ----------
    states
        ``(n, 6)`` heliocentric ICRF states, au and au/day; carried to the time of observation and back by the light time
        along their conics, so that an epoch weeks away needs `propagate` first.
    observers
        ``(n, 6)`` heliocentric states of the observer at the times of observation (`observers.observer_states`).
    sun_velocities
        ``(n, 3)`` barycentric velocity of the Sun then (`solar_system.sun_velocities`).
    dt_days
        Time of observation less epoch of the state, TDB days, one or ``(n,)``.

    Returns
    -------
    AstrometricPlaces
        NaN where the state has NaN; empty for no states.
    """
    rows = np.ascontiguousarray(states, np.float64).reshape(-1, 6)
    dt = np.ascontiguousarray(np.broadcast_to(np.asarray(dt_days, np.float64), (len(rows),)))
    seen_from = np.ascontiguousarray(np.broadcast_to(np.asarray(observers, np.float64), rows.shape))
    sun = np.ascontiguousarray(np.broadcast_to(np.asarray(sun_velocities, np.float64), (len(rows), 3)))
    helio, topo = np.empty_like(rows), np.empty_like(rows)
    _places(rows, dt, seen_from, sun, helio, topo)
    x, y, z = topo[:, 0], topo[:, 1], topo[:, 2]
    ra = np.degrees(np.arctan2(y, x)) % 360.0
    return AstrometricPlaces(
        ra_deg=np.where(ra >= 360.0, 0.0, ra),
        dec_deg=np.degrees(np.arctan2(z, np.hypot(x, y))),
        delta_au=np.sqrt(x * x + y * y + z * z),
        helio=helio,
        topo=topo,
    )
