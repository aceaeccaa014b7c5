"""Point spread functions as arrays: a grid over the image, sub-pixel shifts by quintic splines, adaptive moments.

A PSF image is an odd square whose star sits exactly on the central pixel, sum 1. Coordinates are pixels from 0.
Quintic B-splines shift a PSF without changing its width (dT/T of +0.001 %, against 0.04 % for cubic splines and
0.1 to 0.2 % for Lanczos windows; imaging.md 3.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from processors.differencing.errors import InvalidImageError
from processors.moments import weighted_sums

__all__ = ["ConstantPsf", "PsfGrid", "PsfModel", "adaptive_moments", "render_psf", "resize_psf", "spline_weights"]

_RELAXATION = 1.8
"""Step of the moments' iteration over the plain one's, after two plain ones: for a Gaussian twice the step lands at once."""

WEIGHT_CHI2 = 25.0
"""Squared radius, in the weight's own sigmas, to which moments are summed."""

Pixels = NDArray[Any]


class PsfModel(Protocol):
    """Anything that gives the PSF at a place of an image."""

    def at(self, x: float, y: float) -> Pixels:
        """Return the PSF at a column and row: odd square, sum 1, centred on its central pixel."""


@dataclass(frozen=True, slots=True)
class ConstantPsf:
    """A PSF that is the same everywhere."""

    image: Pixels

    def at(self, x: float, y: float) -> Pixels:
        """Return the one PSF."""
        return self.image


def resize_psf(image: Pixels, half: int) -> NDArray[np.float64]:
    """Cut or pad a PSF image to ``2 * half + 1`` pixels and restore its sum of 1.

    Raises
    ------
    InvalidImageError
        When the image is no odd square, is not finite, or has no positive sum.
    """
    image = np.asarray(image, dtype=np.float64)
    if image.ndim != 2 or image.shape[0] != image.shape[1] or image.shape[0] % 2 == 0:
        raise InvalidImageError(f"A PSF image is an odd square, which {image.shape} is not.")
    if not np.isfinite(image).all() or image.sum() <= 0:
        raise InvalidImageError("A PSF image must be finite with a positive sum.")
    have = image.shape[0] // 2
    if have > half:
        image = image[have - half : have + half + 1, have - half : have + half + 1]
    elif have < half:
        image = np.pad(image, half - have)
    return np.asarray(image / image.sum())


@dataclass(frozen=True, slots=True)
class PsfGrid:
    """PSF images at the nodes of a regular grid; between nodes they are mixed bilinearly.

    The mean image of a PSF that varies as a polynomial of the position is reproduced to second order in the spacing.
    """

    x_nodes: NDArray[np.float64]
    y_nodes: NDArray[np.float64]
    images: NDArray[np.float64]
    """Shape (rows of nodes, columns of nodes, n, n)."""
    coefficients: NDArray[np.float64]
    """Quintic spline coefficients of ``images``."""

    @classmethod
    def sample(cls, model: PsfModel, shape: tuple[int, int], half: int, spacing: float = 200.0) -> PsfGrid:
        """Ask a model for its PSF at nodes no further apart than ``spacing`` pixels.

        Parameters
        ----------
        model
            The PSF.
        shape
            Rows and columns of the image.
        half
            Half size of the sampled images in pixels.
        spacing
            Largest distance between nodes, pixels.
        """
        if isinstance(model, ConstantPsf):
            spacing = float("inf")
        y_nodes, x_nodes = (_nodes(size, spacing) for size in shape)
        images = np.array([[resize_psf(model.at(float(x), float(y)), half) for x in x_nodes] for y in y_nodes])
        return cls.from_images(x_nodes, y_nodes, images)

    @classmethod
    def from_images(cls, x_nodes: Pixels, y_nodes: Pixels, images: Pixels) -> PsfGrid:
        """Build a grid from images at nodes, shape (rows, columns, n, n)."""
        images = np.ascontiguousarray(images, dtype=np.float64)
        coefficients = np.empty_like(images)
        for row in range(images.shape[0]):
            for column in range(images.shape[1]):
                coefficients[row, column] = ndimage.spline_filter(images[row, column], order=5, mode="mirror")
        return cls(np.asarray(x_nodes, dtype=float), np.asarray(y_nodes, dtype=float), images, coefficients)

    @property
    def half(self) -> int:
        """Half size of the images in pixels."""
        return int(self.images.shape[-1]) // 2

    @property
    def mean(self) -> NDArray[np.float64]:
        """PSF averaged over the nodes."""
        return np.asarray(self.images.mean(axis=(0, 1)))

    def map(self, change: Callable[[Pixels], Pixels]) -> PsfGrid:
        """Return the grid with a function applied to the image at every node."""
        images = np.array([[change(image) for image in row] for row in self.images])
        return PsfGrid.from_images(self.x_nodes, self.y_nodes, images)

    def at(self, x: float, y: float) -> NDArray[np.float64]:
        """Return the PSF at a position, centred on its central pixel; outside the image that of the border."""
        i, s = _cell(self.x_nodes, x)
        j, t = _cell(self.y_nodes, y)
        i1, j1 = min(i + 1, len(self.x_nodes) - 1), min(j + 1, len(self.y_nodes) - 1)
        images = self.images
        lower = (1 - s) * images[j, i] + s * images[j, i1]
        return np.asarray((1 - t) * lower + t * ((1 - s) * images[j1, i] + s * images[j1, i1]))


