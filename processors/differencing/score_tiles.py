"""Whitening and a matched filter, tile by tile, that know masks and variance.

At every pixel the flux of a point source is fitted with equal weights over the usable pixels of the PSF. Equal weights keep
fluxes unbiased: a variance plane made from the same counts as the image would favour pixels that fluctuated low.

What sums the variance over the square of the PSF needs no Fourier transforms (`processors.differencing.separable`), and
the square's part on usable pixels is all of it less that on the few others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.fourier import FourierFrame, Tile, TileGrid
from processors.differencing.psf import PsfGrid, PsfModel, resize_psf
from processors.differencing.score import ScoreMap
from processors.differencing.separable import correlate_products, separate
from processors.differencing.subtract import Whitening

__all__ = ["LEAST_COVERAGE", "WHITENING_REACH", "TileFilters", "score_again", "score_tiles"]

LEAST_COVERAGE = 0.5
"""Part of the PSF's squared sum that must lie on usable pixels for a score to be given."""

WHITENING_REACH = 14
"""Pixels beyond which the whitening filter has died away."""

_SQUARE_REACH = 12
"""Half size to which the square of the PSF is known where pixels are missing, pixels."""

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileFilters:
    """The whitening of each tile and the PSF of the difference there."""

    whitening: list[list[Whitening]]
    """By row and column of the grid."""
    psf: PsfGrid
    """Nodes are the middles of the tiles, and as many steps beyond the outermost ones."""

    @classmethod
    def of(
        cls, grid: TileGrid, model: PsfModel, whitening: list[list[Whitening]], *, half: int, own: int
    ) -> TileFilters:
        """Whiten a science image's PSF in the middles of tiles; beyond them it goes on as a straight line.

        Parameters
        ----------
        grid
            The tiles.
        model
            PSF of the science image.
        whitening
            Whitening of each tile.
        half
            Half size of the PSF wanted, pixels.
        own
            Half size to which the model's PSF is cut first.
        """
        y_nodes, x_nodes = (
            step * (np.arange(-1, count + 1) + 0.5) - 0.5
            for step, count in zip(grid.step, (grid.rows, grid.columns), strict=True)
        )
        images = np.zeros((len(y_nodes), len(x_nodes), 2 * half + 1, 2 * half + 1))
        for tile in grid:
            psf = resize_psf(model.at(float(x_nodes[tile.column + 1]), float(y_nodes[tile.row + 1])), own)
            images[tile.row + 1, tile.column + 1] = whitening[tile.row][tile.column].psf(psf, half)
        for axis in (0, 1):
            lines = np.moveaxis(images, axis, 0)
            second = 2 if len(lines) > 3 else 1
            lines[0], lines[-1] = 2 * lines[1] - lines[second], 2 * lines[-2] - lines[-1 - second]
        return cls(whitening=whitening, psf=PsfGrid.from_images(x_nodes, y_nodes, images))

    def at(self, tile: Tile) -> tuple[Whitening, Pixels]:
        """Return the whitening and the PSF of a tile."""
        return self.whitening[tile.row][tile.column], self.psf.images[tile.row + 1, tile.column + 1]


def score_tiles(
    grid: TileGrid,
    raw: NDArray[np.float32],
    *,
    variance: NDArray[np.float32],
    lost: NDArray[np.bool_],
    usable: NDArray[np.bool_],
    static: NDArray[np.float32],
    filters: TileFilters,
) -> tuple[NDArray[np.float32], ScoreMap]:
    """Whiten a difference and fit a point source at every pixel.

    Parameters
    ----------
    grid
        Tiles whose margin holds half the PSF of the difference.
    raw, variance
        Difference before whitening, nJy, and the variance of the white one, nJy^2.
    lost
        Pixels without even an interpolated value: they count as 0 in the whitening.
    usable
        Pixels that count in the fits.
    static
        Matched template.
    filters
        Whitening and PSF of every tile.

    Returns
    -------
    tuple
        The white difference, 0 where not usable, and the score.
    """
    white, flux, error, static_flux, snr = (np.empty(grid.shape, np.float32) for _ in range(5))
    score = ScoreMap(flux=flux, error=error, static_flux=static_flux, snr=snr)
    _whiten(TileGrid(grid.shape, WHITENING_REACH), raw, (lost, usable), filters, white)
    for tile in grid:
        _score_tile(grid.frame, tile, (white, variance, static), usable, filters, score)
    return white, score


def score_again(
    grid: TileGrid,
    score: ScoreMap,
    images: tuple[Pixels, Pixels, Pixels],
    usable: NDArray[np.bool_],
    *,
    filters: TileFilters,
    where: NDArray[np.bool_],
) -> None:
    """Score those tiles again, in place, where pixels are no longer usable.

    Parameters
    ----------
    grid, filters
        As for `score_tiles`.
    score
        Map whose noise was calibrated.
    images
        The white difference, its calibrated variance, and the matched template; the difference becomes 0 where not usable.
    usable
        Pixels that still count.
    where
        Pixels that became unusable.
    """
    images[0][where] = 0.0
    for tile in grid:
        pad = grid.frame.pad
        around = np.s_[
            max(tile.top - pad, 0) : tile.top + tile.height + pad,
            max(tile.left - pad, 0) : tile.left + tile.width + pad,
        ]
        if where[around].any():
            _score_tile(grid.frame, tile, images, usable, filters, score)


