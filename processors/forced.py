"""Forced photometry: PSF fluxes at given positions on the difference and on the calibrated image of a visit.

Every usable pixel of the PSF has the same weight, so that a variance plane made from the same counts as the image cannot
pull fluxes down; errors come from the variance plane. A position whose pixels cannot be used keeps null fluxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.layers import VisitInfo
from processors.differencing.pipeline import DifferenceResult
from processors.differencing.planes import UNUSABLE
from processors.differencing.psf import PsfGrid, PsfModel, spline_weights
from processors.differencing.sky import SkyMap
from processors.errors import InputError
from schemas.ids import forced_source_id
from schemas.public import null_rows

__all__ = ["PhotometryImage", "forced_photometry", "forced_sources"]

WINDOW_HALF = 10
"""Half size of the window, pixels; the light outside it is allowed for by the PSF's own sum there."""

LEAST_SHARE = 0.1
"""Of the PSF's squared sum that must lie on usable pixels."""

PSF_SPACING = 256.0
"""Largest distance of PSF nodes, pixels."""

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotometryImage:
    """An image on which fluxes are measured."""

    image: NDArray[np.float32]
    """nJy per pixel, without background."""
    variance: NDArray[np.float32]
    """nJy^2 per pixel."""
    mask: NDArray[np.uint16]
    """Planes of `schemas.masks.MaskPlane`."""
    psf: PsfModel


