"""Cosmic rays of a lone snap, by L.A.Cosmic (van Dokkum 2001) evaluated only where a pixel can be one.

The method's Laplacian, noise, and fine structure need medians over up to 9 x 9 pixels. A bound on the Laplacian that costs no median
leaves one pixel in some hundreds, and after a round only pixels about the new cosmic rays can have changed their state.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["reject_rays"]

LAPLACE_SIGMA = 4.5
"""Laplacian of a cosmic ray in the noise of its surroundings (van Dokkum 2001)."""

NEIGHBOUR_SHARE = 0.3
"""Share of that which suffices beside a cosmic ray (van Dokkum 2001)."""

CONTRAST = 5.0
"""Least ratio of the Laplacian to the fine structure, which stars have (van Dokkum 2001, for well sampled images)."""

ROUNDS = 4
"""Rounds of finding and filling: thick tracks are peeled (van Dokkum 2001)."""

PLAIN_SIGMA = 1.0
"""Three fifths of what surrounds a pixel lie no higher over its median, in its noise, where no star is; over blank sky 0.25.

The other two fifths may be pixels of the same thick track."""

EXCESS_SIGMA = 5.0
"""Height above plain surroundings that makes a pixel beside a cosmic ray part of it: thick tracks have little Laplacian inside."""

STEPS = 4
"""Pixels by which rays grow over plain surroundings."""

FAINTEST_STRUCTURE = 0.01
"""Fine structure in units of the noise below which it counts as this (van Dokkum 2001)."""

FLOOR_QUANTILE = 0.01
FLOOR_STEP = 9
"""Quantile and sampling of the variances that bound the noise from below."""


def reject_rays(
    image: NDArray[np.float32], variance: NDArray[np.float32], bad: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Find the cosmic rays of one exposure and fill them from their surroundings.

    Parameters
    ----------
    image, variance
        Electrons with their sky, and their variance; the surroundings' median is the noise, so that a ray's own counts in it
        do no harm.
    bad
        Pixels that count for nothing.

    Returns
    -------
    image, variance
        Copies; a cosmic ray takes the medians of the good pixels within 5 x 5.
    rays
        Where they were.
    """
    filled, spread, rays = image.copy(), variance.copy(), np.zeros(image.shape, np.bool_)
    sample = variance[::FLOOR_STEP, ::FLOOR_STEP][~bad[::FLOOR_STEP, ::FLOOR_STEP]]
    if sample.size:
        floor = float(np.quantile(sample, FLOOR_QUANTILE))
        _reject((filled, spread, bad), rays, np.float32(LAPLACE_SIGMA**2 * floor))
    return filled, spread, rays


@numba.njit(cache=True)
def _reject(pixels: Any, rays: Any, limit: Any) -> None:
    image, variance, bad = pixels
    places = _possible(image, bad, limit)
    everything = [(0, 0) for _ in range(0)]
    for _ in range(ROUNDS):
        found = [(0, 0) for _ in range(0)]
        for y, x in places:
            if not rays[y, x] and not bad[y, x] and _is_ray(pixels, y, x):
                found.append((y, x))
        for y, x in found:
            rays[y, x] = True
        for share in (1.0, NEIGHBOUR_SHARE):
            _take_neighbours(pixels, rays, found, share * LAPLACE_SIGMA)
        if len(found) == 0:
            break
        _fill(image, variance, (bad, rays), found)
        everything += found
        places = _around(found, rays)
    _grow(pixels, rays, everything)
    _fill(image, variance, (bad, rays), everything)


@numba.njit(cache=True)
def _possible(image: Any, bad: Any, limit: Any) -> Any:
    """Pixels whose Laplacian can be above a limit (squared): none of its four terms is above this one."""
    rows, columns = image.shape
    above = np.empty(columns, np.bool_)
    places = [(0, 0) for _ in range(0)]
    half, zero = np.float32(0.5), np.float32(0)
    for y in range(rows):
        row, up, down = image[y], image[max(y - 1, 0)], image[min(y + 1, rows - 1)]
        for x in range(1, columns - 1):
            height = row[x] - half * (min(up[x], down[x]) + min(row[x - 1], row[x + 1]))
            above[x] = height > zero and height * height > limit
        above[0] = above[columns - 1] = True
        for x in range(columns):
            if above[x] and not bad[y, x]:
                places.append((y, x))
    return places


@numba.njit(cache=True)
def _laplacian(image: Any, bad: Any, y: int, x: int) -> float:
    """Positive part of the Laplacian of the image with halved pixels, as L.A.Cosmic's; a single bright pixel gives its height.

    A neighbour that is bad or beyond the edge counts as the one opposite, or as the pixel itself.
    """
    rows, columns = image.shape
    value = image[y, x]
    left = image[y, x - 1] if x > 0 and not bad[y, x - 1] else value
    right = image[y, x + 1] if x + 1 < columns and not bad[y, x + 1] else left
    if x == 0 or bad[y, x - 1]:
        left = right
    up = image[y - 1, x] if y > 0 and not bad[y - 1, x] else value
    down = image[y + 1, x] if y + 1 < rows and not bad[y + 1, x] else up
    if y == 0 or bad[y - 1, x]:
        up = down
    total = 0.0
    for across in (left, right):
        for along in (up, down):
            total += max(0.0, 2.0 * value - across - along)
    return total / 8.0


@numba.njit(cache=True)
def _median_near(image: Any, bad: Any, y: int, x: int, reach: int) -> float:
    """Median of the good pixels of a square; NaN without any."""
    values = np.empty((2 * reach + 1) ** 2, np.float32)
    count = 0
    for j in range(max(0, y - reach), min(image.shape[0], y + reach + 1)):
        for i in range(max(0, x - reach), min(image.shape[1], x + reach + 1)):
            if not bad[j, i]:
                values[count] = image[j, i]
                count += 1
    return float(np.median(values[:count])) if count else np.nan


