"""Where bodies are seen: their integrated nights interpolated, light time, the observer on the Earth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.telescope.detections.solar_system import LIGHT_DAYS_PER_AU

__all__ = ["NODES_DAYS", "NightPaths", "seen_from"]

_Floats = NDArray[np.float64]

NODES_DAYS = np.array([-0.45, -0.1, 0.25])
"""From a night's midnight: the times of the integrated states. Light of a body at 60 au left 0.35 days before the visit."""

_STEP = 0.35
_LIGHT_TIME_ROUNDS = 4
"""Each round gains a factor of v/c, 1e-4 or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NightPaths:
    """Barycentric paths of bodies through one night: quintics through three states.

    Over 0.7 days the sixth derivative of the narrowest orbits of interest leaves less than 1e-12 au.
    """

    middle_mjd_tdb: float
    coefficients: _Floats
    """Shape (6, n, 3): au by power of the time from the middle node in units of 0.35 days."""

    @classmethod
    def through(cls, states: _Floats, middle_mjd_tdb: float) -> NightPaths:
        """Return the paths through the states (3, n, 6) at the three nodes."""
        p0, p1, p2 = states[:, :, :3]
        v0, v1, v2 = states[:, :, 3:] * _STEP
        even, odd = (p0 + p2) / 2 - p1, (p2 - p0) / 2 - v1
        even_rate, odd_rate = (v2 - v0) / 2, (v2 + v0) / 2 - v1
        c4, c5 = even_rate / 2 - even, (odd_rate - 3 * odd) / 2
        return cls(middle_mjd_tdb=middle_mjd_tdb, coefficients=np.stack([p1, v1, even - c4, odd - c5, c4, c5]))

    def take(self, chosen: NDArray[np.intp]) -> NightPaths:
        """Return the paths of the chosen bodies."""
        return NightPaths(middle_mjd_tdb=self.middle_mjd_tdb, coefficients=self.coefficients[:, chosen])

    def positions(self, mjd_tdb: _Floats) -> _Floats:
        """Return positions (n, 3), each body at its own time."""
        s = ((mjd_tdb - self.middle_mjd_tdb) / _STEP)[:, None]
        total = self.coefficients[5]
        for power in range(4, -1, -1):
            total = total * s + self.coefficients[power]
        return np.asarray(total)


def seen_from(paths: NightPaths, observer: _Floats, mjd_tdb: float) -> tuple[_Floats, _Floats]:
    """Return the vectors (n, 3) from the observer at a time to the bodies when their light left, and those positions."""
    delay = np.zeros(paths.coefficients.shape[1])
    for _ in range(_LIGHT_TIME_ROUNDS):
        place = paths.positions(mjd_tdb - delay)
        delay = np.linalg.norm(place - observer, axis=1) * LIGHT_DAYS_PER_AU
    return place - observer, place
