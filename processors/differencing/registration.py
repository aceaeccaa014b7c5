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

__all__ = ["ShiftedSky", "best_offset", "measure_shift", "star_centroids"]

WORTHWHILE_PIXELS = 0.01
"""Rms of the fitted shift below which it is left to the kernel."""

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
    science: Pixels, template: tuple[Pixels, SkyMap], sky: SkyMap, *, x: Pixels, y: Pixels, sigma: float
) -> ShiftedSky | None:
    """Measure how far the template lies from the science image and return the map that takes it there.

    Parameters
    ----------
    science
        Image.
    template
        Image in its own pixels, and its map.
    sky
        Map of the science image.
    x, y
        Pixels of unsaturated stars in the science image.
    sigma
        Standard deviation of the broader PSF, pixels.

    Returns
    -------
    ShiftedSky or None
        None when the shift is too small to matter, or the stars too few.
    """
    image, template_sky = template
    shape = (science.shape[0], science.shape[1])
    ra, dec = sky.all_pix2world(x.astype(float), y.astype(float), 0)
    columns, rows = (np.floor(np.asarray(p) + 0.5).astype(np.int64) for p in template_sky.all_world2pix(ra, dec, 0))
    found = star_centroids(image, columns, rows, sigma)
    here = star_centroids(science, x, y, sigma)
    good = np.isfinite(here).all(axis=1) & np.isfinite(found).all(axis=1)
    x, y, here, found = x[good], y[good], here[good], found[good]
    if len(x) < 5:
        return None
    ra, dec = template_sky.all_pix2world(found[:, 0], found[:, 1], 0)
    there = sky.all_world2pix(ra, dec, 0)
    # The template's star lies at `there` in the science image's own map: the pixel that should look there is `here`.
    offset = np.stack(there, axis=1) - here
    near = np.hypot(offset[:, 0], offset[:, 1]) < 2.0
    count = int(near.sum())
    if count < 5:
        return None
    order = 3 if count >= 50 else 1 if count >= 12 else 0
    terms = spatial_terms(x[near], y[near], shape, order)
    shifts = [_robust_fit(terms, offset[near, axis]) for axis in (0, 1)]
    moved = np.stack([terms @ shift for shift in shifts])
    if float(np.sqrt(np.mean(moved**2) * 2)) < WORTHWHILE_PIXELS:
        return None
    return ShiftedSky(sky=sky, shape=shape, order=order, x_shift=shifts[0], y_shift=shifts[1])


def best_offset(science: Pixels, template: Pixels, offsets: list[tuple[int, int]]) -> tuple[int, int]:
    """Return which of some offsets of whole pixels makes two images most alike.

    Parameters
    ----------
    science, template
        Images without background.
    offsets
        Candidates: the template's pixel ``(x + dx, y + dy)`` shows the sky of the science image's pixel ``(x, y)``.
    """

    def likeness(offset: tuple[int, int]) -> float:
        first, second = _overlap(science, template, offset)
        if first.size < 100:
            return -1.0
        first, second = first - first.mean(), second - second.mean()
        return float(np.sum(first * second) / np.sqrt(max(np.sum(first**2) * np.sum(second**2), 1e-30)))

    return max(offsets, key=likeness)


def _overlap(science: Pixels, template: Pixels, offset: tuple[int, int]) -> tuple[Pixels, Pixels]:
    dx, dy = offset
    x0, y0 = max(0, -dx), max(0, -dy)
    x1, y1 = min(science.shape[1], template.shape[1] - dx), min(science.shape[0], template.shape[0] - dy)
    if x1 <= x0 or y1 <= y0:
        return np.zeros(0), np.zeros(0)
    return (
        np.asarray(science[y0:y1, x0:x1], dtype=np.float64),
        np.asarray(template[y0 + dy : y1 + dy, x0 + dx : x1 + dx], dtype=np.float64),
    )


def star_centroids(image: Pixels, x: Pixels, y: Pixels, sigma: float) -> NDArray[np.float64]:
    """Return windowed centroids (columns, rows) of stars near given pixels, NaN where there is none; shape (stars, 2)."""
    return np.asarray(_centroids(np.ascontiguousarray(image), x, y, sigma))


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
