"""The bodies that could be seen: four populations, their orbits and brightness drawn from published distributions.

Simple forms of what the papers find, enough that a search meets the real variety of distances, rates and arcs; not a model
to be compared with the sky.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.telescope.detections.kepler import Elements

__all__ = ["CLASSES", "Draw", "draw"]

_Floats = NDArray[np.float64]
_Random = np.random.Generator

CLASSES = ("MBA", "NEO", "JT", "TNO")
"""Main belt, near-Earth objects, Jupiter Trojans, trans-Neptunian objects: in the order of their numbers in the truth."""

BELT_ZONES = np.array(
    [
        (1.82, 2.00, 0.02),
        (2.06, 2.50, 0.33),
        (2.50, 2.82, 0.33),
        (2.82, 3.27, 0.29),
        (3.27, 3.60, 0.02),
        (3.90, 4.02, 0.01),
    ]
)
"""Begin and end in au and share: Hungarias, inner, middle and outer belt, Cybeles, Hildas; shares of the known bodies as the
Minor Planet Center lists them, rounded."""

KIRKWOOD_GAPS = np.array([(2.064, 0.020), (2.502, 0.025), (2.825, 0.015), (2.958, 0.010), (3.279, 0.030)])
"""Centre and half width in au of the 4:1, 3:1, 5:2, 7:3 and 2:1 resonances with Jupiter (Moons 1996, Celest. Mech. 65, 175:
places; widths by eye from the distribution of numbered bodies)."""

BELT_SLOPE = 0.30
"""d log N / dH of 15 < H < 18 (SKADS, Gladman et al. 2009, Icarus 202, 104), continued to the survey's depth."""

NEO_SLOPE = 0.40
"""d log N / dH about H 17 to 25 (Granvik et al. 2018, Icarus 312, 181: between 0.3 and 0.5 over that range)."""

TROJAN_SLOPE = 0.40
"""d log N / dH of bodies fainter than H 9 (Jewitt, Trujillo and Luu 2000, AJ 120, 1140: q = 3.0 in radius)."""

TNO_HOT_SLOPE, TNO_COLD_SLOPE = 0.87, 1.5
"""d log N / dH of the bright hot and cold bodies (Fraser et al. 2014, ApJ 782, 100)."""

TNO_BREAK_HOT, TNO_BREAK_COLD, TNO_FAINT_SLOPE = 7.7, 6.9, 0.30
"""Where both distributions turn flat and the slope beyond (same paper: 0.2 and 0.38 for hot and cold)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Bodies with their brightness; ``colour`` 0 is C-like (neutral), 1 S-like (red)."""

    elements: Elements
    h: _Floats
    colour: NDArray[np.uint8]


def draw(name: str, n: int, longitude: float, random: _Random) -> Draw:
    """Draw bodies of a class.

    Parameters
    ----------
    name
        One of ``CLASSES``.
    longitude
        Ecliptic longitude of the survey's fields as seen from the Sun, radians: Trojans stand about Jupiter, which is
        taken to lie 60 degrees from it, so that one cloud is in view; main-belt mean longitudes are drawn within 80
        degrees of it, because no other body of the belt can be in the fields.
    """
    return _DRAWS[name](n, longitude, random)


def _magnitudes(n: int, slope: float, low: float, high: float, random: _Random) -> _Floats:
    """Draw from N(< H) growing as ``10^(slope H)`` between two limits."""
    share = random.uniform(size=n)
    begin, end = 10 ** (slope * (low - high)), 1.0
    return np.asarray(high + np.log10(begin + share * (end - begin)) / slope)


def _angles(n: int, random: _Random) -> _Floats:
    return random.uniform(0, 2 * np.pi, n)


def _rayleigh(n: int, sigma: float, top: float, random: _Random) -> _Floats:
    """Draw a Rayleigh distribution cut at ``top``, by its inverse."""
    whole = 1 - np.exp(-(top**2) / (2 * sigma**2))
    return np.asarray(sigma * np.sqrt(-2 * np.log1p(-random.uniform(size=n) * whole)))


def _belt(n: int, longitude: float, random: _Random) -> Draw:
    zone = random.choice(len(BELT_ZONES), n, p=BELT_ZONES[:, 2])
    a = random.uniform(BELT_ZONES[zone, 0], BELT_ZONES[zone, 1])
    in_gap = (np.abs(a[:, None] - KIRKWOOD_GAPS[:, 0]) < KIRKWOOD_GAPS[:, 1]).any(axis=1)
    hungaria, hilda = zone == 0, zone == len(BELT_ZONES) - 1
    # A relaxed disc has Rayleigh eccentricities and inclinations; the belt's modes are about 0.12 and 6 degrees.
    e = np.where(hungaria, _rayleigh(n, 0.06, 0.15, random), _rayleigh(n, 0.12, 0.38, random))
    e = np.where(hilda, _rayleigh(n, 0.15, 0.3, random), e)
    i = np.radians(np.where(hungaria, random.normal(20.0, 3.0, n), _rayleigh(n, 7.5, 33.0, random)))
    node, argperi = _angles(n, random), _angles(n, random)
    mean_longitude = longitude + random.uniform(-np.radians(80), np.radians(80), n)
    h = _magnitudes(n, BELT_SLOPE, 9.0, 22.6, random)
    red = random.uniform(size=n) < np.select([a < 2.5, a < 2.82], [0.65, 0.45], 0.2)
    elements = Elements(
        a_au=a, e=e, i=np.abs(i), node=node, argperi=argperi, mean_anomaly=mean_longitude - node - argperi
    )
    # A body drawn into a gap is left out rather than moved: Jupiter took it.
    inside = ~in_gap & (a * (1 - e) > 1.3)
    return Draw(elements=elements.take(inside), h=h[inside], colour=red[inside].astype(np.uint8))


