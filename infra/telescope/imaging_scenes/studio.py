"""What a scene is made with, drawn from its name and seed before any light is painted."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from infra.telescope.chance import generator
from infra.telescope.imaging_scenes.geometry import (
    TEMPLATE_ROTATION,
    PixelSky,
    make_visit,
    scaled_camera,
    science_pointing,
    template_pointing,
)
from infra.telescope.imaging_scenes.light import View
from infra.telescope.imaging_scenes.objects import Static, draw_static
from infra.telescope.imaging_scenes.products import Streak
from infra.telescope.imaging_scenes.recipes import Recipe, recipe_of
from infra.telescope.optics import field_radius
from infra.telescope.profile import make_field_psf
from infra.telescope.schedule import PlannedVisit
from schemas.camera import Camera, Detector

__all__ = ["Studio", "open_studio"]

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
    """Return how visit and template see the sky."""
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
    return science, template


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
