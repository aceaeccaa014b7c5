"""Elements to states for the draw of a population: ecliptic Kepler ellipses, many at a time.

Serves only the choice of which bodies can be seen at all; what is written as truth is integrated (see ``integration``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["GM_SUN", "TO_EQUATOR", "Elements", "states"]

_Floats = NDArray[np.float64]

GM_SUN = 132712440041.27942 * 86400.0**2 / 149597870.7**3
"""au^3 per day^2, from DE440's 132712440041.27942 km^3/s^2 (Park et al. 2021, AJ 161, 105)."""

OBLIQUITY = np.radians(84381.448 / 3600)
"""Of J2000, IAU 1976: the convention of the Minor Planet Center and of Horizons for ecliptic elements."""

TO_EQUATOR = np.array(
    [[1, 0, 0], [0, np.cos(OBLIQUITY), -np.sin(OBLIQUITY)], [0, np.sin(OBLIQUITY), np.cos(OBLIQUITY)]]
)
"""Turns ecliptic vectors into equatorial ones."""

_NEWTON_STEPS = 12
_SMALL_STEP = 1e-9
"""Radians of a last step: the next would be its square."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elements:
    """Elliptic elements of many bodies, ecliptic J2000, angles in radians; each field has the same length."""

    a_au: _Floats
    e: _Floats
    i: _Floats
    node: _Floats
    argperi: _Floats
    mean_anomaly: _Floats
    """At the survey's epoch."""

    def __len__(self) -> int:
        """Return how many bodies."""
        return len(self.a_au)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Elements:
        """Return the chosen bodies."""
        return Elements(
            a_au=self.a_au[chosen],
            e=self.e[chosen],
            i=self.i[chosen],
            node=self.node[chosen],
            argperi=self.argperi[chosen],
            mean_anomaly=self.mean_anomaly[chosen],
        )


def states(elements: Elements, dt_days: float = 0.0) -> _Floats:
    """Return heliocentric equatorial states (n, 6), au and au/day, some days after the elements' epoch."""
    motion = np.sqrt(GM_SUN / elements.a_au**3)
    eccentric = _solve(elements.mean_anomaly + motion * dt_days, elements.e)
    c, s = np.cos(eccentric), np.sin(eccentric)
    b = np.sqrt(1 - elements.e**2)
    speed = motion * elements.a_au / (1 - elements.e * c)
    p, q = _axes(elements)
    x, y = elements.a_au * (c - elements.e), elements.a_au * b * s
    position = x[:, None] * p + y[:, None] * q
    velocity = (-speed * s)[:, None] * p + (speed * b * c)[:, None] * q
    return np.hstack([position @ TO_EQUATOR.T, velocity @ TO_EQUATOR.T])


def _axes(elements: Elements) -> tuple[_Floats, _Floats]:
    """Ecliptic unit vectors to the periapsis and 90 degrees ahead of it."""
    co, so = np.cos(elements.argperi), np.sin(elements.argperi)
    cn, sn = np.cos(elements.node), np.sin(elements.node)
    ci, si = np.cos(elements.i), np.sin(elements.i)
    p = np.stack([co * cn - so * sn * ci, co * sn + so * cn * ci, so * si], axis=1)
    q = np.stack([-so * cn - co * sn * ci, -so * sn + co * cn * ci, co * si], axis=1)
    return p, q


def _solve(mean: _Floats, e: _Floats) -> _Floats:
    reduced = np.mod(mean + np.pi, 2 * np.pi) - np.pi
    # Danby's start, which Newton's steps follow home for every eccentricity below 1.
    eccentric = reduced + 0.85 * e * np.sign(reduced)
    for _ in range(_NEWTON_STEPS):
        change = (eccentric - e * np.sin(eccentric) - reduced) / (1 - e * np.cos(eccentric))
        eccentric = eccentric - change
        if not len(change) or np.abs(change).max() < _SMALL_STEP:
            break
    return np.asarray(eccentric)
