"""Plate solutions: polynomials from pixels to a tangent plane, with clipping and a choice of degree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processors.single_frame.psf import polynomial_terms

__all__ = ["RADIAL_CLIP_STARS", "PlateFit", "choose_fit", "fit_plate", "fit_radial"]

CLIP = 3.5
"""Residuals beyond this many robust spreads are left out of the fit."""

STARS_PER_TERM = 2.5
"""Matches needed for each coefficient of an axis."""

RADIAL_TERMS = 7
"""Six of a plane and one of the distortion: five stars, with ten coordinates, can show them."""

RADIAL_CLIP_STARS = 12
"""Stars from which a radial fit leaves out those that do not fit."""

STRETCH = 3e-4
"""Change of scale and shear of a camera's nominal plane that few stars are taken to show: refraction at airmass 1.4 does this."""

GAIN = 0.97
"""A higher degree must lower the prediction error at least to this share of the lower one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateFit:
    """xi and eta in arcseconds as polynomials of (x - centre) / scale."""

    coefficients: NDArray[np.float64]
    """Shape (terms, 2), terms as in `polynomial_terms`."""
    order: int
    centre: tuple[float, float]
    scale: float
    """Pixels."""
    rms: float
    """Scatter per axis of the stars used, arcseconds, allowing for the coefficients fitted."""
    prediction: float
    """Root mean square of leave-one-out residuals (PRESS), arcseconds."""
    used: NDArray[np.bool_]
    axis: tuple[float, float] | None = None
    """Pixel of the optical axis, for a plane with a radial distortion; None for a free polynomial."""

    def to_plane(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Return xi and eta of pixels."""
        u, v = (x - self.centre[0]) / self.scale, (y - self.centre[1]) / self.scale
        plane = polynomial_terms(u, v, self.order) @ self.coefficients
        return plane[..., 0], plane[..., 1]


def fit_plate(
    pixels: tuple[NDArray[np.float64], NDArray[np.float64]],
    plane: tuple[NDArray[np.float64], NDArray[np.float64]],
    weight: NDArray[np.float64],
    order: int,
    centre: tuple[float, float],
) -> PlateFit:
    """Fit one degree by weighted least squares with clipping.

    Parameters
    ----------
    pixels, plane
        x, y of stars and their xi, eta in arcseconds.
    weight
        Inverse variance of a star's position in any unit.
    order
        Total degree, 1 to 3.
    centre
        Pixel at which the polynomial is centred.
    """
    scale = max(1.0, float(np.max(np.hypot(pixels[0] - centre[0], pixels[1] - centre[1]))))
    terms = polynomial_terms((pixels[0] - centre[0]) / scale, (pixels[1] - centre[1]) / scale, order)
    target = np.column_stack(plane)
    used = np.ones(len(target), np.bool_)
    root = np.sqrt(weight)
    for _ in range(4):
        solution, inverse = _solve(terms[used] * root[used, None], target[used] * root[used, None])
        distance = np.hypot(*(target - terms @ solution).T)
        keep = distance * root < CLIP * max(float(np.median((distance * root)[used])) / 1.1774, 1e-12)
        if np.count_nonzero(keep) < terms.shape[1] + 2 or bool((keep == used).all()):
            break
        used = keep
    residual = (target - terms @ solution)[used]
    freedom = max(1, len(residual) - terms.shape[1])
    weights = weight[used] / weight[used].mean()
    return PlateFit(
        coefficients=np.asarray(solution, np.float64),
        order=order,
        centre=centre,
        scale=scale,
        rms=float(np.sqrt(np.sum(weights[:, None] * residual**2) / (2 * freedom))),
        prediction=_press(terms[used] * root[used, None], inverse, residual, weights),
        used=used,
    )


