from __future__ import annotations

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from reproject import reproject_interp

from processors.differencing.sky import LinearSky
from processors.differencing.templates import Template
from processors.differencing.warp import coverage, warp_template
from schemas.masks import MaskPlane
from tests.support.difference_scenes import Moffat, add_sources, tan_wcs


def as_template(image: np.ndarray, wcs: object, **planes: np.ndarray) -> Template:
    return Template(
        image=image.astype("f4"),
        variance=planes.get("variance", np.full(image.shape, 4.0)).astype("f4"),
        mask=planes.get("mask", np.zeros(image.shape)).astype("u2"),
        psf=Moffat(4.0).draw(0, 0),
        wcs=wcs,  # type: ignore[arg-type]
    )


def star_field(shape: tuple[int, int], x: np.ndarray, y: np.ndarray, fwhm: float = 4.0) -> np.ndarray:
    image = np.zeros(shape)
    add_sources(image, Moffat(fwhm), x, y, np.full(len(x), 1e5))
    return image


def test_a_turned_field_keeps_its_stars_and_beats_a_linear_resampler() -> None:
    science_wcs, template_wcs = tan_wcs((200, 200)), tan_wcs((300, 300), rotation_deg=3.0, dx=4.3, dy=-2.8)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(20, 180, (2, 30))
    sky = science_wcs.wcs_pix2world(x, y, 0)
    tx, ty = template_wcs.wcs_world2pix(*sky, 0)
    image = star_field((300, 300), tx, ty)
    warped = warp_template(as_template(image, template_wcs), science_wcs, (200, 200), 0)
    truth = star_field((200, 200), x, y)
    error = np.abs(warped.image - truth).max() / truth.max()
    peer, _ = reproject_interp((image, template_wcs), science_wcs, (200, 200), order="bicubic")
    peer_error = np.nanmax(np.abs(peer - truth)) / truth.max()
    assert error < 0.004
    assert error < peer_error
    assert warped.image.sum() == pytest.approx(truth.sum(), rel=1e-3)


def test_flux_is_kept_when_pixels_have_another_size() -> None:
    science_wcs, template_wcs = tan_wcs((150, 150)), tan_wcs((220, 220))
    template_wcs.wcs.cd = template_wcs.wcs.cd * 0.8
    image = star_field((220, 220), np.array([109.5]), np.array([109.5]), fwhm=6.0)
    warped = warp_template(as_template(image, template_wcs), science_wcs, (150, 150), 10)
    assert warped.image.sum() == pytest.approx(image.sum(), rel=2e-3)
    assert warped.variance[80, 80] == pytest.approx(4.0 / 0.8**4, rel=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(-9, 9), st.integers(-9, 9))
def test_a_shift_of_whole_pixels_copies_them(dx: int, dy: int) -> None:
    image = np.random.default_rng(7).normal(size=(80, 80)).astype("f4")
    warped = warp_template(as_template(image, LinearSky()), LinearSky(x0=dx, y0=dy), (40, 40), 0)
    inner = np.s_[max(0, dy) + 20 : max(0, dy) + 30, max(0, dx) + 20 : max(0, dx) + 30]
    expected = image[inner[0].start + dy : inner[0].stop + dy, inner[1].start + dx : inner[1].stop + dx]
    np.testing.assert_allclose(warped.image[inner], expected, atol=1e-3)


def test_what_the_template_does_not_reach_has_no_data() -> None:
    image = np.ones((60, 60))
    mask = np.zeros((60, 60), "u2")
    mask[30, 30] = MaskPlane.SAT
    image[20, 25] = np.nan
    warped = warp_template(as_template(image, LinearSky(), mask=mask), LinearSky(x0=-20.5, y0=0.5), (60, 60), 5)
    inner = warped.mask[5:-5, 5:-5]
    assert (inner[:, :20] & np.uint16(MaskPlane.NO_DATA)).all()
    assert inner[29, 50] & np.uint16(MaskPlane.SAT)
    assert (inner[19:21, 45:47] & np.uint16(MaskPlane.NO_DATA)).all()
    assert np.isfinite(warped.image).all()
    assert coverage(warped) == pytest.approx(np.mean((inner & np.uint16(MaskPlane.NO_DATA)) == 0))
    assert 0.3 < coverage(warped) < 0.8


def test_noise_keeps_its_strength_at_the_scale_of_a_psf() -> None:
    rng = np.random.default_rng(3)
    image = rng.normal(scale=2.0, size=(400, 400))
    warped = warp_template(
        as_template(image, tan_wcs((400, 400))), tan_wcs((300, 300), rotation_deg=2.0), (300, 300), 0
    )
    psf = Moffat(4.0).draw(0, 0)
    sums = [np.sum(warped.image[r : r + 41, c : c + 41] * psf) for r in range(10, 250, 7) for c in range(10, 250, 7)]
    predicted = np.sqrt(float(np.median(warped.variance)) * np.sum(psf**2))
    assert np.std(sums) / predicted == pytest.approx(1.0, abs=0.06)


def test_the_psf_turns_with_the_image() -> None:
    long = Moffat(4.0, e1=0.3).draw(0, 0)
    template = Template(
        image=np.zeros((99, 99), "f4"),
        variance=np.ones((99, 99), "f4"),
        mask=np.zeros((99, 99), "u2"),
        psf=long,
        wcs=tan_wcs((99, 99), rotation_deg=90.0),
    )
    warped = warp_template(template, tan_wcs((99, 99)), (99, 99), 0)
    np.testing.assert_allclose(warped.psf, long.T, atol=2e-3 * long.max())


def test_a_ra_of_zero_is_no_border() -> None:
    science, template = tan_wcs((80, 80), ra=0.0), tan_wcs((120, 120), ra=359.9995)
    assert isinstance(science, WCS)
    warped = warp_template(as_template(np.ones((120, 120)), template), science, (80, 80), 0)
    assert coverage(warped) == 1.0


@pytest.mark.parametrize("rotation", [3.0, 20.0, 40.0, 93.0, 180.0, -87.0])
def test_two_passes_give_what_one_does(rotation: float, monkeypatch: pytest.MonkeyPatch) -> None:
    science_wcs, template_wcs = tan_wcs((150, 160)), tan_wcs((260, 270), rotation_deg=rotation)
    x, y = np.random.default_rng(5).uniform(10, 140, (2, 20))
    places = template_wcs.wcs_world2pix(*science_wcs.wcs_pix2world(x, y, 0), 0)
    template = as_template(star_field((260, 270), *places), template_wcs)
    fast = warp_template(template, science_wcs, (150, 160), 20)
    monkeypatch.setattr("processors.differencing.resample.TWO_PASS_SLOPE", -1.0)
    slow = warp_template(template, science_wcs, (150, 160), 20)
    np.testing.assert_allclose(fast.image, slow.image, atol=1.3e-3 * slow.image.max())
    np.testing.assert_array_equal(fast.mask, slow.mask)
    assert 0.8 < fast.noise_correlation < 0.9
