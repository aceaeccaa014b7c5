"""The instrument's point-spread function: a von Karman core and wings, sheared, skewed by coma, varying over the field.

One radial profile serves all: turbulence with an outer scale, whose transform is ``exp(-D(b)/2)`` with Tokovinin's (2002)
structure function for von Karman turbulence, times a small Gaussian for optics and charge diffusion. Lengths are in units of
the profile's own full width at half maximum; the pixel's response is part of the profile, so an image is its value at
pixel centres. Nothing here is a Gaussian or a Moffat function, nor a polynomial in the pixels.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma, j0, kv

from infra.telescope.chance import generator

__all__ = ["FieldPsf", "PsfShapes", "STEPS_PER_FWHM", "make_field_psf", "radial_profile"]

STEPS_PER_FWHM = 200
"""Table steps per full width: linear interpolation is then good to 3e-5 of the peak."""

OUTER_REACH = 40.0
"""Radius of the table's end, in full widths; 0.06 % of the light lies beyond it."""

OUTER_SCALE_OVER_R0 = 170.0
"""Outer scale of 25 m over a Fried length of 0.15 m."""

COMA_SHARE = 0.15
"""Share of the light in the displaced second image that gives the profile its skewness."""

COMA_WIDTH = 1.22
"""Width of the displaced image relative to the main one."""

_Floats = NDArray[np.float64]


def _transfer(baseline: _Floats) -> _Floats:
    """Optical transfer function at baselines in units of the Fried length."""
    scaled = 2 * np.pi * np.maximum(baseline, 1e-9) / OUTER_SCALE_OVER_R0
    at_zero = gamma(5 / 6) / 2 ** (1 / 6)
    structure = 0.17166 * OUTER_SCALE_OVER_R0 ** (5 / 3) * (at_zero - scaled ** (5 / 6) * kv(5 / 6, scaled))
    return np.asarray(np.exp(-0.5 * structure - 0.05 * baseline**2))


def _hankel(radius: _Floats) -> _Floats:
    baseline, step = np.linspace(0.0, 5.5, 2200, retstep=True)
    weight = _transfer(baseline) * baseline
    weight[-1] *= 0.5
    return np.concatenate(
        [2 * np.pi * step * (j0(2 * np.pi * part[:, None] * baseline) @ weight) for part in np.array_split(radius, 16)]
    )


@functools.cache
def radial_profile() -> _Floats:
    """Return the profile at radii ``k / STEPS_PER_FWHM`` full widths: float64, its integral over the plane is 1.

    The table ends with a zero, beyond `OUTER_REACH`.
    """
    coarse = np.linspace(0.0, 2.0, 2001)
    values = _hankel(coarse)
    half = float(np.interp(-0.5 * values[0], -values, coarse))
    width = 2 * half
    u = np.arange(int(OUTER_REACH * STEPS_PER_FWHM) + 1) / STEPS_PER_FWHM
    inner = u <= 6.0
    table = np.empty_like(u)
    table[inner] = _hankel(u[inner] * width) * width**2
    # The wings of turbulence fall as the power -11/3; the numerical transform loses its digits there.
    join = int(np.count_nonzero(inner)) - 1
    table[~inner] = table[join] * (u[~inner] / u[join]) ** (-11 / 3)
    table[-1] = 0.0
    table /= np.sum(2 * np.pi * u * table) / STEPS_PER_FWHM
    return table


@dataclass(frozen=True, slots=True)
class PsfShapes:
    """Shape of the point-spread function at each of n places; arrays of n, lengths in pixels."""

    fwhm: _Floats
    e1: _Floats
    e2: _Floats
    coma_x: _Floats
    coma_y: _Floats

    def take(self, index: NDArray[np.intp]) -> PsfShapes:
        """Return the shapes at some of the places."""
        return PsfShapes(self.fwhm[index], self.e1[index], self.e2[index], self.coma_x[index], self.coma_y[index])


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPsf:
    """How the point-spread function of one exposure varies over the field."""

    fwhm_pixels: float
    field_radius: float
    """Radius in pixels at which the coefficients apply."""
    tilt: tuple[float, float]
    curvature: float
    ellipticity: tuple[float, float]
    astigmatism: float
    coma: float
    shake: float = 1.0
    """Width relative to the visit's mean, different in each snap."""

    def shapes(self, u: _Floats, v: _Floats) -> PsfShapes:
        """Return the shapes at focal-plane places u, v in pixels from the boresight."""
        x, y = u / self.field_radius, v / self.field_radius
        r2 = x * x + y * y
        size = 1 + self.tilt[0] * x + self.tilt[1] * y + self.curvature * r2
        return PsfShapes(
            self.fwhm_pixels * self.shake * size,
            self.ellipticity[0] + self.astigmatism * (x * x - y * y) + 0.01 * x * y * y,
            self.ellipticity[1] + self.astigmatism * 2 * x * y - 0.01 * y,
            self.coma * (x + 0.3 * x * r2 + 0.25),
            self.coma * (y + 0.3 * y * r2 - 0.15),
        )


def make_field_psf(seed: int, label: tuple[str | int, ...], fwhm_pixels: float, field_radius: float) -> FieldPsf:
    """Draw the state of the optics for one exposure."""
    random = generator(seed, "optics", *label)
    tilt = random.normal(0.0, 0.012, 2)
    ellipticity = random.normal(0.0, 0.02, 2)
    return FieldPsf(
        fwhm_pixels=fwhm_pixels,
        field_radius=field_radius,
        tilt=(float(tilt[0]), float(tilt[1])),
        curvature=float(0.03 + random.normal(0.0, 0.008)),
        ellipticity=(float(ellipticity[0]), float(ellipticity[1])),
        astigmatism=float(random.normal(0.02, 0.01)),
        coma=float(fwhm_pixels * (0.12 + random.normal(0.0, 0.03))),
    )
