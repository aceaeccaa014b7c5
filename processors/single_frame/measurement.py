"""Centroids, moments and fluxes of sources on one calibrated CCD."""

from __future__ import annotations

import numba
import numpy as np
import sep
from numpy.typing import NDArray

from processors.single_frame.psf import PsfModel, psf_fluxes, subtract_sources

__all__ = [
    "SOURCE_DTYPE",
    "SHAPE_FIELDS",
    "deblended_fluxes",
    "measure_apertures",
    "measure_shapes",
    "measure_sources",
    "collect_planes",
    "enclosed",
    "window_shapes",
]

SOURCE_DTYPE = np.dtype(
    [
        ("x", "<f8"),
        ("y", "<f8"),
        ("x_err", "<f4"),
        ("y_err", "<f4"),
        ("ra", "<f8"),
        ("dec", "<f8"),
        ("significance", "<f4"),
        ("psf_flux", "<f4"),
        ("psf_flux_err", "<f4"),
        ("psf_chi2", "<f4"),
        ("aperture_flux", "<f4"),
        ("aperture_flux_err", "<f4"),
        ("ixx", "<f4"),
        ("iyy", "<f4"),
        ("ixy", "<f4"),
        ("size_ratio", "<f4"),
        ("footprint_pixels", "<i4"),
        ("mask", "<u2"),
        ("reference", "<i8"),
        ("psf_star", "?"),
    ]
)
"""One row a source: pixels (first pixel's centre at 0, 0), degrees, fluxes in the image's unit, moments in pixels^2,
``size_ratio`` = trace of the moments over the PSF's, ``mask`` = planes set within 3 pixels of the centre, ``reference`` =
id of the matched reference star or 0. A quantity that could not be measured is NaN."""

SHAPE_FIELDS = ("x", "y", "x_err", "y_err", "ixx", "iyy", "ixy", "ok")
"""Columns of `measure_shapes`."""

APERTURE_FWHM = 3.0
"""Radius of the aperture in PSF widths; it holds about 97 % of a star's light."""

JACOBI_ROUNDS = 2
"""Rounds of deblending; the third would change fluxes of blends by less than a percent."""

MASK_RADIUS = 3
"""Pixels around a source's centre whose mask planes it carries."""


def measure_shapes(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
    fwhm: float,
) -> NDArray[np.float64]:
    """Measure windowed centroids and adaptive moments.

    The centroid is that of SExtractor's XWIN (Gaussian window of the PSF's width); the moments are those whose Gaussian
    is its own best weight (Bernstein & Jarvis 2002).

    Parameters
    ----------
    image, variance
        Sky-subtracted pixels and their variance.
    positions
        First guesses of x and y.
    fwhm
        Width of the PSF in pixels.

    Returns
    -------
    ndarray
        Shape (sources, 8), columns `SHAPE_FIELDS`; ``ok`` is 1 where both converged. The first guess is kept where the
        centroid fails, moments are NaN where they fail.
    """
    x, y = (np.ascontiguousarray(p, np.float64) for p in positions)
    out = np.full((len(x), len(SHAPE_FIELDS)), np.nan)
    window_shapes(image, variance, (x, y), fwhm / 2.3548, out)
    return out


@numba.njit(cache=True)
def window_shapes(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
    sigma: float,
    out: NDArray[np.float64],
) -> None:
    """Fill ``out`` of `measure_shapes`."""
    for k in range(len(positions[0])):
        x0, y0 = positions[0][k], positions[1][k]
        x, y, x_err, y_err, centred = _centre(image, variance, (x0, y0), sigma)
        out[k, 0], out[k, 1], out[k, 2], out[k, 3] = x, y, x_err, y_err
        xx, yy, xy, shaped = _moments(image, (x, y), sigma)
        if shaped:
            out[k, 4], out[k, 5], out[k, 6] = xx, yy, xy
        out[k, 7] = 1.0 if centred and shaped else 0.0


@numba.njit(cache=True)
def _centre(
    image: NDArray[np.float32], variance: NDArray[np.float32], start: tuple[float, float], sigma: float
) -> tuple[float, float, float, float, bool]:
    rows, columns = image.shape
    x, y = start
    reach = int(np.ceil(4 * sigma))
    x_err, y_err = np.nan, np.nan
    for _ in range(30):
        column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        total, sx, sy, vx, vy = 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(max(0, row - reach), min(rows, row + reach + 1)):
            for i in range(max(0, column - reach), min(columns, column + reach + 1)):
                dx, dy = i - x, j - y
                weight = np.exp(-0.5 * (dx * dx + dy * dy) / (sigma * sigma))
                total += weight * image[j, i]
                sx += weight * image[j, i] * dx
                sy += weight * image[j, i] * dy
                vx += weight * weight * variance[j, i] * dx * dx
                vy += weight * weight * variance[j, i] * dy * dy
        if not total > 0.0:
            return start[0], start[1], np.nan, np.nan, False
        step_x, step_y = 2 * sx / total, 2 * sy / total
        x_err, y_err = 2 * np.sqrt(vx) / total, 2 * np.sqrt(vy) / total
        x, y = x + step_x, y + step_y
        if (x - start[0]) ** 2 + (y - start[1]) ** 2 > (3 * sigma) ** 2:
            return start[0], start[1], np.nan, np.nan, False
        if step_x * step_x + step_y * step_y < 1e-8:
            return x, y, x_err, y_err, True
    return x, y, x_err, y_err, False


