"""The point-spread function: normalised, like GalSim's von Karman, skewed, varying over the field."""

from __future__ import annotations

import galsim
import numpy as np
import pytest

from infra.telescope.paint import paint_points, psf_image, sersic_cloud, stamp_radius
from infra.telescope.profile import STEPS_PER_FWHM, PsfShapes, make_field_psf, radial_profile


def round_shapes(fwhm: float, count: int = 1, e1: float = 0.0, coma: float = 0.0) -> PsfShapes:
    one = np.ones(count)
    return PsfShapes(fwhm * one, e1 * one, 0 * one, coma * one, 0 * one)


def test_profile_has_unit_light_and_width():
    table = radial_profile()
    u = np.arange(table.size) / STEPS_PER_FWHM
    assert np.sum(2 * np.pi * u * table) / STEPS_PER_FWHM == pytest.approx(1.0, abs=1e-9)
    assert np.interp(0.5, u, table) == pytest.approx(0.5 * table[0], rel=1e-3)
    assert (np.diff(table) <= 0).all()


def test_profile_is_galsims_von_karman():
    # GalSim's profile of the same turbulence (L0/r0 = 170) without the optics: widths are matched, shapes compared.
    other = galsim.VonKarman(lam=500, r0=0.15, L0=25.5)
    fwhm = other.calculateFWHM()
    radius = np.linspace(0.05, 3.0, 40)
    theirs = np.array([other.xValue(r * fwhm, 0.0) for r in radius]) * fwhm**2
    ours = np.interp(radius, np.arange(radial_profile().size) / STEPS_PER_FWHM, radial_profile())
    np.testing.assert_allclose(ours[radius < 1], theirs[radius < 1], rtol=0.03)
    np.testing.assert_allclose(ours, theirs, rtol=0.12)


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (0.5, 0.0), (0.25, 0.75), (0.1, 0.37)])
def test_painted_point_keeps_its_light_at_every_subpixel_phase(dx, dy):
    image = np.zeros((201, 201), np.float32)
    shapes = round_shapes(4.0, e1=0.05, coma=1.0)
    paint_points(image, np.array([100 + dx]), np.array([100 + dy]), np.array([1e6]), shapes, np.array([100]))
    # 0.3 % of the light lies beyond 100 pixels (25 full widths).
    assert image.sum(dtype=np.float64) == pytest.approx(1e6, rel=4e-3)
    y, x = np.mgrid[:201, :201]
    core = np.hypot(x - 100, y - 100) < 60
    assert np.sum(image * x, where=core) / np.sum(image, where=core) == pytest.approx(100 + dx, abs=0.02)
    assert np.sum(image * y, where=core) / np.sum(image, where=core) == pytest.approx(100 + dy, abs=0.02)


def test_light_does_not_depend_on_phase():
    sums = []
    for phase in np.linspace(0, 0.9, 10):
        image = np.zeros((81, 81), np.float32)
        paint_points(
            image, np.array([40 + phase]), np.array([40 - phase]), np.array([1e5]), round_shapes(3.3), np.array([30])
        )
        sums.append(image.sum(dtype=np.float64))
    assert np.ptp(sums) / np.mean(sums) < 5e-4


def test_psf_is_skewed_and_not_gaussian():
    field = make_field_psf(1, ("test",), 4.0, 1000.0)
    shapes = field.shapes(np.array([800.0]), np.array([0.0]))
    image = psf_image(shapes, 0, 20).astype(np.float64)
    assert image.sum() == pytest.approx(1.0, abs=1e-6)
    y, x = np.mgrid[-20:21, -20:21]
    third = np.sum(image * x**3 * (np.hypot(x, y) < 10))
    assert abs(third) > 0.05
    gaussian = np.exp(-0.5 * (x**2 + y**2) / (4.0 / 2.355) ** 2)
    wings = np.hypot(x, y) > 8
    assert image[wings].sum() > 5 * (gaussian / gaussian.sum())[wings].sum()


def test_psf_varies_over_the_field_and_between_exposures():
    places = np.array([-900.0, 0.0, 900.0]), np.array([0.0, 0.0, 500.0])
    one = make_field_psf(1, ("a",), 4.0, 1000.0).shapes(*places)
    other = make_field_psf(1, ("b",), 4.0, 1000.0).shapes(*places)
    assert np.ptp(one.fwhm) > 0.03
    assert np.ptp(one.e1) > 0.005
    assert not np.allclose(one.e1, other.e1)


@pytest.mark.parametrize(("index", "radius_pixels"), [(1.0, 1.5), (1.0, 4.0), (2.0, 2.0)])
def test_galaxy_is_galsims_sersic_convolved_with_the_same_psf(index, radius_pixels):
    fwhm, half = 4.0, 30
    size = 2 * half + 1
    image = np.zeros((size, size), np.float32)
    x, y, weight = sersic_cloud(index, int(np.clip(np.ceil(2 + 1.5 * radius_pixels), 3, 14)))
    count = x.size
    paint_points(
        image,
        half + radius_pixels * x,
        half + radius_pixels * y,
        weight,
        round_shapes(fwhm, count),
        np.full(count, half),
    )
    psf = np.zeros((2 * size + 1, 2 * size + 1), np.float32)
    paint_points(
        psf, np.array([float(size)]), np.array([float(size)]), np.array([1.0]), round_shapes(fwhm), np.array([size])
    )
    theirs_psf = galsim.InterpolatedImage(galsim.Image(psf, scale=1.0), flux=float(psf.sum()))
    galaxy = galsim.Sersic(n=index, half_light_radius=radius_pixels, flux=1.0)
    theirs = galsim.Convolve(galaxy, theirs_psf).drawImage(nx=size, ny=size, scale=1.0, method="no_pixel").array
    peak = theirs.max()
    assert np.abs(image - theirs).max() < 0.05 * peak
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    inside = np.hypot(xx, yy) < 15
    assert image[inside].sum() == pytest.approx(theirs[inside].sum(), rel=0.02)


def test_wings_are_painted_to_where_they_fade():
    flux = np.array([1e2, 1e4, 1e6])
    radius = stamp_radius(flux, np.full(3, 4.0))
    assert (np.diff(radius) > 0).all()
    image = np.zeros((401, 401), np.float32)
    paint_points(image, np.array([200.0]), np.array([200.0]), flux[2:], round_shapes(4.0), radius[2:])
    assert image[200, 200 + int(radius[2])] < 0.5