def fit_radial(
    pixels: tuple[NDArray[np.float64], NDArray[np.float64]],
    plane: tuple[NDArray[np.float64], NDArray[np.float64]],
    weight: NDArray[np.float64],
    centre: tuple[float, float],
    axis: tuple[float, float],
    *,
    nominal: NDArray[np.float64] | None = None,
) -> PlateFit:
    """Fit a plane and one radial distortion about the optical axis: what few stars can show of a camera's optics.

    A pixel at r from the axis is moved along r by a share proportional to r^2, then mapped by the plane. Parameters are those
    of `fit_plate`, and the pixel of the axis, which may lie off the CCD. The result is written as a cubic polynomial.
    With ``nominal``, the 2 x 2 matrix from pixels to arcseconds of the camera's description, the plane is taken to differ from it
    by a turn, and by a stretch and shear of `STRETCH`: four stars then leave three coordinates to tell whether they are the right
    ones.
    """
    scale = max(1.0, float(np.max(np.hypot(pixels[0] - centre[0], pixels[1] - centre[1]))))
    u, v = (pixels[0] - centre[0]) / scale, (pixels[1] - centre[1]) / scale
    away = ((axis[0] - centre[0]) / scale, (axis[1] - centre[1]) / scale)
    target, root = np.column_stack(plane), np.sqrt(weight)
    prior = np.zeros((0, RADIAL_TERMS + 1)) if nominal is None else _stretch_rows(nominal, scale)
    used = np.ones(len(u), np.bool_)
    for _ in range(4 if len(u) >= RADIAL_CLIP_STARS else 1):
        solution, matrix, inverse, design = _solve_radial((u, v), target, root * used, away, prior)
        residual = target - (design @ solution).reshape(2, -1).T
        pull = np.hypot(*residual.T) * root
        keep = pull < CLIP * max(float(np.median(pull[used])) / 1.1774, 1e-12)
        if len(u) < RADIAL_CLIP_STARS or np.count_nonzero(keep) < RADIAL_TERMS or bool((keep == used).all()):
            break
        used = keep
    rows = np.tile(used, 2)
    weights = (np.tile(weight, 2) / weight[used].mean())[rows]
    misfit = residual.T.ravel()[rows]
    weighted = design[rows] * np.tile(root, 2)[rows, None]
    leverage = np.clip(np.einsum("nk,kl,nl->n", weighted, inverse, weighted, optimize=True), 0.0, 0.95)
    return PlateFit(
        coefficients=_as_cubic(solution, matrix, away),
        order=3,
        centre=centre,
        scale=scale,
        rms=float(np.sqrt(np.sum(weights * misfit**2) / max(1.0, len(misfit) - float(leverage.sum())))),
        prediction=float(np.sqrt(np.mean(weights * (misfit / (1 - leverage)) ** 2))),
        used=used,
        axis=axis,
    )


