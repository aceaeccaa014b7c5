"""Fluxes of point sources: the PSF placed at every position once, then fitted and subtracted as often as needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.single_frame.psf import PsfModel, polynomial_terms
from processors.single_frame.shapes import SHAPE_FIELDS, measure_shapes
from processors.single_frame.splines import taps

__all__ = [
    "PointSources",
    "add_stamps",
    "deblended_fluxes",
    "fit_stamps",
    "model_traces",
    "place_sources",
    "psf_fluxes",
    "refit_stamps",
    "render_stamps",
    "subtract_sources",
]

JACOBI_ROUNDS = 2
"""Rounds of deblending; the third would change fluxes of blends by less than a percent."""

LEAST_SHARE = 0.1
"""Share of the PSF on good pixels below which there is no flux."""

_Positions = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSources:
    """The PSF at each of many positions, placed at its fraction of a pixel."""

    stamps: NDArray[np.float32]
    """Shape (sources, size, size), each of sum 1."""
    column: NDArray[np.int64]
    row: NDArray[np.int64]
    """Pixel of the CCD under the middle of the stamp."""


def place_sources(psf: PsfModel, positions: _Positions) -> PointSources:
    """Return the PSF at positions x, y, none of which may be NaN."""
    x, y = (np.ascontiguousarray(p, np.float64) for p in positions)
    u, v = 2 * x / max(psf.width - 1, 1) - 1, 2 * y / max(psf.height - 1, 1) - 1
    terms = polynomial_terms(u, v, psf.order).reshape(len(x), -1)
    column, row = np.floor(x + 0.5).astype(np.int64), np.floor(y + 0.5).astype(np.int64)
    stamps = np.empty((len(x), psf.size, psf.size), np.float32)
    render_stamps(psf.splines, terms, (column - x, row - y), stamps)
    return PointSources(stamps=stamps, column=column, row=row)


def model_traces(psf: PsfModel, positions: _Positions) -> NDArray[np.float64]:
    """Return the trace of the adaptive moments of the PSF at positions, measured as those of sources are.

    Parameters
    ----------
    psf
        The model.
    positions
        x and y, none of which may be NaN.

    Returns
    -------
    ndarray
        ixx + iyy in pixels squared, NaN where the moments fail.
    """
    placed = place_sources(psf, positions)
    half, numbers = psf.size // 2, np.arange(len(placed.stamps))
    column = half + positions[0] - placed.column
    row = numbers * psf.size + half + positions[1] - placed.row
    strip = placed.stamps.reshape(-1, psf.size)
    shapes = measure_shapes(strip, np.ones_like(strip), (column, row), psf.fwhm)
    xx, yy = (shapes[:, SHAPE_FIELDS.index(name)] for name in ("ixx", "iyy"))
    return np.asarray(xx + yy)


def psf_fluxes(
    psf: PsfModel,
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bad: NDArray[np.bool_],
    positions: _Positions,
) -> NDArray[np.float64]:
    """Fit the PSF at fixed positions.

    All good pixels of the stamp weigh alike, so that the fit is linear in the data and brightness cannot bias it; the
    error takes the true variances.

    Parameters
    ----------
    psf, image, variance, bad
        The model; sky-subtracted pixels and their variance in one unit; pixels to leave out.
    positions
        x and y of the sources.

    Returns
    -------
    ndarray
        Shape (sources, 4): flux, its error, reduced chi square within the core, share of the PSF on good pixels. Flux
        and error are NaN where less than a tenth of the PSF lies on good pixels.
    """
    return _fit(place_sources(psf, positions), (image, variance, bad))[:, :4]


def _fit(
    sources: PointSources, pixels: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]
) -> NDArray[np.float64]:
    out = np.full((len(sources.row), 5), np.nan)
    fit_stamps(sources.stamps, (sources.row, sources.column), pixels, out)
    return out


def subtract_sources(
    psf: PsfModel, image: NDArray[np.float32], positions: _Positions, flux: NDArray[Any]
) -> NDArray[np.float32]:
    """Return a copy of the image without point sources of those positions and fluxes; fluxes not finite are left alone."""
    rest = image.copy()
    usable = np.isfinite(flux)
    sources = place_sources(psf, (positions[0][usable], positions[1][usable]))
    add_stamps(sources.stamps, (sources.row, sources.column), -np.asarray(flux[usable], np.float64), rest)
    return rest


def deblended_fluxes(
    sources: PointSources,
    pixels: tuple[NDArray[np.float32], NDArray[np.float32]],
    unusable: NDArray[np.bool_],
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
    places = (sources.row, sources.column)
    fits = _fit(sources, (image, variance, unusable))
    rest = image.copy()
    add_stamps(sources.stamps, places, -np.nan_to_num(fits[:, 0]), rest)
    for _ in range(JACOBI_ROUNDS):
        change = refit_stamps(sources.stamps, places, (rest, unusable), fits[:, 4])
        fits[:, 0] += change
        add_stamps(sources.stamps, places, -np.nan_to_num(change), rest)
    return fits[:, :4], rest


@numba.njit(cache=True)
def render_stamps(
    splines: NDArray[np.float64],
    terms: NDArray[np.float64],
    offsets: _Positions,
    out: NDArray[np.float32],
) -> None:
    """Evaluate the PSF model at every source: ``terms`` of its position, ``offsets`` of the pixels from its centre."""
    count, size = splines.shape[0], splines.shape[1]
    local = np.zeros((size, size + 6))
    across = np.zeros((size + 6, size))
    stamp = np.empty((size, size))
    for k in range(len(terms)):
        dx, dy = offsets[0][k], offsets[1][k]
        jx, jy = int(np.floor(dx)), int(np.floor(dy))
        wx, wy = taps(dx - jx), taps(dy - jy)
        for y in range(size):
            inner = local[y, 3 : 3 + size]
            inner[:] = 0.0
            for t in range(count):
                factor, line = terms[k, t], splines[t, y]
                for x in range(size):
                    inner[x] += factor * line[x]
            line = across[3 + y]
            line[:] = 0.0
            for t in range(6):
                factor, held = wx[t], local[y, 1 + jx + t :]
                for x in range(size):
                    line[x] += factor * held[x]
        total = 0.0
        for y in range(size):
            line = stamp[y]
            line[:] = 0.0
            for t in range(6):
                factor, held = wy[t], across[1 + y + jy + t]
                for x in range(size):
                    line[x] += factor * held[x]
            total += line.sum()
        for y in range(size):
            for x in range(size):
                out[k, y, x] = stamp[y, x] / total


@numba.njit(cache=True)
def add_stamps(
    stamps: NDArray[np.float32],
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    flux: NDArray[np.float64],
    image: NDArray[np.float32],
) -> None:
    """Add point sources to an image in place."""
    rows, columns = image.shape
    size = stamps.shape[1]
    half = size // 2
    for k in range(len(flux)):
        row, column = places[0][k], places[1][k]
        factor = np.float32(flux[k])
        x0, x1 = max(0, half - column), min(size, columns - column + half)
        for j in range(max(0, half - row), min(size, rows - row + half)):
            line, stamp = image[row + j - half], stamps[k, j]
            for i in range(x0, x1):
                line[column + i - half] += factor * stamp[i]


@numba.njit(cache=True)
def refit_stamps(
    stamps: NDArray[np.float32],
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    pixels: tuple[NDArray[np.float32], NDArray[np.bool_]],
    power: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the fluxes of sources on an image, given the power of each stamp on good pixels; NaN where that is NaN."""
    image, bad = pixels
    rows, columns = image.shape
    size = stamps.shape[1]
    half = size // 2
    out, sums = np.full(len(power), np.nan), np.empty(size)
    for k in range(len(power)):
        if np.isnan(power[k]):
            continue
        row, column = places[0][k], places[1][k]
        x0, x1 = max(0, half - column), min(size, columns - column + half)
        first, last = column - half + x0, column - half + x1
        sums[:] = 0.0
        for j in range(max(0, half - row), min(size, rows - row + half)):
            _add_products(stamps[k, j, x0:x1], image[row + j - half, first:last], bad[row + j - half, first:last], sums)
        out[k] = sums.sum() / power[k]
    return out


