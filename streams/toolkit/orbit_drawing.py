"""Drawings of an orbit as numbers for SVG: the ecliptic from the north, from the side, and residuals over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.cometary import cometary_elements
from processors.moving_objects.conic_path import conic_path
from processors.moving_objects.elements import to_ecliptic
from processors.moving_objects.solar_system import SolarSystem, body_states
from schemas.ephemerides import BODIES

__all__ = ["Drawing", "Mark", "ResidualPlot", "Track", "draw_orbit", "draw_residuals"]

Floats = NDArray[np.float64]

HALF = 100.0
"""Half the width of a drawing, in its own units."""

OBJECT = "object"
"""Name of the track of the object itself."""

PLANETS = ("Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune")

_SMALLEST_SHARE = 0.04
"""Orbits of planets smaller than this share of the drawing are left out: they would be a blot on the Sun."""

_LARGEST_SHARE = 1.4
"""Orbits that lie wholly outside are left out as well."""

_NEAREST_AU, _OPEN_AU = 1.8, 12.0
"""A drawing shows at least the Earth's surroundings, and of an orbit without an end so much or twice its perihelion."""

_MARGIN = 1.08


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One orbit in one view: a path above the ecliptic and one below it, and where the body is."""

    name: str
    above: str
    below: str
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """An orbit from the north (x to the vernal equinox, y up) and from the side (z up); one unit is ``HALF`` / ``extent_au``."""

    extent_au: float
    plane: tuple[Track, ...]
    """The object last."""
    side: tuple[Track, ...]
    side_half: float
    """Half the height of the side view."""
    rulers: tuple[float, ...]
    """Radii of circles of whole astronomical units."""
    ruler_au: float


def draw_orbit(state: Floats, epoch_mjd_tdb: float, solar_system: SolarSystem) -> Drawing:
    """Return the drawing of an orbit with the planets that fit in, all where they are at the epoch.

    Parameters
    ----------
    state
        ``(6,)`` heliocentric ICRF.
    epoch_mjd_tdb
        Its epoch, within the span of ``solar_system``.
    """
    own = cometary_elements(state[None], np.array([epoch_mjd_tdb]))[0]
    extent = _extent(own, float(np.linalg.norm(state[:3])))
    bodies = [(OBJECT, state, own), *_planets(solar_system, epoch_mjd_tdb, extent)]
    # The object is drawn last, over the planets.
    bodies = [*bodies[1:], bodies[0]]
    scale = HALF / extent
    plane = tuple(_track(name, at, row, extent, scale, (0, 1)) for name, at, row in bodies)
    side = tuple(_track(name, at, row, extent, scale, (0, 2)) for name, at, row in bodies)
    tallest = max(_tallest(row, extent) for *_, row in bodies)
    step = _ruler(extent)
    return Drawing(
        extent_au=extent,
        plane=plane,
        side=side,
        side_half=float(np.clip(scale * tallest * 1.25, 12.0, HALF)),
        rulers=tuple(step * scale * k for k in range(1, int(extent / step) + 1)),
        ruler_au=step,
    )


def _extent(elements: Any, distance: float) -> float:
    aphelion = elements["a"] * (1.0 + elements["e"]) if elements["e"] < 1.0 else np.inf
    far = float(aphelion) if np.isfinite(aphelion) and aphelion < 150.0 else max(_OPEN_AU, 2.0 * float(elements["q"]))
    return _MARGIN * max(far, distance, _NEAREST_AU)


def _planets(solar_system: SolarSystem, epoch: float, extent: float) -> list[tuple[str, Floats, Any]]:
    found = []
    for name in PLANETS:
        state = body_states(solar_system, BODIES.index(name), np.array([epoch]))
        row = cometary_elements(state, np.array([epoch]))[0]
        if _SMALLEST_SHARE * extent < row["a"] < _LARGEST_SHARE * extent:
            found.append((name, state[0], row))
    return found


def _track(name: str, state: Floats, elements: Any, extent: float, scale: float, axes: tuple[int, int]) -> Track:
    path = conic_path(elements, farthest_au=1.5 * extent)
    # Planets are drawn whole: which half of the Earth's orbit lies above the ecliptic is rounding.
    above = (path[:, 2] >= 0.0) | (name != OBJECT)
    here = to_ecliptic(state[None, :3])[0]
    return Track(
        name=name,
        above=_path(path, above, scale, axes),
        below=_path(path, ~above, scale, axes),
        x=round(float(here[axes[0]]) * scale, 2),
        y=round(-float(here[axes[1]]) * scale, 2),
    )


def _path(path: Floats, shown: NDArray[np.bool_], scale: float, axes: tuple[int, int]) -> str:
    """Return SVG path data of the pieces of a line on which ``shown`` is true, each with the point after it."""
    parts, before = [], False
    for k in range(len(path)):
        if shown[k] or before:
            x, y = path[k, axes[0]] * scale, -path[k, axes[1]] * scale
            parts.append(f"{'L' if before else 'M'}{x:.2f} {y:.2f}")
        before = bool(shown[k])
    return "".join(parts)


def _tallest(elements: Any, extent: float) -> float:
    path = conic_path(elements, farthest_au=extent)
    return float(np.abs(path[:, 2]).max()) if len(path) else 0.0


def _ruler(extent: float) -> float:
    return float(
        next(step for step in (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0) if extent / step < 6.0 or step == 100.0)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One residual: its place, the ends of its error bar, and what it is."""

    x: float
    y: float
    low: float
    high: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualPlot:
    """Residuals over time, east and north; x runs from 0 to 300, y from -40 to 40, up is positive (SVG: down)."""

    limit_arcsec: float
    """What 40 units are."""
    first_mjd: float
    last_mjd: float
    east: tuple[Mark, ...]
    north: tuple[Mark, ...]


def draw_residuals(mjd: Floats, residuals: Floats, sigmas: Floats, labels: Sequence[str]) -> ResidualPlot | None:
    """Return the plot of residuals ``(n, 2)`` with their sigmas ``(n, 2)``, arcseconds; None where there is nothing finite.

    What lies beyond the limit stands at it: the limit holds all but wild ones, and never less than three sigma.
    """
    good = np.isfinite(residuals).all(axis=1)
    if not good.any():
        return None
    top = max(float(np.quantile(np.abs(residuals[good]), 0.98)) * 1.15, 3.0 * float(np.median(sigmas[good])))
    limit = _rounded_up(top)
    first, last = float(mjd[good].min()), float(mjd[good].max())
    span = max(last - first, 1e-6)

    def marks(axis: int) -> tuple[Mark, ...]:
        found = []
        for k in np.flatnonzero(good).tolist():
            value, error = float(residuals[k, axis]), float(sigmas[k, axis])
            low, middle, high = (
                round(-40.0 * float(np.clip(part / limit, -1.0, 1.0)), 2)
                for part in (value - error, value, value + error)
            )
            x = round(6.0 + 288.0 * (float(mjd[k]) - first) / span, 2)
            found.append(Mark(x=x, y=middle, low=low, high=high, label=labels[k]))
        return tuple(found)

    return ResidualPlot(limit_arcsec=limit, first_mjd=first, last_mjd=last, east=marks(0), north=marks(1))


def _rounded_up(value: float) -> float:
    power = 10.0 ** np.floor(np.log10(max(value, 1e-4)))
    return float(next(power * digit for digit in (1.0, 2.0, 5.0, 10.0) if power * digit >= value))
