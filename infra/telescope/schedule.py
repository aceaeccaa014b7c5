"""The scheduler: which visits a night has, when, where and in what air."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infra.sal import group_id_of
from infra.telescope.chance import generator
from infra.telescope.errors import PlanError
from infra.telescope.optics import Pointing, field_radius
from infra.telescope.orbits import SITE_LATITUDE, local_sidereal_degrees
from infra.telescope.profile import FieldPsf, make_field_psf
from infra.telescope.setup import BANDS, FieldSetup, field_setup
from schemas.camera import Camera
from schemas.ids import exposure_id, visit_id

__all__ = ["AirPath", "Conditions", "PlannedVisit", "air_path", "plan_night"]

SNAP_GAP_S = 3.0
"""Between the end of one snap and the start of the next: shutter and read-out."""

READOUT_S = 2.0

FIRST_HOUR_ANGLE, SECOND_HOUR_ANGLE = -2.4, -0.4
"""Hours from the meridian at which the two halves of a night begin: airmass 1.45 and 1.16, so both kinds of template serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AirPath:
    """Where the field stands in the site's sky."""

    zenith_angle: float
    parallactic: float
    """Position angle of the zenith, degrees east of north."""

    @property
    def airmass(self) -> float:
        """Secant of the zenith angle."""
        return float(1.0 / np.cos(np.radians(self.zenith_angle)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What only the simulator knows of a visit."""

    pointing_error: tuple[float, float]
    """East and north, arcseconds."""
    rotation_error: float
    """Degrees."""
    transparency: float
    sky_factor: float
    seeing_arcsec: float
    """Full width at half maximum in r at the zenith."""
    snap_shake: tuple[float, ...]
    """Width of each snap's images relative to the visit's."""
    snap_shift: tuple[tuple[float, float], ...]
    """Arcseconds that each snap strayed from the visit's pointing."""
    satellite_snap: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedVisit:
    """One visit as the scheduler announces it, with what the simulator knows besides."""

    camera: Camera
    seed: int
    index: int
    day_obs: int
    sequence: int
    """Sequence number of the first snap."""
    band: str
    ra: float
    dec: float
    rotation: float
    """Commanded: position angle of the focal plane's y axis."""
    start_mjd_tai: float
    exposure_time: float
    n_snaps: int
    air: AirPath
    conditions: Conditions

    @property
    def visit(self) -> int:
        """Identifier: that of the first exposure."""
        return visit_id(self.day_obs, self.sequence)

    @property
    def group_id(self) -> str:
        """Group of the visit's exposures, ``YYYYMMDD-nnnnn`` of the first."""
        return group_id_of(self.day_obs, self.sequence)

    @property
    def duration_s(self) -> float:
        """Seconds from the first shutter to the last read-out."""
        return self.n_snaps * self.exposure_time + (self.n_snaps - 1) * SNAP_GAP_S + READOUT_S

    def exposure(self, snap: int) -> int:
        """Return the exposure's identifier."""
        return exposure_id(self.day_obs, self.sequence + snap)

    def begin_mjd_tai(self, snap: int) -> float:
        """Return when a snap's shutter opens."""
        return self.start_mjd_tai + snap * (self.exposure_time + SNAP_GAP_S) / 86400

    def end_mjd_tai(self, snap: int) -> float:
        """Return when a snap's shutter closes."""
        return self.begin_mjd_tai(snap) + self.exposure_time / 86400

    def readout_end_mjd_tai(self, snap: int) -> float:
        """Return when a snap is read out."""
        return self.end_mjd_tai(snap) + READOUT_S / 86400

    def true_pointing(self, snap: int) -> Pointing:
        """Return where the telescope points in a snap, with air and optics."""
        error, shift = self.conditions.pointing_error, self.conditions.snap_shift[snap]
        east, north = error[0] + shift[0], error[1] + shift[1]
        return Pointing(
            ra=self.ra + east / 3600 / float(np.cos(np.radians(self.dec))),
            dec=self.dec + north / 3600,
            rotation=self.rotation + self.conditions.rotation_error,
            plate_scale=self.camera.plate_scale,
            radius=field_radius(self.camera),
            zenith_angle=self.air.zenith_angle,
            parallactic=self.air.parallactic,
            band=self.band,
        )

    def field_psf(self, snap: int) -> FieldPsf:
        """Return the point-spread function of a snap over the field."""
        width = self.conditions.seeing_arcsec * BANDS[self.band].seeing_factor * self.air.airmass**0.6
        psf = make_field_psf(
            self.seed, ("visit", self.visit), width / self.camera.plate_scale, field_radius(self.camera)
        )
        return FieldPsf(
            fwhm_pixels=psf.fwhm_pixels,
            field_radius=psf.field_radius,
            tilt=psf.tilt,
            curvature=psf.curvature,
            ellipticity=psf.ellipticity,
            astigmatism=psf.astigmatism,
            coma=psf.coma,
            shake=self.conditions.snap_shake[snap],
        )

    def throughput(self) -> float:
        """Return electrons in one snap per nJy above the air."""
        band = BANDS[self.band]
        magnitudes = band.zero_point - 31.4 - band.extinction * self.air.airmass
        return float(10 ** (0.4 * magnitudes) * self.exposure_time * self.conditions.transparency)

    def sky_electrons(self) -> float:
        """Return electrons of sky per pixel in one snap."""
        band = BANDS[self.band]
        rate = 10 ** (0.4 * (band.zero_point - band.sky)) * self.camera.plate_scale**2
        return float(rate * self.exposure_time * self.conditions.sky_factor * (0.7 + 0.3 * self.air.airmass))


def air_path(ra: float, dec: float, mjd_tai: float) -> AirPath:
    """Return how high a place stands over the site, and which way is up."""
    hour = np.radians(local_sidereal_degrees(mjd_tai) - ra)
    d, latitude = np.radians(dec), np.radians(SITE_LATITUDE)
    cosine = np.sin(latitude) * np.sin(d) + np.cos(latitude) * np.cos(d) * np.cos(hour)
    # The zenith's hour angle is 0: seen from the field it lies towards the meridian, west of an object that has not
    # crossed it yet (east is positive, so the sine takes the sign of the hour angle).
    parallactic = np.arctan2(
        np.sin(hour) * np.cos(latitude), np.sin(latitude) * np.cos(d) - np.cos(latitude) * np.sin(d) * np.cos(hour)
    )
    return AirPath(zenith_angle=float(np.degrees(np.arccos(cosine))), parallactic=float(np.degrees(parallactic)))


def plan_night(
    camera: Camera,
    seed: int,
    day_obs: int = 20260921,
    n_visits: int = 8,
    *,
    bands: Sequence[str] = ("r", "i"),
    cadence_s: float = 39.0,
    n_snaps: int = 2,
    exposure_time: float = 15.0,
) -> list[PlannedVisit]:
    """Plan a night's visits of the camera's field.

    The first half observes the rising field, the second half the field near the meridian; bands alternate; each visit has
    its own dither, rotation, seeing, transparency and pointing error.

    Parameters
    ----------
    cadence_s
        Seconds of the telescope's time from one visit to the next.
    n_snaps, exposure_time
        Exposures per visit and seconds of each.

    Raises
    ------
    PlanError
        When a band is unknown or there is nothing to plan.
    """
    if n_visits < 1 or not bands or n_snaps < 1:
        raise PlanError("A night needs at least one visit, one snap and one band.")
    unknown = [band for band in bands if band not in BANDS]
    if unknown:
        raise PlanError(f"There is no band {', '.join(unknown)}; there are {', '.join(BANDS)}.")
    setup = field_setup(camera)
    first, second = (_time_of_hour_angle(setup.ra, day_obs, h) for h in (FIRST_HOUR_ANGLE, SECOND_HOUR_ANGLE))
    half = (n_visits + 1) // 2
    visits = []
    for index in range(n_visits):
        start = first + index * cadence_s / 86400 if index < half else second + (index - half) * cadence_s / 86400
        common = (camera, seed, day_obs, setup, n_snaps, exposure_time)
        visits.append(_plan_visit(common, index, bands[index % len(bands)], start))
    return visits


def _plan_visit(
    common: tuple[Camera, int, int, FieldSetup, int, float], index: int, band: str, start: float
) -> PlannedVisit:
    camera, seed, day_obs, setup, n_snaps, exposure_time = common
    random = generator(seed, "schedule", day_obs, index)
    dither_x, dither_y = _in_disc(random, setup.dither_arcsec)
    ra, dec = setup.ra + dither_x / 3600, setup.dec + dither_y / 3600
    return PlannedVisit(
        camera=camera,
        seed=seed,
        index=index,
        day_obs=day_obs,
        sequence=1 + index * n_snaps,
        band=band,
        ra=float(np.mod(ra, 360.0)),
        dec=dec,
        rotation=float(random.uniform(-2.0, 2.0)),
        start_mjd_tai=start,
        exposure_time=exposure_time,
        n_snaps=n_snaps,
        air=air_path(setup.ra, setup.dec, start),
        conditions=_draw_conditions(random, setup, index, n_snaps),
    )


def _draw_conditions(random: np.random.Generator, setup: FieldSetup, index: int, n_snaps: int) -> Conditions:
    crossed = index % setup.trail_every == setup.trail_every - 2
    shifts = random.normal(0.0, 0.008, (n_snaps, 2))
    return Conditions(
        pointing_error=_in_disc(random, setup.pointing_error_arcsec),
        rotation_error=float(random.uniform(-0.1, 0.1)),
        transparency=float(random.uniform(0.85, 1.0)),
        sky_factor=float(random.uniform(0.95, 1.25)),
        seeing_arcsec=float(random.uniform(0.7, 0.95)),
        snap_shake=tuple(float(x) for x in 1 + random.normal(0.0, 0.01, n_snaps)),
        snap_shift=tuple((float(x), float(y)) for x, y in shifts),
        satellite_snap=int(random.integers(n_snaps)) if crossed else None,
    )


def _in_disc(random: np.random.Generator, radius: float) -> tuple[float, float]:
    r, angle = radius * np.sqrt(random.uniform()), random.uniform(0, 2 * np.pi)
    return float(r * np.cos(angle)), float(r * np.sin(angle))


def _time_of_hour_angle(ra: float, day_obs: int, hours: float) -> float:
    """MJD TAI nearest to the night's middle (5 h UT of the next day) at which the place has that hour angle."""
    middle = (dt.datetime.strptime(str(day_obs), "%Y%m%d") - dt.datetime(1858, 11, 17)).days + 1 + 5 / 24
    behind = hours * 15 - (local_sidereal_degrees(middle) - ra)
    behind = (behind + 180) % 360 - 180
    return middle + behind / 360.98564736629
