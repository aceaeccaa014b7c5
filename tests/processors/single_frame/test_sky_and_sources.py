"""Background, detection and measurement against truth, sep, photutils and astropy."""

from __future__ import annotations

import numpy as np
import pytest
import sep
from photutils.aperture import CircularAperture, aperture_photometry

from processors.single_frame.background import measure_background
from processors.single_frame.detection import detect, gaussian_stamp, significance_map
from processors.single_frame.errors import SaturatedDetectorError
from processors.single_frame.filtering import separate
from processors.single_frame.measurement import (
    SOURCE_DTYPE,
    collect_planes,
    measure_apertures,
    measure_sources,
)
from processors.single_frame.psf import PsfModel
from processors.single_frame.shapes import measure_shapes
from schemas.masks import MaskPlane
from tests.support.scenes import draw_stars, moffat

SHAPE = (300, 300)
FWHM = 4.0


def moffat_model(size: int = 41, shape: tuple[int, int] = SHAPE) -> PsfModel:
    axis = np.arange(size) - size // 2
    stamp = moffat(axis, axis[:, None], FWHM)
    return PsfModel(
        coefficients=(stamp / stamp.sum())[None], order=0, width=shape[1], height=shape[0], fwhm=FWHM, stars=10
    )


@pytest.fixture(scope="module")
def field():
    rng = np.random.default_rng(9)
    gx, gy = np.meshgrid(np.arange(30, 290, 40.0), np.arange(30, 290, 40.0))
    x, y = gx.ravel() + rng.uniform(-5, 5, gx.size), gy.ravel() + rng.uniform(-5, 5, gx.size)
    flux = 10 ** rng.uniform(3.3, 5, len(x))
    clean = draw_stars(SHAPE, x, y, flux, FWHM) + 600
    image = (rng.poisson(clean) + rng.normal(0, 6, SHAPE) - 600).astype(np.float32)
    return x, y, flux, image, (clean + 36).astype(np.float32)


def test_the_sky_is_found_under_stars() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 512, 400), rng.uniform(0, 512, 400)
    xx = np.arange(512)[None, :] + np.zeros((512, 1))
    sky = 1000 + 20 * (xx - 256) / 256
    image = rng.poisson(sky + draw_stars((512, 512), x, y, 10 ** rng.uniform(2.5, 5, 400), FWHM)).astype(np.float32)
    background = measure_background(image, np.zeros(image.shape, np.uint16))
    assert abs((background.image - sky).mean()) < 1.2
    assert background.rms == pytest.approx(np.sqrt(1000), rel=0.03)


def test_a_crowded_field_still_has_a_sky() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, 256, 500), rng.uniform(0, 256, 500)
    clean = 1000 + draw_stars((256, 256), x, y, 10 ** rng.uniform(3, 5.5, 500), 6.0)
    background = measure_background(rng.poisson(clean).astype(np.float32), np.zeros((256, 256), np.uint16))
    assert 1000 < background.level < 1000 + 0.5 * (np.median(clean) - 1000)
    assert background.rms > 20


def test_masked_pixels_do_not_touch_the_sky() -> None:
    image = np.random.default_rng(1).normal(100, 10, (256, 256)).astype(np.float32)
    mask = np.zeros(image.shape, np.uint16)
    image[:, 100:130] = 5e4
    mask[:, 100:130] = MaskPlane.SAT
    assert measure_background(image, mask).level == pytest.approx(100, abs=0.5)
    with pytest.raises(SaturatedDetectorError):
        measure_background(image, np.full(image.shape, int(MaskPlane.SAT), np.uint16))


def test_blank_sky_has_unit_scatter_and_gaussian_peaks() -> None:
    rng = np.random.default_rng(2)
    variance = rng.uniform(50, 400, (400, 400)).astype(np.float32)
    image = (rng.normal(size=variance.shape) * np.sqrt(variance)).astype(np.float32)
    score = significance_map(image, variance, np.zeros(image.shape, bool), gaussian_stamp(4.0))
    assert score.std() == pytest.approx(1, abs=0.03)
    assert len(detect(score, threshold=5.0)) <= 1


def test_a_stars_significance_is_its_flux_over_its_error(field) -> None:
    x, y, flux, image, _ = field
    model = moffat_model()
    flat = np.full(SHAPE, 636.0, np.float32)
    kernel = model.at(150, 150)
    found = detect(significance_map(image, flat, np.zeros(SHAPE, bool), kernel), threshold=5.0)
    expected = flux / np.sqrt(636.0 / np.sum(kernel.astype(float) ** 2))
    order = np.argsort(-expected)
    assert len(found) == pytest.approx(len(x), abs=2)
    np.testing.assert_allclose(found.significance[:20], expected[order][:20], rtol=0.08)
    distance = np.hypot(found.x[:20, None] - x, found.y[:20, None] - y).min(axis=1)
    assert distance.max() < 0.5


