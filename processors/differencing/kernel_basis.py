"""Basis of the matching kernel: Gaussians times polynomials (Alard & Lupton 1998; Alard 2000).

The first member carries the whole sum of the kernel; all others have sum 0, so that spatial variation of their
coefficients changes the shape of the kernel and never the photometric scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["KernelBasis", "convolve_stamps", "make_basis"]

GAUSSIAN_RATIO = 2.0
"""Ratio of neighbouring widths, as in Rubin's ip_diffim (alardGaussBeta)."""

MINIMUM_SIGMA_PIXELS = 0.7
"""Narrowest Gaussian that pixels still sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelBasis:
    """Gaussian-polynomial members, each a product of a row and a column function before they are mixed."""

    sigmas: tuple[float, ...]
    degrees: tuple[int, ...]
    half: int
    tables: NDArray[np.float64]
    """One-dimensional functions, shape (Gaussians, highest degree + 1, 2 half + 1)."""
    terms: NDArray[np.int64]
    """Gaussian, power of x, power of y of each raw member, shape (members, 3)."""
    mixing: NDArray[np.float64]
    """Members as sums of raw ones, shape (members, members)."""

    @property
    def images(self) -> NDArray[np.float64]:
        """Members as images, shape (members, 2 half + 1, 2 half + 1); the first sums to 1, the others to 0."""
        return np.tensordot(self.mixing, _raw_images(self.tables, self.terms), axes=1)

    def subset(self, degrees: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the members whose degrees do not exceed those given, the first always among them."""
        keep = [n for n, (g, p, q) in enumerate(self.terms) if n == 0 or p + q <= degrees[g]]
        return np.asarray(keep, dtype=np.int64)


def make_basis(core_sigma: float, degrees: tuple[int, ...] = (4, 2, 2), largest_half: int = 16) -> KernelBasis:
    """Build the basis whose widths straddle the kernel expected from the seeing.

    Parameters
    ----------
    core_sigma
        Standard deviation of the kernel that turns the template's PSF into the target, pixels.
    degrees
        Highest power of each Gaussian's polynomial, the narrowest Gaussian first. -1 leaves one out.
    largest_half
        Bound on the half size of the kernel, pixels.
    """
    core = max(core_sigma, MINIMUM_SIGMA_PIXELS * GAUSSIAN_RATIO)
    sigmas = (core / GAUSSIAN_RATIO, core, core * GAUSSIAN_RATIO)
    half = min(max(math.ceil(3.0 * sigmas[-1]), 6), largest_half)
    u = np.arange(-half, half + 1, dtype=float)
    powers = max(degrees) + 1
    tables = np.array([[(u / s) ** p * np.exp(-0.5 * (u / s) ** 2) for p in range(powers)] for s in sigmas])
    terms = np.array(_terms(degrees), dtype=np.int64)
    return KernelBasis(
        sigmas=sigmas, degrees=degrees, half=half, tables=tables, terms=terms, mixing=_mixing(tables, terms)
    )


def _terms(degrees: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """List members with the middle Gaussian's plain one first, so that it carries the sum."""
    listed = [(g, p, d - p) for g, degree in enumerate(degrees) for d in range(degree + 1) for p in range(d + 1)]
    first = (1, 0, 0)
    return [first] + [term for term in listed if term != first]


def _raw_images(tables: NDArray[np.float64], terms: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array([np.outer(tables[g, q], tables[g, p]) for g, p, q in terms])


def _mixing(tables: NDArray[np.float64], terms: NDArray[np.int64]) -> NDArray[np.float64]:
    raw = _raw_images(tables, terms)
    mixing = np.zeros((len(terms), len(terms)))
    mixing[0, 0] = 1 / raw[0].sum()
    for n in range(1, len(terms)):
        _, p, q = terms[n]
        if p % 2 == 0 and q % 2 == 0:
            mixing[n, n] = 1 / raw[n].sum()
            mixing[n, 0] = -mixing[0, 0]
        else:
            mixing[n, n] = 1 / np.abs(raw[n]).sum()
    return mixing


@njit(cache=True)
def convolve_stamps(image: Any, x: Any, y: Any, half: int, tables: Any, terms: Any) -> Any:
    """Convolve the surroundings of positions with every raw member of a basis.

    Parameters
    ----------
    image
        Pixels, shape (rows, columns).
    x, y
        Centres of the stamps in pixels of ``image``; a stamp and the kernel around it must fit.
    half
        Half size of the stamps.
    tables, terms
        Fields of a `KernelBasis`.

    Returns
    -------
    ndarray
        Shape (stamps, members, 2 half + 1, 2 half + 1), float64.
    """
    reach = tables.shape[2] // 2
    size, taps, powers = 2 * half + 1, tables.shape[2], tables.shape[1]
    members = terms.shape[0]
    out = np.zeros((x.shape[0], members, size, size))
    lines = np.zeros((tables.shape[0], powers, size + 2 * reach, size))
    for s in range(x.shape[0]):
        top, left = y[s] - half - reach, x[s] - half - reach
        lines[:] = 0.0
        for g in range(tables.shape[0]):
            for p in range(powers):
                used = False
                for n in range(members):
                    used = used or (terms[n, 0] == g and terms[n, 1] == p)
                if not used:
                    continue
                for r in range(size + 2 * reach):
                    for k in range(taps):
                        weight = tables[g, p, taps - 1 - k]
                        for c in range(size):
                            lines[g, p, r, c] += weight * image[top + r, left + c + k]
        for n in range(members):
            g, p, q = terms[n, 0], terms[n, 1], terms[n, 2]
            for r in range(size):
                for k in range(taps):
                    weight = tables[g, q, taps - 1 - k]
                    for c in range(size):
                        out[s, n, r, c] += weight * lines[g, p, r + k, c]
    return out
