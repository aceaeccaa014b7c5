"""Fit sources that moved during the exposure: a point-spread function drawn out along a line (Veres et al. 2012, PASP 124, 1197).

The PSF is a sum of elliptical Gaussians of one shape fitted to its image, so that every pixel of the model and its slopes are closed
forms: coordinates are stretched until the PSF is round. Where the visit has two snaps, the shutter was closed between them, and the
snaps' difference is fitted together with the difference from the template: there a trail is half a trail minus the other half, which
gives the direction, and lengths far below the width of the PSF.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import nnls

__all__ = ["SnapPlanes", "TrailFits", "TrailPsf", "fit_trails", "trail_psf"]

_WIDTHS = (0.75, 1.0, 1.4, 2.2)
"""Standard deviations of the mixture's Gaussians in units of the PSF's."""

_SHORTEST = 0.02
"""Length, in pixels, of what stands for a point."""

_ACROSS = 8.0
"""Half width of the band of pixels that a fit reads, pixels."""

_ENOUGH = 0.01
"""Gain of chi squared below which a fit has converged: a tenth of an error."""

_LONG = 25.0
"""Length, pixels, from which a trail is no point whatever the fit says."""

_SQRT2 = math.sqrt(2.0)

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailPsf:
    """A PSF as Gaussians that are round once coordinates are stretched."""

    mixture: NDArray[np.float64]
    """Flux and standard deviation of each, shape (Gaussians, 2)."""
    stretch: NDArray[np.float64]
    """Symmetric, shape (2, 2), of determinant 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapPlanes:
    """The snaps' difference as a trail is fitted to it."""

    image: Pixels
    variance: Pixels
    gap_share: float
    """Part of the visit in which the shutter was closed between the snaps."""
    share: float
    """Flux on the difference of what lasts, as a part of the visit's."""
    shift: tuple[float, float]
    """Pixels from the first to the second snap of what lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailFits:
    """Fitted trails, one value or row each."""

    values: NDArray[np.float64]
    """x, y, flux, and the vector from where the trail began to where it ended (pixels); without snaps its sign means nothing."""
    covariances: NDArray[np.float64]
    """Shape (trails, 5, 5)."""
    chi2: NDArray[np.float64]
    point_chi2: NDArray[np.float64]
    """Of a point source fitted to the same pixels."""
    turned_chi2: NDArray[np.float64]
    """Of the same trail run through backwards; NaN without snaps."""
    pixels: NDArray[np.int64]
    converged: NDArray[np.bool_]

    @property
    def length(self) -> NDArray[np.float64]:
        """Lengths, pixels."""
        return np.asarray(np.hypot(self.values[:, 3], self.values[:, 4]))

    @property
    def errors(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """One-sigma errors of lengths (pixels) and of directions (radians)."""
        u = self.values[:, 3:] / np.maximum(self.length, _SHORTEST)[:, None]
        n = np.column_stack([-u[:, 1], u[:, 0]])
        spread = self.covariances[:, 3:, 3:]
        along, across = (np.einsum("ni,nij,nj->n", d, spread, d) for d in (u, n))
        with np.errstate(invalid="ignore"):
            return np.sqrt(along), np.sqrt(across) / np.maximum(self.length, _SHORTEST)


def trail_psf(psf: Pixels, moments: tuple[float, float, float]) -> TrailPsf:
    """Fit Gaussians of one shape to a PSF.

    Parameters
    ----------
    psf
        Odd square of sum 1.
    moments
        Its second moments xx, yy, xy under an adaptive weight, pixels squared.
    """
    xx, yy, xy = moments
    sigma = math.sqrt(math.sqrt(max(xx * yy - xy * xy, 1e-4)))
    values, vectors = np.linalg.eigh(np.array([[xx, xy], [xy, yy]]))
    stretch = vectors @ np.diag(sigma / np.sqrt(np.maximum(values, 1e-2))) @ vectors.T
    stretch /= math.sqrt(abs(float(np.linalg.det(stretch))))
    half = psf.shape[0] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    radius2 = ((stretch[0, 0] * x + stretch[0, 1] * y) ** 2 + (stretch[1, 0] * x + stretch[1, 1] * y) ** 2).ravel()
    widths = np.array(_WIDTHS) * sigma
    models = np.exp(-0.5 * radius2[:, None] / widths**2) / (2 * np.pi * widths**2)
    flux = nnls(models, np.asarray(psf, dtype=np.float64).ravel())[0]
    return TrailPsf(mixture=np.column_stack([flux, widths]), stretch=np.ascontiguousarray(stretch))


def fit_trails(
    planes: tuple[Pixels, Pixels, NDArray[np.bool_]],
    start: NDArray[np.float64],
    psfs: list[TrailPsf],
    snaps: tuple[SnapPlanes, list[TrailPsf], NDArray[np.bool_]] | None = None,
) -> TrailFits:
    """Fit trails near given first guesses, and a point source to the same pixels.

    Parameters
    ----------
    planes
        Difference from the template, its variance, and which pixels count.
    start
        First guess, shape (trails, 5): x, y, flux, vector from end to end (pixels).
    psfs
        PSF of the difference at each.
    snaps
        The snaps' difference, its PSF at each trail, and for which trails it is read.
    """
    values, gap = np.array(start, dtype=np.float64), 0.0
    count = len(values)
    second, own, told = planes, psfs, (0.0, 0.0, 0.0)
    used = np.zeros(count, dtype=np.bool_)
    if snaps is not None:
        pair, own, used = snaps
        second, gap, told = (pair.image, pair.variance, planes[2]), pair.gap_share, (pair.share, *pair.shift)
    mixtures, stretches = (
        np.array([[getattr(p, name) for p in both] for both in zip(psfs, own, strict=True)])
        for name in ("mixture", "stretch")
    )
    normals, chi2 = np.zeros((count, 5, 5)), np.full((count, 3), np.nan)
    pixels, good = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    if count:
        out = (values, normals, chi2, pixels, good)
        _fit_all((planes, second), (mixtures, stretches), (gap, *told), used, out)
    return TrailFits(
        values=values,
        covariances=_covariances(normals, good),
        chi2=chi2[:, 0],
        point_chi2=chi2[:, 1],
        turned_chi2=chi2[:, 2],
        pixels=pixels,
        converged=good,
    )


def _covariances(normals: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Invert normal equations, scaled to a diagonal of 1; NaN where a fit did not converge."""
    out = np.full(normals.shape, np.nan)
    for n in np.flatnonzero(good & (np.diagonal(normals, axis1=1, axis2=2) > 0).all(axis=1)):
        scale = 1 / np.sqrt(np.diag(normals[n]))
        scale = scale[:, None] * scale
        out[n] = np.linalg.inv(normals[n] * scale + 1e-9 * np.eye(5)) * scale
    return out


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
        if abs(along) + 5 * sigma < 0.5 * length:
            out[0] += cross / length
            out[2] -= cross / length * across / (sigma * sigma)
            out[3] -= cross / (length * length)
            continue
        first, last = along + 0.5 * length, along - 0.5 * length
        inside = 0.5 * (math.erf(first / (_SQRT2 * sigma)) - math.erf(last / (_SQRT2 * sigma)))
        head, tail = _gauss(first, sigma), _gauss(last, sigma)
        value = cross * inside / length
        out[0] += value
        out[1] += cross * (head - tail) / length
        out[2] -= value * across / (sigma * sigma)
        out[3] += cross * 0.5 * (head + tail) / length - value / length


