"""Which bodies of the populations a survey can meet: in its fields and bright enough at some time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.telescope.chance import generator
from infra.telescope.detections import populations
from infra.telescope.detections.brightness import phase_function
from infra.telescope.detections.kepler import TO_EQUATOR, Elements, states
from infra.telescope.detections.populations import CLASSES, Draw
from infra.telescope.detections.solar_system import Ephemeris

__all__ = ["FINDABLE_SHARE", "MEMBERS", "Bodies", "SkyBox", "draw_bodies", "sky_box"]

_Floats = NDArray[np.float64]

MEMBERS = {
    "S": {"MBA": 1000, "NEO": 28, "JT": 40, "TNO": 12},
    "M": {"MBA": 6070, "NEO": 92, "JT": 241, "TNO": 71},
    "L": {"MBA": 34460, "NEO": 129, "JT": 280, "TNO": 88},
}
"""Findable bodies of each class that a plain survey of 14 nights is to have, about; the share of near-Earth objects is far above
the sky's, so that their completeness can be measured at all."""

_WIDE = {"MBA": 0.487, "NEO": 0.215, "JT": 0.665, "TNO": 0.63}

FINDABLE_SHARE = {"S": {"MBA": 0.34, "NEO": 0.14, "JT": 0.43, "TNO": 0.48}, "M": _WIDE, "L": _WIDE}
"""Of the bodies that are in the fields and bright enough at some time, those that become findable: measured on plain surveys of
14 nights."""

FAINTEST_V = 24.8
"""A little beyond the deepest visit's limit in V."""

COARSE_MARGIN, COARSE_FAINTER, NEAR_AU = np.radians(20.0), 1.5, 0.15
"""What a body may change between the survey's middle and its ends: beyond 0.15 au, 20 degrees and 1.5 mag are more than
all but a few ever do."""

BATCH = 200_000
"""Bodies drawn at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyBox:
    """A patch along the ecliptic, radians."""

    longitude: float
    latitude: float
    half_width: float
    half_height: float

    def contains(self, direction: _Floats, margin: float = 0.0) -> NDArray[np.bool_]:
        """Tell which equatorial vectors (n, 3) point into the patch, made wider by some radians on every side."""
        x, y, z = (direction @ TO_EQUATOR).T
        along = np.arctan2(y, x) - self.longitude
        along = np.mod(along + np.pi, 2 * np.pi) - np.pi
        across = np.arctan2(z, np.hypot(x, y)) - self.latitude
        return np.asarray((np.abs(along) < self.half_width + margin) & (np.abs(across) < self.half_height + margin))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bodies:
    """The bodies of a survey; each field has one row a body."""

    kind: NDArray[np.uint8]
    """Index into ``CLASSES``."""
    states: _Floats
    """Heliocentric ICRF at the epoch, au and au/day, (n, 6)."""
    h: _Floats
    colour: NDArray[np.uint8]
    amplitude: _Floats
    """Of the light curve, magnitudes from peak to peak."""
    period_hours: _Floats
    phase: _Floats


def sky_box(visits: NDArray[np.void]) -> SkyBox:
    """Return the smallest patch along the ecliptic that holds all visits' fields."""
    ra, dec = np.radians(visits["ra"]), np.radians(visits["dec"])
    unit = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1) @ TO_EQUATOR
    middle = float(np.arctan2(unit[:, 1].mean(), unit[:, 0].mean()))
    along = np.mod(np.arctan2(unit[:, 1], unit[:, 0]) - middle + np.pi, 2 * np.pi) - np.pi
    across = np.arcsin(unit[:, 2])
    reach = float(np.radians(visits["radius_deg"].max()))
    return SkyBox(
        longitude=middle + float(along.min() + along.max()) / 2,
        latitude=float(across.min() + across.max()) / 2,
        half_width=float(np.ptp(along)) / 2 + reach,
        half_height=float(np.ptp(across)) / 2 + reach,
    )


