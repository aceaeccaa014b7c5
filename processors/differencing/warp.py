"""Bring a template to the pixels of a science image: a coarse grid of WCS points and separable Lanczos-5 windows.

The image is treated as surface brightness, so each pixel is multiplied by the ratio of pixel areas. Interpolation
correlates neighbouring pixels but leaves the noise on the scale of a PSF as it was; the variance plane is therefore
interpolated like a density, not summed with squared weights, which is what matched filters and PSF fluxes need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.planes import all_finite, any_plane, has_plane
from processors.differencing.psf import resize_psf
from processors.differencing.resample import GRID_STEP, resample_grid, resample_image, resample_planes, window_table
from processors.differencing.sky import SkyMap
from processors.differencing.templates import Template, shallow_pixels
from schemas.masks import MaskPlane

__all__ = ["CoarseGrid", "WarpedTemplate", "coarse_grid", "coverage", "warp_psf", "warp_template"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpedTemplate:
    """A template on the science image's pixels, with ``pad`` more pixels on every side."""

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint16]
    psf: NDArray[np.float64]
    """The template's PSF turned and scaled as the science image sees it."""
    pad: int
    noise_correlation: float
    """Variance of a resampled pixel as a part of the variance plane, which holds on the scale of a PSF."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoarseGrid:
    """Where pixels of the science image lie in the template, at nodes from one step before its padded corner."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    area: NDArray[np.float64]
    """Area of a science pixel in pixels of the template."""


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
        Arrays of shape ``(rows + 2 pad, columns + 2 pad)``; 0 and NO_DATA where the template does not reach, HIGH_VARIANCE where
        it is much less deep than elsewhere.
    """
    grid = coarse_grid(template.wcs, science_wcs, shape, pad)
    full = (shape[0] + 2 * pad, shape[1] + 2 * pad)
    image, variance, mask = _present(template)
    shallow = shallow_pixels(variance, has_plane(mask, MaskPlane.NO_DATA))
    if shallow.any():
        mask = mask | (shallow * np.uint16(MaskPlane.HIGH_VARIANCE))
    out = np.zeros(full, np.float32), np.zeros(full, np.float32), np.zeros(full, np.uint16)
    table = window_table()
    resample_image(image, grid.x, grid.y, table, out[0])
    resample_planes(variance, mask, grid.x, grid.y, grid.area, *out)
    return WarpedTemplate(
        image=out[0],
        variance=_on_psf_scale(out[1], template.noise_factor),
        mask=out[2],
        psf=warp_psf(template.psf, grid),
        pad=pad,
        noise_correlation=float(np.mean(np.sum(table.astype(np.float64) ** 2, axis=1))) ** 2,
    )


def _on_psf_scale(variance: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    return variance if factor == 1.0 else np.multiply(variance, np.float32(factor), out=variance)


def _present(template: Template) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]]:
    """Return a template's pixels with 0 and NO_DATA where one of them is absent; copies are made only when some are."""
    image: NDArray[np.float32] = np.ascontiguousarray(template.image, dtype=np.float32)
    variance: NDArray[np.float32] = np.ascontiguousarray(template.variance, dtype=np.float32)
    mask: NDArray[np.uint16] = np.ascontiguousarray(template.mask, dtype=np.uint16)
    if all_finite(image) and all_finite(variance) and not any_plane(mask, MaskPlane.NO_DATA):
        return image, variance, mask
    absent = ~np.isfinite(image) | ~np.isfinite(variance) | has_plane(mask, MaskPlane.NO_DATA)
    return (
        np.where(absent, np.float32(0), image),
        np.where(absent, np.float32(0), variance),
        mask | (absent * np.uint16(MaskPlane.NO_DATA)),
    )


def coverage(warped: WarpedTemplate) -> float:
    """Return the fraction of the science image's pixels (pad left out) that the template reaches."""
    pad = warped.pad
    inner = warped.mask[pad : warped.mask.shape[0] - pad, pad : warped.mask.shape[1] - pad]
    return float(np.mean(~has_plane(inner, MaskPlane.NO_DATA)))


def coarse_grid(template_wcs: SkyMap, science_wcs: SkyMap, shape: tuple[int, int], pad: int) -> CoarseGrid:
    """Ask both maps where pixels of the padded science image lie in the template, at nodes ``GRID_STEP`` apart."""
    y = np.arange(-pad - GRID_STEP, shape[0] + pad + 2 * GRID_STEP, GRID_STEP, dtype=float)
    x = np.arange(-pad - GRID_STEP, shape[1] + pad + 2 * GRID_STEP, GRID_STEP, dtype=float)
    mesh_x, mesh_y = (a.ravel() for a in np.meshgrid(x, y))
    sky = science_wcs.all_pix2world(mesh_x, mesh_y, 0)
    place = template_wcs.all_world2pix(sky[0], sky[1], 0)
    grid_x, grid_y = (np.ascontiguousarray(np.reshape(p, (len(y), len(x))), dtype=float) for p in place)
    x_by_y, x_by_x = np.gradient(grid_x, GRID_STEP)
    y_by_y, y_by_x = np.gradient(grid_y, GRID_STEP)
    return CoarseGrid(x=grid_x, y=grid_y, area=np.abs(x_by_x * y_by_y - x_by_y * y_by_x))


def warp_psf(psf: NDArray[Any], grid: CoarseGrid) -> NDArray[np.float64]:
    """Turn a PSF image by the linear part of the map in the middle of the image."""
    grid_x, grid_y = grid.x, grid.y
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
    resample_grid(padded, place_x + margin, place_y + margin, float(half), window_table(), out)
    return resize_psf(out, half)
