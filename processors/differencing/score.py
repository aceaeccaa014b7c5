"""The map of signal-to-noise: whitening and a matched filter, tile by tile, that know masks, variance and the errors of the model.

At every pixel the flux of a point source is fitted with equal weights over the usable pixels of the PSF. Equal weights keep
fluxes unbiased: a variance plane made from the same counts as the image would favour pixels that fluctuated low.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.fourier import Tile, TileGrid
from processors.differencing.layers import Layers
from processors.differencing.psf import PsfGrid, PsfModel, resize_psf
from processors.differencing.subtract import Matched, Whitening
from processors.differencing.systematics import Systematics

__all__ = [
    "ScoreMap",
    "TileFilters",
    "add_systematics",
    "calibrate_noise",
    "matched_filter",
    "score_again",
    "score_tiles",
]

LEAST_COVERAGE = 0.5
"""Part of the PSF's squared sum that must lie on usable pixels for a score to be given."""

_CELL, _LOUD_SNR = 24, 5.0
"""Side of the cells that are left out of the noise where a pixel is louder than this."""

MOST_OWN_NOISE = 0.1
"""Part of a pixel's squared error that may be put down to a change's own light: it matters near the threshold alone."""

BLANK_SNR = 1.5
"""Sky is blank where the template's light under the PSF stays below this many errors."""

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreMap:
    """Point-source flux at every pixel, its errors, and the signal-to-noise made of them."""

    flux: NDArray[np.float32]
    error: NDArray[np.float32]
    """From the variance plane; infinite where too little of the PSF is usable."""
    static_flux: NDArray[np.float32]
    """The same filter applied to the matched template."""
    snr: NDArray[np.float32]
    """Flux over error, systematics included once `add_systematics` was called; 0 where no error is known."""
    noise_scale: float = 1.0


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
        Tiles whose margin holds the PSF and the whitening.
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
    for tile in grid:
        _score_tile(grid, tile, raw, variance, (lost, usable), static, filters, (white, score))
    return white, score


def score_again(
    grid: TileGrid,
    score: ScoreMap,
    matched: Matched,
    layers: Layers,
    *,
    lost: NDArray[np.bool_],
    filters: TileFilters,
    where: NDArray[np.bool_],
) -> ScoreMap:
    """Score those tiles again where pixels are no longer usable, in place.

    Parameters
    ----------
    grid, lost, filters
        As for `score_tiles`.
    score
        Map whose noise was calibrated, as was the variance plane of ``layers``.
    matched
        The difference before whitening.
    layers
        Images with the mask of now; the difference is changed too.
    where
        Pixels that became unusable.
    """
    for tile in grid:
        if grid.cut(where, tile).any():
            planes = (lost, layers.usable)
            out = (layers.difference, score)
            _score_tile(grid, tile, matched.raw, layers.variance, planes, matched.template, filters, out)
    return score


def _score_tile(
    grid: TileGrid,
    tile: Tile,
    raw: Pixels,
    variance: Pixels,
    planes: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    static: Pixels,
    filters: TileFilters,
    out: tuple[Pixels, ScoreMap],
) -> None:
    """Whiten and score one tile into the whole arrays; ``planes`` are the lost and the usable pixels."""
    whitening, psf = filters.at(tile)
    frame = grid.frame
    frames = np.zeros((4, *frame.size), np.float32)
    corner = tile.top - frame.pad, tile.left - frame.pad
    _fill_frames(frames, raw, variance, static, planes[0], planes[1], corner[0], corner[1], frame.padded)
    changed = frame.whole(frame.forward(frames[0]) * whitening.transfer(frame.size))
    changed *= frames[3]
    out[0][tile.box] = grid.core(changed, tile)
    flux, error, below = matched_filter(grid, tile, changed, frames[1], frames[3], psf=psf, static=frames[2])
    score = out[1]
    score.flux[tile.box], score.error[tile.box], score.static_flux[tile.box] = flux, error, below
    np.divide(flux, error, out=score.snr[tile.box])


def matched_filter(
    grid: TileGrid, tile: Tile, difference: Pixels, variance: Pixels, good: Pixels, *, psf: Pixels, static: Pixels
) -> tuple[Pixels, Pixels, Pixels]:
    """Fit a point source at every pixel of a tile.

    Parameters
    ----------
    grid, tile
        The tile; its margin must hold half the PSF.
    difference, variance, static
        White difference, its variance and the matched template as frames, 0 where pixels do not count.
    good
        Frame that is 1 where pixels count and 0 elsewhere.
    psf
        PSF of the difference, odd square.

    Returns
    -------
    tuple of ndarray
        Flux, its error, and the static flux, of the tile's shape.
    """
    frame = grid.frame
    shape, square = np.conj(frame.kernel(psf)), np.conj(frame.kernel(np.asarray(psf) ** 2))
    whole = np.float32(np.sum(np.asarray(psf, np.float64) ** 2))
    flux = grid.core(frame.whole(frame.forward(difference) * shape), tile)
    below = grid.core(frame.whole(frame.forward(static) * shape), tile)
    power = grid.core(frame.whole(frame.forward(variance) * square), tile)
    full = bool(good[: frame.padded[0], : frame.padded[1]].all())
    norm = np.full_like(flux, whole) if full else grid.core(frame.whole(frame.forward(good) * square), tile)
    found: tuple[Pixels, Pixels, Pixels] = _fluxes(flux, below, power, norm, np.float32(LEAST_COVERAGE) * whole)
    return found


