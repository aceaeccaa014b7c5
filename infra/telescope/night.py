"""One simulated night: its sky, its detectors, and the light and charge of every exposure."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.telescope.artefacts import cosmic_rays, satellite_track, trail_light
from infra.telescope.chance import generator
from infra.telescope.charge import draw_charge_effects
from infra.telescope.electronics import collect, read_out
from infra.telescope.optics import field_radius, plane_to_detector
from infra.telescope.response import DetectorResponse, make_response
from infra.telescope.scene import Placed, axes_of_sky, paint_scene
from infra.telescope.schedule import PlannedVisit
from infra.telescope.setup import BANDS
from infra.telescope.sky import (
    CATALOGUE_DTYPE,
    Asteroid,
    Kind,
    add_night,
    asteroid_positions,
    flux_nanojansky,
    make_asteroids,
    make_static_sky,
    positions,
)
from schemas.camera import Camera, Detector

__all__ = ["Exposed", "Night"]

TRAIL_POINTS = 5
"""A moving object is painted at so many times of an exposure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """One detector at the end of one exposure."""

    expected: NDArray[np.float32]
    """Mean electrons of light and dark current, float32 of the trimmed CCD."""
    electrons: NDArray[np.float32]
    """What was collected, after bleeding."""
    frames: list[NDArray[np.uint16]]
    """Raw frame of each amplifier."""


class Night:
    """The sky and the detectors of a night's visits.

    Parameters
    ----------
    camera, seed
        Which camera, and the seed of everything.
    visits
        The plan: all of one night.
    charge_effects
        Whether the sensors show the brighter-fatter effect and deferred charge.
    """

    def __init__(self, camera: Camera, seed: int, visits: list[PlannedVisit], *, charge_effects: bool = False) -> None:
        self.camera = camera
        self.seed = seed
        self.visits = visits
        times = [visit.start_mjd_tai for visit in visits]
        day_obs = visits[0].day_obs
        self.catalogue: NDArray[Any] = add_night(camera, seed, make_static_sky(camera, seed), day_obs, times)
        self.asteroids: list[Asteroid] = make_asteroids(camera, seed, day_obs, times)
        self._everything = functools.lru_cache(maxsize=4)(self._place_all)
        self.response = functools.cache(lambda identifier: make_response(camera, seed, camera.detector(identifier)))
        self._charge_effects = charge_effects

    def place(self, visit: PlannedVisit, snap: int, detector: Detector) -> Placed:
        """Return every object with its place on a detector and its electrons in a snap."""
        catalogue, u, v, flux = self._everything(visit.index, snap)
        x, y = plane_to_detector(detector, u, v)
        electrons = flux * visit.throughput() * self._response(detector).throughput
        return Placed(catalogue=catalogue, x=x, y=y, u=u, v=v, electrons=electrons)

    def _place_all(
        self, index: int, snap: int
    ) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Catalogue with moving objects, focal-plane places and fluxes (nJy) of a snap: the same for all detectors."""
        visit = self.visits[index]
        middle = 0.5 * (visit.begin_mjd_tai(snap) + visit.end_mjd_tai(snap))
        ra, dec = positions(self.catalogue, middle)
        flux = flux_nanojansky(self.catalogue, visit.band, middle)
        rows, moving_ra, moving_dec, moving_flux = self._moving(visit, snap)
        catalogue = np.concatenate([self.catalogue, rows])
        pointing = visit.true_pointing(snap)
        u, v = pointing.to_plane(
            np.concatenate([ra, moving_ra]), np.concatenate([dec, moving_dec]), catalogue["colour"]
        )
        return catalogue, u, v, np.concatenate([flux, moving_flux])

    def light(self, visit: PlannedVisit, snap: int, detector: Detector) -> NDArray[np.float32]:
        """Return the mean electrons of light and dark current that a detector gathers in a snap."""
        response = self._response(detector)
        image = np.full((detector.height, detector.width), visit.sky_electrons(), np.float32)
        image *= np.float32(response.throughput)
        if visit.conditions.satellite_snap == snap:
            image += trail_light(detector, self.track(visit))
        pointing = visit.true_pointing(snap)
        axes = axes_of_sky(pointing.rotation, self.camera.plate_scale, detector.quarter_turns)
        paint_scene(image, self.place(visit, snap, detector), visit.field_psf(snap), axes, detector.quarter_turns)
        image *= response.flat(visit.band)
        image += response.dark * np.float32(visit.exposure_time)
        return image

    def expose(self, visit: PlannedVisit, snap: int, detector: Detector) -> Exposed:
        """Expose a detector and read it out."""
        exposure = visit.exposure(snap)
        random = generator(self.seed, "exposure", exposure, detector.id)
        expected = self.light(visit, snap, detector)
        struck = cosmic_rays(expected.shape, visit.exposure_time, generator(self.seed, "rays", exposure, detector.id))
        response = self._response(detector)
        effects = draw_charge_effects(self.seed, detector) if self._charge_effects else None
        electrons = collect(expected, struck, response, random, effects=effects)
        frames = read_out(electrons, response, random, effects=effects)
        return Exposed(expected=expected, electrons=electrons, frames=frames)

    def track(self, visit: PlannedVisit) -> tuple[float, float]:
        """Return the straight line of the visit's satellite, if it has one."""
        return satellite_track(field_radius(self.camera), generator(self.seed, "satellite", visit.visit))

    def _response(self, detector: Detector) -> DetectorResponse:
        return self.response(detector.id)

    def _moving(
        self, visit: PlannedVisit, snap: int
    ) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        shares = (np.arange(TRAIL_POINTS) + 0.5) / TRAIL_POINTS
        begin, end = visit.begin_mjd_tai(snap), visit.end_mjd_tai(snap)
        seen = [asteroid_positions(self.asteroids, begin + share * (end - begin)) for share in shares]
        rows = np.zeros(len(self.asteroids) * TRAIL_POINTS, CATALOGUE_DTYPE)
        rows["kind"], rows["axis_ratio"] = Kind.STAR, 1.0
        rows["key"] = np.tile([a.key for a in self.asteroids], TRAIL_POINTS)
        rows["colour"] = np.tile([a.colour for a in self.asteroids], TRAIL_POINTS)
        rows["mag_r"] = np.tile([a.mag_r for a in self.asteroids], TRAIL_POINTS)
        magnitude = rows["mag_r"] + BANDS[visit.band].colour_slope * rows["colour"]
        ra, dec = np.concatenate([s[0] for s in seen]), np.concatenate([s[1] for s in seen])
        return rows, ra, dec, np.asarray(10 ** (0.4 * (31.4 - magnitude)) / TRAIL_POINTS)
