"""Fit sources that moved during the exposure: a Gaussian drawn out along a line (Veres et al. 2012, PASP 124, 1197)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

__all__ = ["fit_trails"]

_SQRT2 = math.sqrt(2.0)


@njit(cache=True)
def _trail_value(dx: float, dy: float, sigma: float, length: float, cos: float, sin: float) -> float:
    """Return a trail of flux 1 at an offset from its middle."""
    along, across = dx * cos + dy * sin, -dx * sin + dy * cos
    cross = math.exp(-0.5 * (across / sigma) ** 2) / (math.sqrt(2 * math.pi) * sigma)
    if length < 0.05 * sigma:
        return cross * math.exp(-0.5 * (along / sigma) ** 2) / (math.sqrt(2 * math.pi) * sigma)
    upper = math.erf((along + 0.5 * length) / (_SQRT2 * sigma))
    lower = math.erf((along - 0.5 * length) / (_SQRT2 * sigma))
    return cross * (upper - lower) / (2 * length)


@njit(cache=True)
def _trail_normal(
    image: Any,
    variance: Any,
    usable: Any,
    values: Any,
    sigma: float,
    x0: int,
    y0: int,
    half: int,
    normal: Any,
    right: Any,
) -> Any:
    """Fill the normal equations for x, y, flux, length, angle; return chi squared and pixels."""
    normal[:], right[:] = 0.0, 0.0
    steps = (0.01, 0.01, 0.0, 0.02, 0.005)
    slope = np.zeros(5)
    chi2, used = 0.0, 0
    for row in range(max(0, y0 - half), min(image.shape[0], y0 + half + 1)):
        for column in range(max(0, x0 - half), min(image.shape[1], x0 + half + 1)):
            v = variance[row, column]
            if not usable[row, column] or v <= 0:
                continue
            dx, dy = column - values[0], row - values[1]
            length, angle = values[3], values[4]
            cos, sin = math.cos(angle), math.sin(angle)
            unit = _trail_value(dx, dy, sigma, length, cos, sin)
            slope[0] = values[2] * (_trail_value(dx - steps[0], dy, sigma, length, cos, sin) - unit) / steps[0]
            slope[1] = values[2] * (_trail_value(dx, dy - steps[1], sigma, length, cos, sin) - unit) / steps[1]
            slope[2] = unit
            slope[3] = values[2] * (_trail_value(dx, dy, sigma, length + steps[3], cos, sin) - unit) / steps[3]
            turned = angle + steps[4]
            slope[4] = (
                values[2] * (_trail_value(dx, dy, sigma, length, math.cos(turned), math.sin(turned)) - unit) / steps[4]
            )
            residual = image[row, column] - values[2] * unit
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
def fit_trails(image: Any, variance: Any, usable: Any, start: Any, sigma: Any, half: Any) -> Any:
    """Fit trails near given first guesses (Levenberg-Marquardt).

    Parameters
    ----------
    image, variance, usable
        Pixels, their variance, and which count.
    start
        First guess, shape (trails, 5): x, y, flux, length (pixels), angle from the x axis (radians).
    sigma
        Standard deviation of the PSF at each, pixels.
    half
        Half size of each window, pixels.

    Returns
    -------
    tuple of ndarray
        Parameters (trails, 5), covariances (trails, 5, 5), chi squared, pixels, converged.
    """
    count = start.shape[0]
    values, covariances = start.copy(), np.full((count, 5, 5), np.nan)
    chi2, pixels, good = np.full(count, np.nan), np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    normal, right, trial = np.zeros((5, 5)), np.zeros(5), np.zeros(5)
    for n in range(count):
        x0, y0 = int(np.floor(start[n, 0] + 0.5)), int(np.floor(start[n, 1] + 0.5))
        best, used = _trail_normal(image, variance, usable, values[n], sigma[n], x0, y0, half[n], normal, right)
        damping = 1e-2
        for _ in range(40):
            damped = normal.copy()
            for i in range(5):
                damped[i, i] = damped[i, i] * (1 + damping) + 1e-12
            trial[:] = values[n] + np.linalg.solve(damped, right)
            trial[3] = abs(trial[3])
            inside = np.hypot(trial[0] - x0, trial[1] - y0) < half[n] and trial[3] < 2 * half[n]
            old_normal, old_right, score = normal.copy(), right.copy(), np.inf
            if inside:
                score, used = _trail_normal(image, variance, usable, trial, sigma[n], x0, y0, half[n], normal, right)
            if score <= best:
                small = best - score < 1e-4
                values[n], best, damping = trial, score, damping * 0.3
                if small:
                    good[n] = True
                    break
            else:
                normal[:], right[:] = old_normal, old_right
                damping *= 10
                if damping > 1e8:
                    good[n] = True
                    break
        chi2[n], pixels[n] = best, used
        if good[n] and np.all(np.diag(normal) > 0):
            scale = 1 / np.sqrt(np.diag(normal))
            scaled = normal * scale.reshape(5, 1) * scale.reshape(1, 5) + 1e-9 * np.eye(5)
            covariances[n] = np.linalg.inv(scaled) * scale.reshape(5, 1) * scale.reshape(1, 5)
    return values, covariances, chi2, pixels, good
