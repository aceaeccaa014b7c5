"""Where a scene lies: a detector of any size in the pattern of the full CCD, the visit, and maps between pixels and sky."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from infra.telescope.errors import PlanError
from infra.telescope.optics import NEUTRAL_COLOUR, Pointing, field_radius
from infra.telescope.schedule import AirPath, Conditions, PlannedVisit
from infra.telescope.setup import BANDS, field_setup
from schemas.camera import Amplifier, Camera, Detector, load_camera

__all__ = ["PixelSky", "make_visit", "scaled_camera", "science_pointing", "template_pointing"]

BAND = "r"
ZENITH_ANGLE, TEMPLATE_ZENITH_ANGLE = 29.0, 20.0
"""Degrees: airmass 1.14 and 1.06, both in the first bin of the templates."""

PARALLACTIC, TEMPLATE_PARALLACTIC = -150.0, -140.0

TEMPLATE_ROTATION = 3.0
"""Degrees by which the template's grid is turned against north."""

TEMPLATE_SHIFT_ARCSEC = (2.31, -1.57)
"""How far the template's middle lies from the pointing."""

DAY_OBS = 20260921
START_MJD_TAI = 61305.12

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSky:
    """Exact map between an image's pixels and the sky (degrees), for objects of neutral colour.

    Its methods are those of astropy's WCS that image processing uses.
    """

    pointing: Pointing
    width: int
    height: int

    def all_pix2world(self, x: _Floats, y: _Floats, origin: int, /) -> Sequence[_Floats]:
        """Return right ascension and declination of pixels, whose first is at ``origin``."""
        u = np.asarray(x, np.float64) - origin - (self.width - 1) / 2
        v = np.asarray(y, np.float64) - origin - (self.height - 1) / 2
        ra, dec = self.pointing.to_sky(u, v)
        return [ra, dec]

    def all_world2pix(self, ra: _Floats, dec: _Floats, origin: int, /) -> Sequence[_Floats]:
        """Return column and row of places on the sky."""
        ra, dec = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
        u, v = self.pointing.to_plane(ra, dec, np.full(ra.shape, NEUTRAL_COLOUR))
        return [u + (self.width - 1) / 2 + origin, v + (self.height - 1) / 2 + origin]


def scaled_camera(size: tuple[int, int]) -> Camera:
    """Return the camera ``full-ccd`` with its one CCD cut to a size, rows and columns: sixteen amplifiers all the same.

    Raises
    ------
    PlanError
        When sixteen equal amplifiers do not tile the size.
    """
    camera = load_camera("full-ccd")
    rows, columns = size
    if rows % 2 or columns % 8 or rows < 128 or columns < 256:
        raise PlanError(f"A CCD of {rows} x {columns} pixels cannot have two rows of eight amplifiers: round it.")
    whole = camera.detectors[0]
    if (rows, columns) == (whole.height, whole.width):
        return camera
    amplifiers = tuple(_scaled(a, whole, rows, columns) for a in whole.amplifiers)
    detector = replace(whole, width=columns, height=rows, amplifiers=amplifiers)
    return replace(camera, detectors=(detector,))


def _scaled(amplifier: Amplifier, whole: Detector, rows: int, columns: int) -> Amplifier:
    x0, y0, x1, y1 = amplifier.box
    box = (
        x0 * columns // whole.width,
        y0 * rows // whole.height,
        x1 * columns // whole.width,
        y1 * rows // whole.height,
    )
    return replace(amplifier, box=box)


def make_visit(camera: Camera, seed: int, fwhm_arcsec: float, random: np.random.Generator) -> PlannedVisit:
    """Return a visit of two snaps in r whose images have a given width (arcseconds) in the middle of the field."""
    setup = field_setup(camera)
    air = AirPath(zenith_angle=ZENITH_ANGLE, parallactic=PARALLACTIC)
    shifts = random.normal(0.0, 0.008, (2, 2))
    shake = float(random.normal(0.0, 0.01))
    conditions = Conditions(
        pointing_error=(float(random.uniform(-8, 8)), float(random.uniform(-8, 8))),
        rotation_error=float(random.uniform(-0.05, 0.05)),
        transparency=float(random.uniform(0.9, 1.0)),
        sky_factor=float(random.uniform(0.95, 1.1)),
        seeing_arcsec=fwhm_arcsec / (BANDS[BAND].seeing_factor * air.airmass**0.6),
        snap_shake=(1 + shake, 1 - shake),
        snap_shift=((float(shifts[0, 0]), float(shifts[0, 1])), (float(shifts[1, 0]), float(shifts[1, 1]))),
        satellite_snap=None,
    )
    return PlannedVisit(
        camera=camera,
        seed=seed,
        index=0,
        day_obs=DAY_OBS,
        sequence=1,
        band=BAND,
        ra=setup.ra,
        dec=setup.dec,
        rotation=float(random.uniform(-1.0, 1.0)),
        start_mjd_tai=START_MJD_TAI,
        exposure_time=15.0,
        n_snaps=2,
        air=air,
        conditions=conditions,
    )


def science_pointing(visit: PlannedVisit) -> Pointing:
    """Return the pointing of the whole visit: that of its snaps without their own small shifts."""
    still = replace(visit.conditions, snap_shift=((0.0, 0.0), (0.0, 0.0)))
    return replace(visit, conditions=still).true_pointing(0)


def template_pointing(camera: Camera, visit: PlannedVisit) -> Pointing:
    """Return the plain tangent projection of the template's grid: shifted, and turned by `TEMPLATE_ROTATION`."""
    east, north = TEMPLATE_SHIFT_ARCSEC
    return Pointing(
        ra=visit.ra + east / 3600,
        dec=visit.dec + north / 3600,
        rotation=TEMPLATE_ROTATION,
        plate_scale=camera.plate_scale,
        radius=field_radius(camera),
        zenith_angle=TEMPLATE_ZENITH_ANGLE,
        parallactic=TEMPLATE_PARALLACTIC,
        band=visit.band,
        distorted=False,
    )
