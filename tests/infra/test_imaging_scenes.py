"""Scenes of one CCD: their truth is in their pixels, their noise is what their variance says, and they come back from files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import fit_wcs_from_points
from numpy.typing import NDArray

from infra.telescope.errors import PlanError
from infra.telescope.imaging_scenes import ImagingScene, cached, cached_raw_snaps, make_scene
from infra.telescope.imaging_scenes.coadd import coadd_noise, resampling_factor
from infra.telescope.imaging_scenes.geometry import scaled_camera
from infra.telescope.imaging_scenes.objects import trail_noise_factor
from infra.telescope.imaging_scenes.raw import snap_light
from infra.telescope.imaging_scenes.recipes import RECIPES
from infra.telescope.response import measured_adu
from schemas.camera import load_camera
from schemas.masks import MaskPlane
from tests.support.raw_reduction import section

SIZE = (640, 768)


@pytest.fixture(scope="module")
def scene() -> ImagingScene:
    return make_scene("nominal", 11, size=SIZE)


def quiet(name: str, **counts: int) -> ImagingScene:
    """A scene that holds only what is counted."""
    nothing = dict.fromkeys(
        ("stars", "galaxies", "giants", "transients", "vanished", "variables", "moving_stars", "trails", "glints"), 0
    )
    recipe = replace(RECIPES[name], **{**nothing, "glint_trains": 0, "streaks": 0, **counts})
    return make_scene(name, 12, size=SIZE, recipe=recipe)


def weighted_flux(image: NDArray[np.float32], psf: NDArray[np.float32], x: float, y: float) -> float:
    """Fit a PSF shifted to the nearest pixel: good to a few percent."""
    half = 8
    c, r = round(x), round(y)
    stamp = image[r - half : r + half + 1, c - half : c + half + 1].astype(float)
    middle = psf.shape[0] // 2
    model = psf[middle - half : middle + half + 1, middle - half : middle + half + 1].astype(float)
    return float(np.sum(stamp * model) / np.sum(model**2))


def test_counts_follow_the_recipe_and_the_area() -> None:
    whole = RECIPES["nominal"].scaled(4000 * 4072)
    assert (whole.transients, whole.vanished, whole.variables, whole.moving_stars) == (800, 120, 250, 30)
    assert RECIPES["crowded"].scaled(4000 * 4072).stars == 25_000
    assert RECIPES["nominal"].scaled(1000 * 4072).transients == 200
    assert RECIPES["nominal"].scaled(1000).glints == 1


def test_a_scene_has_every_kind_of_change_far_enough_apart(scene: ImagingScene) -> None:
    kinds = set(scene.truth.changes["kind"])
    assert kinds == {"transient", "vanished", "variable", "moving_star", "trail", "glint"}
    solid = scene.truth.changes[scene.truth.changes["kind"] != "glint"]
    distance = np.hypot(np.subtract.outer(solid["x"], solid["x"]), np.subtract.outer(solid["y"], solid["y"]))
    assert distance[np.triu_indices(len(solid), 1)].min() >= 16.0


def test_empty_sky_scatters_as_its_variance_says() -> None:
    empty = quiet("nominal")
    for image in (empty.science, empty.template):
        pull = image.image / np.sqrt(image.variance)
        # A variance made of the counts is low where they are: half an electron of bias in the noise of 30.
        assert pull.mean() == pytest.approx(0.0, abs=0.03)
        assert pull.std() == pytest.approx(1.0, abs=0.01)
    science = empty.science.image
    assert np.corrcoef(science[:, 1:].ravel(), science[:, :-1].ravel())[0, 1] == pytest.approx(0.0, abs=0.006)


def test_the_templates_noise_is_that_of_resampled_visits() -> None:
    noise = coadd_noise((512, 512), 4, np.random.default_rng(13))
    assert noise.factor == pytest.approx(1 / resampling_factor(), rel=0.02)
    assert float(noise.variance.mean()) == pytest.approx(0.25 / noise.factor, rel=0.01)
    assert noise.noise.std() == pytest.approx(float(np.sqrt(noise.variance.mean())), rel=0.02)
    blocks = noise.noise.reshape(32, 16, 32, 16).sum(axis=(1, 3))
    assert blocks.var() / 256 == pytest.approx(0.25, rel=0.15)
    assert np.corrcoef(noise.noise[:, 1:].ravel(), noise.noise[:, :-1].ravel())[0, 1] > 0.05


def test_transients_are_in_the_visit_and_vanished_sources_in_the_template() -> None:
    plain = quiet("nominal", transients=30, vanished=30)
    rows = plain.truth.changes[plain.truth.changes["snr"] > 15]
    assert len(rows) > 8
    for row in rows:
        science, template = plain.science, plain.template
        ra, dec = science.wcs.all_pix2world(row["x"], row["y"], 0)
        assert (float(ra), float(dec)) == pytest.approx((row["ra"], row["dec"]), abs=1e-9)
        tx, ty = (float(v) for v in template.wcs.all_world2pix(row["ra"], row["dec"], 0))
        here = weighted_flux(science.image, science.psf.at(row["x"], row["y"]), row["x"], row["y"])
        there = weighted_flux(template.image, template.true_psf.at(tx, ty), tx, ty)
        error = abs(row["difference_flux"]) / row["snr"]
        assert here == pytest.approx(row["flux"], abs=4 * error + 0.08 * row["flux"])
        assert there == pytest.approx(row["template_flux"], abs=4 * error + 0.08 * row["template_flux"])


def test_a_predicted_error_is_the_scatter_of_fluxes_in_empty_sky() -> None:
    empty = quiet("nominal")
    psf = empty.science.psf.at(*(n / 2 for n in reversed(SIZE)))
    centres = [(x, y) for x in range(30, SIZE[1] - 30, 24) for y in range(30, SIZE[0] - 30, 24)]
    fluxes = [weighted_flux(empty.science.image, psf, x, y) for x, y in centres]
    # The template adds its noise: a fifth of the variance in this scene.
    assert np.std(fluxes) < empty.truth.point_error < 1.2 * np.std(fluxes)


def test_trails_are_as_long_as_told_and_split_between_the_snaps() -> None:
    plain = quiet("nominal", trails=6)
    trails = plain.truth.trails
    assert trails["length_arcsec"].min() >= 0.1
    assert trails["length_arcsec"].max() <= 60.0
    row = trails[np.argmax(trails["length_arcsec"])]
    row["x"], row["y"] = SIZE[1] / 2, SIZE[0] / 2
    sky = np.float32(plain.studio.visit.sky_electrons())
    along, light = [], []
    for snap in (0, 1):
        image = snap_light(plain.studio, trails[trails["length_arcsec"] == row["length_arcsec"]], snap) - sky
        y, x = np.nonzero(image > 0.01)
        position = (x - row["x"]) * np.cos(np.radians(row["angle_deg"]))
        position += (y - row["y"]) * np.sin(np.radians(row["angle_deg"]))
        along.append(np.average(position, weights=image[y, x]))
        light.append(float(image.sum(dtype=np.float64)))
    pixels = row["length_arcsec"] / 0.2
    # The middles of two exposures of 15 s, 3 s apart, are 18 of 33 parts of the way from each other.
    assert along[1] - along[0] == pytest.approx(pixels * 18 / 33, rel=0.02)
    expected = row["flux"] * plain.studio.visit.throughput()
    assert light == pytest.approx([expected, expected], rel=0.06)


def test_a_trails_noise_grows_with_its_length() -> None:
    assert trail_noise_factor(np.array([0.0]), 0.8) == pytest.approx(1.0, abs=1e-4)
    sigma = 0.8 / 2.3548
    assert trail_noise_factor(np.array([60.0]), 0.8) == pytest.approx(
        np.sqrt(60.0 / (2 * np.sqrt(np.pi) * sigma)), rel=0.01
    )


def test_glints_and_streaks_are_in_one_snap_only() -> None:
    plain = quiet("nominal", glints=8, streaks=1)
    sky = np.float32(plain.studio.visit.sky_electrons())
    seen = [snap_light(plain.studio, plain.truth.glints, snap) - sky for snap in (0, 1)]
    streak = plain.truth.streaks[0]
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    u, v = x - (SIZE[1] - 1) / 2, y - (SIZE[0] - 1) / 2
    on_line = np.abs(-u * np.sin(streak.angle) + v * np.cos(streak.angle) - streak.offset) < 1
    assert seen[streak.snap][on_line].mean() > 0.9 * streak.peak
    assert seen[1 - streak.snap][on_line].mean() < 0.05 * streak.peak
    for glint in plain.truth.glints:
        pixel = round(glint["y"]), round(glint["x"])
        if not on_line[max(pixel[0] - 15, 0) : pixel[0] + 15, max(pixel[1] - 15, 0) : pixel[1] + 15].any():
            assert seen[glint["snap"]][pixel] > 20 * abs(seen[1 - glint["snap"]][pixel])


def test_moving_stars_left_their_old_place() -> None:
    plain = quiet("nominal", moving_stars=6)
    for row in plain.truth.moving_stars:
        step = row["length_arcsec"] / 0.2
        angle = np.radians(row["angle_deg"])
        ra, dec = plain.science.wcs.all_pix2world(row["x"] - step * np.cos(angle), row["y"] - step * np.sin(angle), 0)
        tx, ty = (float(n) for n in plain.template.wcs.all_world2pix(ra, dec, 0))
        c, r, half = round(tx), round(ty), 6
        stamp = plain.template.image[r - half : r + half + 1, c - half : c + half + 1].astype(float)
        place = np.arange(-half, half + 1)
        found = [np.sum(stamp * place[None, :]) / stamp.sum() + c, np.sum(stamp * place[:, None]) / stamp.sum() + r]
        assert found == pytest.approx([tx, ty], abs=0.15)


def test_maps_are_exact_inverses_and_the_distortion_is_cubic(scene: ImagingScene) -> None:
    x, y = (g.ravel() for g in np.meshgrid(np.linspace(0, SIZE[1] - 1, 9), np.linspace(0, SIZE[0] - 1, 9)))
    for image in (scene.science, scene.template):
        ra, dec = image.wcs.all_pix2world(x, y, 1)
        back = image.wcs.all_world2pix(ra, dec, 1)
        np.testing.assert_allclose(back, [x, y], atol=1e-6)
    sky = SkyCoord(*scene.science.wcs.all_pix2world(x, y, 0), unit="deg")

    def worst(degree: int | None) -> float:
        wcs: WCS = fit_wcs_from_points((x, y), sky, sip_degree=degree)
        px, py = wcs.world_to_pixel(sky)
        return float(np.hypot(px - x, py - y).max())

    assert worst(None) > 0.5
    assert worst(3) < 0.08


def test_the_psf_varies_over_the_image(scene: ImagingScene) -> None:
    psf = scene.science.psf
    middle, corner = psf.at(SIZE[1] / 2, SIZE[0] / 2), psf.at(0, 0)
    assert middle.shape == (41, 41)
    assert float(middle.sum()) == pytest.approx(1.0, abs=1e-5)
    assert psf.fwhm(SIZE[1] / 2, SIZE[0] / 2) == pytest.approx(0.80 / 0.2, rel=0.02)
    assert np.abs(middle - corner).max() > 0.02 * middle.max()


def test_bright_stars_saturate_and_bleed_along_columns() -> None:
    bright = quiet("bright", giants=2)
    saturated = bright.truth.saturated
    assert saturated.sum() > 150
    assert saturated.sum(axis=0).max() > 1.5 * saturated.sum(axis=1).max()
    assert ((bright.science.mask & MaskPlane.SAT) != 0).sum() == saturated.sum()
    assert (bright.template.mask & MaskPlane.SAT).any()


def test_a_scene_is_the_same_every_time_and_after_its_file(tmp_path: Path) -> None:
    size = (256, 256)
    first, second = make_scene("sharper", 13, size=size), make_scene("sharper", 13, size=size)
    stored = [cached("sharper", 13, tmp_path, size=size) for _ in range(2)]
    for other in (second, *stored):
        for plane in ("image", "variance", "mask"):
            np.testing.assert_array_equal(getattr(first.science, plane), getattr(other.science, plane))
            np.testing.assert_array_equal(getattr(first.template, plane), getattr(other.template, plane))
        assert first.truth.changes.tobytes() == other.truth.changes.tobytes()
        assert first.truth.point_error == other.truth.point_error
        np.testing.assert_array_equal(first.truth.saturated, other.truth.saturated)
    assert not np.array_equal(first.science.image, make_scene("sharper", 14, size=size).science.image)


def test_bad_names_and_sizes_are_refused() -> None:
    with pytest.raises(PlanError, match="no imaging scene"):
        make_scene("imaginary", 1)
    with pytest.raises(PlanError, match="two rows of eight"):
        make_scene("nominal", 1, size=(401, 512))


def test_the_full_size_is_the_real_camera() -> None:
    assert scaled_camera((4000, 4072)) == load_camera("full-ccd")
    small = scaled_camera(SIZE).detectors[0]
    assert len(small.amplifiers) == 16
    assert sum(a.width * a.height for a in small.amplifiers) == SIZE[0] * SIZE[1]


def test_raw_snaps_reduce_to_the_light_that_fell(scene: ImagingScene, tmp_path: Path) -> None:
    snaps = cached_raw_snaps(scene, tmp_path, charge_effects=False)
    again = cached_raw_snaps(scene, tmp_path, charge_effects=False)
    assert again.encoded_files == snaps.encoded_files
    np.testing.assert_array_equal(again.rays[1], snaps.rays[1])
    np.testing.assert_array_equal(again.light[0], snaps.light[0])
    constants = snaps.response.amplifiers
    signals = []
    for hdu in snaps.files[0].hdus:
        first, last, _, _ = section(str(hdu.header["BIASSEC"]))
        data = hdu.data.astype(np.float64)
        signals.append(data - data[:, first + 3 : last].mean(axis=1, keepdims=True))
    stack = np.array(signals)
    stack -= np.tensordot(constants.crosstalk, stack, 1)
    image = np.zeros(SIZE)
    for index, (hdu, part) in enumerate(zip(snaps.files[0].hdus, stack, strict=True)):
        x0, x1, y0, y1 = section(str(hdu.header["DATASEC"]))
        a0, a1, b0, b1 = section(str(hdu.header["DETSEC"]))
        box = slice(min(b0, b1) - 1, max(b0, b1)), slice(min(a0, a1) - 1, max(a0, a1))
        adu = (
            part[y0 - 1 : y1, x0 - 1 : x1][:: -1 if b0 > b1 else 1, :: -1 if a0 > a1 else 1] - snaps.response.bias[box]
        )
        image[box] = adu * (1 + constants.lin1[index] * adu + constants.lin2[index] * adu**2) * constants.gain[index]
    image = (image - 15.0 * snaps.response.dark) / snaps.response.flat("r")
    good = (snaps.rays[0] == 0) & ~snaps.response.defects & ~snaps.saturated[0]
    pull = ((image - snaps.light[0]) / np.sqrt(snaps.light[0] + 7.2**2))[good]
    assert np.median(pull) == pytest.approx(0.0, abs=0.03)
    assert 1.4826 * np.median(np.abs(pull - np.median(pull))) == pytest.approx(1.0, abs=0.03)
    assert measured_adu(np.array([1000.0]), 0.0, 0.0) == pytest.approx(1000.0)


def test_charge_effects_come_with_their_masters(scene: ImagingScene) -> None:
    snaps = scene.raw_snaps()
    assert snaps.effects.brighter_fatter is not None
    assert snaps.masters.brighter_fatter is not None
    true = snaps.effects.brighter_fatter.kernel()
    np.testing.assert_allclose(snaps.masters.brighter_fatter, true, rtol=0.06)
    assert snaps.masters.charge_transfer is not None
    assert snaps.masters.charge_transfer.loss.shape == (16,)
    assert len(snaps.references) > 50
