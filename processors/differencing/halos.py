"""Flatten what is left around brilliant stars: their far wings change with seeing and dust beyond any kernel's reach.

Around each star the median of every ring is subtracted, from one and a half PSF widths outwards. A ring's median does not know
the point sources on it, and the star's own change in brightness is nearly all inside. Around saturated stars wings of another
ellipticity or coma are left: waves of one and of two periods around the ring, as parts of the star's light there.
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
"""Radius to which rings are drawn around an ordinary star."""

FARTHEST_PIXELS = 160
"""Radius to which they are drawn at most."""

FAINT_WING = 0.3
"""Light of a pixel, in standard deviations of its noise, below which a wing is left alone: a third of it is then lost in a PSF's noise."""

RING_PIXELS = 1.5

_LEAST_RING = 20
"""Fewest pixels whose median is taken."""

_ANNULUS_GROWTH = 1.4
"""Outer radius over inner radius of the annuli in which waves are fitted."""

_WAVE_ROUNDS, _WAVE_CLIP = 4, 2.5

BRILLIANT_SNR = 600.0
"""Signal-to-noise of a static source whose wings are worth flattening."""

Pixels = NDArray[Any]


def brilliant_stars(
    template: Pixels, noise: float, mask: NDArray[np.uint16], fwhm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find saturated stars, and very bright ones.

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
    tuple of ndarray
        Columns and rows of the saturated stars, shape (stars, 2), and of the others, brightest first.
    """
    area = 0.36 * fwhm**2 * np.pi
    saturated = has_plane(mask, MaskPlane.SAT_TEMPLATE)
    least = BRILLIANT_SNR * noise * 2 / np.sqrt(area)
    columns, rows = (np.asarray(axis) for axis in _summits(template, saturated, least, int(np.ceil(fwhm))))
    order = np.lexsort((columns, rows, -template[rows, columns]))
    found = np.column_stack([columns[order], rows[order]]).astype(float)
    return region_centres(saturated), found


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
    difference: NDArray[np.float32],
    usable: NDArray[np.bool_],
    stars: tuple[NDArray[np.float64], NDArray[np.float64]],
    inner: float,
    *,
    template: NDArray[np.float32],
    noise: float,
) -> None:
    """Subtract the median of rings around each star, and the waves of saturated stars' wings, in place.

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
    template
        Matched template, nJy.
    noise
        Typical standard deviation of a pixel of the difference, nJy.
    """
    for group, faint in zip(stars, (FAINT_WING * noise, np.inf), strict=True):
        for x, y in group:
            _flatten(difference, template, usable, float(x), float(y), float(inner), faint)


@njit(cache=True)
def _flatten(image: Any, template: Any, usable: Any, x: float, y: float, inner: float, faint: float) -> None:
    """Flatten the halo of one star: rings, and waves where the template shows wings above a level."""
    reach, radii, light = float(REACH_PIXELS), np.empty(0), np.empty(0)
    if np.isfinite(faint):
        box = _box(image.shape, x, y, FARTHEST_PIXELS)
        rings = int(np.ceil((FARTHEST_PIXELS - inner) / RING_PIXELS))
        radii, light = _ring_medians(template, usable, x, y, inner, box, rings)
        for k in range(radii.shape[0]):
            if light[k] < faint:
                break
            reach = max(reach, radii[k])
    box = _box(image.shape, x, y, int(reach))
    rings = int(np.ceil((reach - inner) / RING_PIXELS))
    if rings < 1:
        return
    found, medians = _ring_medians(image, usable, x, y, inner, box, rings)
    if found.shape[0] < 3:
        return
    for k in range(found.shape[0]):
        medians[k] *= min(max((reach - found[k]) / 8, 0.0), 1.0)
    _take_rings(image, x, y, inner, box, found, medians)
    if radii.shape[0] >= 3:
        _take_waves(image, usable, x, y, inner, reach, box, radii, light, faint)


@njit(cache=True)
def _box(shape: Any, x: float, y: float, reach: int) -> Any:
    """Return first and last row, first and last column of the square around a place, the last ones exclusive."""
    top, bottom = max(int(y) - reach, 0), min(int(y) + reach + 1, shape[0])
    return top, bottom, max(int(x) - reach, 0), min(int(x) + reach + 1, shape[1])


@njit(cache=True)
def _ring_medians(image: Any, usable: Any, x: float, y: float, inner: float, box: Any, rings: int) -> Any:
    """Return the radii and the medians of the rings that have enough pixels."""
    counts, values = _by_ring(image, usable, x, y, inner, box, rings)
    radii, medians, found = np.empty(rings), np.empty(rings), 0
    for ring in range(rings):
        if counts[ring + 1] - counts[ring] >= _LEAST_RING:
            radii[found] = inner + (ring + 0.5) * RING_PIXELS
            medians[found] = np.median(values[counts[ring] : counts[ring + 1]])
            found += 1
    return radii[:found], medians[:found]


@njit(cache=True)
def _take_rings(image: Any, x: float, y: float, inner: float, box: Any, radii: Any, medians: Any) -> None:
    """Subtract the medians of rings, straight lines between them."""
    for r in range(box[0], box[1]):
        for c in range(box[2], box[3]):
            radius = np.sqrt((c - x) ** 2 + (r - y) ** 2)
            if inner <= radius <= radii[-1]:
                image[r, c] -= np.float32(_between(radii, medians, radius))


@njit(cache=True)
def _take_waves(
    image: Any,
    usable: Any,
    x: float,
    y: float,
    inner: float,
    reach: float,
    box: Any,
    radii: Any,
    light: Any,
    faint: float,
) -> None:
    """Fit in annuli, and subtract, waves of one and two periods whose height is a part of the star's light."""
    count = int(np.floor(np.log(reach / inner) / np.log(_ANNULUS_GROWTH)))
    if count < 1:
        return
    edges = inner * _ANNULUS_GROWTH ** np.arange(count + 1)
    waves, middles, found = np.zeros((count, 4)), np.zeros(count), 0
    for k in range(count):
        if _between(radii, light, np.sqrt(edges[k] * edges[k + 1])) < faint:
            break
        basis, values = _annulus(image, usable, x, y, edges[k], edges[k + 1], box, radii, light)
        if values.shape[0] < 10 * _LEAST_RING:
            continue
        waves[found], middles[found] = _robust_waves(basis, values), np.sqrt(edges[k] * edges[k + 1])
        found += 1
    if found == 0:
        return
    for r in range(box[0], box[1]):
        for c in range(box[2], box[3]):
            dx, dy = c - x, r - y
            radius = np.sqrt(dx * dx + dy * dy)
            if inner <= radius <= reach:
                height = _between(radii, light, radius) * min(max((reach - radius) / 8, 0.0), 1.0)
                cos, sin = dx / radius, dy / radius
                wave = _mixed(waves, middles, found, radius)
                total = wave[0] * cos + wave[1] * sin + wave[2] * (cos * cos - sin * sin) + wave[3] * 2 * cos * sin
                image[r, c] -= np.float32(height * total)


@njit(cache=True)
def _annulus(
    image: Any, usable: Any, x: float, y: float, low: float, high: float, box: Any, radii: Any, light: Any
) -> Any:
    """Return the waves at the usable pixels of an annulus, times the star's light, and the pixels' values."""
    most = (box[1] - box[0]) * (box[3] - box[2])
    basis, values, count = np.empty((most, 4)), np.empty(most), 0
    for r in range(max(box[0], int(y - high)), min(box[1], int(y + high) + 2)):
        for c in range(max(box[2], int(x - high)), min(box[3], int(x + high) + 2)):
            dx, dy = c - x, r - y
            radius = np.sqrt(dx * dx + dy * dy)
            if low <= radius < high and usable[r, c]:
                height, cos, sin = _between(radii, light, radius), dx / radius, dy / radius
                basis[count, 0], basis[count, 1] = height * cos, height * sin
                basis[count, 2], basis[count, 3] = height * (cos * cos - sin * sin), height * 2 * cos * sin
                values[count] = image[r, c]
                count += 1
    return basis[:count], values[:count]


@njit(cache=True)
def _robust_waves(basis: Any, values: Any) -> Any:
    """Fit waves by least squares, leaving out what stands out: sources on the wings."""
    keep = np.ones(values.shape[0], dtype=np.bool_)
    solution = np.zeros(4)
    for _ in range(_WAVE_ROUNDS):
        chosen, target = basis[keep], values[keep]
        normal = chosen.T @ chosen
        weakest = np.linalg.eigvalsh(normal)[0]
        if not weakest > 1e-3 * np.trace(normal):
            return np.zeros(4)
        solution = np.linalg.solve(normal, chosen.T @ target)
        residual = np.abs(values - basis @ solution)
        keep = residual < _WAVE_CLIP * 1.4826 * np.median(residual[keep])
    return solution


@njit(cache=True)
def _mixed(waves: Any, middles: Any, count: int, radius: float) -> Any:
    """Interpolate the waves between the middles of annuli; the outermost ones hold beyond."""
    k = 0
    while k < count - 2 and middles[k + 1] < radius:
        k += 1
    if count == 1:
        return waves[0]
    t = min(max((radius - middles[k]) / (middles[k + 1] - middles[k]), 0.0), 1.0)
    return (1 - t) * waves[k] + t * waves[k + 1]


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