@njit(cache=True)
def _stretched(x: float, y: float, a: Any) -> Any:
    """Return a trail's vector in stretched coordinates: itself, its length and its direction."""
    vx, vy = a[0, 0] * x + a[0, 1] * y, a[1, 0] * x + a[1, 1] * y
    size = math.sqrt(vx * vx + vy * vy)
    if size == 0.0:
        return vx, vy, _SHORTEST, 1.0, 0.0
    return vx, vy, max(size, _SHORTEST), vx / size, vy / size


@njit(cache=True)
def _half_trail(
    dx: float, dy: float, vector: Any, place: float, part: float, psf: Any, part_slopes: Any, out: Any
) -> None:
    """Fill value and slopes by x, y and vector of a piece of a trail of flux 1; ``vector`` is the trail's as `_stretched` gives it.

    The piece's middle lies at ``place`` along the vector from the trail's, its length is ``part`` of the vector's.
    """
    mixture, a = psf
    vx, vy, length, ux, uy = vector
    x, y = a[0, 0] * dx + a[0, 1] * dy - place * vx, a[1, 0] * dx + a[1, 1] * dy - place * vy
    along, across = x * ux + y * uy, -x * uy + y * ux
    _trail(along, across, part * length, mixture, part_slopes)
    value, by_along, by_across, by_length = part_slopes[0], part_slopes[1], part_slopes[2], part_slopes[3]
    gx, gy = by_along * ux - by_across * uy, by_along * uy + by_across * ux
    turn = (by_along * across - by_across * along) / length
    hx = -place * gx + part * by_length * ux - turn * uy
    hy = -place * gy + part * by_length * uy + turn * ux
    out[0] = value
    out[1], out[2] = -(a[0, 0] * gx + a[1, 0] * gy), -(a[0, 1] * gx + a[1, 1] * gy)
    out[3], out[4] = a[0, 0] * hx + a[1, 0] * hy, a[0, 1] * hx + a[1, 1] * hy


