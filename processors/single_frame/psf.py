"""The PSF of one CCD as a polynomial in position for every pixel of a stamp."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.errors import InputError
from processors.single_frame.splines import prefilter, resample

__all__ = ["PsfModel", "polynomial_terms", "psf_fluxes", "subtract_sources", "add_sources", "fit_fluxes"]


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


def psf_fluxes(
    psf: PsfModel,
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bad: NDArray[np.bool_],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
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
    x, y = (np.ascontiguousarray(p, np.float64) for p in positions)
    out = np.full((len(x), 4), np.nan)
    u, v = 2 * x / max(psf.width - 1, 1) - 1, 2 * y / max(psf.height - 1, 1) - 1
    terms = polynomial_terms(u, v, psf.order).reshape(len(x), -1)
    fit_fluxes(psf.splines, terms, (image, variance, bad), (x, y), out)
    return out


def subtract_sources(
    psf: PsfModel,
    image: NDArray[np.float32],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
    flux: NDArray[Any],
) -> NDArray[np.float32]:
    """Return a copy of the image without point sources of those positions and fluxes; fluxes not finite are left alone."""
    rest = image.copy()
    usable = np.isfinite(flux)
    x, y = (np.ascontiguousarray(p[usable], np.float64) for p in positions)
    u, v = 2 * x / max(psf.width - 1, 1) - 1, 2 * y / max(psf.height - 1, 1) - 1
    terms = polynomial_terms(u, v, psf.order).reshape(len(x), -1)
    add_sources(psf.splines, terms, (x, y), -np.asarray(flux[usable], np.float64), rest)
    return rest


@numba.njit(cache=True)
def add_sources(
    splines: NDArray[np.float64],
    terms: NDArray[np.float64],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
    flux: NDArray[np.float64],
    image: NDArray[np.float32],
) -> None:
    """Add point sources to an image in place."""
    rows, columns = image.shape
    size = splines.shape[1]
    half = size // 2
    stamp = np.empty((size, size))
    for k in range(len(flux)):
        x, y = positions[0][k], positions[1][k]
        column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        spline = np.zeros((size, size))
        for t in range(splines.shape[0]):
            spline += terms[k, t] * splines[t]
        resample(spline, column - x, row - y, stamp)
        factor = flux[k] / stamp.sum()
        for j in range(max(0, half - row), min(size, rows - row + half)):
            for i in range(max(0, half - column), min(size, columns - column + half)):
                image[row + j - half, column + i - half] += factor * stamp[j, i]


@numba.njit(cache=True)
def fit_fluxes(
    splines: NDArray[np.float64],
    terms: NDArray[np.float64],
    pixels: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]],
    out: NDArray[np.float64],
) -> None:
    """Fill ``out`` of `psf_fluxes` for every source."""
    image, variance, bad = pixels
    rows, columns = image.shape
    size = splines.shape[1]
    half = size // 2
    stamp = np.empty((size, size))
    for k in range(len(positions[0])):
        x, y = positions[0][k], positions[1][k]
        column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        spline = np.zeros((size, size))
        for t in range(splines.shape[0]):
            spline += terms[k, t] * splines[t]
        resample(spline, column - x, row - y, stamp)
        stamp /= stamp.sum()
        pd, pp, ppv, share = 0.0, 0.0, 0.0, 0.0
        for j in range(max(0, half - row), min(size, rows - row + half)):
            for i in range(max(0, half - column), min(size, columns - column + half)):
                yy, xx = row + j - half, column + i - half
                if not bad[yy, xx]:
                    p = stamp[j, i]
                    pd += p * image[yy, xx]
                    pp += p * p
                    ppv += p * p * variance[yy, xx]
                    share += p
        out[k, 3] = share
        if share < 0.1 or pp <= 0.0:
            continue
        out[k, 0] = pd / pp
        out[k, 1] = np.sqrt(ppv) / pp
        out[k, 2] = _core_chi2(stamp, pixels, (row, column), out[k, 0])


@numba.njit(cache=True)
def _core_chi2(
    stamp: NDArray[np.float64],
    pixels: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]],
    centre: tuple[int, int],
    flux: float,
) -> float:
    """Reduced chi square over the pixels where the PSF is above a twentieth of its peak."""
    image, variance, bad = pixels
    rows, columns = image.shape
    half = stamp.shape[0] // 2
    limit = 0.05 * stamp.max()
    total, count = 0.0, 0
    for j in range(max(0, half - centre[0]), min(stamp.shape[0], rows - centre[0] + half)):
        for i in range(max(0, half - centre[1]), min(stamp.shape[1], columns - centre[1] + half)):
            y, x = centre[0] + j - half, centre[1] + i - half
            if stamp[j, i] > limit and not bad[y, x]:
                total += (image[y, x] - flux * stamp[j, i]) ** 2 / variance[y, x]
                count += 1
    return total / max(count - 1, 1)
