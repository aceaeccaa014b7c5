"""What is simulated for each camera: where the field lies, how dense it is, how far the telescope strays."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.camera import Camera

__all__ = ["BANDS", "Band", "FieldSetup", "field_setup"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Sensitivity and sky of one band; figures of the LSST overview (Ivezic et al. 2019), rounded."""

    zero_point: float
    """AB magnitude that gives one electron a second above the air."""
    extinction: float
    """Magnitudes per unit of airmass."""
    sky: float
    """Magnitudes per square arcsecond at the zenith."""
    colour_slope: float
    """Magnitude in this band less that in r, per magnitude of g - i."""
    seeing_factor: float
    """Width relative to r: the power -0.2 of wavelength."""


BANDS: dict[str, Band] = {
    "u": Band(zero_point=26.5, extinction=0.46, sky=22.9, colour_slope=1.9, seeing_factor=1.11),
    "g": Band(zero_point=28.4, extinction=0.21, sky=22.2, colour_slope=0.66, seeing_factor=1.05),
    "r": Band(zero_point=28.2, extinction=0.12, sky=21.2, colour_slope=0.0, seeing_factor=1.0),
    "i": Band(zero_point=27.9, extinction=0.07, sky=20.5, colour_slope=-0.34, seeing_factor=0.96),
    "z": Band(zero_point=27.5, extinction=0.06, sky=19.6, colour_slope=-0.48, seeing_factor=0.94),
    "y": Band(zero_point=26.6, extinction=0.10, sky=18.6, colour_slope=-0.54, seeing_factor=0.92),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSetup:
    """The simulated field of one camera; counts are per detector of the size that the camera's own have."""

    ra: float = 0.008
    dec: float = 0.006
    """The field's centre is so close to RA = 0, Dec = 0, the centre of a HEALPix base pixel, that both the wrap of right
    ascension and the corner of four nested pixels of every order fall on a detector."""
    margin_pixels: float
    """How far the sky goes beyond the focal plane."""
    bright_stars: float
    good_stars: float
    faint_stars: float
    galaxies: float
    """Mean numbers per science detector's area."""
    star_separation_arcsec: float
    """Least distance between stars bright enough to define the point-spread function."""
    variables: int
    flares: int
    supernovae: int
    nuclei: int
    fast_stars: int
    vanished: int
    asteroids: int
    inset_pixels: float
    """How far from a detector's edge true changes are placed, so that dithers seldom lose them."""
    dither_arcsec: float
    pointing_error_arcsec: float
    trail_every: int = 5
    """One visit in so many is crossed by a satellite."""

    @property
    def template_margin_arcsec(self) -> float:
        """How far templates must go beyond the detector for dithers and pointing errors."""
        return self.dither_arcsec + self.pointing_error_arcsec + 2.0


_TINY = FieldSetup(
    ra=0.003,
    dec=0.002,
    margin_pixels=110.0,
    bright_stars=0.5,
    good_stars=45.0,
    faint_stars=25.0,
    galaxies=25.0,
    star_separation_arcsec=4.4,
    variables=2,
    flares=0,
    supernovae=1,
    nuclei=0,
    fast_stars=1,
    vanished=1,
    asteroids=1,
    inset_pixels=45.0,
    dither_arcsec=5.0,
    pointing_error_arcsec=7.0,
    trail_every=4,
)

_DEMO = FieldSetup(
    margin_pixels=260.0,
    bright_stars=4.0,
    good_stars=100.0,
    faint_stars=220.0,
    galaxies=300.0,
    star_separation_arcsec=5.0,
    variables=5,
    flares=1,
    supernovae=3,
    nuclei=2,
    fast_stars=3,
    vanished=1,
    asteroids=2,
    inset_pixels=130.0,
    dither_arcsec=18.0,
    pointing_error_arcsec=18.0,
)

_LARGE = FieldSetup(
    margin_pixels=300.0,
    bright_stars=50.0,
    good_stars=1200.0,
    faint_stars=3000.0,
    galaxies=4500.0,
    star_separation_arcsec=4.0,
    variables=60,
    flares=10,
    supernovae=30,
    nuclei=20,
    fast_stars=20,
    vanished=10,
    asteroids=20,
    inset_pixels=150.0,
    dither_arcsec=20.0,
    pointing_error_arcsec=20.0,
)


def field_setup(camera: Camera) -> FieldSetup:
    """Return what is simulated for a camera; cameras of full-size CCDs share one set-up."""
    return {"tiny": _TINY, "demo": _DEMO}.get(camera.name, _LARGE)
