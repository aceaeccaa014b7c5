"""Bring a template to the pixels of a science image: a coarse grid of WCS points and separable Lanczos-5 windows.

The image is treated as surface brightness, so each pixel is multiplied by the ratio of pixel areas. Interpolation
correlates neighbouring pixels but leaves the noise on the scale of a PSF as it was; the variance plane is therefore
interpolated like a density, not summed with squared weights, which is what matched filters and PSF fluxes need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from processors.differencing.planes import has_plane
from processors.differencing.psf import resize_psf
from processors.differencing.sky import SkyMap
from processors.differencing.templates import Template
from schemas.masks import MaskPlane

__all__ = ["WarpedTemplate", "coverage", "warp_template"]

LANCZOS_ORDER = 5
"""Star-core error .0009 of the peak against .0013 for order 4, at 1.5 times the cost (imaging.md 3.4)."""

GRID_STEP = 32
"""Pixels between WCS points; a distortion of 1e-6 per pixel leaves 1e-4 pixels of error between them."""

_PHASES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpedTemplate:
    """A template on the science image's pixels, with ``pad`` more pixels on every side."""

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint16]
    psf: NDArray[np.float64]
    """The template's PSF turned and scaled as the science image sees it."""
    pad: int


def warp_template(template: Template, science_wcs: SkyMap, shape: tuple[int, int], pad: int) -> WarpedTemplate:
    """Resample a template onto a science image's pixels.

    Parameters
    ----------
    template
        Pixels in nJy; NaN and pixels of plane NO_DATA count as absent.
    science_wcs
        Map of the science image.
    shape
        Rows and columns of the science image.
    pad
        Extra pixels wanted on each side.

    Returns
    -------
    WarpedTemplate
        Arrays of shape ``(rows + 2 pad, columns + 2 pad)``; 0 and NO_DATA where the template does not reach.
    """
    grid_x, grid_y, area = _coarse_grid(template.wcs, science_wcs, shape, pad)
    full = (shape[0] + 2 * pad, shape[1] + 2 * pad)
    absent = ~np.isfinite(template.image) | ~np.isfinite(template.variance)
    mask = np.where(absent, template.mask | np.uint16(MaskPlane.NO_DATA), template.mask).astype(np.uint16)
    no_data = has_plane(mask, MaskPlane.NO_DATA)
    image = np.where(no_data, 0, template.image).astype(np.float32)
    variance = np.where(no_data, 0, template.variance).astype(np.float32)
    out = np.zeros(full, np.float32), np.zeros(full, np.float32), np.zeros(full, np.uint16)
    _resample(image, variance, mask, grid_x, grid_y, area, _window_table(), *out)
    return WarpedTemplate(
        image=out[0], variance=out[1], mask=out[2], psf=_warp_psf(template.psf, grid_x, grid_y), pad=pad
    )


def coverage(warped: WarpedTemplate) -> float:
    """Return the fraction of the science image's pixels (pad left out) that the template reaches."""
    pad = warped.pad
    inner = warped.mask[pad : warped.mask.shape[0] - pad, pad : warped.mask.shape[1] - pad]
    return float(np.mean(~has_plane(inner, MaskPlane.NO_DATA)))


