"""Compiled fits of single sources: point source, dipole.

All least-squares fits give every usable pixel the same weight (see `processors.differencing.score`) and take their
covariance from the variance plane: ``A^-1 (sum J J^T variance) A^-1``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from processors.differencing.psf import render_psf

__all__ = ["fit_dipoles", "fit_point_sources", "forced_fluxes"]

_ITERATIONS = 25


@njit(cache=True)
def forced_fluxes(
    image: Any, variance: Any, usable: Any, x_nodes: Any, y_nodes: Any, coefficients: Any, x: Any, y: Any, half: int
) -> Any:
    """Fit the flux of a point source at each given position.

    Parameters
    ----------
    image, variance, usable
        Pixels, their variance, and which count.
    x_nodes, y_nodes, coefficients
        Fields of a `PsfGrid`.
    x, y
        Positions, pixels.
    half
        Half size of the window, pixels.

    Returns
    -------
    tuple of ndarray
        Flux, its error (NaN when no pixel is usable), number of pixels, part of the PSF's squared sum that was usable.
    """
    count, size = x.shape[0], 2 * half + 1
    flux, error = np.full(count, np.nan), np.full(count, np.nan)
    pixels, part = np.zeros(count, dtype=np.int64), np.zeros(count)
    psf = np.empty((3, size, size))
    for n in range(count):
        if not (np.isfinite(x[n]) and np.isfinite(y[n]) and abs(x[n]) < 1e6 and abs(y[n]) < 1e6):
            continue
        ix, iy = render_psf(x_nodes, y_nodes, coefficients, x[n], y[n], psf)
        product, square, noise, whole, used = 0.0, 0.0, 0.0, 0.0, 0
        for r in range(size):
            for c in range(size):
                p = psf[0, r, c]
                whole += p * p
                row, column = iy + r - half, ix + c - half
                if row < 0 or column < 0 or row >= image.shape[0] or column >= image.shape[1]:
                    continue
                if usable[row, column]:
                    product += p * image[row, column]
                    square += p * p
                    noise += p * p * variance[row, column]
                    used += 1
        pixels[n] = used
        part[n] = square / whole if whole > 0 else 0.0
        if square > 0.1 * whole:
            flux[n] = product / square
            error[n] = np.sqrt(noise) / square
    return flux, error, pixels, part


@njit(cache=True)
def fit_point_sources(
    image: Any, variance: Any, usable: Any, x_nodes: Any, y_nodes: Any, coefficients: Any, x: Any, y: Any, half: int
) -> Any:
    """Fit position and flux of a point source near each given position (Gauss-Newton).

    Parameters are those of `forced_fluxes`; ``x`` and ``y`` are first guesses.

    Returns
    -------
    ndarray
        Shape (sources, 13): x, y, flux; variances of x, y, flux; covariance of x and y; chi squared; log likelihood;
        pixels used; converged (1 or 0); usable part of the PSF; chi squared without the source.
    """
    count, size = x.shape[0], 2 * half + 1
    out = np.full((count, 13), np.nan)
    psf = np.empty((3, size, size))
    for n in range(count):
        px, py, flux, good = x[n], y[n], 0.0, False
        normal, spread = np.zeros((3, 3)), np.zeros((3, 3))
        right = np.zeros(3)
        for _ in range(_ITERATIONS):
            ix, iy = render_psf(x_nodes, y_nodes, coefficients, px, py, psf)
            flux = _best_flux(image, usable, psf[0], ix, iy, half)
            _point_normal(image, usable, psf, flux, ix, iy, half, normal, right)
            det = normal[0, 0] * normal[1, 1] - normal[0, 1] * normal[1, 0]
            if not det > 1e-12 * normal[0, 0] * normal[1, 1] or normal[2, 2] <= 0:
                break
            step = np.linalg.solve(normal, right)
            length = np.hypot(step[0], step[1])
            scale = min(1.0, 0.7 / length) if length > 0 else 1.0
            px, py = px + scale * step[0], py + scale * step[1]
            if np.hypot(px - x[n], py - y[n]) > 2.5:
                break
            if length < 1e-4:
                good = True
                break
        if not good:
            px, py = x[n], y[n]
        if good:
            _point_spread(variance, usable, psf, flux, ix, iy, half, spread)
        _record(out[n], image, variance, usable, x_nodes, y_nodes, coefficients, px, py, half, psf)
        out[n, 10] = 1.0 if good else 0.0
        if good:
            inverse = np.linalg.inv(normal)
            covariance = inverse @ spread @ inverse
            out[n, 3], out[n, 4], out[n, 6] = covariance[0, 0], covariance[1, 1], covariance[0, 1]
    return out


@njit(cache=True)
def _point_normal(
    image: Any, usable: Any, psf: Any, flux: float, ix: int, iy: int, half: int, normal: Any, right: Any
) -> None:
    """Fill the normal equations of a point source for x, y, flux."""
    xx, xy, yy, xp, yp, pp, rx, ry, rp = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    size = psf.shape[1]
    for r in range(max(0, half - iy), min(size, image.shape[0] - iy + half)):
        for c in range(max(0, half - ix), min(size, image.shape[1] - ix + half)):
            row, column = iy + r - half, ix + c - half
            if not usable[row, column]:
                continue
            p, x, y = psf[0, r, c], flux * psf[1, r, c], flux * psf[2, r, c]
            residual = image[row, column] - flux * p
            xx, xy, yy = xx + x * x, xy + x * y, yy + y * y
            xp, yp, pp = xp + x * p, yp + y * p, pp + p * p
            rx, ry, rp = rx + x * residual, ry + y * residual, rp + p * residual
    normal[0, 0], normal[1, 1], normal[2, 2] = xx, yy, pp
    normal[0, 1], normal[0, 2], normal[1, 2] = xy, xp, yp
    normal[1, 0], normal[2, 0], normal[2, 1] = xy, xp, yp
    right[0], right[1], right[2] = rx, ry, rp


@njit(cache=True)
def _point_spread(variance: Any, usable: Any, psf: Any, flux: float, ix: int, iy: int, half: int, spread: Any) -> None:
    """Fill the spread of the right side of those equations."""
    spread[:] = 0.0
    slope, size = np.zeros(3), psf.shape[1]
    for r in range(max(0, half - iy), min(size, variance.shape[0] - iy + half)):
        for c in range(max(0, half - ix), min(size, variance.shape[1] - ix + half)):
            row, column = iy + r - half, ix + c - half
            if not usable[row, column]:
                continue
            slope[0], slope[1], slope[2] = flux * psf[1, r, c], flux * psf[2, r, c], psf[0, r, c]
            for i in range(3):
                for j in range(3):
                    spread[i, j] += slope[i] * slope[j] * variance[row, column]


@njit(cache=True)
def _best_flux(image: Any, usable: Any, psf: Any, ix: int, iy: int, half: int) -> float:
    product, square = 0.0, 0.0
    for r in range(psf.shape[0]):
        for c in range(psf.shape[1]):
            row, column = iy + r - half, ix + c - half
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1] and usable[row, column]:
                product += psf[r, c] * image[row, column]
                square += psf[r, c] * psf[r, c]
    return product / square if square > 0 else 0.0


@njit(cache=True)
def _record(
    out: Any,
    image: Any,
    variance: Any,
    usable: Any,
    x_nodes: Any,
    y_nodes: Any,
    coefficients: Any,
    x: float,
    y: float,
    half: int,
    psf: Any,
) -> None:
    """Fill position, flux, its variance, chi squared, likelihood, pixels and coverage for a fixed position."""
    ix, iy = render_psf(x_nodes, y_nodes, coefficients, x, y, psf)
    flux = _best_flux(image, usable, psf[0], ix, iy, half)
    square, noise, whole, chi2, empty, logs, used = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0
    for r in range(psf.shape[1]):
        for c in range(psf.shape[2]):
            p = psf[0, r, c]
            whole += p * p
            row, column = iy + r - half, ix + c - half
            if row < 0 or column < 0 or row >= image.shape[0] or column >= image.shape[1]:
                continue
            v = variance[row, column]
            if not usable[row, column] or v <= 0:
                continue
            square += p * p
            noise += p * p * v
            residual = image[row, column] - flux * p
            chi2 += residual * residual / v
            empty += image[row, column] * image[row, column] / v
            logs += np.log(2 * np.pi * v)
            used += 1
    out[0], out[1], out[7], out[8], out[9] = x, y, chi2, -0.5 * (chi2 + logs), used
    out[11], out[12] = square / whole if whole > 0 else 0.0, empty
    if square > 0:
        out[2], out[5] = flux, noise / (square * square)


@njit(cache=True)
def fit_dipoles(
    image: Any,
    variance: Any,
    usable: Any,
    x_nodes: Any,
    y_nodes: Any,
    coefficients: Any,
    start: Any,
    prior: Any,
    half: int,
) -> Any:
    """Fit two point sources of opposite sign, their fluxes held near those of the two images before subtraction.

    Without that hold the separation of lobes closer than the PSF and their fluxes cannot be told apart; Rubin's
    dipole fit uses the two images for the same reason.

    Parameters
    ----------
    image, variance, usable, x_nodes, y_nodes, coefficients, half
        As for `forced_fluxes`.
    start
        First guess, shape (dipoles, 6): x, y of the positive lobe, x, y of the negative one, both fluxes (positive numbers).
    prior
        Shape (dipoles, 4): expected positive flux, its sigma, expected negative flux, its sigma.

    Returns
    -------
    tuple of ndarray
        Parameters (dipoles, 6), their covariances (dipoles, 6, 6), chi squared, pixels, converged.
    """
    count, size = start.shape[0], 2 * half + 1
    values, covariances = start.copy(), np.full((count, 6, 6), np.nan)
    chi2, pixels, good = np.full(count, np.nan), np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    plus, minus = np.empty((3, size, size)), np.empty((3, size, size))
    normal, right, trial = np.zeros((6, 6)), np.zeros(6), np.zeros(6)
    pixel_data, grid = (image, variance, usable), (x_nodes, y_nodes, coefficients)
    work = (plus, minus, normal, right)
    for n in range(count):
        x0 = int(np.floor(0.5 * (start[n, 0] + start[n, 2]) + 0.5))
        y0 = int(np.floor(0.5 * (start[n, 1] + start[n, 3]) + 0.5))
        damping = 1e-3
        best, used = _dipole_normal(pixel_data, grid, values[n], prior[n], x0, y0, work)
        for _ in range(60):
            damped = normal.copy()
            for i in range(6):
                damped[i, i] = damped[i, i] * (1 + damping) + 1e-12
            step = np.linalg.solve(damped, right)
            trial[:] = values[n] + step
            far = max(np.hypot(trial[0] - x0, trial[1] - y0), np.hypot(trial[2] - x0, trial[3] - y0)) > half
            old_normal, old_right = normal.copy(), right.copy()
            score = np.inf
            if not far:
                score, used = _dipole_normal(pixel_data, grid, trial, prior[n], x0, y0, work)
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
            scaled = normal * scale.reshape(6, 1) * scale.reshape(1, 6) + 1e-9 * np.eye(6)
            covariances[n] = np.linalg.inv(scaled) * scale.reshape(6, 1) * scale.reshape(1, 6)
    return values, covariances, chi2, pixels, good


@njit(cache=True)
def _dipole_normal(pixel_data: Any, grid: Any, values: Any, prior: Any, x0: int, y0: int, work: Any) -> Any:
    """Fill the normal equations of a dipole over the window around (x0, y0); return chi squared and pixels."""
    image, variance, usable = pixel_data
    plus, minus, normal, right = work
    half = plus.shape[1] // 2
    px, py = render_psf(grid[0], grid[1], grid[2], values[0], values[1], plus)
    mx, my = render_psf(grid[0], grid[1], grid[2], values[2], values[3], minus)
    normal[:], right[:] = 0.0, 0.0
    slope = np.zeros(6)
    chi2, used, size = 0.0, 0, plus.shape[1]
    for row in range(max(0, y0 - half), min(image.shape[0], y0 + half + 1)):
        for column in range(max(0, x0 - half), min(image.shape[1], x0 + half + 1)):
            v = variance[row, column]
            if not usable[row, column] or v <= 0:
                continue
            slope[:] = 0.0
            model = 0.0
            r, c = row - py + half, column - px + half
            if 0 <= r < size and 0 <= c < size:
                model += values[4] * plus[0, r, c]
                slope[0], slope[1], slope[4] = values[4] * plus[1, r, c], values[4] * plus[2, r, c], plus[0, r, c]
            r, c = row - my + half, column - mx + half
            if 0 <= r < size and 0 <= c < size:
                model -= values[5] * minus[0, r, c]
                slope[2], slope[3], slope[5] = -values[5] * minus[1, r, c], -values[5] * minus[2, r, c], -minus[0, r, c]
            residual = image[row, column] - model
            chi2 += residual * residual / v
            used += 1
            for i in range(6):
                right[i] += slope[i] * residual / v
                for j in range(i + 1):
                    normal[i, j] += slope[i] * slope[j] / v
    for i in range(6):
        for j in range(i):
            normal[j, i] = normal[i, j]
    for k in range(2):
        weight = 1 / prior[2 * k + 1] ** 2
        gap = prior[2 * k] - values[4 + k]
        chi2 += gap * gap * weight
        normal[4 + k, 4 + k] += weight
        right[4 + k] += gap * weight
    return chi2, used
