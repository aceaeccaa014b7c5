"""The light of a trail: closed forms for every pixel and its slopes.

The PSF is a sum of elliptical Gaussians of one shape fitted to its image: coordinates are stretched until it is round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import ndtr

__all__ = ["SHORTEST", "TrailPsf", "stretched", "trail_piece", "trail_psf"]

_WIDTHS = (0.75, 1.0, 1.4, 2.2)
"""Standard deviations of the mixture's Gaussians in units of the PSF's."""

SHORTEST = 0.02
"""Length, in pixels, of what stands for a point."""

_STEP, _FAR = 1 / 64, 6
"""Spacing and end of the table of the normal distribution, sigmas; it is exact to 1e-8."""

_NODES = np.arange(-_FAR, _FAR + _STEP / 2, _STEP)
_DENSITY = np.exp(-0.5 * _NODES**2) / math.sqrt(2 * math.pi)
_PART = ndtr(_NODES)

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailPsf:
    """A PSF as Gaussians that are round once coordinates are stretched."""

    mixture: NDArray[np.float64]
    """Flux and standard deviation of each, shape (Gaussians, 2)."""
    stretch: NDArray[np.float64]
    """Symmetric, shape (2, 2), of determinant 1."""


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


@njit(cache=True)
def _normal(t: float) -> Any:
    """Return the normal distribution up to a place, and its density there, by Taylor's series from the nearest node of the table."""
    if t >= _FAR:
        return 1.0, 0.0
    if t <= -_FAR:
        return 0.0, 0.0
    k = int((t + _FAR) / _STEP + 0.5)
    node, density = _NODES[k], _DENSITY[k]
    d = t - node
    second = 0.5 * d * d * (node * node - 1)
    third = d * d * d * node * (3 - node * node) / 6
    part = _PART[k] + density * d * (1 - 0.5 * d * node + second / 3 + third / 4)
    return part, density * (1 - d * node + second + third)


@njit(cache=True)
def _trail(along: float, across: float, length: float, mixture: Any, out: Any) -> None:
    """Fill value and slopes by along, across and length of a trail of flux 1."""
    out[:] = 0.0
    shrink = 1 / length
    for k in range(mixture.shape[0]):
        weight, inverse = mixture[k, 0], 1 / mixture[k, 1]
        first, last = (along + 0.5 * length) * inverse, (along - 0.5 * length) * inverse
        if weight <= 0.0 or abs(across) * inverse > _FAR or last > _FAR or first < -_FAR:
            continue
        cross = weight * inverse * shrink * _normal(across * inverse)[1]
        (ahead, head), (behind, tail) = _normal(first), _normal(last)
        value = cross * (ahead - behind)
        out[0] += value
        out[1] += cross * inverse * (head - tail)
        out[2] -= value * across * inverse * inverse
        out[3] += cross * 0.5 * inverse * (head + tail) - value * shrink


@njit(cache=True)
def stretched(x: float, y: float, a: Any) -> Any:
    """Return a trail's vector in stretched coordinates: itself, its length and its direction."""
    vx, vy = a[0, 0] * x + a[0, 1] * y, a[1, 0] * x + a[1, 1] * y
    size = math.sqrt(vx * vx + vy * vy)
    if size == 0.0:
        return vx, vy, SHORTEST, 1.0, 0.0
    return vx, vy, max(size, SHORTEST), vx / size, vy / size


@njit(cache=True)
def trail_piece(
    dx: float, dy: float, vector: Any, place: float, part: float, psf: Any, part_slopes: Any, out: Any
) -> None:
    """Fill value and slopes by x, y and vector of a piece of a trail of flux 1; ``vector`` is the trail's as `stretched` gives it.

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