@njit(cache=True)
def _fill_frames(
    frames: Any, raw: Any, variance: Any, static: Any, lost: Any, usable: Any, top: int, left: int, padded: Any
) -> None:
    """Fill the frames of difference, variance, template and weight; 0 beyond the image and where pixels do not count."""
    for r in range(max(top, 0), min(top + padded[0], raw.shape[0])):
        for c in range(max(left, 0), min(left + padded[1], raw.shape[1])):
            if not lost[r, c]:
                frames[0, r - top, c - left] = raw[r, c]
            if usable[r, c]:
                frames[1, r - top, c - left] = variance[r, c]
                frames[2, r - top, c - left] = static[r, c]
                frames[3, r - top, c - left] = 1.0


@njit(cache=True)
def _fluxes(flux: Any, below: Any, power: Any, norm: Any, least: Any) -> Any:
    out, static = np.zeros(flux.shape, np.float32), np.zeros(flux.shape, np.float32)
    error = np.full(flux.shape, np.inf, np.float32)
    for r in range(flux.shape[0]):
        for c in range(flux.shape[1]):
            if norm[r, c] > least and power[r, c] > 0:
                out[r, c] = flux[r, c] / norm[r, c]
                static[r, c] = below[r, c] / norm[r, c]
                error[r, c] = np.sqrt(power[r, c]) / norm[r, c]
    return out, error, static


def calibrate_noise(score: ScoreMap, usable: NDArray[np.bool_]) -> ScoreMap:
    """Scale the errors so that the score of empty sky has a standard deviation of 1.

    Parameters
    ----------
    score
        Map of `score_tiles`; its arrays are scaled in place.
    usable
        Pixels that count; those on static sources, and cells of the sky with a bright change, are left out.
    """
    sample = np.asarray(_blank_sample(score.snr, score.error, score.static_flux, usable))
    if len(sample) < 500:
        return score
    scale = float(np.clip(1.4826 * np.median(np.abs(sample - np.median(sample))), 0.5, 2.0))
    np.multiply(score.error, np.float32(scale), out=score.error)
    np.divide(score.snr, np.float32(scale), out=score.snr)
    return replace(score, noise_scale=scale)


@njit(cache=True)
def _blank_sample(snr: Any, error: Any, static: Any, usable: Any) -> Any:
    """Return scores of blank sky, at most every tenth pixel's of a large image."""
    rows, columns = snr.shape
    step = 1 if rows * columns < 100_000 else 3
    out, count = np.empty(rows * columns // (step * step) + rows + columns, np.float32), 0
    for top in range(0, rows, _CELL):
        for left in range(0, columns, _CELL):
            bottom, right = min(top + _CELL, rows), min(left + _CELL, columns)
            quiet = True
            for r in range(top, bottom, 2):
                for c in range(left, right, 2):
                    quiet = quiet and abs(snr[r, c]) < _LOUD_SNR
            if not quiet:
                continue
            for r in range(top, bottom, step):
                for c in range(left, right, step):
                    if usable[r, c] and np.isfinite(error[r, c]) and abs(static[r, c]) < BLANK_SNR * error[r, c]:
                        out[count] = snr[r, c]
                        count += 1
    return out[:count]


def add_systematics(
    score: ScoreMap, systematics: Systematics, saturated: NDArray[np.bool_], own_noise: float = 0.0
) -> ScoreMap:
    """Add to the score's error what an imperfect kernel, PSF and registration leave on static sources.

    The noise of new light is taken from it: what is asked is how often nothing at all would look like this.

    Parameters
    ----------
    score
        Map with errors from noise alone.
    systematics
        Their sizes.
    saturated
        Pixels within the wings of saturated stars.
    own_noise
        Result of `systematics.own_light_noise`; the variance plane counts the light of a change too.
    """
    fractions = (systematics.flux_fraction, systematics.saturated_fraction, systematics.centroid_pixels, own_noise)
    snr = _with_systematics(score.flux, score.error, score.static_flux, saturated, *(np.float32(f) for f in fractions))
    return replace(score, snr=snr)


@njit(cache=True)
def _with_systematics(
    flux: Any, error: Any, static: Any, saturated: Any, fraction: Any, further: Any, centroid: Any, own: Any
) -> Any:
    rows, columns = flux.shape
    snr = np.empty(flux.shape, np.float32)
    zero, most = np.float32(0.0), np.float32(MOST_OWN_NOISE)
    for r in range(rows):
        above, under = max(r - 1, 0), min(r + 1, rows - 1)
        high = np.float32(1.0) / np.float32(max(under - above, 1))
        for c in range(columns):
            before, after = max(c - 1, 0), min(c + 1, columns - 1)
            by_y = (static[under, c] - static[above, c]) * high
            by_x = (static[r, after] - static[r, before]) / np.float32(max(after - before, 1))
            part = fraction + further if saturated[r, c] else fraction
            extra, moved = part * static[r, c], centroid * centroid * (by_x * by_x + by_y * by_y)
            noise = error[r, c] * error[r, c]
            noise -= min(own * max(flux[r, c], zero), most * noise)
            snr[r, c] = flux[r, c] / np.sqrt(noise + extra * extra + moved)
    return snr