def forced_photometry(image: PhotometryImage, x: Pixels, y: Pixels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit the flux of a point source at each position.

    Parameters
    ----------
    image
        The image; NaN pixels are left out.
    x, y
        Columns and rows, pixels from 0, any number of them; outside the image is allowed.

    Returns
    -------
    tuple of ndarray
        Fluxes and errors in nJy, NaN where less than a tenth of the PSF lies on usable pixels.

    Raises
    ------
    InputError
        When shapes differ.
    """
    x, y = np.atleast_1d(np.asarray(x, dtype=np.float64)), np.atleast_1d(np.asarray(y, dtype=np.float64))
    shape = (image.image.shape[0], image.image.shape[1])
    if x.shape != y.shape or x.ndim != 1:
        raise InputError("Columns and rows of forced photometry must be two lists of one length.")
    if image.variance.shape != shape or image.mask.shape != shape:
        raise InputError("Image, variance and mask must have one shape.")
    grid = image.psf
    if not isinstance(grid, PsfGrid):
        middle = np.asarray(grid.at((shape[1] - 1) / 2, (shape[0] - 1) / 2))
        grid = PsfGrid.sample(grid, shape, middle.shape[0] // 2, PSF_SPACING)
    flux, error = np.full(len(x), np.nan), np.full(len(x), np.nan)
    pixels = (image.image, image.variance, image.mask)
    _fluxes(pixels, int(UNUSABLE), (grid.x_nodes, grid.y_nodes, _framed(grid)), x, y, (flux, error))
    return flux, error


def _framed(grid: PsfGrid) -> NDArray[np.float64]:
    """Spline coefficients of a PSF grid with the margin of zeros that a shifted window needs."""
    margin = max(0, WINDOW_HALF + 3 - grid.half)
    return np.ascontiguousarray(np.pad(grid.coefficients, ((0, 0), (0, 0), (margin, margin), (margin, margin))))


@njit(cache=True)
def _fluxes(pixels: Any, unusable: int, psf: Any, x: Any, y: Any, out: Any) -> None:
    """Fill fluxes and errors: the PSF of each place is drawn once, one axis after the other, and weighs its pixels."""
    flux, error = out
    rows, columns = pixels[0].shape
    size = 2 * WINDOW_HALF + 1
    mixed, lines, window = np.empty((size + 5, size + 5)), np.empty((size + 5, size)), np.empty((size, size))
    for n in range(x.shape[0]):
        far = WINDOW_HALF + 1.0
        if not (-far < x[n] < columns + far and -far < y[n] < rows + far):
            continue
        ix, iy = int(np.floor(x[n] + 0.5)), int(np.floor(y[n] + 0.5))
        _draw(psf, x[n], y[n], ix, iy, (mixed, lines, window))
        product, square, noise, whole = 0.0, 0.0, 0.0, 0.0
        for r in range(size):
            row = iy + r - WINDOW_HALF
            for c in range(size):
                column = ix + c - WINDOW_HALF
                p = window[r, c]
                whole += p * p
                if row < 0 or column < 0 or row >= rows or column >= columns:
                    continue
                value, variance = float(pixels[0][row, column]), float(pixels[1][row, column])
                if (pixels[2][row, column] & unusable) == 0 and np.isfinite(value) and np.isfinite(variance):
                    product += p * value
                    square += p * p
                    noise += p * p * variance
        if square > LEAST_SHARE * whole:
            flux[n], error[n] = product / square, np.sqrt(noise) / square


@njit(cache=True)
def _draw(psf: Any, x: float, y: float, ix: int, iy: int, work: Any) -> None:
    """Draw the PSF at a place: nodes mixed bilinearly, then shifted by quintic splines along rows, then along columns."""
    x_nodes, y_nodes, coefficients = psf
    mixed, lines, window = work
    i, s = _cell(x_nodes, x)
    j, t = _cell(y_nodes, y)
    i1, j1 = min(i + 1, x_nodes.shape[0] - 1), min(j + 1, y_nodes.shape[0] - 1)
    a, b, c, d = (1 - t) * (1 - s), (1 - t) * s, t * (1 - s), t * s
    fx, fy = int(np.floor(ix - x)), int(np.floor(iy - y))
    wx, wy, slopes = np.empty(6), np.empty(6), np.empty(6)
    spline_weights(ix - x - fx, wx, slopes)
    spline_weights(iy - y - fy, wy, slopes)
    size = window.shape[0]
    top = coefficients.shape[2] // 2 - size // 2 - 2
    for r in range(size + 5):
        q, p = top + fy + r, top + fx
        for k in range(size + 5):
            mixed[r, k] = a * coefficients[j, i, q, p + k] + b * coefficients[j, i1, q, p + k]
            mixed[r, k] += c * coefficients[j1, i, q, p + k] + d * coefficients[j1, i1, q, p + k]
        lines[r] = 0.0
        for tap in range(6):
            for k in range(size):
                lines[r, k] += wx[tap] * mixed[r, k + tap]
    for r in range(size):
        window[r] = 0.0
        for tap in range(6):
            for k in range(size):
                window[r, k] += wy[tap] * lines[r + tap, k]


@njit(cache=True)
def _cell(nodes: Any, value: float) -> Any:
    """Index of the node before a place, and the fraction of the way to the next; the border's beyond the border."""
    count = nodes.shape[0]
    if count == 1 or value <= nodes[0]:
        return 0, 0.0
    if value >= nodes[count - 1]:
        return count - 2, 1.0
    place = (value - nodes[0]) / (nodes[1] - nodes[0])
    index = min(int(place), count - 2)
    return index, place - index


def forced_sources(
    difference: DifferenceResult,
    science: PhotometryImage,
    wcs: SkyMap,
    *,
    dia_object_id: NDArray[np.int64],
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    info: VisitInfo,
) -> NDArray[Any]:
    """Measure known objects on the difference and on the science image of one CCD.

    Parameters
    ----------
    difference
        Result of image differencing.
    science
        The calibrated image.
    wcs
        Its map.
    dia_object_id, ra, dec
        Identifiers and positions (degrees) of the objects.
    info
        The visit.

    Returns
    -------
    ndarray
        Rows of ``forced_source_dtype()`` for the objects whose position lies on the CCD, by object id. Fluxes are null
        where no pixel can be used.
    """
    rows = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    rows = rows[np.argsort(dia_object_id[rows], kind="stable")]
    rows = rows[_near(wcs, difference.image.shape, ra[rows], dec[rows])]
    if len(rows) == 0:
        return null_rows("diaForcedSource", 0)
    x, y = (np.asarray(p, dtype=np.float64) for p in wcs.all_world2pix(ra[rows], dec[rows], 0))
    height, width = difference.image.shape
    inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    rows, x, y = rows[inside], x[inside], y[inside]
    measured = PhotometryImage(
        image=difference.image, variance=difference.variance, mask=difference.mask, psf=difference.psf
    )
    out = null_rows("diaForcedSource", len(rows))
    out["diaObjectId"], out["ra"], out["dec"] = dia_object_id[rows], ra[rows], dec[rows]
    out["diaForcedSourceId"] = [forced_source_id(int(i), info.visit, info.detector) for i in dia_object_id[rows]]
    out["visit"], out["detector"], out["band"] = info.visit, info.detector, info.band
    out["midpointMjdTai"], out["timeProcessedMjdTai"] = info.midpoint_mjd_tai, info.processed_mjd_tai
    out["psfFlux"], out["psfFluxErr"] = forced_photometry(measured, x, y)
    out["scienceFlux"], out["scienceFluxErr"] = forced_photometry(science, x, y)
    return out


def _near(wcs: SkyMap, shape: tuple[int, ...], ra: Pixels, dec: Pixels) -> NDArray[np.bool_]:
    """Tell which positions are near the image: only there can a distorted map be inverted safely."""
    height, width = shape
    x = np.array([0.0, width - 1.0, 0.0, width - 1.0, (width - 1) / 2])
    y = np.array([0.0, 0.0, height - 1.0, height - 1.0, (height - 1) / 2])
    sky = wcs.all_pix2world(x, y, 0)
    corners = _unit(np.asarray(sky[0]), np.asarray(sky[1]))
    reach = float(np.min(corners[:4] @ corners[4]))
    margin = 0.01 * (1 - reach) + 1e-13
    return np.asarray(_unit(ra, dec) @ corners[4] >= reach - margin)


def _unit(ra: Pixels, dec: Pixels) -> NDArray[np.float64]:
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)
