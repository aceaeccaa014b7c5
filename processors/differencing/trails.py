"""Fit sources that moved during the exposure: a point-spread function drawn out along a line (Veres et al. 2012, PASP 124, 1197).

The PSF is a sum of round Gaussians fitted to its image, so that every pixel of the model and its slopes are closed forms.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import nnls

__all__ = ["fit_trails", "gaussian_mixture"]

_WIDTHS = (0.75, 1.0, 1.4, 2.2)
"""Standard deviations of the mixture's Gaussians in units of the PSF's."""

_SHORTEST = 0.02
"""Length, in pixels, of what stands for a point."""

_ACROSS = 10.0
"""Half width of the band of pixels that a fit reads, pixels."""

_SQRT2 = math.sqrt(2.0)


def gaussian_mixture(psf: NDArray[Any], sigma: float) -> NDArray[np.float64]:
    """Fit round Gaussians to a PSF.

    Parameters
    ----------
    psf
        Odd square of sum 1.
    sigma
        Its standard deviation under an adaptive weight, pixels.

    Returns
    -------
    ndarray
        Flux and standard deviation of each, shape (Gaussians, 2).
    """
    half = psf.shape[0] // 2
    side = np.arange(-half, half + 1)
    radius2 = (side[:, None] ** 2 + side**2).ravel()
    widths = np.array(_WIDTHS) * sigma
    models = np.exp(-0.5 * radius2[:, None] / widths**2) / (2 * np.pi * widths**2)
    return np.column_stack([nnls(models, np.asarray(psf, dtype=np.float64).ravel())[0], widths])


@njit(cache=True)
def _gauss(t: float, sigma: float) -> float:
    return math.exp(-0.5 * (t / sigma) ** 2) / (2.5066282746310002 * sigma)


@njit(cache=True)
def _trail(along: float, across: float, length: float, mixture: Any, out: Any) -> None:
    """Fill value and slopes by along, across and length of a trail of flux 1."""
    out[:] = 0.0
    for k in range(mixture.shape[0]):
        weight, sigma = mixture[k, 0], mixture[k, 1]
        if weight <= 0.0 or abs(across) > 6 * sigma or abs(along) > 0.5 * length + 6 * sigma:
            continue
        cross = weight * _gauss(across, sigma)
        first, last = along + 0.5 * length, along - 0.5 * length
        inside = 0.5 * (math.erf(first / (_SQRT2 * sigma)) - math.erf(last / (_SQRT2 * sigma)))
        head, tail = _gauss(first, sigma), _gauss(last, sigma)
        value = cross * inside / length
        out[0] += value
        out[1] += cross * (head - tail) / length
        out[2] -= value * across / (sigma * sigma)
        out[3] += cross * 0.5 * (head + tail) / length - value / length


@njit(cache=True)
def _normal_of(
    image: Any, variance: Any, usable: Any, values: Any, mixture: Any, band: Any, normal: Any, right: Any
) -> Any:
    """Fill the normal equations for x, y, flux, length, angle over a band of pixels; return chi squared and pixels."""
    normal[:], right[:] = 0.0, 0.0
    x0, y0, reach, direction = band[0], band[1], band[2], band[3]
    ux, uy = math.cos(direction), math.sin(direction)
    cos, sin = math.cos(values[4]), math.sin(values[4])
    length = max(values[3], _SHORTEST)
    part, slope = np.zeros(4), np.zeros(5)
    chi2, used = 0.0, 0
    wide, high = abs(ux) * reach + abs(uy) * _ACROSS, abs(uy) * reach + abs(ux) * _ACROSS
    for row in range(max(0, int(y0 - high)), min(image.shape[0], int(y0 + high) + 2)):
        for column in range(max(0, int(x0 - wide)), min(image.shape[1], int(x0 + wide) + 2)):
            px, py = column - x0, row - y0
            if abs(px * ux + py * uy) > reach or abs(-px * uy + py * ux) > _ACROSS:
                continue
            v = variance[row, column]
            if not usable[row, column] or v <= 0:
                continue
            dx, dy = column - values[0], row - values[1]
            along, across = dx * cos + dy * sin, -dx * sin + dy * cos
            _trail(along, across, length, mixture, part)
            slope[0] = values[2] * (-cos * part[1] + sin * part[2])
            slope[1] = values[2] * (-sin * part[1] - cos * part[2])
            slope[2] = part[0]
            slope[3] = values[2] * part[3]
            slope[4] = values[2] * (across * part[1] - along * part[2])
            residual = image[row, column] - values[2] * part[0]
            chi2 += residual * residual / v
            used += 1
            for i in range(5):
                right[i] += slope[i] * residual / v
                for j in range(i + 1):
                    normal[i, j] += slope[i] * slope[j] / v
    for i in range(5):
        for j in range(i):
            normal[j, i] = normal[i, j]
    return chi2, used


@njit(cache=True)
def _descend(
    image: Any, variance: Any, usable: Any, values: Any, mixture: Any, band: Any, free: int, normal: Any, right: Any
) -> Any:
    """Find the least chi squared over the first ``free`` parameters (Levenberg-Marquardt); return it, pixels and success."""
    damping, best, used = 1e-2, 0.0, 0
    best, used = _normal_of(image, variance, usable, values, mixture, band, normal, right)
    trial = values.copy()
    for _ in range(40):
        damped = normal[:free, :free].copy()
        for i in range(free):
            damped[i, i] = damped[i, i] * (1 + damping) + 1e-12
        trial[:] = values
        trial[:free] += np.linalg.solve(damped, right[:free])
        trial[3] = max(abs(trial[3]), _SHORTEST)
        far = np.hypot(trial[0] - band[0], trial[1] - band[1]) > band[2] or trial[3] > 2 * band[2]
        old_normal, old_right, score = normal.copy(), right.copy(), np.inf
        if not far:
            score, used = _normal_of(image, variance, usable, trial, mixture, band, normal, right)
        if score <= best:
            small = best - score < 1e-3
            values[:], best, damping = trial, score, damping * 0.3
            if small:
                return best, used, True
        else:
            normal[:], right[:] = old_normal, old_right
            damping *= 10
            if damping > 1e6:
                return best, used, True
    return best, used, False


@njit(cache=True)
def fit_trails(image: Any, variance: Any, usable: Any, start: Any, mixture: Any) -> Any:
    """Fit trails near given first guesses, and a point source to the same pixels.

    Parameters
    ----------
    image, variance, usable
        Pixels, their variance, and which count.
    start
        First guess, shape (trails, 5): x, y, flux, length (pixels), angle from the x axis (radians).
    mixture
        Result of `gaussian_mixture` at each, shape (trails, Gaussians, 2).

    Returns
    -------
    tuple of ndarray
        Parameters (trails, 5), covariances (trails, 5, 5), chi squared, pixels, converged, chi squared of a point source.
    """
    count = start.shape[0]
    values, covariances = start.copy(), np.full((count, 5, 5), np.nan)
    chi2, point, pixels = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count, dtype=np.int64)
    good = np.zeros(count, dtype=np.bool_)
    normal, right, band, spot = np.zeros((5, 5)), np.zeros(5), np.zeros(4), np.zeros(5)
    for n in range(count):
        band[0], band[1], band[2], band[3] = start[n, 0], start[n, 1], 0.5 * start[n, 3] + _ACROSS, start[n, 4]
        spot[:] = start[n]
        spot[3] = _SHORTEST
        point[n], _, _ = _descend(image, variance, usable, spot, mixture[n], band, 3, normal, right)
        chi2[n], pixels[n], good[n] = _descend(image, variance, usable, values[n], mixture[n], band, 5, normal, right)
        if good[n] and np.all(np.diag(normal) > 0):
            scale = 1 / np.sqrt(np.diag(normal))
            scaled = normal * scale.reshape(5, 1) * scale.reshape(1, 5) + 1e-9 * np.eye(5)
            covariances[n] = np.linalg.inv(scaled) * scale.reshape(5, 1) * scale.reshape(1, 5)
    return values, covariances, chi2, pixels, good, point