def draw_bodies(
    wanted: dict[str, int], box: SkyBox, epoch_mjd_tdb: float, days: float, *, seed: int, ephemeris: Ephemeris
) -> Bodies:
    """Draw bodies of each class until the wanted number can be met.

    A body can be met when at the begin, the middle or the end of the days it is in the patch as seen from the Earth and
    brighter than ``FAINTEST_V``; it moves on a Kepler orbit for this question only.
    """
    moments = [(dt, _earth(epoch_mjd_tdb + dt, ephemeris)) for dt in (0.0, days / 2, days)]
    parts = [_class_bodies(name, wanted.get(name, 0), box, moments, seed) for name in CLASSES]
    return Bodies(
        kind=np.concatenate([np.full(len(part.h), k, np.uint8) for k, (part, _) in enumerate(parts)]),
        states=np.concatenate([found for _, found in parts]),
        h=np.concatenate([part.h for part, _ in parts]),
        colour=np.concatenate([part.colour for part, _ in parts]),
        **_rotation(sum(len(part.h) for part, _ in parts), seed),
    )


def _rotation(n: int, seed: int) -> dict[str, _Floats]:
    # Amplitudes about 0.2 mag and periods about 8 h, both broad (Warner, Harris and Pravec 2009, Icarus 202, 134).
    random = generator(seed, "rotation")
    return {
        "amplitude": np.minimum(0.2 * np.exp(random.normal(0.0, 0.7, n)), 1.2),
        "period_hours": np.maximum(8.0 * np.exp(random.normal(0.0, 0.7, n)), 2.2),
        "phase": random.uniform(0, 2 * np.pi, n),
    }


def _earth(mjd_tdb: float, ephemeris: Ephemeris) -> _Floats:
    return np.asarray((ephemeris.states("Earth", mjd_tdb) - ephemeris.states("Sun", mjd_tdb))[0, :3])


def _class_bodies(
    name: str, wanted: int, box: SkyBox, moments: list[tuple[float, _Floats]], seed: int
) -> tuple[Draw, _Floats]:
    random = generator(seed, "population", name)
    kept: list[Draw] = []
    found: list[_Floats] = [np.zeros((0, 6))]
    while sum(len(part.h) for part in kept) < wanted or not kept:
        drawn = populations.draw(name, BATCH, box.longitude, random)
        chosen = np.flatnonzero(_meets(drawn, box, moments))[: wanted - sum(len(part.h) for part in kept)]
        part = Draw(elements=drawn.elements.take(chosen), h=drawn.h[chosen], colour=drawn.colour[chosen])
        kept.append(part)
        found.append(states(part.elements))
    return _joined(kept), np.concatenate(found)


def _joined(parts: list[Draw]) -> Draw:
    names = ("a_au", "e", "i", "node", "argperi", "mean_anomaly")
    columns = {name: np.concatenate([getattr(part.elements, name) for part in parts]) for name in names}
    return Draw(
        elements=Elements(**columns),
        h=np.concatenate([part.h for part in parts]),
        colour=np.concatenate([part.colour for part in parts]),
    )


def _meets(drawn: Draw, box: SkyBox, moments: list[tuple[float, _Floats]]) -> NDArray[np.bool_]:
    """Tell which bodies are met; the middle moment alone rules most of them out."""
    away, bright = _seen(drawn, box, moments[len(moments) // 2])
    worth = np.flatnonzero(away & bright)
    few = Draw(elements=drawn.elements.take(worth), h=drawn.h[worth], colour=drawn.colour[worth])
    met = np.zeros(len(drawn.h), bool)
    for moment in moments:
        inside, bright = _seen(few, box, moment, margin=0.0, fainter=0.0)
        met[worth] |= inside & bright
    return met


def _seen(
    drawn: Draw,
    box: SkyBox,
    moment: tuple[float, _Floats],
    margin: float = COARSE_MARGIN,
    fainter: float = COARSE_FAINTER,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which bodies are in the patch, or so near that a week may bring them in, and which are bright enough."""
    dt, earth = moment
    place = states(drawn.elements, dt)[:, :3]
    line = place - earth
    r, delta = np.linalg.norm(place, axis=1), np.linalg.norm(line, axis=1)
    cosine = np.einsum("ni,ni->n", place, line) / (r * delta)
    mag = drawn.h + 5 * np.log10(r * delta) + phase_function(np.arccos(np.clip(cosine, -1, 1)))
    near = (delta < NEAR_AU) & (margin > 0)
    return box.contains(line, margin) | near, (mag < FAINTEST_V + fainter) | near