@numba.njit(cache=True)
def _add_products(stamp: Any, line: Any, bad: Any, sums: Any) -> None:
    """Add the products of a row of a stamp and good pixels to sums, one for every column: these are added side by side."""
    for i in range(len(stamp)):
        light = stamp[i] * line[i]
        sums[i] += np.float32(0) if bad[i] else light


@numba.njit(cache=True)
def _add_row(stamp: Any, line: Any, variance: Any, bad: Any, sums: Any) -> None:
    """Add what a row of a stamp gives to each column's sums: light, power, noise, share."""
    light, power, noise, share = sums[0], sums[1], sums[2], sums[3]
    for i in range(len(stamp)):
        p = np.float64(0) if bad[i] else np.float64(stamp[i])
        pixel = np.float32(0) if bad[i] else line[i]
        spread = np.float32(0) if bad[i] else variance[i]
        light[i] += p * pixel
        power[i] += p * p
        noise[i] += p * p * spread
        share[i] += p


@numba.njit(cache=True)
def fit_stamps(
    stamps: NDArray[np.float32],
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    pixels: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]],
    out: NDArray[np.float64],
) -> None:
    """Fill ``out``, columns flux, error, chi square, share of the PSF and its power on good pixels, for every source."""
    image, variance, bad = pixels
    rows, columns = image.shape
    size = stamps.shape[1]
    half, sums = size // 2, np.empty((4, size))
    for k in range(len(out)):
        row, column = places[0][k], places[1][k]
        x0, x1 = max(0, half - column), min(size, columns - column + half)
        first, last = column - half + x0, column - half + x1
        sums[:] = 0.0
        for j in range(max(0, half - row), min(size, rows - row + half)):
            y = row + j - half
            _add_row(stamps[k, j, x0:x1], image[y, first:last], variance[y, first:last], bad[y, first:last], sums)
        pd, pp, ppv, share, peak = sums[0].sum(), sums[1].sum(), sums[2].sum(), sums[3].sum(), float(stamps[k].max())
        out[k, 3] = share
        if share < LEAST_SHARE or pp <= 0.0:
            continue
        out[k, 0] = pd / pp
        out[k, 1] = np.sqrt(ppv) / pp
        out[k, 2] = _core_chi2(stamps[k], pixels, (row, column), (out[k, 0], 0.05 * peak))
        out[k, 4] = pp


@numba.njit(cache=True)
def _core_chi2(
    stamp: NDArray[np.float32],
    pixels: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]],
    centre: tuple[int, int],
    fit: tuple[float, float],
) -> float:
    """Reduced chi square over the pixels where the PSF is above a limit, a twentieth of its peak; ``fit`` = flux, limit."""
    image, variance, bad = pixels
    rows, columns = image.shape
    half = stamp.shape[0] // 2
    total, count = 0.0, 0
    for j in range(max(0, half - centre[0]), min(stamp.shape[0], rows - centre[0] + half)):
        for i in range(max(0, half - centre[1]), min(stamp.shape[1], columns - centre[1] + half)):
            y, x = centre[0] + j - half, centre[1] + i - half
            if stamp[j, i] > fit[1] and not bad[y, x]:
                total += (image[y, x] - fit[0] * stamp[j, i]) ** 2 / variance[y, x]
                count += 1
    return total / max(count - 1, 1)