@njit(cache=True)
def _add_plane(planes: Any, values: Any, psf: Any, told: Any, minus: bool, band: Any, normal: Any, right: Any) -> Any:
    """Add a plane to the normal equations for x, y, flux, vector over a band of pixels; return chi squared and pixels."""
    image, variance, usable = planes
    gap, share, shift_x, shift_y = told
    piece, work, slope = np.zeros(5), np.zeros(4), np.zeros(5)
    x0, y0, reach, ux, uy = band[0], band[1], band[2], band[3], band[4]
    whole = gap == 0.0 and not minus
    place, part = (0.0, 1.0) if whole else (0.25 * (1 + gap), 0.5 * (1 - gap))
    weights = np.array([1.0, 0.0]) if whole else np.array([0.5, 0.5])
    if minus:
        weights[0], weights[1] = 0.5 * (1 + share), -0.5 * (1 - share)
    else:
        shift_x, shift_y = 0.0, 0.0
    vector = _stretched(values[3], values[4], psf[1])
    chi2, used = 0.0, 0
    wide, high = abs(ux) * reach + abs(uy) * _ACROSS, abs(uy) * reach + abs(ux) * _ACROSS
    for row in range(max(0, int(y0 - high)), min(image.shape[0], int(y0 + high) + 2)):
        for column in range(max(0, int(x0 - wide)), min(image.shape[1], int(x0 + wide) + 2)):
            px, py = column - x0, row - y0
            v = variance[row, column]
            if abs(px * ux + py * uy) > reach or abs(-px * uy + py * ux) > _ACROSS or not usable[row, column] or v <= 0:
                continue
            slope[:] = 0.0
            for half in range(1 if whole else 2):
                side = 2.0 * half - 1.0
                dx, dy = column - values[0] - 0.5 * side * shift_x, row - values[1] - 0.5 * side * shift_y
                _half_trail(dx, dy, vector, side * place, part, psf, work, piece)
                for i in range(5):
                    slope[i] += weights[half] * piece[i]
            residual = image[row, column] - values[2] * slope[0]
            chi2 += residual * residual / v
            used += 1
            by_flux = slope[0]
            slope[0], slope[1], slope[2] = values[2] * slope[1], values[2] * slope[2], by_flux
            slope[3], slope[4] = values[2] * slope[3], values[2] * slope[4]
            for i in range(5):
                right[i] += slope[i] * residual / v
                for j in range(i + 1):
                    normal[i, j] += slope[i] * slope[j] / v
    return chi2, used


