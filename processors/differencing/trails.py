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

_ACROSS = 10.0
"""Half width of the band of pixels that a fit reads, pixels."""

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
    covariances, chi2 = np.full((count, 5, 5), np.nan), np.full((count, 3), np.nan)
    pixels, good = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    if count:
        out = (values, covariances, chi2, pixels, good)
        _fit_all(planes, second, (mixtures, stretches), (gap, *told), used, out)
    return TrailFits(
        values=values,
        covariances=covariances,
        chi2=chi2[:, 0],
        point_chi2=chi2[:, 1],
        turned_chi2=chi2[:, 2],
        pixels=pixels,
        converged=good,
    )


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
def _half_trail(
    dx: float, dy: float, vector: Any, place: float, part: float, psf: Any, part_slopes: Any, out: Any
) -> None:
    """Fill value and slopes by x, y and vector of a piece of a trail of flux 1.

    The piece's middle lies at ``place`` along the vector from the trail's, its length is ``part`` of the vector's.
    """
    mixture, a = psf
    vx, vy = a[0, 0] * vector[0] + a[0, 1] * vector[1], a[1, 0] * vector[0] + a[1, 1] * vector[1]
    length = max(math.sqrt(vx * vx + vy * vy), _SHORTEST)
    ux, uy = (vx / length, vy / length) if vx != 0.0 or vy != 0.0 else (1.0, 0.0)
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
    place, part = 0.25 * (1 + gap), 0.5 * (1 - gap)
    first, second, work, slope = np.zeros(5), np.zeros(5), np.zeros(4), np.zeros(5)
    x0, y0, reach, ux, uy = band[0], band[1], band[2], band[3], band[4]
    whole = gap == 0.0 and not minus
    a, b, hx, hy = (1.0, 0.0, 0.0, 0.0) if whole else (0.5, 0.5, 0.0, 0.0)
    if minus:
        a, b, hx, hy = 0.5 * (1 + share), -0.5 * (1 - share), 0.5 * shift_x, 0.5 * shift_y
    chi2, used = 0.0, 0
    wide, high = abs(ux) * reach + abs(uy) * _ACROSS, abs(uy) * reach + abs(ux) * _ACROSS
    for row in range(max(0, int(y0 - high)), min(image.shape[0], int(y0 + high) + 2)):
        for column in range(max(0, int(x0 - wide)), min(image.shape[1], int(x0 + wide) + 2)):
            px, py = column - x0, row - y0
            v = variance[row, column]
            if abs(px * ux + py * uy) > reach or abs(-px * uy + py * ux) > _ACROSS or not usable[row, column] or v <= 0:
                continue
            dx, dy = column - values[0], row - values[1]
            if whole:
                _half_trail(dx, dy, values[3:], 0.0, 1.0, psf, work, first)
            else:
                _half_trail(dx + hx, dy + hy, values[3:], -place, part, psf, work, first)
                _half_trail(dx - hx, dy - hy, values[3:], place, part, psf, work, second)
            model = a * first[0] + b * second[0]
            slope[0] = values[2] * (a * first[1] + b * second[1])
            slope[1] = values[2] * (a * first[2] + b * second[2])
            slope[2] = model
            slope[3] = values[2] * (a * first[3] + b * second[3])
            slope[4] = values[2] * (a * first[4] + b * second[4])
            residual = image[row, column] - values[2] * model
            chi2 += residual * residual / v
            used += 1
            for i in range(5):
                right[i] += slope[i] * residual / v
                for j in range(i + 1):
                    normal[i, j] += slope[i] * slope[j] / v
    return chi2, used


@njit(cache=True)
def _normal_of(
    planes: Any, snaps: Any, values: Any, psfs: Any, told: Any, both: bool, band: Any, equations: Any
) -> Any:
    """Fill the normal equations; return chi squared and pixels."""
    normal, right = equations
    normal[:], right[:] = 0.0, 0.0
    chi2, used = _add_plane(planes, values, psfs[0], told, False, band, normal, right)
    if both:
        more, count = _add_plane(snaps, values, psfs[1], told, True, band, normal, right)
        chi2, used = chi2 + more, used + count
    for i in range(5):
        for j in range(i):
            normal[j, i] = normal[i, j]
    return chi2, used


@njit(cache=True)
def _descend(
    planes: Any, snaps: Any, values: Any, psfs: Any, told: Any, both: bool, band: Any, free: int, equations: Any
) -> Any:
    """Find the least chi squared over the first ``free`` parameters (Levenberg-Marquardt); return it, pixels and success."""
    normal, right = equations
    damping = 1e-2
    best, used = _normal_of(planes, snaps, values, psfs, told, both, band, equations)
    trial = values.copy()
    for _ in range(40):
        damped = normal[:free, :free].copy()
        for i in range(free):
            damped[i, i] = damped[i, i] * (1 + damping) + 1e-12
        trial[:] = values
        trial[:free] += np.linalg.solve(damped, right[:free])
        length = np.hypot(trial[3], trial[4])
        far = np.hypot(trial[0] - band[0], trial[1] - band[1]) > band[2] or length > 2 * band[2]
        old_normal, old_right, score = normal.copy(), right.copy(), np.inf
        if not far:
            score, used = _normal_of(planes, snaps, trial, psfs, told, both, band, equations)
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
def _fit_all(planes: Any, snaps: Any, psfs: Any, told: Any, used: Any, out: Any) -> None:
    """Fit every trail; fill parameters, covariances, chi squared (trail, point, trail backwards), pixels and success."""
    values, covariances, chi2, pixels, good = out
    equations = (np.zeros((5, 5)), np.zeros(5))
    normal, band, spot = equations[0], np.zeros(5), np.zeros(5)
    for n in range(values.shape[0]):
        own = ((psfs[0][n, 0], psfs[1][n, 0]), (psfs[0][n, 1], psfs[1][n, 1]))
        length = max(np.hypot(values[n, 3], values[n, 4]), _SHORTEST)
        band[0], band[1], band[2] = values[n, 0], values[n, 1], 0.5 * length + _ACROSS
        band[3], band[4] = values[n, 3] / length, values[n, 4] / length
        spot[:] = values[n]
        spot[3], spot[4] = 0.0, 0.0
        chi2[n, 1], _, _ = _descend(planes, snaps, spot, own, told, used[n], band, 3, equations)
        if used[n]:
            spot[:] = values[n]
            spot[3:] *= -1.0
            ahead, _ = _normal_of(planes, snaps, values[n], own, told, True, band, equations)
            back, _ = _normal_of(planes, snaps, spot, own, told, True, band, equations)
            if back < ahead:
                values[n] = spot
        chi2[n, 0], pixels[n], good[n] = _descend(planes, snaps, values[n], own, told, used[n], band, 5, equations)
        if used[n]:
            spot[:] = values[n]
            spot[3:] *= -1.0
            keep = normal.copy()
            chi2[n, 2], _ = _normal_of(planes, snaps, spot, own, told, True, band, equations)
            normal[:] = keep
        if good[n] and np.all(np.diag(normal) > 0):
            scale = 1 / np.sqrt(np.diag(normal))
            scaled = normal * scale.reshape(5, 1) * scale.reshape(1, 5) + 1e-9 * np.eye(5)
            covariances[n] = np.linalg.inv(scaled) * scale.reshape(5, 1) * scale.reshape(1, 5)
