"""Convolutions of whole images by float32 FFT in one padded frame.

scipy's pocketfft has no planner, so the same input gives the same bytes on any run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

__all__ = ["FourierFrame", "gaussian_transfer"]

Pixels = NDArray[Any]


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

    def forward(self, image: Pixels) -> NDArray[np.complex64]:
        """Transform an image of the frame's shape, or of the padded shape; the rest of the frame is 0."""
        full = np.zeros(self.size, dtype=np.float32)
        offset = self.pad if image.shape == self.shape else 0
        full[offset : offset + image.shape[0], offset : offset + image.shape[1]] = image
        return np.asarray(scipy.fft.rfft2(full))

    def kernel(self, stamp: Pixels) -> NDArray[np.complex64]:
        """Transform an odd square kernel so that multiplying by it convolves."""
        half = stamp.shape[0] // 2
        full = np.zeros(self.size, dtype=np.float32)
        full[: stamp.shape[0], : stamp.shape[1]] = stamp
        return np.asarray(scipy.fft.rfft2(np.roll(full, (-half, -half), axis=(0, 1))))

    def back(self, spectrum: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Return the image, without the margin, of a spectrum."""
        full = scipy.fft.irfft2(spectrum, s=self.size, overwrite_x=True)
        return np.ascontiguousarray(
            full[self.pad : self.pad + self.shape[0], self.pad : self.pad + self.shape[1]], dtype=np.float32
        )

    def gaussian(self, sigma: float) -> NDArray[np.float32]:
        """Return the transfer function of a Gaussian of sum 1 and ``sigma`` pixels."""
        return gaussian_transfer(self.size, sigma)


def gaussian_transfer(size: tuple[int, ...], sigma: float) -> NDArray[np.float32]:
    """Return a Gaussian's transfer function on the half plane of a real transform of ``size``."""
    fy = np.fft.fftfreq(size[0])[:, None]
    fx = np.fft.rfftfreq(size[1])[None, :]
    return np.exp(-2 * (np.pi * sigma) ** 2 * (fx**2 + fy**2)).astype(np.float32)