def _near_earth(n: int, _longitude: float, random: _Random) -> Draw:
    # Perihelia nearly even up to 1.3 au and semi-major axes crowded towards the inner belt, as in Granvik et al. 2018,
    # figures 17 to 19: a few per cent Atens, a little over half Apollos, the rest Amors.
    a = np.clip(random.gamma(7.0, 0.27, n), 0.6, 3.9)
    q = random.uniform(0.1, 1.3, n) ** 0.8 * 1.3**0.2
    e = 1 - q / a
    i = np.radians(_rayleigh(n, 14.0, 75.0, random))
    h = _magnitudes(n, NEO_SLOPE, 15.0, 26.5, random)
    aphelion = a * (1 + e)
    inside = (e > 0) & (e < 0.97) & (aphelion > 0.98) & (q < 1.3)
    elements = Elements(
        a_au=a, e=e, i=i, node=_angles(n, random), argperi=_angles(n, random), mean_anomaly=_angles(n, random)
    )
    red = random.uniform(size=n) < 0.6
    return Draw(elements=elements.take(inside), h=h[inside], colour=red[inside].astype(np.uint8))


def _trojans(n: int, longitude: float, random: _Random) -> Draw:
    # Libration about the triangular point with some 15 degrees amplitude, inclinations broad, eccentricities small
    # (Szabo et al. 2007, MNRAS 377, 1393: widths 10 degrees and 0.05).
    e, i = _rayleigh(n, 0.05, 0.2, random), np.radians(_rayleigh(n, 10.0, 40.0, random))
    node, argperi = _angles(n, random), _angles(n, random)
    mean_longitude = longitude + np.radians(random.normal(0.0, 14.0, n))
    elements = Elements(
        a_au=random.normal(5.20, 0.05, n),
        e=e,
        i=i,
        node=node,
        argperi=argperi,
        mean_anomaly=mean_longitude - node - argperi,
    )
    red = np.zeros(n, np.uint8)
    return Draw(elements=elements, h=_magnitudes(n, TROJAN_SLOPE, 8.5, 17.5, random), colour=red)


def _trans_neptunian(n: int, _longitude: float, random: _Random) -> Draw:
    # Shares among bodies of equal H of the L7 model (Petit et al. 2011, AJ 142, 131), rounded: cold and hot classical,
    # plutinos, scattering; widths of inclination 2.2 and 17 degrees (Brown 2001, AJ 121, 2804).
    kind = random.choice(4, n, p=[0.35, 0.35, 0.15, 0.15])
    a = np.select(
        [kind == 0, kind == 1, kind == 2],
        [random.uniform(42.5, 45.5, n), random.uniform(40.5, 47.5, n), random.normal(39.45, 0.1, n)],
        random.uniform(30.0, 120.0, n),
    )
    q = random.uniform(24.0, 38.0, n)
    e = np.select(
        [kind == 0, kind == 1, kind == 2],
        [_rayleigh(n, 0.04, 0.12, random), _rayleigh(n, 0.1, 0.22, random), _rayleigh(n, 0.16, 0.32, random)],
        np.clip(1 - q / a, 0.0, 0.9),
    )
    i = np.radians(np.where(kind == 0, _rayleigh(n, 2.2, 10.0, random), _rayleigh(n, 17.0, 60.0, random)))
    elements = Elements(
        a_au=a, e=e, i=i, node=_angles(n, random), argperi=_angles(n, random), mean_anomaly=_angles(n, random)
    )
    cold = _broken(n, TNO_COLD_SLOPE, TNO_BREAK_COLD, random)
    hot = _broken(n, TNO_HOT_SLOPE, TNO_BREAK_HOT, random)
    red = random.uniform(size=n) < 0.5
    return Draw(elements=elements, h=np.where(kind == 0, cold, hot), colour=red.astype(np.uint8))


def _broken(n: int, slope: float, turn: float, random: _Random) -> _Floats:
    """Draw magnitudes 4 to 10 whose numbers grow with one slope to the turn and with the faint one beyond."""
    bright = _magnitudes(n, slope, 4.0, turn, random)
    faint = _magnitudes(n, TNO_FAINT_SLOPE, turn, 10.0, random)
    # Numbers on both sides follow from equal density at the turn.
    below = (1 - 10 ** (slope * (4.0 - turn))) / slope
    beyond = (10 ** (TNO_FAINT_SLOPE * (10.0 - turn)) - 1) / TNO_FAINT_SLOPE
    return np.where(random.uniform(size=n) < below / (below + beyond), bright, faint)


_DRAWS: dict[str, Callable[[int, float, _Random], Draw]] = {
    "MBA": _belt,
    "NEO": _near_earth,
    "JT": _trojans,
    "TNO": _trans_neptunian,
}