def _nodes(size: int, spacing: float) -> NDArray[np.float64]:
    count = int(np.ceil((size - 1) / spacing)) + 1 if np.isfinite(spacing) else 1
    return np.linspace(0.0, size - 1.0, count) if count > 1 else np.array([(size - 1) / 2])


@njit(cache=True)
def _cell(nodes: Any, value: float) -> Any:
    count = nodes.shape[0]
    if count == 1 or value <= nodes[0]:
        return 0, 0.0
    if value >= nodes[count - 1]:
        return count - 2, 1.0
    place = (value - nodes[0]) / (nodes[1] - nodes[0])
    index = min(int(place), count - 2)
    return index, place - index


@njit(cache=True)
def spline_weights(t: float, weights: Any, slopes: Any) -> None:
    """Fill the six quintic B-spline weights, and their slopes, at a fraction ``t`` of a pixel (0 to 1)."""
    t2, t3 = t * t, t * t * t
    t4, t5 = t2 * t2, t2 * t2 * t
    u = 1.0 - t
    weights[0] = u**5 / 120
    weights[1] = (26 - 50 * t + 20 * t2 + 20 * t3 - 20 * t4 + 5 * t5) / 120
    weights[2] = (66 - 60 * t2 + 30 * t4 - 10 * t5) / 120
    weights[3] = (26 + 50 * t + 20 * t2 - 20 * t3 - 20 * t4 + 10 * t5) / 120
    weights[4] = (1 + 5 * t + 10 * t2 + 10 * t3 + 5 * t4 - 5 * t5) / 120
    weights[5] = t5 / 120
    slopes[0] = -(u**4) / 24
    slopes[1] = (-50 + 40 * t + 60 * t2 - 80 * t3 + 25 * t4) / 120
    slopes[2] = (-120 * t + 120 * t3 - 50 * t4) / 120
    slopes[3] = (50 + 40 * t - 60 * t2 - 80 * t3 + 50 * t4) / 120
    slopes[4] = (5 + 20 * t + 30 * t2 + 20 * t3 - 25 * t4) / 120
    slopes[5] = t4 / 24


