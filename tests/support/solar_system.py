"""Made-up populations of small bodies, any number of them: main belt, Trojans, trans-Neptunian objects, near-Earth objects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2, OBLIQUITY_RADIANS
from processors.moving_objects.kepler import two_body
from processors.moving_objects.orbits import Orbits, known_orbits

__all__ = ["large_population", "population"]

Floats = NDArray[np.float64]

_BLOCK = 100_000

SHARES = {"belt": 0.93, "trojan": 0.02, "tno": 0.02, "neo": 0.03}
"""About what the Minor Planet Center's catalogue holds."""


def population(count: int, seed: int, *, epoch_mjd_tdb: float, with_factors: bool = True) -> Orbits:
    """Return orbits of all classes at one epoch, in an order without meaning; uncertain by some 1e-7 au along the path."""
    random = np.random.default_rng(seed)
    sizes = random.multinomial(count, list(SHARES.values()))
    q, e, i = (
        np.concatenate(x)
        for x in zip(*(_shapes(k, n, random) for k, n in zip(SHARES, sizes, strict=True)), strict=True)
    )
    states = _states(q, e, i, random)[random.permutation(count)]
    factors = None
    if with_factors:
        factors = np.zeros((count, 21), np.float32)
        diagonal = [k * (k + 1) // 2 + k for k in range(6)]
        factors[:, diagonal] = np.exp(random.normal(0, 0.5, (count, 6))) * ([1e-7] * 3 + [1e-9] * 3)
    return known_orbits(
        random.permutation(count) + 1,
        states,
        epoch_mjd_tdb,
        h=random.uniform(12, 22, count),
        slope=random.normal(0.15, 0.05, count),
        factors=factors,
    )


def _shapes(kind: str, n: int, random: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Return perihelion distances, eccentricities and inclinations (radians)."""
    if kind == "neo":
        q, e = random.uniform(0.3, 1.3, n), np.clip(random.normal(0.5, 0.2, n), 0.01, 0.97)
        return q, e, np.radians(random.rayleigh(10.0, n))
    low, high, spread, tilt = {
        "belt": (2.1, 3.3, 0.15, 7.0),
        "trojan": (5.05, 5.35, 0.07, 12.0),
        "tno": (38.0, 48.0, 0.1, 8.0),
    }[kind]
    a, e = random.uniform(low, high, n), np.clip(np.abs(random.normal(0, spread, n)), 0, 0.35)
    return a * (1 - e), e, np.radians(random.rayleigh(tilt, n))


def _states(q: Floats, e: Floats, i: Floats, random: np.random.Generator) -> Floats:
    """Return heliocentric ICRF states with nodes, perihelia and mean anomalies anywhere."""
    n = len(q)
    speed = np.sqrt(GM_SUN_AU3_PER_DAY2 * (1 + e) / q)
    zero = np.zeros(n)
    perihelion = np.stack([q, zero, zero, zero, speed, zero], axis=1)
    period = 2 * np.pi * np.sqrt((q / (1 - e)) ** 3 / GM_SUN_AU3_PER_DAY2)
    states = two_body(perihelion, random.uniform(-0.5, 0.5, n) * period)
    argument, node = random.uniform(0, 2 * np.pi, (2, n))
    tilt = np.full(n, OBLIQUITY_RADIANS)
    for angle, axis in ((argument, 2), (i, 0), (node, 2), (tilt, 0)):
        states = _turned(states, angle, axis)
    return states


def _turned(states: Floats, angle: Floats, axis: int) -> Floats:
    out = states.copy()
    c, s = np.cos(angle), np.sin(angle)
    for first in (0, 3):
        a, b = first + (axis + 1) % 3, first + (axis + 2) % 3
        out[:, a], out[:, b] = c * states[:, a] - s * states[:, b], s * states[:, a] + c * states[:, b]
    return out


def large_population(count: int, seed: int, *, epoch_mjd_tdb: float) -> Orbits:
    """Return millions of orbits, drawn block by block so that drawing takes little more memory than they do."""
    whole = known_orbits(
        np.arange(1, count + 1),
        np.zeros((count, 6)),
        epoch_mjd_tdb,
        h=np.zeros(count, np.float32),
        slope=np.zeros(count),
    )
    for number, first in enumerate(range(0, count, _BLOCK)):
        rows = slice(first, min(first + _BLOCK, count))
        block = population(rows.stop - rows.start, seed + number, epoch_mjd_tdb=epoch_mjd_tdb)
        whole.states[rows], whole.h[rows], whole.slope[rows] = block.states, block.h, block.slope
        whole.factors[rows] = block.factors
    return whole
