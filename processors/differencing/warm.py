"""Compile every kernel before the first real image: a small made-up pair goes through `difference` and forced photometry."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.artefacts import streak_pixels
from processors.differencing.chains import find_chains
from processors.differencing.completeness import measure_completeness
from processors.differencing.detection import PEAK_DTYPE, psf_response
from processors.differencing.faint_trails import find_faint_trails
from processors.differencing.fitting import fit_dipoles
from processors.differencing.glints import find_glint_trains
from processors.differencing.layers import ScienceImage, VisitInfo
from processors.differencing.pipeline import difference
from processors.differencing.psf import ConstantPsf
from processors.differencing.reliability_features import reliability_features
from processors.differencing.resample import GRID_STEP, resample_image, window_table
from processors.differencing.sky import LinearSky
from processors.differencing.snap_consistency import SnapPair
from processors.differencing.snap_trails import trail_presence
from processors.differencing.templates import Template
from processors.differencing.trail_model import trail_psf
from processors.differencing.trails import SnapPlanes, fit_trails
from processors.forced import PhotometryImage, forced_sources
from schemas.public import null_rows

__all__ = ["warm_up"]

_SIDE = 256
"""Pixels: more than one tile."""


@functools.cache
def warm_up() -> None:
    """Compile (or load from the disk cache) all kernels of image differencing; a second call does nothing."""
    science, template, snaps = _pair(1.6)
    difference(science, _pair(2.4)[1])
    result = difference(science, template, info=VisitInfo(visit=2026010100001), snaps=snaps)
    psf = result.psf
    image, variance, usable = result.image, result.variance, np.ones(result.image.shape, dtype=bool)
    start = np.array([[80.0, 80.0, 81.0, 80.0, 1e3, 1e3]])
    prior = np.array([[1e3, 1e2, 1e3, 1e2]])
    fit_dipoles(image, variance, usable, psf.x_nodes, psf.y_nodes, psf.coefficients, start, prior, 10)
    trail, own = np.array([[80.0, 80.0, 1e3, 5.0, 0.3]]), [trail_psf(psf.mean, (4.0, 4.0, 0.0))]
    pair = SnapPlanes(image=image, variance=variance, gap_share=0.1, share=0.0, shift=(0.0, 0.0))
    fit_trails((image, variance, usable), trail, own, (pair, own, np.array([True])))
    trail_presence(snaps, (image, variance, usable), trail)
    reliability_features(result, np.array([80.0]), np.array([80.0]))
    measure_completeness(result, visit=2026010100001, detector=0)
    at = science.wcs.all_pix2world(np.array([80.0]), np.array([80.0]), 0)
    photometry = PhotometryImage(image=science.image, variance=science.variance, mask=science.mask, psf=science.psf)
    visit = VisitInfo(visit=2026010100001)
    forced_sources(result, photometry, science.wcs, dia_object_id=np.array([1]), ra=at[0], dec=at[1], info=visit)
    _rarities()


def _rarities() -> None:
    """Call what an ordinary image has none of: a streak, a long trail, a template turned by half a right angle."""
    steps = np.arange(_SIDE)
    streak = np.zeros((_SIDE, _SIDE), np.float32)
    streak[_SIDE // 2 - 2 : _SIDE // 2 + 3] = 9.0
    streak_pixels(streak, np.zeros(streak.shape, dtype=bool), 4.0)
    peaks = np.zeros(3, PEAK_DTYPE)
    peaks["x"], peaks["y"], peaks["snr"] = (40, 80, 120), _SIDE // 2, (9.0, 8.0, 7.0)
    find_chains(streak, peaks, 4.0)
    find_faint_trails(
        0.3 * streak + _ripple(), peaks[:0], [], response=psf_response(_gaussian(2.0, 0.0, 0.0), 24), fwhm=4.0
    )
    flashes = null_rows("diaSource", 4)
    flashes["x"], flashes["y"] = (20, 40, 60, 80), 50
    find_glint_trains(flashes, (_SIDE, _SIDE))
    nodes = np.arange(-1.0, 4.0) * GRID_STEP
    grid_x, grid_y = (nodes[None, :] + sign * nodes[:, None] for sign in (1, -1))
    resample_image(streak, grid_x, grid_y + steps[-1], window_table(), np.zeros((GRID_STEP, GRID_STEP), np.float32))


def _pair(template_sigma: float) -> tuple[ScienceImage, Template, SnapPair]:
    """Draw a regular field of stars with one that brightened and one that is gone, and a template sharper or broader than 2 pixels."""
    steps = np.arange(20, _SIDE - 10, 24, dtype=float)
    x, y = (a.ravel() + 0.3 for a in np.meshgrid(steps, steps))
    flux = np.linspace(4e4, 2e5, len(x))
    now = flux.copy()
    now[7] *= 1.5
    now[11] = 0.0
    noise = _ripple() * 30.0
    image = (_stars(x, y, now, 2.0) + noise).astype(np.float32)
    variance, mask = np.full(image.shape, 900.0, np.float32), np.zeros(image.shape, np.uint16)
    science = ScienceImage(
        image=image, variance=variance, mask=mask, psf=ConstantPsf(_gaussian(2.0, 0.0, 0.0)), wcs=LinearSky()
    )
    template = Template(
        image=_stars(x, y, flux, template_sigma).astype(np.float32),
        variance=np.full(image.shape, 225.0, np.float32),
        mask=mask,
        psf=_gaussian(template_sigma, 0.0, 0.0),
        wcs=LinearSky(x0=0.4),
    )
    return (
        science,
        template,
        SnapPair(difference=noise.astype(np.float32), variance=variance, exposure_s=15.0, gap_s=2.0),
    )


def _ripple() -> NDArray[Any]:
    """Return a fixed pattern that looks like noise of standard deviation 1: nothing here is random."""
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    phase = np.mod(12.9898 * rows + 78.233 * columns + 0.37 * rows * columns, 1.0)
    return np.asarray((phase - 0.5) * np.sqrt(12.0))


def _gaussian(sigma: float, dx: float, dy: float, half: int = 12) -> NDArray[np.float64]:
    side = np.arange(-half, half + 1)
    image = np.exp(-0.5 * ((side[None, :] - dx) ** 2 + (side[:, None] - dy) ** 2) / sigma**2)
    return np.asarray(image / image.sum())


def _stars(x: NDArray[Any], y: NDArray[Any], flux: NDArray[Any], sigma: float) -> NDArray[np.float64]:
    image = np.zeros((_SIDE + 40, _SIDE + 40))
    for px, py, f in zip(x, y, flux, strict=True):
        ix, iy = round(px), round(py)
        image[iy + 8 : iy + 33, ix + 8 : ix + 33] += f * _gaussian(sigma, px - ix, py - iy)
    return image[20:-20, 20:-20]
