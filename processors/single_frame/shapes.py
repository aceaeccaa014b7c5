"""Windowed centroids and adaptive moments of sources."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moments import weighted_sums

__all__ = ["SHAPE_FIELDS", "measure_shapes", "window_shapes"]

SHAPE_FIELDS = ("x", "y", "x_err", "y_err", "ixx", "iyy", "ixy", "ok")
"""Columns of `measure_shapes`."""

CENTROID_ROUNDS = 30
MOMENT_ROUNDS = 60

RELAXATION = 1.8
"""Step of the moments' iteration over the plain one's, after two plain ones: for a Gaussian twice the step lands at once."""

EDGE_CHI2 = 16.0
"""Squared radius, in the weight's own sigmas, to which moments are summed."""


def measure_shapes(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
    fwhm: float,
) -> NDArray[np.float64]:
    """Measure windowed centroids and adaptive moments.

    The centroid is that of SExtractor's XWIN (Gaussian window of the PSF's width); the moments are those whose Gaussian
    is its own best weight (Bernstein & Jarvis 2002).

    Parameters
    ----------
    image, variance
        Sky-subtracted pixels and their variance.
    positions
        First guesses of x and y.
    fwhm
        Width of the PSF in pixels.

    Returns
    -------
    ndarray
        Shape (sources, 8), columns `SHAPE_FIELDS`; ``ok`` is 1 where both converged. The first guess is kept where the
        centroid fails, moments are NaN where they fail.
    """
    x, y = (np.ascontiguousarray(p, np.float64) for p in positions)
    out = np.full((len(x), len(SHAPE_FIELDS)), np.nan)
    window_shapes(image, variance, (x, y), fwhm / 2.3548, out)
    return out


@numba.njit(cache=True)
def window_shapes(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
    sigma: float,
    out: NDArray[np.float64],
) -> None:
    """Fill ``out`` of `measure_shapes`."""
    for k in range(len(positions[0])):
        x0, y0 = positions[0][k], positions[1][k]
        x, y, x_err, y_err, centred = _centre(image, variance, (x0, y0), sigma)
        out[k, 0], out[k, 1], out[k, 2], out[k, 3] = x, y, x_err, y_err
        xx, yy, xy, shaped = _moments(image, (x, y), sigma)
        if shaped:
            out[k, 4], out[k, 5], out[k, 6] = xx, yy, xy
        out[k, 7] = 1.0 if centred and shaped else 0.0


@numba.njit(cache=True)
def _centre(
    image: NDArray[np.float32], variance: NDArray[np.float32], start: tuple[float, float], sigma: float
) -> tuple[float, float, float, float, bool]:
    rows, columns = image.shape
    x, y = start
    reach = int(np.ceil(4 * sigma))
    across = np.empty(2 * reach + 1)
    x_err, y_err = np.nan, np.nan
    for _ in range(CENTROID_ROUNDS):
        column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        x0, x1 = max(0, column - reach), min(columns, column + reach + 1)
        for i in range(x0, x1):
            across[i - x0] = np.exp(-0.5 * (i - x) ** 2 / (sigma * sigma))
        total, sx, sy, vx, vy = 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(max(0, row - reach), min(rows, row + reach + 1)):
            dy = j - y
            down = np.exp(-0.5 * dy * dy / (sigma * sigma))
            for i in range(x0, x1):
                dx = i - x
                weight = down * across[i - x0]
                light = weight * image[j, i]
                noise = weight * weight * variance[j, i]
                total += light
                sx += light * dx
                sy += light * dy
                vx += noise * dx * dx
                vy += noise * dy * dy
        if not total > 0.0:
            return start[0], start[1], np.nan, np.nan, False
        step_x, step_y = 2 * sx / total, 2 * sy / total
        x_err, y_err = 2 * np.sqrt(vx) / total, 2 * np.sqrt(vy) / total
        x, y = x + step_x, y + step_y
        if (x - start[0]) ** 2 + (y - start[1]) ** 2 > (3 * sigma) ** 2:
            return start[0], start[1], np.nan, np.nan, False
        if step_x * step_x + step_y * step_y < 1e-8:
            return x, y, x_err, y_err, True
    return x, y, x_err, y_err, False


@numba.njit(cache=True)
def _moments(image: NDArray[np.float32], centre: tuple[float, float], sigma: float) -> tuple[float, float, float, bool]:
    xx, yy, xy = sigma * sigma, sigma * sigma, 0.0
    for turn in range(MOMENT_ROUNDS):
        if not (xx * yy - xy * xy > 0.05 and 0.2 < xx < 400.0 and 0.2 < yy < 400.0):
            return np.nan, np.nan, np.nan, False
        total, sxx, syy, sxy = weighted_sums(image, centre, (xx, yy, xy), EDGE_CHI2)
        if not total > 0.0:
            return np.nan, np.nan, np.nan, False
        step_xx, step_yy, step_xy = 2 * sxx / total - xx, 2 * syy / total - yy, 2 * sxy / total - xy
        change = abs(step_xx) + abs(step_yy) + abs(step_xy)
        done = change < 1e-4 * (abs(xx) + abs(yy))
        factor = RELAXATION if turn > 1 and not done else 1.0
        # A long step must not leave the ellipses: then the plain one, which is an average of squares, is taken.
        new_xx, new_yy, new_xy = xx + factor * step_xx, yy + factor * step_yy, xy + factor * step_xy
        if not (new_xx > 0.2 and new_yy > 0.2 and new_xx * new_yy - new_xy * new_xy > 0.05):
            new_xx, new_yy, new_xy = xx + step_xx, yy + step_yy, xy + step_xy
        xx, yy, xy = new_xx, new_yy, new_xy
        if done:
            return xx, yy, xy, True
    return xx, yy, xy, False
