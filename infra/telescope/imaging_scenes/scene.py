"""Makes a scene by name and seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from infra.telescope.chance import generator
from infra.telescope.imaging_scenes.calibrated import (
    TEMPLATE_READ_NOISE_E,
    expose_template,
    expose_visit,
    ideal_point_error,
    read_noise_map,
    saturates,
)
from infra.telescope.imaging_scenes.light import (
    View,
    paint_static,
    paint_streaks,
    paint_template_changes,
    paint_visit_changes,
)
from infra.telescope.imaging_scenes.objects import draw_changes
from infra.telescope.imaging_scenes.products import PSF_HALF, CalibratedImage, CoaddImage, SceneTruth
from infra.telescope.imaging_scenes.raw import RawSnaps, take_snaps
from infra.telescope.imaging_scenes.recipes import Recipe
from infra.telescope.imaging_scenes.studio import Studio, open_studio
from infra.telescope.paint import psf_image

__all__ = ["FULL_SIZE", "ImagingScene", "make_scene"]

LEAST_INFORMATION = 1e-4
"""Part of what empty sky tells that every place tells, so that no change is drawn infinitely bright."""

FULL_SIZE = (4000, 4072)
"""Rows and columns of the camera ``full-ccd``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagingScene:
    """A calibrated image and its template, with their truth."""

    studio: Studio
    science: CalibratedImage
    template: CoaddImage
    truth: SceneTruth

    @property
    def name(self) -> str:
        """Kind of scene."""
        return self.studio.name

    @property
    def seed(self) -> int:
        """Seed it was drawn from."""
        return self.studio.seed

    def raw_snaps(self, *, charge_effects: bool = True) -> RawSnaps:
        """Expose both snaps of the visit and read them out (some 20 CPU seconds for a full CCD).

        Parameters
        ----------
        charge_effects
            Whether the sensor shows the brighter-fatter effect and deferred charge.
        """
        return take_snaps(self.studio, self.truth.changes, charge_effects=charge_effects)


def make_scene(
    name: str, seed: int, *, size: tuple[int, int] = FULL_SIZE, recipe: Recipe | None = None
) -> ImagingScene:
    """Draw a scene.

    Parameters
    ----------
    name
        nominal, sharper, crowded or bright.
    seed
        The same seed gives the same scene.
    size
        Rows (a multiple of 2) and columns (a multiple of 8); counts keep their density.
    recipe
        Other contents than the name's; taken as it is, not scaled.

    Raises
    ------
    PlanError
        When there is no such scene, or the size cannot have sixteen amplifiers.
    """
    studio = open_studio(name, seed, size, recipe)
    view = studio.science
    random = generator(seed, "imaging", name, "noise")
    read_noise = read_noise_map(studio.detector, random)
    light = view.blank(studio.sky_electrons)
    paint_static(light, view, studio.static, studio.static.table["flux"])
    coadd_light = studio.template.blank(studio.sky_electrons)
    paint_static(coadd_light, studio.template, studio.static, studio.static.table["flux"])
    blank = studio.sky_electrons + float(np.mean(read_noise.astype(np.float64) ** 2))
    sigma = _point_error(studio, blank)
    error = _error_map(light, light + read_noise**2, blank, view, sigma)
    changes = draw_changes(studio.recipe, view.sky, studio.static, error, generator(seed, "imaging", name, "changes"))
    paint_visit_changes(light, view, changes, studio.static)
    paint_streaks(light, studio.detector, studio.streaks)
    paint_template_changes(coadd_light, studio.template, changes, studio.static, view.sky)
    science, saturated = expose_visit(light, read_noise, studio.detector, view, studio.sky_electrons, random)
    template = expose_template(coadd_light, studio.template, studio.sky_electrons, studio.recipe.epochs, random)
    truth = SceneTruth(
        static=studio.static.table, changes=changes, streaks=studio.streaks, saturated=saturated, point_error=sigma
    )
    return ImagingScene(studio=studio, science=science, template=template, truth=truth)


def _error_map(
    light: NDArray[np.float32], power: NDArray[np.float32], blank: float, view: View, sigma: float
) -> NDArray[np.float32]:
    """Return a point source's ideal error at every pixel: larger on other objects, where pixels saturate and where the PSF is wider.

    Every pixel tells as much as its variance lets it, by the square of the PSF there, here a Gaussian's; a saturated one nothing.

    Parameters
    ----------
    light, power
        Mean electrons and variance of every pixel.
    blank, sigma
        Variance of a pixel of empty sky, and the error there.
    """
    told = np.where(saturates(light), np.float32(0.0), np.float32(blank) / power)
    told = gaussian_filter(told, view.psf.fwhm_pixels / (2.3548 * math.sqrt(2)), truncate=3.0)
    np.maximum(told, np.float32(LEAST_INFORMATION), out=told)
    step = 8
    blocks = [(np.arange(math.ceil(n / step)) + 0.5) * step - 0.5 for n in light.shape]
    y, x = np.meshgrid(*blocks, indexing="ij")
    coarse = np.asarray(view.shapes(x, y).fwhm / view.psf.fwhm_pixels, np.float32)
    widths = coarse.repeat(step, axis=0).repeat(step, axis=1)[: light.shape[0], : light.shape[1]]
    return np.asarray(widths * np.float32(sigma) / np.sqrt(told), np.float32)


def _point_error(studio: Studio, blank: float) -> float:
    """Return the ideal error on empty sky; at the PSF's frequencies resampling leaves the coadd's noise as it was."""
    middle = np.zeros(1)
    science, template = (
        psf_image(view.psf.shapes(middle, middle), 0, PSF_HALF) for view in (studio.science, studio.template)
    )
    noise = blank / studio.science.calibration**2
    coadd = (studio.sky_electrons + TEMPLATE_READ_NOISE_E**2) / studio.recipe.epochs / studio.template.calibration**2
    return ideal_point_error(science, template, noise, coadd)
