"""Plate solutions: polynomials from pixels to a tangent plane, with clipping and a choice of degree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processors.single_frame.psf import polynomial_terms

__all__ = ["PlateFit", "choose_fit", "fit_plate"]

CLIP = 3.5
"""Residuals beyond this many robust spreads are left out of the fit."""

STARS_PER_TERM = 2.5
"""Matches needed for each coefficient of an axis."""

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
        solution, *_ = np.linalg.lstsq(terms[used] * root[used, None], target[used] * root[used, None], rcond=None)
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
        prediction=_press(terms[used] * root[used, None], residual, weights),
        used=used,
    )


def _press(design: NDArray[np.float64], residual: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Weighted rms of residuals when each star is predicted from the others, by the hat matrix."""
    q, _ = np.linalg.qr(design)
    leverage = np.clip(np.sum(q**2, axis=1), 0.0, 0.95)
    left_out = residual / (1 - leverage)[:, None]
    return float(np.sqrt(np.mean(weights[:, None] * left_out**2)))


def choose_fit(
    pixels: tuple[NDArray[np.float64], NDArray[np.float64]],
    plane: tuple[NDArray[np.float64], NDArray[np.float64]],
    weight: NDArray[np.float64],
    highest: int,
    centre: tuple[float, float],
) -> PlateFit:
    """Fit the degrees that the number of stars can bear, up to ``highest``, and return the one that predicts best."""
    best = fit_plate(pixels, plane, weight, 1, centre)
    for order in range(2, highest + 1):
        if len(weight) < STARS_PER_TERM * (order + 1) * (order + 2) / 2:
            break
        fit = fit_plate(pixels, plane, weight, order, centre)
        enough = np.count_nonzero(fit.used) >= 0.75 * np.count_nonzero(best.used)
        if enough and fit.prediction < GAIN * best.prediction:
            best = fit
    return best