def _whiten(
    grid: TileGrid, raw: Pixels, planes: tuple[Pixels, Pixels], filters: TileFilters, white: NDArray[np.float32]
) -> None:
    """Whiten all tiles; ``planes`` are the lost and the usable pixels."""
    frame = grid.frame
    full = np.empty(frame.size, np.float32)
    for tile in grid:
        _fill(full, raw, planes[0], False, tile.top - frame.pad, tile.left - frame.pad, frame.padded)
        spectrum = frame.forward(full)
        spectrum *= filters.at(tile)[0].transfer(frame.size)
        _keep(frame.rows(spectrum, tile.height), frame.pad, planes[1], (tile.top, tile.left), tile.width, white)


def _score_tile(
    frame: FourierFrame,
    tile: Tile,
    images: tuple[Pixels, Pixels, Pixels],
    usable: NDArray[np.bool_],
    filters: TileFilters,
    score: ScoreMap,
) -> None:
    """Fit a point source at every pixel of a tile; ``images`` are the white difference, its variance and the template."""
    psf = filters.at(tile)[1]
    square = np.asarray(psf, np.float64) ** 2
    shape = frame.kernel(psf[::-1, ::-1])
    corner = tile.top - frame.pad, tile.left - frame.pad
    full = np.empty(frame.size, np.float32)
    filtered = []
    for image in (images[0], images[2]):
        _fill(full, image, usable, True, corner[0], corner[1], frame.padded)
        spectrum = frame.forward(full)
        spectrum *= shape
        filtered.append(frame.rows(spectrum, tile.height))
    _fill(full, images[1], usable, True, corner[0], corner[1], frame.padded)
    size = tile.height, tile.width
    power = correlate_products(full, frame.pad, frame.pad, size, *separate(square))
    whole = np.float32(square.sum())
    norm = _usable_part(usable, tile.top, tile.left, size, _cut(square[::-1, ::-1], _SQUARE_REACH), whole)
    out = score.flux, score.error, score.static_flux, score.snr
    least = np.float32(LEAST_COVERAGE) * whole
    _fluxes(filtered[0], filtered[1], frame.pad, power, norm, least, (tile.top, tile.left), out)


def _cut(square: NDArray[np.float64], reach: int) -> NDArray[np.float32]:
    """Return the middle of an odd square, at most so many pixels around its own."""
    cut = max(square.shape[0] // 2 - reach, 0)
    return np.ascontiguousarray(square[cut : square.shape[0] - cut, cut : square.shape[1] - cut], dtype=np.float32)


@njit(cache=True)
def _fill(full: Any, image: Any, plane: Any, wanted: bool, top: int, left: int, padded: Any) -> None:
    """Fill a frame with the pixels where a plane is as wanted; 0 elsewhere and beyond the image."""
    first, last = max(-left, 0), min(padded[1], image.shape[1] - left)
    for r in range(full.shape[0]):
        line = full[r]
        if r >= padded[0] or not 0 <= r + top < image.shape[0]:
            line[:] = np.float32(0.0)
            continue
        line[:first] = np.float32(0.0)
        line[last:] = np.float32(0.0)
        values, known = image[r + top, first + left : last + left], plane[r + top, first + left : last + left]
        inner = line[first:last]
        for c in range(inner.shape[0]):
            inner[c] = values[c] if known[c] == wanted else np.float32(0.0)


@njit(cache=True)
def _keep(full: Any, pad: int, usable: Any, corner: Any, width: int, out: Any) -> None:
    """Copy a tile's own pixels out of its rows of a frame; 0 where not usable."""
    top, left = corner
    for r in range(full.shape[0]):
        values, known = full[r, pad : pad + width], usable[top + r, left : left + width]
        line = out[top + r, left : left + width]
        for c in range(width):
            line[c] = values[c] if known[c] else np.float32(0.0)


@njit(cache=True)
def _usable_part(usable: Any, top: int, left: int, shape: Any, turned: Any, whole: Any) -> Any:
    """Return the sum of a small square, given turned by half a circle, over usable pixels: all less what lies on others."""
    rows, columns = shape
    norm = np.full(shape, whole)
    reach = turned.shape[0] // 2
    for r in range(-reach, rows + reach):
        inside = 0 <= top + r < usable.shape[0]
        for c in range(-reach, columns + reach):
            if inside and 0 <= left + c < usable.shape[1] and usable[top + r, left + c]:
                continue
            low, high = max(c - reach, 0), min(c + reach + 1, columns)
            for q in range(max(r - reach, 0), min(r + reach + 1, rows)):
                line, part = norm[q, low:high], turned[q - r + reach, low - c + reach : high - c + reach]
                for p in range(line.shape[0]):
                    line[p] -= part[p]
    return norm


@njit(cache=True)
def _fluxes(flux: Any, below: Any, pad: int, power: Any, norm: Any, least: Any, corner: Any, out: Any) -> None:
    """Fill flux, error, static flux and signal-to-noise of a tile; none where too little of the PSF is usable."""
    top, left = corner
    rows, columns = norm.shape
    for r in range(rows):
        light, static = flux[r, pad : pad + columns], below[r, pad : pad + columns]
        fluxes, errors = out[0][top + r, left : left + columns], out[1][top + r, left : left + columns]
        statics, snr = out[2][top + r, left : left + columns], out[3][top + r, left : left + columns]
        for c in range(columns):
            known = norm[r, c] > least and power[r, c] > 0
            scale = np.float32(1.0) / norm[r, c] if known else np.float32(0.0)
            errors[c] = np.sqrt(power[r, c]) * scale if known else np.float32(np.inf)
            fluxes[c], statics[c] = light[c] * scale, static[c] * scale
            snr[c] = fluxes[c] / errors[c]