@njit(cache=True)
def _solve(normal: Any, right: Any, size: int) -> None:
    """Solve positive definite equations of a size in place; the answer is left in ``right``."""
    for k in range(size):
        for i in range(k + 1, size):
            factor = normal[i, k] / normal[k, k]
            right[i] -= factor * right[k]
            for j in range(k, size):
                normal[i, j] -= factor * normal[k, j]
    for k in range(size - 1, -1, -1):
        for j in range(k + 1, size):
            right[k] -= normal[k, j] * right[j]
        right[k] /= normal[k, k]


@njit(cache=True)
def _descend(planes: Any, values: Any, psfs: Any, told: Any, count: int, band: Any, free: int, equations: Any) -> Any:
    """Find the least chi squared over the first ``free`` parameters (Levenberg-Marquardt); return it, pixels and success.

    ``count`` planes are read. With ``free`` 0 the equations are only filled.
    """
    normal, right, kept_normal, kept_right = equations
    damping, best, pixels = 1e-2, np.inf, 0
    trial = values.copy()
    for _ in range(60):
        score, used = 0.0, 0
        normal[:], right[:] = 0.0, 0.0
        if np.hypot(trial[0] - band[0], trial[1] - band[1]) > band[2] or np.hypot(trial[3], trial[4]) > 2 * band[2]:
            score = np.inf
        else:
            for k in range(count):
                more, some = _add_plane(planes[k], trial, psfs[k], told, k == 1, band, normal, right)
                score, used = score + more, used + some
        if score <= best:
            small = best - score < _ENOUGH
            for i in range(5):
                for j in range(i):
                    normal[j, i] = normal[i, j]
            kept_normal[:], kept_right[:] = normal, right
            values[:], best, pixels, damping = trial, score, used, damping * 0.3
            if small or free == 0:
                return best, pixels, True
        else:
            damping *= 10
            if damping > 1e6:
                return best, pixels, best < np.inf
        normal[:], right[:], trial[:] = kept_normal, kept_right, values
        for i in range(free):
            normal[i, i] = normal[i, i] * (1 + damping) + 1e-12
        _solve(normal, right, free)
        for i in range(free):
            trial[i] += right[i]
    return best, pixels, False


@njit(cache=True)
def _fit_all(planes: Any, psfs: Any, told: Any, used: Any, out: Any) -> None:
    """Fit every trail; fill parameters, normal equations, chi squared (trail, point, trail backwards), pixels and success.

    In turn: a point, the first guess both ways, the trail from the better of these, and the fitted trail backwards.
    """
    values, normals, chi2, pixels, good = out
    equations = (np.zeros((5, 5)), np.zeros(5), np.zeros((5, 5)), np.zeros(5))
    normal, band, place = equations[2], np.zeros(5), np.zeros(5)
    for n in range(values.shape[0]):
        own = ((psfs[0][n, 0], psfs[1][n, 0]), (psfs[0][n, 1], psfs[1][n, 1]))
        length = max(np.hypot(values[n, 3], values[n, 4]), _SHORTEST)
        band[0], band[1], band[2] = values[n, 0], values[n, 1], 0.5 * length + _ACROSS
        band[3], band[4] = values[n, 3] / length, values[n, 4] / length
        count, ahead = 2 if used[n] else 1, 0.0
        for stage in range(5):
            if not used[n] and stage in (1, 2, 4):
                continue
            place[:] = values[n]
            if stage == 0:
                place[3:] = 0.0
            elif stage in (2, 4):
                place[3:] *= -1.0
            free = 3 if stage == 0 else 5 if stage == 3 else 0
            if stage == 0 and length > _LONG:
                # A point describes one PSF's length of such a trail; fitting it to the whole band would cost as much as the trail.
                place[2], free = place[2] * 2 * _ACROSS / length, 0
            score, some, found = _descend(planes, place, own, told, count, band, free, equations)
            if stage == 0:
                chi2[n, 1] = score
            elif stage == 1:
                ahead = score
            elif stage == 2 and score < ahead:
                values[n, 3:] *= -1.0
            elif stage == 3:
                values[n], chi2[n, 0], pixels[n], good[n], normals[n] = place, score, some, found, normal
            elif stage == 4:
                chi2[n, 2] = score