@numba.njit(cache=True)
def _moments(image: NDArray[np.float32], centre: tuple[float, float], sigma: float) -> tuple[float, float, float, bool]:
    rows, columns = image.shape
    x, y = centre
    xx, yy, xy = sigma * sigma, sigma * sigma, 0.0
    for _ in range(60):
        determinant = xx * yy - xy * xy
        if not (determinant > 0.05 and 0.2 < xx < 400.0 and 0.2 < yy < 400.0):
            return np.nan, np.nan, np.nan, False
        reach = int(np.ceil(3.5 * np.sqrt(max(xx, yy))))
        column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        total, sxx, syy, sxy = 0.0, 0.0, 0.0, 0.0
        for j in range(max(0, row - reach), min(rows, row + reach + 1)):
            for i in range(max(0, column - reach), min(columns, column + reach + 1)):
                dx, dy = i - x, j - y
                chi2 = (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / determinant
                if chi2 < 16.0:
                    value = np.exp(-0.5 * chi2) * image[j, i]
                    total += value
                    sxx += value * dx * dx
                    syy += value * dy * dy
                    sxy += value * dx * dy
        if not total > 0.0:
            return np.nan, np.nan, np.nan, False
        new_xx, new_yy, new_xy = 2 * sxx / total, 2 * syy / total, 2 * sxy / total
        change = abs(new_xx - xx) + abs(new_yy - yy) + abs(new_xy - xy)
        xx, yy, xy = new_xx, new_yy, new_xy
        if change < 1e-4 * (abs(xx) + abs(yy)):
            return xx, yy, xy, True
    return xx, yy, xy, False


def measure_apertures(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bad: NDArray[np.bool_],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
    radius: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the flux within a circle of that radius in pixels and its error; masked pixels take the mean of the others."""
    x, y = positions
    if len(x) == 0:
        return np.zeros(0), np.zeros(0)
    flux, error, _ = sep.sum_circle(image, x, y, radius, var=variance, mask=bad, subpix=5)
    return np.asarray(flux, np.float64), np.asarray(error, np.float64)


def deblended_fluxes(
    psf: PsfModel,
    pixels: tuple[NDArray[np.float32], NDArray[np.float32]],
    unusable: NDArray[np.bool_],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Fit PSF fluxes of all sources together, by fitting each again to what the others leave (Jacobi's iteration).

    Returns
    -------
    fits
        As `psf_fluxes`; errors are those of isolated sources.
    rest
        The image without any of the sources.
    """
    image, variance = pixels
    fits = psf_fluxes(psf, image, variance, unusable, positions)
    rest = subtract_sources(psf, image, positions, fits[:, 0])
    for _ in range(JACOBI_ROUNDS):
        change = psf_fluxes(psf, rest, variance, unusable, positions)[:, 0]
        fits[:, 0] += change
        rest = subtract_sources(psf, rest, positions, change)
    return fits, rest


def enclosed(psf: PsfModel, radius: float) -> float:
    """Return the share of the PSF at the CCD's middle within a circle of that radius in pixels."""
    stamp = np.ascontiguousarray(psf.at((psf.width - 1) / 2, (psf.height - 1) / 2), np.float64)
    half = float(psf.size // 2)
    total, *_ = sep.sum_circle(stamp, np.array([half]), np.array([half]), radius, subpix=5)
    return float(total[0])


def measure_sources(
    pixels: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]],
    unusable: NDArray[np.bool_],
    psf: PsfModel,
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.void]:
    """Measure sources everywhere on the CCD; sky coordinates, references and significance are left for others to fill.

    Parameters
    ----------
    pixels
        Sky-subtracted image, variance and mask planes.
    unusable
        Pixels that no flux may use.
    psf
        Model of the CCD.
    positions
        x and y of the detections.

    Returns
    -------
    ndarray
        One row of `SOURCE_DTYPE` a position, in the same order.
    """
    image, variance, mask = pixels
    rows = np.zeros(len(positions[0]), SOURCE_DTYPE)
    for name in ("ra", "dec", "significance"):
        rows[name] = np.nan
    if len(rows) == 0:
        return rows
    shapes = measure_shapes(image, variance, positions, psf.fwhm)
    for column, name in enumerate(SHAPE_FIELDS[:-1]):
        rows[name] = shapes[:, column]
    where = (np.ascontiguousarray(rows["x"]), np.ascontiguousarray(rows["y"]))
    fits, rest = deblended_fluxes(psf, (image, variance), unusable, where)
    rows["psf_flux"], rows["psf_flux_err"], rows["psf_chi2"] = fits[:, 0], fits[:, 1], fits[:, 2]
    radius = APERTURE_FWHM * psf.fwhm
    around, rows["aperture_flux_err"] = measure_apertures(rest, variance, unusable, where, radius)
    rows["aperture_flux"] = around + np.nan_to_num(fits[:, 0]) * enclosed(psf, radius)
    rows["size_ratio"] = (rows["ixx"] + rows["iyy"]) / (2 * (psf.fwhm / 2.3548) ** 2)
    rows["mask"] = collect_planes(mask, where[0], where[1], MASK_RADIUS)
    return rows


@numba.njit(cache=True)
def collect_planes(
    mask: NDArray[np.uint16], x: NDArray[np.float64], y: NDArray[np.float64], radius: int
) -> NDArray[np.uint16]:
    """Return the union of the mask planes in a square around each position."""
    rows, columns = mask.shape
    out = np.zeros(len(x), np.uint16)
    for k in range(len(x)):
        column, row = int(np.floor(x[k] + 0.5)), int(np.floor(y[k] + 0.5))
        for j in range(max(0, row - radius), min(rows, row + radius + 1)):
            for i in range(max(0, column - radius), min(columns, column + radius + 1)):
                out[k] |= mask[j, i]
    return out