@numba.njit(cache=True)
def _sharpness(pixels: Any, y: int, x: int, least: float) -> tuple[float, float]:
    """Laplacian in its noise above its median within 5 x 5, and the noise; 0 where it is not above ``least`` for sure."""
    image, variance, bad = pixels
    noise = np.sqrt(max(_median_near(variance, bad, y, x, 2), 1e-6))
    own = _laplacian(image, bad, y, x) / noise
    if not own > least:
        return 0.0, noise
    values = np.empty(25, np.float64)
    count = 0
    for j in range(max(0, y - 2), min(image.shape[0], y + 3)):
        for i in range(max(0, x - 2), min(image.shape[1], x + 3)):
            values[count] = _laplacian(image, bad, j, i)
            count += 1
    return own - float(np.median(values[:count])) / noise, noise


@numba.njit(cache=True)
def _is_ray(pixels: Any, y: int, x: int) -> bool:
    image, _, bad = pixels
    sharp, noise = _sharpness(pixels, y, x, LAPLACE_SIGMA)
    if not sharp > LAPLACE_SIGMA:
        return False
    smooth = np.empty(49, np.float64)
    count = 0
    for j in range(max(0, y - 3), min(image.shape[0], y + 4)):
        for i in range(max(0, x - 3), min(image.shape[1], x + 4)):
            value = _median_near(image, bad, j, i, 1)
            if not np.isnan(value):
                smooth[count] = value
                count += 1
    structure = (_median_near(image, bad, y, x, 1) - np.median(smooth[:count])) / noise
    return bool(sharp > CONTRAST * max(structure, FAINTEST_STRUCTURE))


@numba.njit(cache=True)
def _take_neighbours(pixels: Any, rays: Any, found: Any, least: float) -> None:
    """Add to the rays found their neighbours, by sides and corners, whose Laplacian is above a limit."""
    rows, columns = rays.shape
    for k in range(len(found)):
        y, x = found[k]
        for j in range(max(0, y - 1), min(rows, y + 2)):
            for i in range(max(0, x - 1), min(columns, x + 2)):
                if not rays[j, i] and not pixels[2][j, i] and _sharpness(pixels, j, i, least)[0] > least:
                    rays[j, i] = True
                    found.append((j, i))


@numba.njit(cache=True)
def _grow(pixels: Any, rays: Any, found: Any) -> None:
    """Add to all rays, step by step, the neighbours that stand high above plain surroundings."""
    rows, columns = rays.shape
    begin = 0
    for _ in range(STEPS):
        end = len(found)
        for k in range(begin, end):
            y, x = found[k]
            for j in range(max(0, y - 1), min(rows, y + 2)):
                for i in range(max(0, x - 1), min(columns, x + 2)):
                    if not rays[j, i] and not pixels[2][j, i] and _is_alone(pixels, rays, j, i):
                        rays[j, i] = True
                        found.append((j, i))
        begin = end


@numba.njit(cache=True)
def _is_alone(pixels: Any, rays: Any, y: int, x: int) -> bool:
    """Tell whether a pixel stands high above the clean ones within 7 x 7, and these show no star."""
    image, variance, bad = pixels
    noise = np.sqrt(max(_median_near(variance, bad, y, x, 2), 1e-6))
    values = np.empty(49, np.float32)
    count = 0
    for j in range(max(0, y - 3), min(image.shape[0], y + 4)):
        for i in range(max(0, x - 3), min(image.shape[1], x + 4)):
            if not bad[j, i] and not rays[j, i]:
                values[count] = image[j, i]
                count += 1
    if count < 8:
        return False
    ordered = np.sort(values[:count])
    middle = ordered[count // 2]
    return bool(image[y, x] > middle + EXCESS_SIGMA * noise and ordered[3 * count // 5] < middle + PLAIN_SIGMA * noise)


@numba.njit(cache=True)
def _fill(image: Any, variance: Any, masks: Any, found: Any) -> None:
    """Replace new rays by medians of what is neither bad nor a ray within 5 x 5, or 9 x 9 where that is nothing."""
    bad, rays = masks
    left_out = np.empty((19, 19), np.bool_)
    for y, x in found:
        y0, y1, x0, x1 = max(0, y - 4), min(image.shape[0], y + 5), max(0, x - 4), min(image.shape[1], x + 5)
        for j in range(y0, y1):
            for i in range(x0, x1):
                left_out[j - y0, i - x0] = bad[j, i] or rays[j, i]
        for reach in (2, 4):
            value = _median_near(image[y0:y1, x0:x1], left_out[: y1 - y0, : x1 - x0], y - y0, x - x0, reach)
            if not np.isnan(value):
                image[y, x] = value
                variance[y, x] = _median_near(
                    variance[y0:y1, x0:x1], left_out[: y1 - y0, : x1 - x0], y - y0, x - x0, reach
                )
                break


@numba.njit(cache=True)
def _around(found: Any, rays: Any) -> Any:
    """Places within 9 x 9 of new rays, each once."""
    rows, columns = rays.shape
    places = [(0, 0) for _ in range(0)]
    for y, x in found:
        for j in range(max(0, y - 4), min(rows, y + 5)):
            for i in range(max(0, x - 4), min(columns, x + 5)):
                if not rays[j, i]:
                    places.append((j, i))
    places.sort()
    return [place for k, place in enumerate(places) if k == 0 or place != places[k - 1]]
