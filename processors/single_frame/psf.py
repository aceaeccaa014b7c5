"""The PSF of one CCD as a polynomial in position for every pixel of a stamp."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.errors import InputError
from processors.single_frame.splines import prefilter, resample

__all__ = ["PsfModel", "polynomial_terms"]


def polynomial_terms(u: NDArray[Any], v: NDArray[Any], order: int) -> NDArray[np.float64]:
    """Return the monomials u^i v^j of total degree up to ``order``, shape (points, terms), lowest degree first."""
    columns = [u ** (degree - j) * v**j for degree in range(order + 1) for j in range(degree + 1)]
    return np.stack(np.broadcast_arrays(*columns), axis=-1).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class PsfModel:
    """A PSF that varies over the CCD.

    Pixel ``[j, i]`` of the stamp at (x, y) is a polynomial of total degree ``order`` in the position scaled to [-1, 1].
    The stamp is an odd square; its sum is 1 and its windowed centroid lies on its central pixel.
    """

    coefficients: NDArray[np.float64]
    """Shape (terms, size, size), terms as in `polynomial_terms`."""
    order: int
    width: int
    height: int
    fwhm: float
    """Full width at half maximum in pixels of a Gaussian with the star's adaptive moments, at the CCD's centre."""
    stars: int
    """Stars the model was made from."""
    _splines: NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Prepare the spline coefficients."""
        object.__setattr__(self, "_splines", prefilter(self.coefficients))

    @property
    def size(self) -> int:
        """Pixels on a side of the stamp."""
        return int(self.coefficients.shape[-1])

    @property
    def splines(self) -> NDArray[np.float64]:
        """Quintic spline coefficients of the terms, for kernels that place the PSF at fractions of a pixel."""
        return self._splines

    def _terms(self, x: float, y: float) -> NDArray[np.float64]:
        u, v = 2 * x / max(self.width - 1, 1) - 1, 2 * y / max(self.height - 1, 1) - 1
        return polynomial_terms(np.array(u), np.array(v), self.order)

    def at(self, x: float, y: float) -> NDArray[np.float32]:
        """Return the PSF at pixel (x, y), centred on the middle pixel of an odd square of sum 1."""
        stamp = np.tensordot(self._terms(x, y), self.coefficients, axes=1)
        return np.asarray(stamp / stamp.sum(), np.float32)

    def render(self, x: float, y: float) -> tuple[NDArray[np.float32], int, int]:
        """Return a point source of flux 1 at (x, y): stamp of sum 1, and the x and y of its first pixel on the CCD."""
        column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        spline = np.tensordot(self._terms(x, y), self._splines, axes=1)
        stamp = np.empty_like(spline)
        resample(spline, column - x, row - y, stamp)
        half = self.size // 2
        return np.asarray(stamp / stamp.sum(), np.float32), column - half, row - half

    def to_bytes(self) -> bytes:
        """Encode the model; equal models give equal bytes."""
        header = {
            "order": self.order,
            "width": self.width,
            "height": self.height,
            "fwhm": self.fwhm,
            "stars": self.stars,
            "shape": self.coefficients.shape,
        }
        text = json.dumps(header, sort_keys=True).encode()
        return len(text).to_bytes(4, "little") + text + self.coefficients.astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> PsfModel:
        """Decode what `to_bytes` gave.

        Raises
        ------
        InputError
            When the bytes are not a PSF model.
        """
        try:
            length = int.from_bytes(data[:4], "little")
            header = json.loads(data[4 : 4 + length])
            shape = tuple(header.pop("shape"))
            values = np.frombuffer(data[4 + length :], "<f8").reshape(shape).astype(np.float64)
            return cls(coefficients=values, **header)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError("These bytes are not a PSF model.") from error
