"""The mesh under a sky background: clipped levels of cells, and the smooth surface through them."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

from processors.single_frame.clipping import LANES, clipped_sums

__all__ = ["Mesh", "draw_surface", "measure_mesh", "paint_rows"]

CLIP_SIGMAS = 3.0
CLIP_ROUNDS = 8

SAMPLE = 1024
"""Pixels of a cell whose order statistics start the clipping."""

LEAST_SHARE = 0.1
"""Share of a cell's pixels that must be sky, else the cell takes the level of its neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Level and scatter of every cell, shape (cells along y, cells along x)."""

    level: NDArray[np.float64]
    rms: NDArray[np.float64]
    shape: tuple[int, int]
    """Rows and columns of the image."""

    @property
    def middle(self) -> float:
        """Median of the levels."""
        return float(np.median(self.level))

    @property
    def noise(self) -> float:
        """Median of the scatters."""
        return float(np.median(self.rms))


def measure_mesh(
    image: NDArray[np.float32], left_out: NDArray[np.bool_], cell: int, *, stride: int = 1, mode: bool = False
) -> Mesh:
    """Measure the sky in cells of about ``cell`` pixels a side.

    Parameters
    ----------
    image, left_out
        Pixels, and those that are not sky.
    stride
        Only every so many rows are read.
    mode
        Estimate the mode (2.5 medians minus 1.5 means) where sources could not be masked, instead of the clipped mean.

    Notes
    -----
    The clipped mean of Poisson counts is off by 0.04 electrons, their mode estimated so by 0.4: the mean is a median less a
    sixth of an electron, whatever the level. Cells are then smoothed by a median over 3 x 3, as SExtractor does.
    """
    rows, columns = (max(1, round(side / cell)) for side in image.shape)
    level, rms = np.full((rows, columns), np.nan), np.full((rows, columns), np.nan)
    _measure_cells(image, left_out, stride, mode, level, rms)
    return Mesh(level=_smooth(level), rms=_smooth(rms), shape=(image.shape[0], image.shape[1]))


def _smooth(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill empty cells from the nearest others, then take medians over 3 x 3."""
    empty = ~np.isfinite(cells)
    if empty.all():
        return np.zeros_like(cells)
    if empty.any():
        weight = np.where(empty, 0.0, 1.0)
        wide, total = np.where(empty, 0.0, cells), weight
        sigma = 1.0
        filled = cells.copy()
        while not np.isfinite(filled).all():
            top, below = (ndimage.gaussian_filter(a, sigma, mode="constant") for a in (wide, total))
            ready = empty & (below > 1e-3) & ~np.isfinite(filled)
            filled[ready] = top[ready] / below[ready]
            sigma *= 2
        cells = filled
    return np.asarray(ndimage.median_filter(cells, 3, mode="nearest"), np.float64)


@numba.njit(cache=True)
def _measure_cells(
    image: NDArray[np.float32],
    left_out: NDArray[np.bool_],
    stride: int,
    mode: bool,
    level: NDArray[np.float64],
    rms: NDArray[np.float64],
) -> None:
    cells_y, cells_x = level.shape
    height, width = image.shape
    # One place more than a cell has pixels: what is left out is written too, and written over.
    values = np.empty((height // cells_y + 1) * (width // cells_x + 1) + 1, np.float32)
    for cy in range(cells_y):
        y0, y1 = cy * height // cells_y, (cy + 1) * height // cells_y
        for cx in range(cells_x):
            x0, x1 = cx * width // cells_x, (cx + 1) * width // cells_x
            count, read = 0, 0
            for y in range(y0, y1, stride):
                read += x1 - x0
                for x in range(x0, x1):
                    values[count] = image[y, x]
                    count += not left_out[y, x]
            if count > LEAST_SHARE * read and count >= 8:
                level[cy, cx], rms[cy, cx] = _sky_of(values[:count], mode)


@numba.njit(cache=True)
def _sky_of(values: NDArray[np.float32], mode: bool) -> tuple[float, float]:
    """Clipped mean (or mode) and standard deviation; the first limits come from the lower half of a sample."""
    step = max(1, len(values) // SAMPLE)
    sample = np.sort(values[::step].copy())
    centre = float(sample[len(sample) // 2])
    sigma = max(centre - float(sample[int(0.1587 * len(sample))]), 1e-6)
    counted, work = -1, np.empty((3, LANES))
    for _ in range(CLIP_ROUNDS):
        low, high = np.float32(centre - CLIP_SIGMAS * sigma), np.float32(centre + CLIP_SIGMAS * sigma)
        count, first, second = clipped_sums(values, low, high, np.float32(centre), work)
        if count < 2 or count == counted:
            break
        counted = count
        mean = first / count
        centre, sigma = centre + mean, max(np.sqrt(max(second / count - mean * mean, 0.0)), 1e-6)
    if mode:
        kept = np.sort(values[(values >= centre - CLIP_SIGMAS * sigma) & (values <= centre + CLIP_SIGMAS * sigma)])
        if len(kept) > 0:
            centre = 2.5 * float(kept[len(kept) // 2]) - 1.5 * centre
    return centre, sigma


def draw_surface(mesh: Mesh) -> NDArray[np.float32]:
    """Return the natural cubic spline through the cells' middles at every pixel."""
    out = np.empty(mesh.shape, np.float32)
    down = _through(mesh.level, mesh.shape[0])(np.arange(mesh.shape[0], dtype=np.float64))
    pieces = _through(np.ascontiguousarray(down.T), mesh.shape[1])
    paint_rows(np.ascontiguousarray(pieces.c, np.float32), np.asarray(pieces.x), out)
    return out


def _through(values: NDArray[np.float64], pixels: int) -> CubicSpline:
    """A spline along the first axis with its knots in the middles of the cells; one cell gives a constant."""
    count = len(values)
    edges = np.arange(count + 1) * pixels // count
    middles = (edges[:-1] + edges[1:] - 1) / 2
    if count == 1:
        middles, values = np.array([0.0, max(1.0, pixels - 1.0)]), np.repeat(values, 2, axis=0)
    return CubicSpline(middles, values, axis=0, bc_type="natural")


@numba.njit(cache=True)
def paint_rows(pieces: NDArray[np.float32], knots: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    """Evaluate for every row its piecewise cubic, coefficients (4, pieces, rows), highest power first."""
    rows, columns = out.shape
    last = len(knots) - 2
    for k in range(last + 1):
        begin = 0 if k == 0 else int(np.ceil(knots[k]))
        end = columns if k == last else min(columns, int(np.ceil(knots[k + 1])))
        step = np.empty(max(0, end - begin), np.float32)
        for i in range(len(step)):
            step[i] = begin + i - knots[k]
        for y in range(rows):
            a, b, c, d = pieces[0, k, y], pieces[1, k, y], pieces[2, k, y], pieces[3, k, y]
            row = out[y, begin:end]
            for i in range(len(step)):
                row[i] = ((a * step[i] + b) * step[i] + c) * step[i] + d