def _solve_radial(
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
    target: NDArray[np.float64],
    root: NDArray[np.float64],
    away: tuple[float, float],
    prior: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Solution (3 of xi, 3 of eta, distortion), the matrix that maps the distortion, inverse normal matrix and design.

    ``prior`` are further equations, already weighted: coefficients and their sum.
    """
    u, v = places
    linear = np.column_stack([np.ones_like(u), u, v])
    first, _ = _solve(linear * root[:, None], target * root[:, None])
    matrix = first[1:].T
    double = np.tile(root, 2)
    for _ in range(3):
        bent = _bend(u, v, away, matrix)
        none = np.zeros_like(linear)
        design = np.vstack([np.hstack([linear, none, bent[:, :1]]), np.hstack([none, linear, bent[:, 1:]])])
        rows = np.vstack([design * double[:, None], prior[:, :-1]])
        solution, inverse = _solve(rows, np.append(target.T.ravel() * double, prior[:, -1]))
        used, matrix = matrix, np.array([solution[1:3], solution[4:6]])
    return solution, used, inverse, design


def _stretch_rows(nominal: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Equations that the nominal matrix is met but for a turn: mean scale, difference of scales, shear; in units of weighted pixels."""
    (a, b), (c, d) = np.linalg.inv(nominal) / scale
    none = 0.0
    along_x, along_y = [none, a, none, none, b, none], [none, none, c, none, none, d]
    across = [none, c, a, none, d, b]
    equal, unlike = np.add(along_x, along_y) / 2, np.subtract(along_x, along_y) / 2
    rows = np.column_stack([np.vstack([equal, unlike, np.divide(across, 2)]), np.zeros(3), [1.0, 0.0, 0.0]])
    return np.asarray(rows * np.sqrt(abs(np.linalg.det(nominal))) / STRETCH, np.float64)


def _bend(
    u: NDArray[np.float64], v: NDArray[np.float64], away: tuple[float, float], matrix: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Displacement in xi and eta of a unit distortion, shape (points, 2)."""
    du, dv = u - away[0], v - away[1]
    return np.asarray(((du**2 + dv**2) * np.stack([du, dv])).T @ matrix.T, np.float64)


def _as_cubic(
    solution: NDArray[np.float64], matrix: NDArray[np.float64], away: tuple[float, float]
) -> NDArray[np.float64]:
    """Coefficients of the same map as a free cubic polynomial, through a grid that determines them exactly."""
    u, v = (g.ravel() for g in np.meshgrid(np.linspace(-1, 1, 6), np.linspace(-1, 1, 6)))
    linear = np.column_stack([np.ones_like(u), u, v])
    values = linear @ np.column_stack([solution[:3], solution[3:6]]) + solution[6] * _bend(u, v, away, matrix)
    return np.asarray(np.linalg.lstsq(polynomial_terms(u, v, 3), values, rcond=None)[0], np.float64)


def _solve(design: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares by the normal equations, and their inverse: of cubics on [-1, 1] they lose no digit that counts."""
    inverse = np.asarray(np.linalg.pinv(design.T @ design, hermitian=True), np.float64)
    return inverse @ (design.T @ target), inverse


def _press(
    design: NDArray[np.float64],
    inverse: NDArray[np.float64],
    residual: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> float:
    """Weighted rms of residuals when each star is predicted from the others, by the hat matrix."""
    leverage = np.clip(np.einsum("nk,kl,nl->n", design, inverse, design, optimize=True), 0.0, 0.95)
    left_out = residual / (1 - leverage)[:, None]
    return float(np.sqrt(np.mean(weights[:, None] * left_out**2)))


def choose_fit(
    pixels: tuple[NDArray[np.float64], NDArray[np.float64]],
    plane: tuple[NDArray[np.float64], NDArray[np.float64]],
    weight: NDArray[np.float64],
    highest: int,
    centre: tuple[float, float],
    *,
    axis: tuple[float, float] | None = None,
    nominal: NDArray[np.float64] | None = None,
) -> PlateFit:
    """Fit the forms that the number of stars can bear, and return the one that predicts best.

    Those are a plane, a plane with a radial distortion about ``axis`` where that is given, and polynomials up to the degree
    ``highest``; a form with more coefficients must predict better by `GAIN`. Where they are fewer than `RADIAL_CLIP_STARS`, the
    radial form leans on the ``nominal`` plane.
    """
    best = fit_plate(pixels, plane, weight, 1, centre)
    candidates = []
    if axis is not None and 2 * len(weight) > RADIAL_TERMS:
        few = len(weight) < RADIAL_CLIP_STARS
        candidates.append(fit_radial(pixels, plane, weight, centre, axis, nominal=nominal if few else None))
    for order in range(2, highest + 1):
        if len(weight) >= STARS_PER_TERM * (order + 1) * (order + 2) / 2:
            candidates.append(fit_plate(pixels, plane, weight, order, centre))
    for fit in candidates:
        enough = np.count_nonzero(fit.used) >= 0.75 * np.count_nonzero(best.used)
        if enough and fit.prediction < GAIN * best.prediction:
            best = fit
    return best
