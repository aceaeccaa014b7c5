"""Fit sources that moved during the exposure: a point-spread function drawn out along a line (Veres et al. 2012, PASP 124, 1197).

Where the visit has two snaps, the shutter was closed between them, and the snaps' difference is fitted together with the difference
from the template: there a trail is half a trail minus the other half, which gives the direction, and lengths far below the width of
the PSF. (Numba keeps compiled code by the source of a file alone: after a change of `trail_model` change this file too, or empty the
cache.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.trail_model import SHORTEST, TrailPsf, stretched, trail_piece

__all__ = ["SnapPlanes", "TrailFits", "fit_trails"]

_ACROSS = 8.0
"""Half width of the band of pixels that a fit reads, pixels."""

_ENOUGH = 0.01
"""Gain of chi squared below which a fit has converged: a tenth of an error."""

_LONG = 25.0
"""Length, pixels, from which a trail is no point whatever the fit says."""

_HOPELESS = 4.0
"""Steps as good as the last one that must suffice to reach what makes a trail, else a fit is given up."""

Pixels = NDArray[Any]


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
    """Of the same trail run through backwards; NaN without snaps, and for what is hardly better than a point."""
    pixels: NDArray[np.int64]
    converged: NDArray[np.bool_]

    @property
    def length(self) -> NDArray[np.float64]:
        """Lengths, pixels."""
        return np.asarray(np.hypot(self.values[:, 3], self.values[:, 4]))

    @property
    def errors(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """One-sigma errors of lengths (pixels) and of directions (radians)."""
        u = self.values[:, 3:] / np.maximum(self.length, SHORTEST)[:, None]
        n = np.column_stack([-u[:, 1], u[:, 0]])
        spread = self.covariances[:, 3:, 3:]
        along, across = (np.einsum("ni,nij,nj->n", d, spread, d) for d in (u, n))
        with np.errstate(invalid="ignore"):
            return np.sqrt(along), np.sqrt(across) / np.maximum(self.length, SHORTEST)


def fit_trails(
    planes: tuple[Pixels, Pixels, NDArray[np.bool_]],
    start: NDArray[np.float64],
    psfs: list[TrailPsf],
    snaps: tuple[SnapPlanes, list[TrailPsf], NDArray[np.bool_]] | None = None,
    *,
    enough: float = -math.inf,
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
    enough
        By how much a trail's chi squared must better the point's to be of interest: a fit that will not is given up, unconverged.
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
        _fit_all((planes, second), (mixtures, stretches), (gap, *told), used, enough, out)
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
def _columns(dy: float, reach: float, ux: float, uy: float) -> Any:
    """Return between which columns a row crosses a band along a direction, both from the band's middle."""
    first, last = -np.inf, np.inf
    for slope, offset, half in ((ux, dy * uy, reach), (-uy, dy * ux, _ACROSS)):
        if abs(slope) > 1e-9:
            ends = ((-half - offset) / slope, (half - offset) / slope)
            first, last = max(first, min(ends[0], ends[1])), min(last, max(ends[0], ends[1]))
        elif abs(offset) > half:
            return 0.0, -1.0
    return first, last


