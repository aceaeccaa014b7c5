"""Maps between pixels and sky, as image differencing needs them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["LinearSky", "SkyMap", "offset_on_sky", "offsets_on_sky", "pixel_scale", "sky_jacobian"]

Pixels = NDArray[Any]


class SkyMap(Protocol):
    """Map between pixels and sky; astropy's WCS is one."""

    def all_pix2world(self, x: Pixels, y: Pixels, origin: int, /) -> Sequence[Pixels]:
        """Return right ascension and declination in degrees."""

    def all_world2pix(self, ra: Pixels, dec: Pixels, origin: int, /) -> Sequence[Pixels]:
        """Return column and row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearSky:
    """A shift in the plane, for images registered to each other without celestial coordinates.

    World coordinates are pixels plus ``(x0, y0)``, divided by ``scale`` to stay small numbers.
    """

    x0: float = 0.0
    y0: float = 0.0
    scale: float = 18000.0

    def all_pix2world(self, x: Pixels, y: Pixels, origin: int, /) -> list[Pixels]:
        """Return the plane's coordinates of pixels."""
        return [(np.asarray(x) - origin + self.x0) / self.scale, (np.asarray(y) - origin + self.y0) / self.scale]

    def all_world2pix(self, ra: Pixels, dec: Pixels, origin: int, /) -> list[Pixels]:
        """Return the pixels of the plane's coordinates."""
        return [
            np.asarray(ra) * self.scale - self.x0 + origin,
            np.asarray(dec) * self.scale - self.y0 + origin,
        ]


def sky_jacobian(wcs: SkyMap, x: Pixels, y: Pixels) -> Pixels:
    """Return d(ra, dec)/d(x, y) in degrees of coordinate per pixel, shape (points, 2, 2)."""
    step = 0.5
    jacobian = np.empty((len(x), 2, 2))
    for axis, (dx, dy) in enumerate(((step, 0.0), (0.0, step))):
        high = wcs.all_pix2world(x + dx, y + dy, 0)
        low = wcs.all_pix2world(x - dx, y - dy, 0)
        turn = np.mod(np.asarray(high[0]) - np.asarray(low[0]) + 180.0, 360.0) - 180.0
        jacobian[:, 0, axis] = turn / (2 * step)
        jacobian[:, 1, axis] = (np.asarray(high[1]) - np.asarray(low[1])) / (2 * step)
    return jacobian


def pixel_scale(wcs: SkyMap, x: float, y: float) -> float:
    """Return arcseconds a pixel at a place."""
    jacobian = sky_jacobian(wcs, np.array([x]), np.array([y]))[0]
    dec = float(np.asarray(wcs.all_pix2world(np.array([x]), np.array([y]), 0)[1])[0])
    return 3600.0 * math.sqrt(abs(float(np.linalg.det(jacobian))) * math.cos(math.radians(dec)))


def offset_on_sky(wcs: SkyMap, x: float, y: float, dx: float, dy: float) -> tuple[float, float]:
    """Return the length (arcsec) and bearing (degrees, north through east, 0 to 360) of a short vector of pixels."""
    length, bearing = offsets_on_sky(wcs, np.array([[x, y]]), np.array([[dx, dy]]))
    return float(length[0]), float(bearing[0])


def offsets_on_sky(wcs: SkyMap, places: Pixels, vectors: Pixels) -> tuple[Pixels, Pixels]:
    """Return the lengths (arcsec) and bearings (degrees, north through east, 0 to 360) of short vectors of pixels.

    Parameters
    ----------
    wcs
        The map.
    places, vectors
        Their middles, and x and y from tail to head, shape (vectors, 2).
    """
    tail, head = ((places + side * vectors / 2).T for side in (-1, 1))
    ends = [
        np.asarray(wcs.all_pix2world(np.ascontiguousarray(p[0]), np.ascontiguousarray(p[1]), 0)) for p in (tail, head)
    ]
    turn = (ends[1][0] - ends[0][0] + 180.0) % 360.0 - 180.0
    east, north = turn * np.cos(np.radians(ends[1][1])), ends[1][1] - ends[0][1]
    return 3600 * np.hypot(east, north), np.degrees(np.arctan2(east, north)) % 360.0
