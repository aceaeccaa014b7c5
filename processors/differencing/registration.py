"""Take out what the two images' coordinates still disagree by: a smooth shift measured from the kernel's stars.

A kernel absorbs a shift that varies slowly, at the price of its freedom for everything else; a cubic shift of a tenth of
a pixel, which a poor astrometric fit leaves, is more than it can take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.kernel import spatial_terms
from processors.differencing.sky import SkyMap

__all__ = ["ShiftedSky", "measure_shift"]

WORTHWHILE_PIXELS = 0.03
"""Rms of the fitted shift below which the template is not warped again."""

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftedSky:
    """A map whose pixels are moved by a polynomial before they are looked up."""

    sky: SkyMap
    shape: tuple[int, int]
    order: int
    x_shift: NDArray[np.float64]
    y_shift: NDArray[np.float64]

    def all_pix2world(self, x: Pixels, y: Pixels, origin: int, /) -> Any:
        """Return right ascension and declination of moved pixels; beyond the border the shift is that of the border."""
        inside_x = np.clip(np.asarray(x) - origin, 0, self.shape[1] - 1)
        inside_y = np.clip(np.asarray(y) - origin, 0, self.shape[0] - 1)
        terms = spatial_terms(inside_x, inside_y, self.shape, self.order)
        return self.sky.all_pix2world(x + terms @ self.x_shift, y + terms @ self.y_shift, origin)

    def all_world2pix(self, ra: Pixels, dec: Pixels, origin: int, /) -> Any:
        """Return pixels of the map underneath; the shift is not undone, for this map only reads templates."""
        return self.sky.all_world2pix(ra, dec, origin)


def measure_shift(
    science: Pixels, template: Pixels, sky: SkyMap, *, x: Pixels, y: Pixels, sigma: float
) -> ShiftedSky | None:
    """Measure how far the template lies from the science image and return the map that takes it there.

    Parameters
    ----------
    science, template
        Images on the same pixels.
    sky
        Map of the science image.
    x, y
        Pixels of unsaturated stars.
    sigma
        Standard deviation of the broader PSF, pixels.

    Returns
    -------
    ShiftedSky or None
        None when the shift is too small, or the stars too few, to make a second warp worthwhile.
    """
    here = _centroids(np.ascontiguousarray(science, dtype=np.float64), x, y, sigma)
    there = _centroids(np.ascontiguousarray(template, dtype=np.float64), x, y, sigma)
    offset = there - here
    good = np.isfinite(offset).all(axis=1) & (np.hypot(offset[:, 0], offset[:, 1]) < 2.0)
    shape = (science.shape[0], science.shape[1])
    count = int(good.sum())
    order = 3 if count >= 50 else 1 if count >= 12 else 0
    if count < 5:
        return None
    terms = spatial_terms(x[good], y[good], shape, order)
    shifts = [_robust_fit(terms, offset[good, axis]) for axis in (0, 1)]
    moved = np.stack([terms @ shift for shift in shifts])
    if float(np.sqrt(np.mean(moved**2) * 2)) < WORTHWHILE_PIXELS:
        return None
    return ShiftedSky(sky=sky, shape=shape, order=order, x_shift=shifts[0], y_shift=shifts[1])


def _robust_fit(terms: Pixels, values: Pixels) -> NDArray[np.float64]:
    keep = np.ones(len(values), dtype=bool)
    solution = np.zeros(terms.shape[1])
    for _ in range(5):
        solution = np.linalg.lstsq(terms[keep], values[keep], rcond=None)[0]
        residual = np.abs(values - terms @ solution)
        new = residual <= 3.5 * 1.4826 * np.median(residual[keep]) + 1e-9
        if new.sum() < 2 * terms.shape[1] or (new == keep).all():
            break
        keep = new
    return np.asarray(solution)


@njit(cache=True)
def _centroids(image: Any, x: Any, y: Any, sigma: float) -> Any:
    """Return centroids under a Gaussian window that follows them (as SExtractor's windowed positions)."""
    out = np.full((x.shape[0], 2), np.nan)
    half = int(3 * sigma) + 1
    for n in range(x.shape[0]):
        cx, cy = float(x[n]), float(y[n])
        for _ in range(12):
            total, mx, my = 0.0, 0.0, 0.0
            for row in range(max(int(cy) - half, 0), min(int(cy) + half + 2, image.shape[0])):
                for column in range(max(int(cx) - half, 0), min(int(cx) + half + 2, image.shape[1])):
                    dx, dy = column - cx, row - cy
                    w = np.exp(-0.5 * (dx * dx + dy * dy) / (sigma * sigma)) * image[row, column]
                    total += w
                    mx += w * dx
                    my += w * dy
            if total <= 0 or abs(cx - x[n]) > 3 or abs(cy - y[n]) > 3:
                cx = np.nan
                break
            cx, cy = cx + 2 * mx / total, cy + 2 * my / total
            if np.hypot(mx, my) < 5e-4 * total:
                break
        out[n, 0], out[n, 1] = cx, cy
    return out