def _coarse_grid(
    template_wcs: SkyMap, science_wcs: SkyMap, shape: tuple[int, int], pad: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return template x, template y and area ratio at nodes ``GRID_STEP`` apart, one cell beyond the padded image."""
    y = np.arange(-pad, shape[0] + pad + 2 * GRID_STEP, GRID_STEP, dtype=float)
    x = np.arange(-pad, shape[1] + pad + 2 * GRID_STEP, GRID_STEP, dtype=float)
    mesh_x, mesh_y = (a.ravel() for a in np.meshgrid(x, y))
    sky = science_wcs.all_pix2world(mesh_x, mesh_y, 0)
    place = template_wcs.all_world2pix(sky[0], sky[1], 0)
    grid_x, grid_y = (np.ascontiguousarray(np.reshape(p, (len(y), len(x))), dtype=float) for p in place)
    x_by_y, x_by_x = np.gradient(grid_x, GRID_STEP)
    y_by_y, y_by_x = np.gradient(grid_y, GRID_STEP)
    return grid_x, grid_y, np.abs(x_by_x * y_by_y - x_by_y * y_by_x)


def _window_table() -> NDArray[np.float32]:
    """Return Lanczos weights that sum to 1, shape (phases + 1, 2 * order)."""
    phase = np.arange(_PHASES + 1)[:, None] / _PHASES
    offset = phase - (np.arange(2 * LANCZOS_ORDER) - (LANCZOS_ORDER - 1))
    weights = np.sinc(offset) * np.sinc(offset / LANCZOS_ORDER)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _warp_psf(psf: NDArray[Any], grid_x: NDArray[np.float64], grid_y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn a PSF image by the linear part of the map in the middle of the image."""
    row, column = grid_x.shape[0] // 2, grid_x.shape[1] // 2
    half = int(psf.shape[0]) // 2
    image = resize_psf(psf, half)
    nodes = np.array([-1.0, 0.0, 1.0]) * half
    by_x = [(g[row, column] - g[row, column - 1]) / GRID_STEP for g in (grid_x, grid_y)]
    by_y = [(g[row, column] - g[row - 1, column]) / GRID_STEP for g in (grid_x, grid_y)]
    steps_x, steps_y = np.meshgrid(nodes, nodes)
    place_x = half + by_x[0] * steps_x + by_y[0] * steps_y
    place_y = half + by_x[1] * steps_x + by_y[1] * steps_y
    out = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    margin = half
    padded = np.pad(image, margin).astype(np.float32)
    _resample_grid(padded, place_x + margin, place_y + margin, float(half), _window_table(), out)
    return resize_psf(out, half)


@njit(cache=True)
def _resample_grid(image: Any, grid_x: Any, grid_y: Any, step: float, table: Any, out: Any) -> None:
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            x, y, _ = _place(grid_x, grid_y, grid_x, r, c, step)
            out[r, c] = _interpolate(image, x, y, table)


@njit(cache=True)
def _place(grid_x: Any, grid_y: Any, area: Any, r: int, c: int, step: float) -> Any:
    j = min(int(r / step), grid_x.shape[0] - 2)
    i = min(int(c / step), grid_x.shape[1] - 2)
    t, s = r / step - j, c / step - i
    a, b, d, e = (1 - t) * (1 - s), (1 - t) * s, t * (1 - s), t * s
    x = a * grid_x[j, i] + b * grid_x[j, i + 1] + d * grid_x[j + 1, i] + e * grid_x[j + 1, i + 1]
    y = a * grid_y[j, i] + b * grid_y[j, i + 1] + d * grid_y[j + 1, i] + e * grid_y[j + 1, i + 1]
    ratio = a * area[j, i] + b * area[j, i + 1] + d * area[j + 1, i] + e * area[j + 1, i + 1]
    return x, y, ratio


@njit(cache=True)
def _interpolate(image: Any, x: float, y: float, table: Any) -> float:
    taps = table.shape[1]
    reach = taps // 2 - 1
    fx, fy = int(np.floor(x)), int(np.floor(y))
    if fx - reach < 0 or fy - reach < 0 or fx - reach + taps > image.shape[1] or fy - reach + taps > image.shape[0]:
        return 0.0
    px = int((x - fx) * (table.shape[0] - 1) + 0.5)
    py = int((y - fy) * (table.shape[0] - 1) + 0.5)
    total = 0.0
    for q in range(taps):
        line = 0.0
        row = image[fy - reach + q]
        for p in range(taps):
            line += table[px, p] * row[fx - reach + p]
        total += table[py, q] * line
    return total


@njit(cache=True)
def _resample(
    image: Any,
    variance: Any,
    mask: Any,
    grid_x: Any,
    grid_y: Any,
    area: Any,
    table: Any,
    out_image: Any,
    out_variance: Any,
    out_mask: Any,
) -> None:
    rows, columns = image.shape
    reach = table.shape[1] // 2
    for r in range(out_image.shape[0]):
        for c in range(out_image.shape[1]):
            x, y, ratio = _place(grid_x, grid_y, area, r, c, float(GRID_STEP))
            if not (reach <= x < columns - reach - 1 and reach <= y < rows - reach - 1):
                out_mask[r, c] = 256
                continue
            fx, fy = int(np.floor(x)), int(np.floor(y))
            s, t = x - fx, y - fy
            bits = mask[fy, fx] | mask[fy, fx + 1] | mask[fy + 1, fx] | mask[fy + 1, fx + 1]
            out_mask[r, c] = bits
            if bits & 256:
                continue
            out_image[r, c] = ratio * _interpolate(image, x, y, table)
            upper = (1 - s) * variance[fy, fx] + s * variance[fy, fx + 1]
            lower = (1 - s) * variance[fy + 1, fx] + s * variance[fy + 1, fx + 1]
            out_variance[r, c] = ratio * ratio * ((1 - t) * upper + t * lower)
