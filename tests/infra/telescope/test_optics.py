"""Where the sky falls: against astropy's WCS, and against its horizontal frame."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.time import Time
from astropy.utils import iers
from astropy.wcs import WCS

from infra.telescope.optics import Pointing, field_radius
from infra.telescope.orbits import SITE_HEIGHT_KM, SITE_LATITUDE, SITE_LONGITUDE
from infra.telescope.scene import axes_of_sky
from infra.telescope.schedule import air_path, plan_night
from schemas.camera import load_camera


def plain(**changes):
    values = {"ra": 0.01, "dec": -0.02, "rotation": 33.0, "plate_scale": 0.2, "radius": 1500.0, "distorted": False}
    return Pointing(**(values | changes))


def wcs_of(pointing: Pointing) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [pointing.ra, pointing.dec]
    wcs.wcs.crpix = [1.0, 1.0]
    angle = np.radians(pointing.rotation)
    scale = pointing.plate_scale / 3600
    # y at position angle theta, x at theta - 90 degrees (west of y, as on the sky).
    wcs.wcs.cd = scale * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return wcs


@pytest.mark.parametrize("rotation", [0.0, 33.0, -170.0])
@pytest.mark.parametrize("dec", [-0.02, -44.0, 71.0])
def test_projection_is_astropys(rotation, dec):
    pointing = plain(rotation=rotation, dec=dec)
    random = np.random.default_rng(1)
    ra = np.mod(0.01 + random.uniform(-0.2, 0.2, 50), 360)
    decs = dec + random.uniform(-0.1, 0.1, 50)
    u, v = pointing.to_plane(ra, decs, np.full(50, 0.8))
    theirs = wcs_of(pointing).all_world2pix(ra, decs, 0)
    np.testing.assert_allclose((u, v), theirs, atol=1e-6)


def test_sky_and_plane_are_inverse_across_ra_zero():
    for distorted in (False, True):
        pointing = plain(distorted=distorted, zenith_angle=45.0, parallactic=-140.0)
        u, v = (grid.ravel() for grid in np.meshgrid(np.linspace(-1500, 1500, 7), np.linspace(-1500, 1500, 7)))
        ra, dec = pointing.to_sky(u, v)
        assert ra.min() < 1
        assert ra.max() > 359
        back = pointing.to_plane(ra, dec, np.full(ra.size, 0.8))
        np.testing.assert_allclose(back, (u, v), atol=1e-4)


def test_distortion_reaches_some_arcseconds_at_the_edge():
    demo = load_camera("demo")
    radius = field_radius(demo)
    pointing = plain(radius=radius, distorted=True)
    ra, dec = plain(radius=radius).to_sky(np.array([radius, 0.0]), np.array([0.0, radius / 2]))
    u, v = pointing.to_plane(ra, dec, np.full(2, 0.8))
    assert (u[0] - radius) * 0.2 == pytest.approx(3.0, abs=0.3)
    assert (v[1] - radius / 2) * 0.2 == pytest.approx(3.0 / 8, abs=0.1)


def test_axes_of_sky_are_the_derivative_of_the_projection():
    pointing = plain(rotation=25.0)
    step = 1 / 3600
    base = np.array(pointing.to_plane(np.array([0.01]), np.array([-0.02]), np.array([0.8])))
    east = np.array(pointing.to_plane(np.array([0.01 + step]), np.array([-0.02]), np.array([0.8]))) - base
    north = np.array(pointing.to_plane(np.array([0.01]), np.array([-0.02 + step]), np.array([0.8]))) - base
    np.testing.assert_allclose(np.hstack([east, north]), axes_of_sky(25.0, 0.2), atol=1e-4)


def test_blue_and_red_objects_part_along_the_vertical():
    pointing = plain(rotation=0.0, zenith_angle=50.0, parallactic=90.0, band="g")
    u, v = pointing.to_plane(np.full(2, 0.01), np.full(2, -0.02), np.array([0.0, 2.0]))
    assert u[0] - u[1] == pytest.approx(2.0 * 0.05 * np.tan(np.radians(50)) / 0.2, rel=1e-3)
    assert v[0] == pytest.approx(v[1], abs=1e-6)


@pytest.mark.parametrize("hours", [-2.5, 0.3, 3.0])
def test_air_path_is_astropys(hours):
    # The hour-angle offset is made by shifting the time; UT1 - UTC is at most 0.9 s, or 14 arcseconds.
    mjd = 61305.19 + hours / 24
    path = air_path(0.0, 0.0, mjd)
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "ignore"):
        site = EarthLocation.from_geodetic(SITE_LONGITUDE, SITE_LATITUDE, SITE_HEIGHT_KM * 1000)
        frame = AltAz(obstime=Time(mjd, format="mjd", scale="tai"), location=site)
        target = SkyCoord(0.0 * units.deg, 0.0 * units.deg)
        altitude = target.transform_to(frame).alt.deg
        zenith = SkyCoord(alt=90 * units.deg, az=0 * units.deg, frame=frame).transform_to("icrs")
        angle = target.position_angle(zenith).wrap_at(180 * units.deg).deg
    # Theirs is apparent (precession since J2000 is a third of a degree); ours is of the mean place.
    assert 90 - path.zenith_angle == pytest.approx(altitude, abs=0.5)
    assert (path.parallactic - angle + 180) % 360 - 180 == pytest.approx(0.0, abs=1.0)


def test_the_night_uses_both_kinds_of_air_and_strays_as_told():
    visits = plan_night(load_camera("demo"), 3, n_visits=40)
    airmasses = [v.air.airmass for v in visits]
    assert min(airmasses) < 1.2
    assert max(airmasses) > 1.4
    assert {v.band for v in visits} == {"r", "i"}
    offsets = [np.hypot(*v.conditions.pointing_error) for v in visits]
    assert 10 < max(offsets) <= 20
    assert max(abs(v.conditions.rotation_error) for v in visits) <= 0.1
    assert max(abs(v.rotation) for v in visits) <= 2.0
    assert [v.sequence for v in visits] == list(range(1, 80, 2))
    assert [v.start_mjd_tai for v in visits] == sorted(v.start_mjd_tai for v in visits)
