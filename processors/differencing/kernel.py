"""The kernel that turns a template into a science image, and what its fit is made from (Alard & Lupton 1998; Alard 2000).

Each stamp is reduced once to its normal matrix; `processors.differencing.kernel_fit` only combines those small matrices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.errors import TooFewKernelStarsError
from processors.differencing.kernel_basis import KernelBasis, convolve_stamps

__all__ = ["Kernel", "Matrix", "Stamps", "measure_stamps", "require_stamps", "spatial_terms"]

MINIMUM_STAMPS = 3
"""Fewest stamps that give a kernel (ip_diffim asks the same)."""

SYSTEMATIC_FRACTION = 0.005
"""Part of a pixel's flux added to its noise, so that a few brilliant stars do not decide the kernel alone."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamps:
    """Normal matrices of the stamps; the last row and column stand for a constant background."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    gram: Matrix
    """Shape (stamps, members + 1, members + 1)."""
    right: Matrix
    """Shape (stamps, members + 1)."""
    square: Matrix
    """Weighted sum of squares of the science pixels, shape (stamps,)."""
    pixels: Matrix
    """Weighted pixels of each stamp."""
    noise: Matrix
    """Weighted sum of the template's variance, shape (stamps,)."""
    overlap: Matrix
    """Products of the members' images: times ``noise``, what noise adds to ``gram`` on average."""

    def chosen(self, keep: NDArray[Any]) -> Stamps:
        """Return some of the stamps."""
        names = ("x", "y", "gram", "right", "square", "pixels", "noise")
        return replace(self, **{name: getattr(self, name)[keep] for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A matching kernel over an image and how well it fits."""

    basis: KernelBasis
    shape: tuple[int, int]
    order: int
    members: NDArray[np.int64]
    """Members of the basis in use."""
    coefficients: Matrix
    """Shape (members of the basis, spatial terms): polynomial coefficients in scaled coordinates."""
    background: Matrix
    """Constant, x and y slope of the differential background in scaled coordinates, nJy."""
    sum: float
    """Flux of the science image per flux of the template."""
    degrees: tuple[int, ...]
    stamps_used: int
    stamps_offered: int
    chi2_per_pixel: float
    """Median over the stamps in use."""
    stamp_x: NDArray[np.int64]
    stamp_y: NDArray[np.int64]

    def at(self, x: float, y: float) -> Matrix:
        """Return the kernel's image at a place."""
        terms = spatial_terms(np.array([x]), np.array([y]), self.shape, self.order)[0]
        return np.tensordot(self.coefficients @ terms, self.basis.images, axes=1)

    def components(self) -> Matrix:
        """Return the kernel image that multiplies each spatial term, shape (terms, n, n)."""
        return np.tensordot(self.coefficients.T, self.basis.images, axes=1)


def spatial_terms(x: NDArray[Any], y: NDArray[Any], shape: tuple[int, int], order: int) -> Matrix:
    """Return monomials of coordinates scaled to [-1, 1], shape (points, terms)."""
    u = 2 * np.asarray(x, dtype=float) / max(shape[1] - 1, 1) - 1
    v = 2 * np.asarray(y, dtype=float) / max(shape[0] - 1, 1) - 1
    return np.stack([u**i * v ** (d - i) for d in range(order + 1) for i in range(d + 1)], axis=-1)


def measure_stamps(
    science: NDArray[Any],
    variance: NDArray[Any],
    template: NDArray[Any],
    template_variance: NDArray[Any],
    usable: NDArray[np.bool_],
    *,
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    half: int,
    pad: int,
    basis: KernelBasis,
    smoothing: float = 0.0,
) -> Stamps:
    """Reduce each stamp to its normal matrix.

    Parameters
    ----------
    science, variance
        Science image and its variance, shape (rows, columns).
    template, template_variance
        Template with ``pad`` more pixels on each side.
    usable
        Pixels that count, shape (rows, columns).
    x, y, half
        Centres and half size of the stamps in the science image.
    pad
        Margin of the template, at least the kernel's half size.
    basis
        The kernel's basis.
    smoothing
        Standard deviation of the Gaussian with which the science image is smoothed first, pixels; 0 for none.
    """
    raw = convolve_stamps(np.ascontiguousarray(template), x + pad, y + pad, half, basis.tables, basis.terms)
    count, members = len(x), len(basis.terms)
    model = np.einsum("mn,snp->smp", basis.mixing, raw.reshape(count, members, -1))
    model = np.concatenate([model, np.ones_like(model[:, :1])], axis=1)
    cut = _cutter(x, y, half)
    noise, good = cut(variance), cut(usable)
    target = cut(science) if smoothing == 0 else _smoothed(science, usable, template, x, y, half, pad, smoothing)
    template_noise = cut(template_variance[pad : pad + science.shape[0], pad : pad + science.shape[1]])
    total = noise + template_noise + (SYSTEMATIC_FRACTION * target) ** 2
    floor = 1e-6 * max(float(np.median(total)), 1e-30)
    weight = np.where(good & np.isfinite(target), 1 / np.maximum(total, floor), 0.0)
    target = np.where(weight > 0, target, 0.0)
    weighted = model * weight[:, None]
    gram = weighted @ model.transpose(0, 2, 1)
    images = basis.images.reshape(members, -1)
    right = np.einsum("smp,sp->sm", weighted, target)
    return Stamps(
        x=x,
        y=y,
        gram=gram,
        right=right,
        square=np.sum(weight * target**2, axis=1),
        pixels=np.sum(weight > 0, axis=1).astype(float),
        noise=np.sum(weight * template_noise, axis=1),
        overlap=images @ images.T,
    )


def _smoothed(
    science: NDArray[Any],
    usable: NDArray[np.bool_],
    template: NDArray[Any],
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    half: int,
    pad: int,
    sigma: float,
) -> Matrix:
    """Return smoothed stamps; pixels that are not usable, and those beyond the edge, are the template's."""
    reach = min(int(np.ceil(4 * sigma)), pad)
    steps = np.arange(-half - reach, half + reach + 1)
    rows, columns = y[:, None, None] + steps[None, :, None], x[:, None, None] + steps[None, None, :]
    inside = (rows >= 0) & (rows < science.shape[0]) & (columns >= 0) & (columns < science.shape[1])
    place = np.clip(rows, 0, science.shape[0] - 1), np.clip(columns, 0, science.shape[1] - 1)
    pixels = np.where(inside & usable[place], science[place], template[rows + pad, columns + pad]).astype(np.float64)
    line = np.exp(-0.5 * ((np.arange(2 * half + 1) + reach)[:, None] - np.arange(len(steps))[None, :]) ** 2 / sigma**2)
    line /= np.sum(np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2))
    return np.asarray((line @ pixels @ line.T).reshape(len(x), -1))


def _cutter(x: NDArray[np.int64], y: NDArray[np.int64], half: int) -> Any:
    steps = np.arange(-half, half + 1)
    rows = (y[:, None, None] + steps[None, :, None]).astype(np.intp)
    columns = (x[:, None, None] + steps[None, None, :]).astype(np.intp)

    def cut(image: NDArray[Any]) -> NDArray[Any]:
        stamps = image[rows, columns].reshape(len(x), -1)
        return stamps if stamps.dtype == bool else stamps.astype(np.float64)

    return cut


def require_stamps(count: int) -> None:
    """Raise `TooFewKernelStarsError` when a number of stamps cannot give a kernel."""
    if count < MINIMUM_STAMPS:
        raise TooFewKernelStarsError(f"Only {count} unsaturated isolated stars can give the kernel; 3 are needed.")
