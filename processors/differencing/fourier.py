"""Convolutions by float32 FFT, of a whole image or tile by tile, in frames with a margin.

scipy's pocketfft has no planner, so the same input gives the same bytes on any run. Tiles of some 400 pixels with their margin stay in
the processor's cache: their transforms take less than half the time of those of a whole CCD, and so do all steps between them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

__all__ = ["FourierFrame", "Spectrum", "Tile", "TileGrid", "gaussian_transfer", "transform_kernel"]

TILE_PIXELS = 420
"""Largest side of a tile without its margin."""

Pixels = NDArray[Any]
Spectrum = NDArray[np.complex64]


class FourierFrame:
    """An image's pixels with a margin in which convolutions may wrap around.

    Parameters
    ----------
    shape
        Rows and columns of the image.
    pad
        Margin in pixels, at least the half size of every kernel used.
    """

    def __init__(self, shape: tuple[int, int], pad: int) -> None:
        self.shape = shape
        self.pad = pad
        self.padded = (shape[0] + 2 * pad, shape[1] + 2 * pad)
        self.size = tuple(scipy.fft.next_fast_len(n, real=True) for n in self.padded)

    def forward(self, image: Pixels) -> Spectrum:
        """Transform an image of the frame's shape, or of the padded shape; the rest of the frame is 0."""
        if image.shape == self.size and image.dtype == np.float32:
            return np.asarray(scipy.fft.rfft2(image))
        full = np.zeros(self.size, dtype=np.float32)
        offset = self.pad if image.shape == self.shape else 0
        full[offset : offset + image.shape[0], offset : offset + image.shape[1]] = image
        return np.asarray(scipy.fft.rfft2(full))

    def kernel(self, stamp: Pixels) -> Spectrum:
        """Transform an odd square kernel so that multiplying by it convolves."""
        return transform_kernel(stamp, self.size)

    def whole(self, spectrum: Spectrum) -> NDArray[np.float32]:
        """Return the image of a spectrum with its margin; the spectrum is used up."""
        return np.asarray(scipy.fft.irfft2(spectrum, s=self.size, overwrite_x=True))

    def rows(self, spectrum: Spectrum, height: int) -> NDArray[np.float32]:
        """Return so many rows of the image of a spectrum, with the margin on their sides only; the spectrum is used up."""
        lines = scipy.fft.ifft(spectrum, axis=0, overwrite_x=True)[self.pad : self.pad + height]
        return np.asarray(scipy.fft.irfft(lines, n=self.size[1], axis=1))

    def back(self, spectrum: Spectrum) -> NDArray[np.float32]:
        """Return the image of a spectrum without the margin; the spectrum is used up."""
        return np.ascontiguousarray(self.inner(self.whole(spectrum)), dtype=np.float32)

    def inner(self, full: Pixels) -> Pixels:
        """Return the part of a frame that is the image."""
        return full[self.pad : self.pad + self.shape[0], self.pad : self.pad + self.shape[1]]

    def gaussian(self, sigma: float) -> NDArray[np.float32]:
        """Return the transfer function of a Gaussian of sum 1 and ``sigma`` pixels."""
        return gaussian_transfer(self.size, sigma)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A part of an image, its place in the grid of tiles, and its middle."""

    row: int
    column: int
    top: int
    left: int
    height: int
    width: int

    @property
    def box(self) -> tuple[slice, slice]:
        """Index of the tile's pixels in the image."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def middle(self) -> tuple[float, float]:
        """Column and row of the tile's middle."""
        return self.left + (self.width - 1) / 2, self.top + (self.height - 1) / 2


class TileGrid:
    """An image cut into tiles of one size, which share one frame.

    Parameters
    ----------
    shape
        Rows and columns of the image.
    pad
        Margin around each tile, pixels: what its convolutions reach.
    """

    def __init__(self, shape: tuple[int, int], pad: int) -> None:
        self.shape = shape
        self.rows, self.columns = (max(1, -(-n // TILE_PIXELS)) for n in shape)
        self.step = -(-shape[0] // self.rows), -(-shape[1] // self.columns)
        self.frame = FourierFrame(self.step, pad)

    def __iter__(self) -> Iterator[Tile]:
        """Go through the tiles row by row; the last ones may be smaller than the others."""
        for row in range(self.rows):
            for column in range(self.columns):
                top, left = row * self.step[0], column * self.step[1]
                yield Tile(
                    row=row,
                    column=column,
                    top=top,
                    left=left,
                    height=min(self.step[0], self.shape[0] - top),
                    width=min(self.step[1], self.shape[1] - left),
                )

    def cut(self, image: Pixels, tile: Tile, margin: int = 0) -> NDArray[np.float32]:
        """Return a tile with its margin as a frame; what lies beyond the image is 0.

        Parameters
        ----------
        image
            Pixels of the grid's shape, with ``margin`` more on every side.
        tile
            The tile.
        margin
            Pixels by which the image is larger.
        """
        full = np.zeros(self.frame.size, dtype=np.float32)
        top, left = tile.top - self.frame.pad + margin, tile.left - self.frame.pad + margin
        bottom = min(top + self.frame.padded[0], image.shape[0])
        right = min(left + self.frame.padded[1], image.shape[1])
        inside = image[max(top, 0) : bottom, max(left, 0) : right]
        first, second = max(-top, 0), max(-left, 0)
        full[first : first + inside.shape[0], second : second + inside.shape[1]] = inside
        return full

    def core(self, full: Pixels, tile: Tile) -> Pixels:
        """Return the tile's own pixels of a frame."""
        pad = self.frame.pad
        return full[pad : pad + tile.height, pad : pad + tile.width]


def transform_kernel(stamp: Pixels, size: tuple[int, ...]) -> Spectrum:
    """Return the spectrum of an odd square kernel in a frame of a size; multiplying by it convolves."""
    half = stamp.shape[0] // 2
    full = np.zeros((stamp.shape[0], size[1]), dtype=np.float32)
    full[:, : half + 1], full[:, -half:] = stamp[:, half:], stamp[:, :half]
    lines = scipy.fft.rfft(full, axis=1)
    spectrum = np.zeros((size[0], lines.shape[1]), dtype=np.complex64)
    spectrum[: half + 1], spectrum[-half:] = lines[half:], lines[:half]
    return np.asarray(scipy.fft.fft(spectrum, axis=0, overwrite_x=True))


@functools.lru_cache(maxsize=8)
def gaussian_transfer(size: tuple[int, ...], sigma: float) -> NDArray[np.float32]:
    """Return a Gaussian's transfer function on the half plane of a real transform of ``size``."""
    lines = [np.exp(-2 * (np.pi * sigma * f) ** 2) for f in (np.fft.fftfreq(size[0]), np.fft.rfftfreq(size[1]))]
    transfer: NDArray[np.float32] = np.outer(*lines).astype(np.float32)
    transfer.flags.writeable = False  # the cache hands the same array out again
    return transfer