@njit(cache=True)
def _add_plane(planes: Any, values: Any, psf: Any, told: Any, minus: bool, band: Any, normal: Any, right: Any) -> Any:
    """Add a plane to the normal equations for x, y, flux, vector over a band of pixels; return chi squared and pixels."""
    image, variance, usable = planes
    gap, share, shift_x, shift_y = told
    piece, work, slope = np.zeros(5), np.zeros(4), np.zeros(5)
    x0, y0, reach, ux, uy = band[0], band[1], band[2], band[3], band[4]
    whole = (gap == 0.0 or values[3] == values[4] == 0.0) and not minus
    place, part = (0.0, 1.0) if whole else (0.25 * (1 + gap), 0.5 * (1 - gap))
    weights = np.array([1.0, 0.0]) if whole else np.array([0.5, 0.5])
    if minus:
        weights[0], weights[1] = 0.5 * (1 + share), -0.5 * (1 - share)
    else:
        shift_x, shift_y = 0.0, 0.0
    vector = stretched(values[3], values[4], psf[1])
    chi2, used = 0.0, 0
    high = abs(uy) * reach + abs(ux) * _ACROSS
    for row in range(max(0, int(y0 - high)), min(image.shape[0], int(y0 + high) + 2)):
        first, last = _columns(row - y0, reach, ux, uy)
        for column in range(max(0, int(np.ceil(x0 + first))), min(image.shape[1], int(np.floor(x0 + last)) + 1)):
            v = variance[row, column]
            if not usable[row, column] or v <= 0:
                continue
            slope[:] = 0.0
            for half in range(1 if whole else 2):
                side = 2.0 * half - 1.0
                dx, dy = column - values[0] - 0.5 * side * shift_x, row - values[1] - 0.5 * side * shift_y
                trail_piece(dx, dy, vector, side * place, part, psf, work, piece)
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
def _mirror(normal: Any) -> None:
    for i in range(normal.shape[0]):
        for j in range(i):
            normal[j, i] = normal[i, j]


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
def _descend(
    planes: Any, values: Any, psfs: Any, told: Any, which: Any, band: Any, free: int, equations: Any, goal: float
) -> Any:
    """Find the least chi squared over the first ``free`` parameters (Levenberg-Marquardt); return it, pixels and success.

    Planes from the first of ``which`` up to the second are read. With ``free`` 0 the equations are only filled. A fit that comes no
    nearer to its ``goal`` is given up.
    """
    normal, right, kept_normal, kept_right = equations
    damping, best, pixels, steps = 1e-2, np.inf, 0, 0
    trial = values.copy()
    for _ in range(60):
        score, used = 0.0, 0
        normal[:], right[:] = 0.0, 0.0
        if np.hypot(trial[0] - band[0], trial[1] - band[1]) > band[2] or np.hypot(trial[3], trial[4]) > 2 * band[2]:
            score = np.inf
        else:
            for k in range(which[0], which[1]):
                more, some = _add_plane(planes[k], trial, psfs[k], told, k == 1, band, normal, right)
                score, used = score + more, used + some
            _mirror(normal)
        if score <= best:
            gain = best - score
            kept_normal[:], kept_right[:] = normal, right
            values[:], best, pixels, damping, steps = trial, score, used, damping * 0.3, steps + 1
            done = gain < _ENOUGH or free == 0
            if done or (steps > 2 and best - _HOPELESS * gain > goal):
                return best, pixels, done
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
def _fit_all(planes: Any, psfs: Any, told: Any, used: Any, enough: float, out: Any) -> None:
    """Fit every trail; fill parameters, normal equations, chi squared (trail, point, trail backwards), pixels and success.

    In turn: a point, the trail from the first guess or from its reverse, whichever the snaps' difference prefers, and, of a trail
    that betters the point by ``enough``, what that plane says of it backwards.
    """
    values, normals, chi2, pixels, good = out
    equations = (np.zeros((5, 5)), np.zeros(5), np.zeros((5, 5)), np.zeros(5))
    normal, band, place = equations[2], np.zeros(5), np.zeros(5)
    for n in range(values.shape[0]):
        own = ((psfs[0][n, 0], psfs[1][n, 0]), (psfs[0][n, 1], psfs[1][n, 1]))
        length = max(np.hypot(values[n, 3], values[n, 4]), SHORTEST)
        band[0], band[1], band[2] = values[n, 0], values[n, 1], 0.5 * length + _ACROSS
        band[3], band[4] = values[n, 3] / length, values[n, 4] / length
        both, pair = (0, 2 if used[n] else 1), (1, 2)
        place[:] = values[n]
        place[3:] = 0.0
        free = 3
        if length > _LONG:
            # A point describes one PSF's length of such a trail; fitting it to the whole band would cost as much as the trail.
            place[2], free = place[2] * 2 * _ACROSS / length, 0
        point, _, _ = _descend(planes, place, own, told, both, band, free, equations, np.inf)
        chi2[n, 1] = point
        if used[n] and _preference(planes, values[n], own, told, pair, band, equations) < 0:
            values[n, 3:] *= -1.0
        goal = point - enough
        chi2[n, 0], pixels[n], good[n] = _descend(planes, values[n], own, told, both, band, 5, equations, goal)
        normals[n] = normal
        if used[n] and good[n] and chi2[n, 0] < goal:
            chi2[n, 2] = chi2[n, 0] + _preference(planes, values[n], own, told, pair, band, equations)


@njit(cache=True)
def _preference(planes: Any, values: Any, psfs: Any, told: Any, pair: Any, band: Any, equations: Any) -> float:
    """Return by how much chi squared of the snaps' difference grows when a trail is run through backwards."""
    place = values.copy()
    ahead, _, _ = _descend(planes, place, psfs, told, pair, band, 0, equations, np.inf)
    place[3:] *= -1.0
    back, _, _ = _descend(planes, place, psfs, told, pair, band, 0, equations, np.inf)
    return float(back - ahead)
