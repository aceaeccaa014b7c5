"""Fit of the PSF model to the stamps of chosen stars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from processors.single_frame.errors import TooFewStarsError
from processors.single_frame.psf import PsfModel, polynomial_terms
from processors.single_frame.shapes import measure_shapes
from processors.single_frame.splines import place_splines, shift_stamps
from processors.single_frame.wings import steady_wings

__all__ = ["StarStamps", "cut_stamps", "fit_psf", "order_for", "stamp_half"]

LEAST_STARS = 3
"""Fewest stars that give a PSF."""

SHAPE_NOISE = 0.01
"""Share of a star's flux per pixel by which stars differ for reasons other than noise; bounds the weight of bright ones."""

INTRUDER_SIGMA = 5.0
"""Excess of the mean of 3 x 3 pixels that betrays a neighbour, in units of its noise; at 3 the clipped noise itself takes
0.5 % of the wings' light away."""

CLIP = 5.0
"""Stars whose misfit is this many spreads above the median are left out."""


@dataclass(frozen=True, slots=True)
class StarStamps:
    """Stamps of stars: pixels, variances and usable pixels, shape (stars, size, size), and the stars' positions."""

    data: NDArray[np.float64]
    variance: NDArray[np.float64]
    good: NDArray[np.bool_]
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def take(self, keep: NDArray[np.bool_]) -> StarStamps:
        """Return the chosen stars."""
        return StarStamps(self.data[keep], self.variance[keep], self.good[keep], self.x[keep], self.y[keep])


def stamp_half(fwhm: float) -> int:
    """Return half the side of a PSF stamp (without its centre) for a star of that FWHM in pixels."""
    return int(np.clip(np.ceil(3.5 * fwhm), 8, 30))


def order_for(stars: int) -> int:
    """Return the order of the PSF's variation that so many stars can show."""
    return next(order for order, limit in ((0, 8), (1, 30), (2, 120), (3, 10**9)) if stars < limit)


def cut_stamps(
    pixels: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
    half: int,
) -> StarStamps:
    """Cut stamps around positions; what lies beyond the CCD counts as unusable."""
    image, variance, bad = pixels
    x, y = positions
    columns, rows = np.floor(x + 0.5).astype(int), np.floor(y + 0.5).astype(int)
    axis = np.arange(-half, half + 1)
    jj, ii = rows[:, None, None] + axis[:, None], columns[:, None, None] + axis
    inside = (jj >= 0) & (jj < image.shape[0]) & (ii >= 0) & (ii < image.shape[1])
    jj, ii = np.clip(jj, 0, image.shape[0] - 1), np.clip(ii, 0, image.shape[1] - 1)
    good = inside & ~bad[jj, ii]
    data = np.where(good, image[jj, ii], 0.0).astype(np.float64)
    return StarStamps(data, np.where(good, variance[jj, ii], 1.0).astype(np.float64), good, x, y)


