"""Where the sky falls on the detectors: projection, true pointing, refraction, distortion, mounting.

The tangent plane has xi towards east and eta towards north. The focal plane is seen as on the sky, with the usual hand:
at position angle 0 its y axis points north and its x axis west; position angles turn y from north through east.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.camera import Camera, Detector

__all__ = ["Pointing", "detector_to_plane", "field_radius", "gnomonic", "inverse_gnomonic", "plane_to_detector"]

_Floats = NDArray[np.float64]

DISTORTION_ARCSEC = 3.0
"""Radial displacement at the field's edge."""

LARGEST_DISTORTION = 0.01
"""Displacement at the edge of a small field, as a share of its radius."""

REFRACTION = 2.9e-4
"""Refraction constant in radians: differential refraction compresses the field by this times sec^2 z along the vertical."""

DISPERSION_ARCSEC = {"u": 0.09, "g": 0.05, "r": 0.02, "i": 0.01, "z": 0.005, "y": 0.003}
"""Displacement towards the zenith per magnitude of g - i and unit of tan z, by band (atmospheric dispersion)."""

NEUTRAL_COLOUR = 0.8
"""Value of g - i of the objects that the pointing model holds in place."""

_ARCSEC = 180 * 3600 / np.pi


def field_radius(camera: Camera) -> float:
    """Return the distance in pixels from the boresight to the farthest corner of a detector."""
    reach = [np.hypot(abs(d.centre[0]) + d.width / 2, abs(d.centre[1]) + d.height / 2) for d in camera.detectors]
    return float(max(reach))


def gnomonic(ra: _Floats, dec: _Floats, ra0: float, dec0: float) -> tuple[_Floats, _Floats]:
    """Project the sky (degrees) on the plane tangent at ra0, dec0; return xi, eta in arcseconds."""
    a, d = np.radians(ra - ra0), np.radians(dec)
    sin0, cos0 = np.sin(np.radians(dec0)), np.cos(np.radians(dec0))
    depth = sin0 * np.sin(d) + cos0 * np.cos(d) * np.cos(a)
    xi = np.cos(d) * np.sin(a) / depth
    eta = (cos0 * np.sin(d) - sin0 * np.cos(d) * np.cos(a)) / depth
    return xi * _ARCSEC, eta * _ARCSEC


def inverse_gnomonic(xi: _Floats, eta: _Floats, ra0: float, dec0: float) -> tuple[_Floats, _Floats]:
    """Return right ascension in [0, 360) and declination, degrees, of places on the tangent plane (arcseconds)."""
    x, y = xi / _ARCSEC, eta / _ARCSEC
    sin0, cos0 = np.sin(np.radians(dec0)), np.cos(np.radians(dec0))
    north = cos0 - y * sin0
    ra = ra0 + np.degrees(np.arctan2(x, north))
    dec = np.degrees(np.arctan2(sin0 + y * cos0, np.hypot(x, north)))
    return np.mod(ra, 360.0), dec


def plane_to_detector(detector: Detector, u: _Floats, v: _Floats) -> tuple[_Floats, _Floats]:
    """Return pixels of the trimmed CCD (first pixel's centre at 0, 0) of focal-plane places."""
    du, dv = u - detector.centre[0], v - detector.centre[1]
    for _ in range(detector.quarter_turns % 4):
        du, dv = dv, -du
    return du + (detector.width - 1) / 2, dv + (detector.height - 1) / 2


def detector_to_plane(detector: Detector, x: _Floats, y: _Floats) -> tuple[_Floats, _Floats]:
    """Return focal-plane places, pixels from the boresight, of pixels of the trimmed CCD."""
    du, dv = x - (detector.width - 1) / 2, y - (detector.height - 1) / 2
    for _ in range(detector.quarter_turns % 4):
        du, dv = -dv, du
    return du + detector.centre[0], dv + detector.centre[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointing:
    """Where the telescope truly points during one exposure, and what the air and the optics do to the field."""

    ra: float
    dec: float
    rotation: float
    """Position angle of the focal plane's y axis, degrees."""
    plate_scale: float
    radius: float
    """Field radius in pixels."""
    zenith_angle: float = 0.0
    """Degrees from the zenith."""
    parallactic: float = 0.0
    """Position angle of the zenith, degrees."""
    band: str = "r"
    distorted: bool = True
    """False gives the plain tangent projection, as a template's pixels have it."""

    def to_plane(self, ra: _Floats, dec: _Floats, colour: _Floats) -> tuple[_Floats, _Floats]:
        """Return focal-plane places in pixels of sky positions (degrees) of objects of colour g - i."""
        xi, eta = gnomonic(ra, dec, self.ra, self.dec)
        xi, eta = self._refract(xi, eta, colour)
        sine, cosine = np.sin(np.radians(self.rotation)), np.cos(np.radians(self.rotation))
        u = (-xi * cosine + eta * sine) / self.plate_scale
        v = (xi * sine + eta * cosine) / self.plate_scale
        stretch = 1 + self._distortion() * (u * u + v * v) / self.radius**2
        return u * stretch, v * stretch

    def to_sky(self, u: _Floats, v: _Floats) -> tuple[_Floats, _Floats]:
        """Return right ascension and declination (degrees) of focal-plane places, for an object of neutral colour."""
        amount = self._distortion()
        x, y = u, v
        for _ in range(8):
            stretch = 1 + amount * (x * x + y * y) / self.radius**2
            x, y = u / stretch, v / stretch
        sine, cosine = np.sin(np.radians(self.rotation)), np.cos(np.radians(self.rotation))
        xi = (-x * cosine + y * sine) * self.plate_scale
        eta = (x * sine + y * cosine) * self.plate_scale
        if self.distorted:
            east, north = self._upward()
            squeeze = self._squeeze()
            along = xi * east + eta * north
            xi, eta = xi + along * east * squeeze / (1 - squeeze), eta + along * north * squeeze / (1 - squeeze)
        return inverse_gnomonic(xi, eta, self.ra, self.dec)

    def _refract(self, xi: _Floats, eta: _Floats, colour: _Floats) -> tuple[_Floats, _Floats]:
        east, north = self._upward()
        dispersion = DISPERSION_ARCSEC[self.band] * np.tan(np.radians(self.zenith_angle))
        lift = dispersion * (colour - NEUTRAL_COLOUR)
        if self.distorted:
            lift = lift - self._squeeze() * (xi * east + eta * north)
        return xi + lift * east, eta + lift * north

    def _squeeze(self) -> float:
        return float(REFRACTION / np.cos(np.radians(self.zenith_angle)) ** 2)

    def _upward(self) -> tuple[float, float]:
        return float(np.sin(np.radians(self.parallactic))), float(np.cos(np.radians(self.parallactic)))

    def _distortion(self) -> float:
        if not self.distorted:
            return 0.0
        return min(DISTORTION_ARCSEC / (self.radius * self.plate_scale), LARGEST_DISTORTION)
