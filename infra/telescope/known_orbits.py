"""Which of a night's asteroids the world knows already, and the orbits that it knows them by.

Every second asteroid of the simulated sky is in the catalogue that an observatory imports; the others wait to be discovered.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.telescope.orbits import observer_position
from infra.telescope.sky import Asteroid
from schemas.orbits import STATE_COLUMNS, orbit_rows

__all__ = ["absolute_magnitude", "designation_of", "is_known", "known_orbits"]

V_LESS_R_PER_COLOUR, V_LESS_R = 0.278, -0.004
"""V - r of a body by its g - i: V = g - 0.5784 (g - r) - 0.0038 (Lupton 2005) with g - r = 0.66 (g - i)."""

SLOPE = 0.15
"""G where nothing is known (Bowell et al. 1989)."""

_LETTERS = "ABCDEFGHJKLMNOPQRSTUVWXYZ"
_PER_NIGHT = 40


def is_known(asteroid: Asteroid) -> bool:
    """Tell whether the imported catalogue has it."""
    return asteroid.key % 2 == 0


def designation_of(asteroid: Asteroid) -> str:
    """Return the provisional designation that it would have had since 2014; no two asteroids of two years share one."""
    day_obs, index = divmod(asteroid.key - 5_000, 10_000)
    date = dt.date(day_obs // 10_000, day_obs // 100 % 100, day_obs % 100)
    order = (date.timetuple().tm_yday - 1) * _PER_NIGHT + index
    return f"{2014 + date.year % 2} A{_LETTERS[order % 25]}{order // 25 or ''}"


def absolute_magnitude(asteroid: Asteroid, mjd_tai: float) -> float:
    """Return H that gives the asteroid its brightness at a time (H, G system, Bowell et al. 1989)."""
    visual = asteroid.mag_r + V_LESS_R_PER_COLOUR * asteroid.colour + V_LESS_R
    body = asteroid.orbit.position(mjd_tai + 32.184 / 86400)
    line = body - observer_position(mjd_tai)
    from_sun, from_us = float(np.linalg.norm(body)), float(np.linalg.norm(line))
    phase = np.arccos(np.clip(body @ line / (from_sun * from_us), -1.0, 1.0))
    tangent = np.tan(phase / 2)
    light = (1 - SLOPE) * np.exp(-3.33 * tangent**0.63) + SLOPE * np.exp(-1.87 * tangent**1.22)
    return float(visual - 5 * np.log10(from_sun * from_us) + 2.5 * np.log10(light))


def known_orbits(asteroids: list[Asteroid], mjd_tai: float) -> NDArray[Any]:
    """Return the catalogue's rows of a night's known asteroids, exact as the simulator knows them, without packed names.

    Parameters
    ----------
    asteroids
        Of the night.
    mjd_tai
        When they have the brightness that the night gives them.
    """
    known = [asteroid for asteroid in asteroids if is_known(asteroid)]
    rows = orbit_rows(len(known))
    for row, asteroid in zip(rows, known, strict=True):
        row["designation"] = designation_of(asteroid)
        row["epoch_mjd_tdb"] = asteroid.orbit.epoch_mjd_tdb
        for name, value in zip(STATE_COLUMNS, asteroid.orbit.state(asteroid.orbit.epoch_mjd_tdb), strict=True):
            row[name] = value
        row["h"], row["g"] = absolute_magnitude(asteroid, mjd_tai), SLOPE
    return rows