@njit(cache=True)
def render_psf(x_nodes: Any, y_nodes: Any, coefficients: Any, x: float, y: float, out: Any) -> Any:
    """Draw the PSF of a star at a sub-pixel position, with its slopes.

    Parameters
    ----------
    x_nodes, y_nodes, coefficients
        Fields of a `PsfGrid`.
    x, y
        Position of the star in pixels.
    out
        Filled, shape (3, n, n) with n odd: the PSF, its derivative by the star's x, its derivative by the star's y. The
        central pixel is the pixel nearest to the star.

    Returns
    -------
    tuple of int
        Column and row of the central pixel.
    """
    i, s = _cell(x_nodes, x)
    j, t = _cell(y_nodes, y)
    i1, j1 = min(i + 1, x_nodes.shape[0] - 1), min(j + 1, y_nodes.shape[0] - 1)
    a, b, c, d = (1 - t) * (1 - s), (1 - t) * s, t * (1 - s), t * s
    ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    size, full = out.shape[1], coefficients.shape[2]
    wx, sx, wy, sy = np.empty(6), np.empty(6), np.empty(6), np.empty(6)
    ux, uy = -(x - ix), -(y - iy)
    fx, fy = int(np.floor(ux)), int(np.floor(uy))
    spline_weights(ux - fx, wx, sx)
    spline_weights(uy - fy, wy, sy)
    first = full // 2 - size // 2
    rows = size + 5
    line, mixed = np.zeros((2, rows, size)), np.zeros(rows)
    left = first + fx - 2
    begin, end = max(0, -left), min(rows, full - left)
    for r in range(rows):
        q = first + fy - 2 + r
        if q < 0 or q >= full:
            continue
        low, high = coefficients[j, i, q], coefficients[j, i1, q]
        lower, higher = coefficients[j1, i, q], coefficients[j1, i1, q]
        for p in range(begin, end):
            mixed[p] = a * low[left + p] + b * high[left + p] + c * lower[left + p] + d * higher[left + p]
        value, slope = line[0, r], line[1, r]
        for tap in range(6):
            w, v = wx[tap], sx[tap]
            for k in range(size):
                value[k] += w * mixed[k + tap]
                slope[k] += v * mixed[k + tap]
    for r in range(size):
        value, by_x, by_y = out[0, r], out[1, r], out[2, r]
        value[:], by_x[:], by_y[:] = 0.0, 0.0, 0.0
        for tap in range(6):
            w, v, light, slope = wy[tap], sy[tap], line[0, r + tap], line[1, r + tap]
            for k in range(size):
                value[k] += w * light[k]
                by_x[k] -= w * slope[k]
                by_y[k] -= v * light[k]
    return ix, iy


@njit(cache=True)
def adaptive_moments(image: Any, x: float, y: float, start: float, limit: float) -> Any:
    """Measure second moments with an elliptical Gaussian weight that follows them (Bernstein & Jarvis 2002).

    Parameters
    ----------
    image
        Pixels without background; any sign of flux.
    x, y
        Centre within ``image``, pixels; it is held fixed.
    start
        Standard deviation of the first weight, pixels.
    limit
        Largest standard deviation that counts as a success, pixels.

    Returns
    -------
    tuple
        xx, yy, xy in pixels squared, and whether it converged.
    """
    xx, yy, xy = start * start, start * start, 0.0
    for turn in range(60):
        det = xx * yy - xy * xy
        if not (det > 0.01 and xx > 0 and yy > 0 and max(xx, yy) < limit * limit):
            return xx, yy, xy, False
        total, mxx, myy, mxy = weighted_sums(image, (x, y), (xx, yy, xy), WEIGHT_CHI2)
        if total == 0.0:
            return xx, yy, xy, False
        nxx, nyy, nxy = 2 * mxx / total, 2 * myy / total, 2 * mxy / total
        change = abs(nxx - xx) + abs(nyy - yy) + abs(nxy - xy)
        if change < 1e-4 * (abs(nxx) + abs(nyy)):
            return nxx, nyy, nxy, nxx > 0 and nyy > 0 and nxx * nyy > nxy * nxy
        if turn > 1:
            longer = _lengthened((xx, yy, xy), (nxx, nyy, nxy))
            if longer[0] * longer[1] - longer[2] ** 2 > 0.01 and min(longer[0], longer[1]) > 0.1:
                nxx, nyy, nxy = longer
        xx, yy, xy = nxx, nyy, nxy
    return xx, yy, xy, False


@njit(cache=True)
def _lengthened(old: Any, new: Any) -> Any:
    """Return where a step leads that is `_RELAXATION` times as long."""
    return (
        old[0] + _RELAXATION * (new[0] - old[0]),
        old[1] + _RELAXATION * (new[1] - old[1]),
        old[2] + _RELAXATION * (new[2] - old[2]),
    )