def test_detection_is_deeper_than_seps_default() -> None:
    rng = np.random.default_rng(4)
    gx, gy = np.meshgrid(np.arange(20, 390, 25.0), np.arange(20, 390, 25.0))
    x, y = gx.ravel(), gy.ravel()
    noise = np.sqrt(636.0 / np.sum(moffat_model().at(0, 0).astype(float) ** 2))
    image = draw_stars((400, 400), x, y, np.full(len(x), 6.0 * noise), FWHM)
    image = (image + rng.normal(0, np.sqrt(636.0), image.shape)).astype(np.float32)
    variance = np.full(image.shape, 636.0, np.float32)
    kernel = moffat_model(shape=(400, 400)).at(0, 0)
    ours = detect(significance_map(image, variance, np.zeros(image.shape, bool), kernel), threshold=5.0)
    theirs = sep.extract(image, 1.5, err=np.sqrt(636.0))
    recovered = [
        np.sum(np.hypot(x[:, None] - a, y[:, None] - b).min(axis=1) < 2)
        for a, b in ((ours.x, ours.y), (theirs["x"], theirs["y"]))
    ]
    assert recovered[0] > 0.75 * len(x)
    assert recovered[0] >= recovered[1]


def test_a_faint_star_on_the_slope_of_a_bright_one_is_found_and_an_elongated_galaxy_is_one_source() -> None:
    rng = np.random.default_rng(21)
    gx, gy = (g.ravel() for g in np.meshgrid(np.arange(40, 760, 60.0), np.arange(40, 760, 60.0)))
    x, y = gx + rng.uniform(-0.5, 0.5, gx.size), gy + rng.uniform(-0.5, 0.5, gx.size)
    angle = rng.uniform(0, 2 * np.pi, gx.size)
    beside = x + 12.5 * np.cos(angle), y + 12.5 * np.sin(angle)
    noise = np.sqrt(636.0 / np.sum(moffat_model().at(0, 0).astype(float) ** 2))
    flux = np.concatenate([np.full(len(x), 300 * noise), np.full(len(x), 13 * noise)])
    light = draw_stars((800, 800), np.append(x, beside[0]), np.append(y, beside[1]), flux, FWHM)
    pairs = detect(score_of(light, rng), threshold=5.0)
    near = np.hypot(pairs.x - beside[0][:, None], pairs.y - beside[1][:, None]).min(axis=1)
    assert np.mean(near < 2.5) > 0.9
    assert len(pairs) <= 2 * len(x) + 3
    yy, xx = np.mgrid[-30:30, -30:30] + 0.5
    disc = np.exp(-1.68 * np.hypot(xx, 2 * yy) / 6)
    galaxies = detect(score_of(np.tile(2e5 * disc / disc.sum(), (13, 13)), rng), threshold=5.0)
    assert 169 <= len(galaxies) <= 175