def fit_psf(
    stamps: StarStamps, shape: tuple[int, int], fwhm: float, *, rounds: int = 3
) -> tuple[PsfModel, NDArray[np.bool_]]:
    """Fit a PSF to stars.

    Each star is moved to the centre of its stamp by a quintic spline, scaled to flux 1 and enters every pixel's
    polynomial with the weight its noise allows. Fluxes and centres are then measured again with the model, stars that do
    not fit are left out, and the fit is repeated.

    Parameters
    ----------
    stamps
        Candidate stars.
    shape
        Rows and columns of the CCD.
    fwhm
        Width of a star in pixels.
    rounds
        How often stars are measured again with the model.

    Returns
    -------
    model, used
        The PSF and which stars made it.

    Raises
    ------
    TooFewStarsError
        When fewer than three stars are left.
    """
    used = np.ones(len(stamps.x), np.bool_)
    x, y = stamps.x.copy(), stamps.y.copy()
    _require(used)
    fluxes = _core_fluxes(stamps, fwhm)
    used &= fluxes > 0
    for _ in range(rounds):
        _require(used)
        model = _solve(stamps.take(used), (x[used], y[used]), fluxes[used], shape, fwhm)
        fluxes, x, y, misfit = _remeasure(model, stamps, (x, y), fluxes)
        stamps = _reject_intruders(model, stamps, (x, y), fluxes)
        centre = float(np.median(misfit[used]))
        spread = 1.4826 * float(np.median(np.abs(misfit[used] - centre)))
        keep = np.isfinite(misfit) & (misfit < centre + CLIP * max(spread, 0.2 * centre)) & (fluxes > 0)
        if np.count_nonzero(keep) >= max(LEAST_STARS, len(used) // 2):
            used = keep
    _require(used)
    return _solve(stamps.take(used), (x[used], y[used]), fluxes[used], shape, fwhm), used


def _reject_intruders(
    model: PsfModel,
    stamps: StarStamps,
    centres: tuple[NDArray[np.float64], NDArray[np.float64]],
    fluxes: NDArray[np.float64],
) -> StarStamps:
    """Leave out pixels outside the core that stand high above star and noise: neighbours too faint to be known."""
    x, y = centres
    local = _local_psf(model, stamps, (x, y))
    half = model.size // 2
    axis = np.arange(-half, half + 1)
    outside = np.hypot(axis[:, None], axis) > 1.2 * model.fwhm
    expected = fluxes[:, None, None] * local
    noise = np.sqrt(stamps.variance + (0.1 * expected) ** 2)
    smooth = ndimage.uniform_filter(np.where(stamps.good, stamps.data - expected, 0.0), (0, 3, 3))
    high = (smooth > INTRUDER_SIGMA / 3 * noise) & outside
    spread = ndimage.maximum_filter(high, (1, 3, 3))
    return StarStamps(stamps.data, stamps.variance, stamps.good & ~(spread & outside), stamps.x, stamps.y)


def _local_psf(
    model: PsfModel, stamps: StarStamps, centres: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The model at every star, placed at its fraction of a pixel."""
    x, y = centres
    terms = polynomial_terms(2 * x / max(model.width - 1, 1) - 1, 2 * y / max(model.height - 1, 1) - 1, model.order)
    shapes = np.tensordot(terms, model.splines, axes=1)
    return place_splines(shapes, np.floor(stamps.x + 0.5) - x, np.floor(stamps.y + 0.5) - y)


def _require(used: NDArray[np.bool_]) -> None:
    if np.count_nonzero(used) < LEAST_STARS:
        raise TooFewStarsError(f"{np.count_nonzero(used)} stars are too few to measure a PSF.")


def _core_fluxes(stamps: StarStamps, fwhm: float) -> NDArray[np.float64]:
    half = stamps.data.shape[1] // 2
    axis = np.arange(-half, half + 1)
    core = np.hypot(axis[:, None], axis) <= 2.0 * fwhm
    return np.asarray((stamps.data * core).sum(axis=(1, 2)))


def _solve(
    stamps: StarStamps,
    centres: tuple[NDArray[np.float64], NDArray[np.float64]],
    fluxes: NDArray[np.float64],
    shape: tuple[int, int],
    fwhm: float,
) -> PsfModel:
    """One linear fit of every pixel's polynomial."""
    x, y = centres
    dx, dy = x - np.floor(stamps.x + 0.5), y - np.floor(stamps.y + 0.5)
    filled = _fill(stamps)
    moved = shift_stamps(filled, dx, dy) / fluxes[:, None, None]
    size = moved.shape[1]
    order = order_for(len(x))
    u, v = 2 * x / max(shape[1] - 1, 1) - 1, 2 * y / max(shape[0] - 1, 1) - 1
    terms = polynomial_terms(u, v, order)
    noise = stamps.variance / fluxes[:, None, None] ** 2
    brightness = np.median(noise, axis=(1, 2))[:, None, None] + noise
    peak = moved.max(axis=(1, 2))[:, None, None]
    weight = stamps.good / (brightness + (SHAPE_NOISE * peak) ** 2)
    flat, values = weight.reshape(len(x), -1), moved.reshape(len(x), -1)
    products = (terms[:, :, None] * terms[:, None, :]).reshape(len(x), -1)
    normal = (flat.T @ products).reshape(-1, terms.shape[1], terms.shape[1])
    right = (flat * values).T @ terms
    ridge = 1e-6 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(terms.shape[1])
    solution = np.linalg.solve(normal + ridge + 1e-300 * np.eye(terms.shape[1]), right[..., None])[..., 0]
    coefficients = _tame(solution.T.reshape(-1, size, size), fwhm)
    weights = np.median(flat, axis=1)
    share, total = weights / fluxes, float(weights.sum())
    pixel = float(np.sqrt(np.median(stamps.variance)))
    errors = (pixel * float(np.sqrt(np.sum(share**2))) / total, pixel * float(share.sum()) / total)
    coefficients = steady_wings(coefficients, fwhm, errors)
    return _normalised(coefficients, order, shape, len(x))


def _fill(stamps: StarStamps) -> NDArray[np.float64]:
    """Replace unusable pixels by those opposite the centre, which keeps the splines free of holes."""
    opposite = stamps.data[:, ::-1, ::-1]
    return np.where(stamps.good, stamps.data, opposite)


def _tame(coefficients: NDArray[np.float64], fwhm: float) -> NDArray[np.float64]:
    """Keep noise out of the wings: no variation over the CCD beyond 2.25 FWHM, and a round constant term beyond 2.5.

    The change sets in gradually from 1.5 and 2 FWHM.
    """
    half = coefficients.shape[1] // 2
    axis = np.arange(-half, half + 1)
    radius = np.hypot(axis[:, None], axis)
    rings = np.rint(radius).astype(int)
    counts = np.maximum(np.bincount(rings.ravel()), 1)
    mean = (np.bincount(rings.ravel(), coefficients[0].ravel()) / counts)[rings]
    rounding = np.clip((radius / fwhm - 2.0) / 0.5, 0.0, 1.0)
    out = coefficients * np.clip((2.25 - radius / fwhm) / 0.75, 0.0, 1.0)
    out[0] = coefficients[0] * (1 - rounding) + mean * rounding
    return out


def _normalised(coefficients: NDArray[np.float64], order: int, shape: tuple[int, int], stars: int) -> PsfModel:
    """Scale to sum 1 and centre by the windowed centroid, at the middle of the CCD."""
    coefficients = coefficients / coefficients[0].sum()
    stamp = coefficients[0]
    half = stamp.shape[0] // 2
    start = (np.array([float(half)]), np.array([float(half)]))
    image = np.ascontiguousarray(stamp, np.float32)
    width = 2.3548 * np.sqrt(max(1.0, float(_second_moment(stamp))))
    shapes = measure_shapes(image, np.ones_like(image), start, width)[0]
    if shapes[7] == 1.0:
        width = 2.3548 * (shapes[4] * shapes[5] - shapes[6] ** 2) ** 0.25
        shift_x, shift_y = (np.full(len(coefficients), shapes[k] - half) for k in (0, 1))
        coefficients = shift_stamps(coefficients, shift_x, shift_y)
    return PsfModel(
        coefficients=coefficients, order=order, width=shape[1], height=shape[0], fwhm=float(width), stars=stars
    )


def _second_moment(stamp: NDArray[np.float64]) -> float:
    """Second moment of a Gaussian with this peak and sum."""
    return float(stamp.sum() / (2 * np.pi * max(stamp.max(), 1e-12)))


def _remeasure(
    model: PsfModel,
    stamps: StarStamps,
    centres: tuple[NDArray[np.float64], NDArray[np.float64]],
    fluxes: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Fit flux and position of every star with the model; return them and the mean squared misfit of the core."""
    x, y = centres
    local = _local_psf(model, stamps, centres)
    half = model.size // 2
    axis = np.arange(-half, half + 1)
    core = (np.hypot(axis[:, None], axis) <= 1.5 * model.fwhm) & stamps.good
    gradient_y, gradient_x = np.gradient(local, axis=(1, 2))
    basis = (np.stack([local, -gradient_x, -gradient_y], axis=1) * core[:, None]).reshape(len(x), 3, -1)
    normal = basis @ basis.transpose(0, 2, 1)
    right = (basis @ stamps.data.reshape(len(x), -1, 1))[..., 0]
    normal += 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3) + 1e-30 * np.eye(3)
    answer = np.linalg.solve(normal, right[..., None])[..., 0]
    flux = answer[:, 0]
    safe = np.where(flux > 0, flux, np.inf)
    step_x, step_y = np.clip(answer[:, 1] / safe, -0.2, 0.2), np.clip(answer[:, 2] / safe, -0.2, 0.2)
    fitted = (answer[:, None, :] @ basis).reshape(local.shape)
    expected = stamps.variance + (SHAPE_NOISE * fluxes[:, None, None] * local) ** 2
    misfit = (((stamps.data - fitted) ** 2 / expected) * core).sum(axis=(1, 2)) / np.maximum(core.sum(axis=(1, 2)), 1)
    return flux, x + step_x, y + step_y, misfit
