"""Makes a scene by name and seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.telescope.chance import generator
from infra.telescope.imaging_scenes.calibrated import (
    TEMPLATE_READ_NOISE_E,
    expose_template,
    expose_visit,
    ideal_point_error,
    read_noise_map,
)
from infra.telescope.imaging_scenes.geometry import (
    TEMPLATE_ROTATION,
    PixelSky,
    make_visit,
    scaled_camera,
    science_pointing,
    template_pointing,
)
from infra.telescope.imaging_scenes.light import (
    View,
    enclosed,
    paint_static,
    paint_streaks,
    paint_template_changes,
    paint_visit_changes,
)
from infra.telescope.imaging_scenes.objects import Static, draw_changes, draw_static
from infra.telescope.imaging_scenes.products import PSF_HALF, CalibratedImage, CoaddImage, SceneTruth, Streak
from infra.telescope.imaging_scenes.recipes import Recipe, recipe_of
from infra.telescope.optics import field_radius
from infra.telescope.paint import psf_image
from infra.telescope.profile import make_field_psf
from infra.telescope.schedule import PlannedVisit
from schemas.camera import Camera, Detector

__all__ = ["FULL_SIZE", "ImagingScene", "Studio", "make_scene", "open_studio"]

FULL_SIZE = (4000, 4072)
"""Rows and columns of the camera ``full-ccd``."""

TEMPLATE_MARGIN = 60
"""Pixels that the template reaches beyond the turned image on every side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """What a scene is made with: camera, visit, views of visit and template, objects, noise."""

    name: str
    seed: int
    recipe: Recipe
    camera: Camera
    visit: PlannedVisit
    science: View
    template: View
    static: Static
    streaks: tuple[Streak, ...]

    @property
    def detector(self) -> Detector:
        """The one CCD."""
        return self.camera.detectors[0]

    @property
    def sky_electrons(self) -> float:
        """Mean electrons of sky per pixel in both snaps."""
        return 2 * self.visit.sky_electrons()


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
    sigma = _point_error(studio, float(np.mean(read_noise.astype(np.float64) ** 2)))
    error = _error_map(light, read_noise, view, sigma)
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


def open_studio(name: str, seed: int, size: tuple[int, int], recipe: Recipe | None = None) -> Studio:
    """Draw everything of a scene but its light: fast, so that a stored scene need not keep it."""
    recipe = recipe or recipe_of(name).scaled(size[0] * size[1])
    camera = scaled_camera(size)
    random = generator(seed, "imaging", name)
    visit = make_visit(camera, seed, recipe.science_fwhm_arcsec, random)
    science, template = _views(camera, visit, recipe, seed)
    return Studio(
        name=name,
        seed=seed,
        recipe=recipe,
        camera=camera,
        visit=visit,
        science=science,
        template=template,
        static=draw_static(recipe, science.sky, random),
        streaks=_streaks(recipe.streaks, camera, random),
    )


def _views(camera: Camera, visit: PlannedVisit, recipe: Recipe, seed: int) -> tuple[View, View]:
    """Return how visit and template see the sky.

    The throughput counts the light within the PSF's square alone: a source's flux is what PSF photometry of that square,
    calibrated on stars, gives.
    """
    detector, radius = camera.detectors[0], field_radius(camera)
    still = replace(visit.conditions, snap_shake=(1.0, 1.0))
    sky = PixelSky(pointing=science_pointing(visit), width=detector.width, height=detector.height)
    science = View(sky=sky, psf=replace(visit, conditions=still).field_psf(0), throughput=2 * visit.throughput())
    turn = math.radians(TEMPLATE_ROTATION + 1.2)
    width, height = (
        2 * math.ceil((a * math.cos(turn) + b * math.sin(turn)) / 2 + TEMPLATE_MARGIN)
        for a, b in ((detector.width, detector.height), (detector.height, detector.width))
    )
    psf = make_field_psf(seed, ("imaging template",), recipe.template_fwhm_arcsec / camera.plate_scale, radius)
    template = View(
        sky=PixelSky(pointing=template_pointing(camera, visit), width=width, height=height),
        psf=psf,
        throughput=science.throughput,
    )
    return _aperture_corrected(science), _aperture_corrected(template)


def _aperture_corrected(view: View) -> View:
    return replace(view, throughput=view.throughput / enclosed(view, PSF_HALF))


def _streaks(count: int, camera: Camera, random: np.random.Generator) -> tuple[Streak, ...]:
    return tuple(
        Streak(
            angle=float(random.uniform(0, np.pi)),
            offset=float(random.uniform(-0.3, 0.3) * field_radius(camera)),
            snap=int(random.integers(2)),
            peak=float(random.uniform(60.0, 250.0)),
        )
        for _ in range(count)
    )


def _error_map(light: NDArray[np.float32], read_noise: NDArray[np.float32], view: View, sigma: float) -> Any:
    """Return a point source's ideal error at every pixel: larger on other objects and where the PSF is wider."""
    step = 8
    blocks = [(np.arange(math.ceil(n / step)) + 0.5) * step - 0.5 for n in light.shape]
    y, x = np.meshgrid(*blocks, indexing="ij")
    coarse = np.asarray(view.shapes(x, y).fwhm / view.psf.fwhm_pixels, np.float32)
    widths = coarse.repeat(step, axis=0).repeat(step, axis=1)[: light.shape[0], : light.shape[1]]
    power = light + read_noise**2
    return widths * (np.sqrt(power) * np.float32(sigma / np.sqrt(np.median(power[::7, ::7]))))


def _point_error(studio: Studio, read_variance: float) -> float:
    """Return the ideal error on empty sky; at the PSF's frequencies resampling leaves the coadd's noise as it was."""
    middle = np.zeros(1)
    science, template = (
        psf_image(view.psf.shapes(middle, middle), 0, PSF_HALF) for view in (studio.science, studio.template)
    )
    noise = (studio.sky_electrons + read_variance) / studio.science.throughput**2
    coadd = (studio.sky_electrons + TEMPLATE_READ_NOISE_E**2) / studio.recipe.epochs / studio.template.throughput**2
    return ideal_point_error(science, template, noise, coadd)
