"""Uncertainty of known orbits, small enough for millions: the lower triangle of a square root of each covariance.

The square root L, with covariance L L', is kept in float32: unlike a covariance so rounded it can never give a negative
variance, however thin the error ellipsoid. It moves with the orbit by the closed partials of two-body motion.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.kepler import step_with_partials

__all__ = ["FACTOR_SIZE", "carry_factors", "covariances_of", "factors_of", "sky_ellipse"]

Floats = NDArray[np.float64]

FACTOR_SIZE = 21
"""Numbers of a lower triangle of six rows."""

_ROWS, _COLUMNS = np.tril_indices(6)


def factors_of(covariances: NDArray[Any]) -> NDArray[np.float32]:
    """Return the factors ``(n, 21)`` of covariances ``(n, 6, 6)``; NaN for one that is not finite and positive definite."""
    given = np.ascontiguousarray(covariances, np.float64).reshape(-1, 6, 6)
    factors = np.full((len(given), FACTOR_SIZE), np.nan, np.float32)
    _write_factors(given, factors)
    return factors


@numba.njit(cache=True, error_model="numpy")
def _write_factors(covariances: Floats, factors: NDArray[np.float32]) -> None:
    """Write Cholesky's factors; those of a matrix that is not positive definite, scaled to a unit diagonal, are left as they are."""
    scale, lower = np.empty(6), np.empty((6, 6))
    for n in range(len(covariances)):
        good = True
        for i in range(6):
            scale[i] = np.sqrt(covariances[n, i, i])
            good = good and scale[i] > 0.0
        for i in range(6):
            for j in range(i + 1):
                rest = covariances[n, i, j] / (scale[i] * scale[j])
                for k in range(j):
                    rest -= lower[i, k] * lower[j, k]
                lower[i, j] = np.sqrt(rest) if i == j else rest / lower[j, j]
                good = good and np.isfinite(lower[i, j] + covariances[n, j, i]) and (i != j or rest > 0.0)
        if good:
            for i in range(6):
                for j in range(i + 1):
                    factors[n, i * (i + 1) // 2 + j] = scale[i] * lower[i, j]


def covariances_of(factors: NDArray[Any]) -> Floats:
    """Return the covariances ``(n, 6, 6)`` of factors ``(n, 21)``."""
    lower = np.zeros((len(factors), 6, 6))
    lower[:, _ROWS, _COLUMNS] = factors
    return np.asarray(lower @ lower.transpose(0, 2, 1))


@numba.njit(cache=True, error_model="numpy")
def _triangular(m: Floats) -> None:
    """Turn ``m`` (6, 6) into the lower triangle of the same product with its transpose (Givens turns of its columns)."""
    for i in range(6):
        for j in range(i + 1, 6):
            if m[i, j] == 0.0:
                continue
            length = np.hypot(m[i, i], m[i, j])
            c, s = m[i, i] / length, m[i, j] / length
            for k in range(i, 6):
                a, b = m[k, i], m[k, j]
                m[k, i], m[k, j] = c * a + s * b, c * b - s * a


@numba.njit(cache=True, error_model="numpy")
def carry_factors(states: Floats, dt: Floats, factors: NDArray[np.float32]) -> None:
    """Carry factors ``(n, 21)`` in place along the conics of ``states`` (their old epochs') by ``dt`` (n,) days."""
    out, phi, m = np.empty(6), np.empty((6, 6)), np.empty((6, 6))
    for n in range(states.shape[0]):
        if not np.isfinite(factors[n, 0]):
            continue
        step_with_partials(states[n], dt[n], out, phi)
        for i in range(6):
            for j in range(6):
                total = 0.0
                for k in range(j, 6):
                    total += phi[i, k] * factors[n, k * (k + 1) // 2 + j]
                m[i, j] = total
        _triangular(m)
        for i in range(6):
            for j in range(i + 1):
                factors[n, i * (i + 1) // 2 + j] = m[i, j]


@numba.njit(cache=True, error_model="numpy")
def sky_ellipse(factor: NDArray[np.float32], along: Floats, across: Floats) -> tuple[float, float, float]:
    """Return the sigmas of the position along two directions ``(3,)``, au, and their correlation; NaN without a covariance."""
    aa, bb, ab = 0.0, 0.0, 0.0
    for column in range(3):
        a, b = 0.0, 0.0
        for row in range(column, 3):
            value = factor[row * (row + 1) // 2 + column]
            a += along[row] * value
            b += across[row] * value
        aa += a * a
        bb += b * b
        ab += a * b
    product = np.sqrt(aa * bb)
    return np.sqrt(aa), np.sqrt(bb), (ab / product if product > 0.0 else 0.0 * product)