def score_of(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    image = (light + rng.normal(0, np.sqrt(636.0), light.shape)).astype(np.float32)
    variance = np.full(image.shape, 636.0, np.float32)
    kernel = moffat_model(shape=image.shape).at(0, 0)
    return significance_map(image, variance, np.zeros(image.shape, bool), kernel)


def test_a_kernel_takes_no_more_products_than_it_needs() -> None:
    round_kernel, skewed = (
        gaussian_stamp(4.0),
        gaussian_stamp(4.0) + 0.2 * np.roll(gaussian_stamp(5.0)[2:-2, 2:-2], 2, 0),
    )
    for kernel, terms in ((round_kernel, 1), (skewed, 2)):
        along_y, along_x = separate(kernel, 2)
        assert len(along_y) == terms
        np.testing.assert_allclose(np.einsum("ri,rj->ij", along_y, along_x), kernel, atol=2e-5)


def test_nothing_is_detected_where_nothing_can_be_used() -> None:
    image = np.ones((50, 50), np.float32)
    score = significance_map(image, image, np.ones((50, 50), bool), gaussian_stamp(3.0))
    assert not score.any()
    assert len(detect(score, threshold=5.0)) == 0


def test_centroids_agree_with_sep_and_their_errors_hold(field) -> None:
    x, y, flux, image, variance = field
    shapes = measure_shapes(image, variance, (np.round(x), np.round(y)), FWHM)
    theirs = sep.winpos(image, np.round(x), np.round(y), FWHM / 2.3548)
    bright = flux > 2e4
    np.testing.assert_allclose(shapes[bright, 0], theirs[0][bright], atol=0.003)
    np.testing.assert_allclose(shapes[bright, 1], theirs[1][bright], atol=0.003)
    pull = np.concatenate([(shapes[:, 0] - x) / shapes[:, 2], (shapes[:, 1] - y) / shapes[:, 3]])
    assert 0.75 < np.std(pull) < 1.3


def test_adaptive_moments_of_a_gaussian_are_its_own() -> None:
    yy, xx = np.mgrid[0:61, 0:61].astype(float)
    u, v = xx - 30.3, yy - 29.8
    cxx, cyy, cxy = 5.0, 3.5, 0.8
    determinant = cxx * cyy - cxy**2
    image = np.exp(-0.5 * (cyy * u * u - 2 * cxy * u * v + cxx * v * v) / determinant).astype(np.float32)
    shapes = measure_shapes(image, np.ones_like(image), (np.array([30.0]), np.array([30.0])), 4.5)[0]
    np.testing.assert_allclose(shapes[:2], [30.3, 29.8], atol=2e-3)
    np.testing.assert_allclose(shapes[4:7], [cxx, cyy, cxy], rtol=3e-3)


def test_a_place_without_light_keeps_its_first_guess() -> None:
    image = np.full((40, 40), -5, np.float32)
    shapes = measure_shapes(image, np.ones_like(image), (np.array([20.0]), np.array([21.0])), 4.0)[0]
    assert list(shapes[:2]) == [20.0, 21.0]
    assert np.isnan(shapes[4])
    assert shapes[7] == 0


def test_psf_fluxes_are_unbiased_and_their_errors_hold(field) -> None:
    x, y, flux, image, variance = field
    mask = np.zeros(SHAPE, np.uint16)
    rows = measure_sources(
        (image, variance, mask), mask != 0, moffat_model(), measure_shapes(image, variance, (x, y), FWHM)
    )
    pull = (rows["psf_flux"] - flux) / rows["psf_flux_err"]
    assert abs(pull.mean()) < 0.5
    assert 0.8 < pull.std() < 1.25
    bright = flux > 2e4
    assert np.median(rows["psf_flux"][bright] / flux[bright]) == pytest.approx(1, abs=0.005)
    assert np.median(rows["psf_chi2"]) == pytest.approx(1, abs=0.2)
    assert np.median(rows["size_ratio"][bright]) == pytest.approx(np.median(rows["size_ratio"]), rel=0.1)


def test_blended_fluxes_are_shared_out() -> None:
    rng = np.random.default_rng(6)
    x, y, flux = np.array([100.0, 106.0]), np.array([100.0, 101.0]), np.array([60000.0, 20000.0])
    clean = draw_stars(SHAPE, x, y, flux, FWHM) + 600
    image = (rng.poisson(clean) - 600).astype(np.float32)
    mask = np.zeros(SHAPE, np.uint16)
    variance = clean.astype(np.float32)
    shapes = measure_shapes(image, variance, (x, y), FWHM)
    rows = measure_sources((image, variance, mask), mask != 0, moffat_model(), shapes)
    np.testing.assert_allclose(rows["psf_flux"], flux, rtol=0.06)


def test_apertures_agree_with_photutils(field) -> None:
    x, y, _, image, variance = field
    ours, error = measure_apertures(image, variance, np.zeros(SHAPE, bool), (x, y), 6.0)
    theirs = aperture_photometry(image, CircularAperture(np.column_stack([x, y]), 6.0), error=np.sqrt(variance))
    np.testing.assert_allclose(ours, theirs["aperture_sum"], rtol=5e-3, atol=30)
    np.testing.assert_allclose(error, theirs["aperture_sum_err"], rtol=0.01)


def test_mask_planes_around_a_source_are_collected() -> None:
    mask = np.zeros((20, 20), np.uint16)
    mask[10, 12], mask[0, 0] = MaskPlane.CR, MaskPlane.BAD
    planes = collect_planes(mask, np.array([10.0, 1.0, 17.0]), np.array([10.0, 1.0, 17.0]), 3)
    assert list(planes) == [MaskPlane.CR, MaskPlane.BAD, 0]


def test_no_sources_give_an_empty_table() -> None:
    image, none = np.zeros((30, 30), np.float32), np.zeros((0, 8))
    mask = np.zeros((30, 30), np.uint16)
    rows = measure_sources((image, image + 1, mask), mask != 0, moffat_model(21, (30, 30)), none)
    assert rows.dtype == SOURCE_DTYPE
    assert len(rows) == 0
