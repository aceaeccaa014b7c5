"""Paints light on an image: points with the exposure's point-spread function, galaxies as fine clouds of points.

A galaxy is a quadrature of its profile: rings of equal light, each a few points closer together than the point-spread
function is wide. Painted point by point it is convolved exactly, with any point-spread function, in any exposure.
"""

from __future__ import annotations

import functools

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from infra.telescope.profile import COMA_SHARE, COMA_WIDTH, OUTER_REACH, STEPS_PER_FWHM, PsfShapes, radial_profile

__all__ = ["paint_points", "psf_image", "sersic_cloud", "stamp_radius"]

_Floats = NDArray[np.float64]

FAINTEST = 0.25
"""Electrons per pixel below which the wings of an object are left out; the sky's noise is a hundred times larger."""

SHORTEST_RADIUS = 7
"""Pixels; no stamp is smaller."""


def stamp_radius(flux: _Floats, fwhm: _Floats) -> NDArray[np.int64]:
    """Return the radius in pixels beyond which an object of that flux (electrons) is fainter than `FAINTEST`."""
    table = radial_profile()
    wanted = FAINTEST * fwhm**2 / np.maximum(np.abs(flux), 1e-30)
    steps = np.searchsorted(-table, -wanted)
    reach = np.minimum(steps / STEPS_PER_FWHM, OUTER_REACH) * fwhm * 1.1
    return np.asarray(np.maximum(np.ceil(reach), SHORTEST_RADIUS), np.int64)


def paint_points(
    image: NDArray[np.float32], x: _Floats, y: _Floats, flux: _Floats, shapes: PsfShapes, radius: NDArray[np.int64]
) -> None:
    """Add points to an image in place.

    Parameters
    ----------
    image
        float32 ``[y, x]``, C-contiguous.
    x, y
        Places in pixels; the centre of the first pixel is (0, 0). Points may lie outside.
    flux
        Total light of each point in the image's units.
    shapes
        Shape of the point-spread function at each point.
    radius
        Half size in pixels of the stamp of each point.
    """
    _paint(image, x, y, flux, shapes.fwhm, shapes.e1, shapes.e2, shapes.coma_x, shapes.coma_y, radius, radial_profile())


def psf_image(shapes: PsfShapes, index: int, half: int) -> NDArray[np.float32]:
    """Return the point-spread function at one place, centred, on a square of ``2 half + 1`` pixels with sum 1."""
    image = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    centre, one = np.array([float(half)]), np.array([1.0])
    paint_points(image, centre, centre, one, shapes.take(np.array([index])), np.array([half + 1]))
    return np.asarray(image / image.sum(dtype=np.float64), np.float32)


@numba.njit(cache=True)
def _paint(  # type: ignore[no-untyped-def]
    image, xs, ys, fluxes, fwhms, e1s, e2s, coma_xs, coma_ys, radii, table
):
    height, width = image.shape
    last = table.size - 2
    for i in range(xs.size):
        x, y, radius = xs[i], ys[i], radii[i]
        x0, x1 = max(0, int(np.floor(x)) - radius), min(width, int(np.floor(x)) + radius + 2)
        y0, y1 = max(0, int(np.floor(y)) - radius), min(height, int(np.floor(y)) + radius + 2)
        if x0 >= x1 or y0 >= y1:
            continue
        e1, e2 = e1s[i], e2s[i]
        stretch = STEPS_PER_FWHM / (fwhms[i] * np.sqrt(1.0 - e1 * e1 - e2 * e2))
        main = (1.0 - COMA_SHARE) * fluxes[i] / fwhms[i] ** 2
        wide = COMA_WIDTH * stretch**-1
        side = COMA_SHARE * fluxes[i] / (COMA_WIDTH * fwhms[i]) ** 2
        # The second image is displaced; the first is moved the other way, so that the centre of light stays.
        away_x = coma_xs[i] * COMA_SHARE
        away_y = coma_ys[i] * COMA_SHARE
        square = float(radius + 1) ** 2
        for row in range(y0, y1):
            dy = row - y
            for column in range(x0, x1):
                dx = column - x
                if dx * dx + dy * dy > square:
                    continue
                ax, ay = dx + away_x, dy + away_y
                sx, sy = (1.0 - e1) * ax - e2 * ay, (1.0 + e1) * ay - e2 * ax
                place = np.sqrt(sx * sx + sy * sy) * stretch
                step = int(place)
                value = 0.0
                if step < last:
                    share = place - step
                    value += main * ((1.0 - share) * table[step] + share * table[step + 1])
                ax, ay = dx + away_x - coma_xs[i], dy + away_y - coma_ys[i]
                sx, sy = (1.0 - e1) * ax - e2 * ay, (1.0 + e1) * ay - e2 * ax
                place = np.sqrt(sx * sx + sy * sy) / wide
                step = int(place)
                if step < last:
                    share = place - step
                    value += side * ((1.0 - share) * table[step] + share * table[step + 1])
                image[row, column] += np.float32(value)


@functools.cache
def sersic_cloud(index: float, rings: int) -> tuple[_Floats, _Floats, _Floats]:
    """Return points that sample a round Sersic profile of that index and half-light radius 1.

    No point lies beyond the radius that encloses 97 % of the light.

    Returns
    -------
    x, y, weight
        Places in half-light radii and shares of the light; the weights sum to 1.
    """
    scale = float(gammaincinv(2 * index, 0.5))
    middle = np.minimum((np.arange(rings) + 0.5) / rings, 0.97)
    radius = np.asarray((gammaincinv(2 * index, middle) / scale) ** index, np.float64)
    counts = 6 + 4 * np.arange(rings)
    ring = np.repeat(np.arange(rings), counts)
    within = np.arange(ring.size) - np.repeat(np.cumsum(counts) - counts, counts)
    angle = 2 * np.pi * (within / counts[ring] + 0.381966 * ring)
    return radius[ring] * np.cos(angle), radius[ring] * np.sin(angle), 1.0 / (rings * counts[ring])
