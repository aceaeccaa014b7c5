"""Flatten what is left around brilliant stars: their far wings change with seeing and dust beyond any kernel's reach.

Around each star the median of every ring is subtracted, from one and a half PSF widths outwards. A ring's median does not know
the point sources on it, and the star's own change in brightness is nearly all inside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.blobs import region_centres
from processors.differencing.planes import has_plane
from schemas.masks import MaskPlane

__all__ = ["brilliant_stars", "flatten_halos"]

REACH_PIXELS = 48
"""Radius to which rings are drawn."""

RING_PIXELS = 1.5

_LEAST_RING = 20
"""Fewest pixels whose median is taken."""

BRILLIANT_SNR = 600.0
"""Signal-to-noise of a static source whose wings are worth flattening."""

Pixels = NDArray[Any]


def brilliant_stars(template: Pixels, noise: float, mask: NDArray[np.uint16], fwhm: float) -> NDArray[np.float64]:
    """Find saturated and very bright stars.

    Parameters
    ----------
    template
        Matched template, nJy.
    noise
        Typical standard deviation of a pixel of the difference, nJy.
    mask
        Planes of both images.
    fwhm
        Width of the PSF, pixels.

    Returns
    -------
    ndarray
        Columns and rows of the stars, shape (stars, 2): saturated ones, then the others, brightest first.
    """
    area = 0.36 * fwhm**2 * np.pi
    saturated = has_plane(mask, MaskPlane.SAT_TEMPLATE)
    least = BRILLIANT_SNR * noise * 2 / np.sqrt(area)
    columns, rows = (np.asarray(axis) for axis in _summits(template, saturated, least, int(np.ceil(fwhm))))
    order = np.lexsort((columns, rows, -template[rows, columns]))
    found = np.column_stack([columns[order], rows[order]]).astype(float)
    return np.concatenate([region_centres(saturated), found])


@njit(cache=True)
def _summits(image: Any, saturated: Any, least: float, reach: int) -> Any:
    """Return columns and rows of unsaturated pixels above a level that no other within a square around them exceeds."""
    xs, ys = [0][:0], [0][:0]
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            value = image[r, c]
            if not value > least or saturated[r, c]:
                continue
            highest = True
            for q in range(max(r - reach, 0), min(r + reach + 1, image.shape[0])):
                for p in range(max(c - reach, 0), min(c + reach + 1, image.shape[1])):
                    highest = highest and not image[q, p] > value
            if highest:
                xs.append(c)
                ys.append(r)
    return np.array(xs, dtype=np.int64), np.array(ys, dtype=np.int64)


def flatten_halos(
    difference: NDArray[np.float32], usable: NDArray[np.bool_], stars: NDArray[np.float64], inner: float
) -> None:
    """Subtract the median of rings around each star, in place.

    Parameters
    ----------
    difference
        Pixels, nJy; changed.
    usable
        Pixels that count.
    stars
        Result of `brilliant_stars`.
    inner
        Radius from which rings are drawn, pixels.
    """
    for x, y in stars:
        _flatten(difference, usable, float(x), float(y), float(inner))


@njit(cache=True)
def _flatten(image: Any, usable: Any, x: float, y: float, inner: float) -> None:
    """Subtract the medians of rings around one star, straight lines between them, fading out towards the reach."""
    rings = int(np.ceil((REACH_PIXELS - inner) / RING_PIXELS))
    if rings < 1:
        return
    top, bottom = max(int(y) - REACH_PIXELS, 0), min(int(y) + REACH_PIXELS + 1, image.shape[0])
    left, right = max(int(x) - REACH_PIXELS, 0), min(int(x) + REACH_PIXELS + 1, image.shape[1])
    counts, values = _by_ring(image, usable, x, y, inner, (top, bottom, left, right), rings)
    radii, medians = np.empty(rings), np.empty(rings)
    found = 0
    for ring in range(rings):
        if counts[ring + 1] - counts[ring] >= _LEAST_RING:
            radii[found] = inner + (ring + 0.5) * RING_PIXELS
            taper = min(max((REACH_PIXELS - radii[found]) / 8, 0.0), 1.0)
            medians[found] = np.median(values[counts[ring] : counts[ring + 1]]) * taper
            found += 1
    if found < 3:
        return
    radii, medians = radii[:found], medians[:found]
    for r in range(top, bottom):
        for c in range(left, right):
            radius = np.sqrt((c - x) ** 2 + (r - y) ** 2)
            if inner <= radius <= radii[found - 1]:
                image[r, c] -= np.float32(_between(radii, medians, radius))


@njit(cache=True)
def _by_ring(image: Any, usable: Any, x: float, y: float, inner: float, box: Any, rings: int) -> Any:
    """Return the usable pixels around a place sorted by ring, and where each ring begins."""
    counts = np.zeros(rings + 1, dtype=np.int64)
    values, filled = np.empty(0), counts
    for turn in range(2):
        if turn == 1:
            counts[1:] = np.cumsum(counts[:-1])
            counts[0] = 0
            values, filled = np.empty(counts[-1]), counts.copy()
        for r in range(box[0], box[1]):
            for c in range(box[2], box[3]):
                ring = int(np.floor((np.sqrt((c - x) ** 2 + (r - y) ** 2) - inner) / RING_PIXELS))
                if not usable[r, c] or not 0 <= ring < rings:
                    continue
                if turn == 0:
                    counts[ring] += 1
                else:
                    values[filled[ring]] = image[r, c]
                    filled[ring] += 1
    return counts, values


@njit(cache=True)
def _between(x: Any, y: Any, place: float) -> float:
    """Interpolate linearly in a short table, whose ends hold beyond it."""
    k = min(max(int((place - x[0]) / RING_PIXELS), 0), x.shape[0] - 2)
    while k > 0 and x[k] > place:
        k -= 1
    t = min(max((place - x[k]) / (x[k + 1] - x[k]), 0.0), 1.0)
    value: float = y[k] + t * (y[k + 1] - y[k])
    return value
