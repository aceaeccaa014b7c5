"""Calibration of a quarter of an LSST CCD against the scene's truth, beside sep where sep does the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sep
from scipy.spatial import cKDTree

from processors.single_frame import CalibratedImage
from processors.single_frame.background import measure_background
from processors.single_frame.errors import SaturatedDetectorError, TooFewStarsError
from processors.single_frame.pipeline import calibrate_visit, measure_psf
from processors.single_frame.psf import PsfModel
from schemas.masks import MaskPlane
from tests.support.calibration_scenes import VisitScene, make_visit_scene

SIZE = (2000, 2048)
SEED = 11


@pytest.fixture(scope="module")
def scene() -> VisitScene:
    return make_visit_scene("nominal", SEED, SIZE)


@pytest.fixture(scope="module")
def calibrated(scene: VisitScene) -> CalibratedImage:
    camera = scene.scene.studio.camera
    return calibrate_visit(scene.visit(), scene.references, camera=camera, detector=camera.detectors[0])


def found(scene: VisitScene, x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
    static = scene.scene.truth.static[rows]
    return cKDTree(np.column_stack([x, y])).query(np.column_stack([static["x"], static["y"]]))[0] < 2.5


def test_the_sky_is_true_to_a_two_thousandth(scene: VisitScene) -> None:
    background = measure_background(scene.combined.image, scene.combined.mask)
    error = (background.image - scene.sky) / scene.sky
    assert abs(error.mean(dtype=float)) < 5e-4
    assert np.abs(error).max() < 5e-3
    plain = sep.Background(scene.combined.image, bw=128, bh=128).back() - scene.sky
    assert abs(error.mean(dtype=float)) < 0.5 * abs(plain.mean(dtype=float) / scene.sky.mean(dtype=float))


def test_stars_above_the_limit_are_found_more_often_than_by_sep(scene: VisitScene, calibrated: CalibratedImage) -> None:
    rows, magnitude = scene.lone_stars(), scene.magnitudes
    limit = scene.limit_mag()
    sources, science = calibrated.sources, scene.scene.science
    theirs = sep.extract(science.image, 1.5, err=float(np.sqrt(np.median(science.variance))))
    last = rows[(magnitude[rows] > limit - 1) & (magnitude[rows] < limit)]
    above = last[magnitude[last] < limit - 0.5]
    assert len(above) > 40
    assert found(scene, sources["x"], sources["y"], above).mean() >= 0.90
    ours = found(scene, sources["x"], sources["y"], last).mean()
    assert ours > found(scene, theirs["x"], theirs["y"], last).mean() + 0.1


def test_bright_stars_have_no_spurious_companions(scene: VisitScene, calibrated: CalibratedImage) -> None:
    truth, sources = scene.scene.truth, calibrated.sources
    everything = np.concatenate(
        [np.column_stack([t["x"], t["y"]]) for t in (truth.static, truth.changes[truth.changes["kind"] != "trail"])]
    )
    bright = truth.static[scene.magnitudes < 18]
    place = np.column_stack([sources["x"], sources["y"]])
    near = cKDTree(np.column_stack([bright["x"], bright["y"]])).query(place)[0] < 60
    unknown = cKDTree(everything).query(place)[0] > 4
    assert np.count_nonzero(near) > 100
    assert np.count_nonzero(unknown & near) <= 0.02 * np.count_nonzero(near) + 4


@pytest.mark.parametrize("known", [True, False])
def test_the_psf_of_stars_chosen_by_itself_is_true(scene: VisitScene, calibrated: CalibratedImage, known: bool) -> None:
    psf = calibrated.psf if known else measure_psf(scene.visit())[0]
    sizes, fluxes = psf_errors(psf, scene)
    assert abs(sizes.mean()) < 1e-3
    assert abs(fluxes.mean()) < 3e-3


def psf_errors(psf: PsfModel, scene: VisitScene) -> tuple[np.ndarray, np.ndarray]:
    """Relative errors of the weighted second moment, and of a flux fitted to a star without noise, all over the CCD."""
    rng = np.random.default_rng(1)
    half = psf.size // 2
    axis = np.arange(-half, half + 1)
    radius2 = axis[:, None] ** 2 + axis**2
    weight = np.exp(-radius2 / 8.0)
    sizes, fluxes = [], []
    for x, y in rng.uniform(0, SIZE[0], (100, 2)):
        true = scene.scene.science.psf.at(x, y).astype(float)
        cut = true.shape[0] // 2 - half
        true = true[cut : true.shape[0] - cut, cut : true.shape[0] - cut]
        true /= true.sum()
        model = psf.at(x, y).astype(float)
        traces = [(weight * p * radius2).sum() / (weight * p).sum() for p in (model, true)]
        sizes.append(traces[0] / traces[1] - 1)
        fluxes.append((model * true).sum() / (model**2).sum() - 1)
    return np.array(sizes), np.array(fluxes)


def test_fluxes_in_psf_and_aperture_are_true_down_to_faint_stars(
    scene: VisitScene, calibrated: CalibratedImage
) -> None:
    static, magnitude, sources = scene.scene.truth.static, scene.magnitudes, calibrated.sources
    clean = sources[(sources["mask"] & (MaskPlane.SAT | MaskPlane.BAD)) == 0]
    tree = cKDTree(np.column_stack([clean["x"], clean["y"]]))
    # What is too faint or too near to be known is light in a star's aperture: half a percent of faint ones' in the mean, on seeds 1-4, 11-14.
    rows = scene.lone_stars(share=0.003)
    distance, index = tree.query(np.column_stack([static["x"][rows], static["y"][rows]]))
    for low, high, least in ((16.0, 19.0, 0.002), (19.0, 22.0, 0.004)):
        taken = (distance < 1) & (magnitude[rows] > low) & (magnitude[rows] < high)
        measured, true = clean[index[taken]], static["flux"][rows[taken]]
        for name in ("psf_flux", "aperture_flux"):
            bias, error = measured[name] / true - 1, measured[f"{name}_err"] / true
            kept = np.abs(bias - np.median(bias)) < 5 * error + 0.02
            weight = 1 / (error[kept] ** 2 + 0.003**2)
            mean, noise = np.average(bias[kept], weights=weight), 1 / np.sqrt(weight.sum())
            assert abs(mean) < least + 2.5 * noise, (name, low)


def test_the_zero_point_is_true_to_three_millimagnitudes(scene: VisitScene, calibrated: CalibratedImage) -> None:
    psf, middle = scene.scene.science.psf, (SIZE[1] / 2, SIZE[0] / 2)
    true = psf.at(*middle).astype(float)
    cut = (true.shape[0] - calibrated.psf.size) // 2
    kept = true[cut : true.shape[0] - cut, cut : true.shape[0] - cut].sum()
    assert abs(2.5 * np.log10(calibrated.photo_calib * scene.scale * kept)) < 0.003


def test_the_world_coordinates_are_true_to_ten_milliarcseconds(scene: VisitScene, calibrated: CalibratedImage) -> None:
    grid = np.meshgrid(np.linspace(0, SIZE[1] - 1, 15), np.linspace(0, SIZE[0] - 1, 15))
    ours, true = calibrated.wcs.all_pix2world(*grid, 0), scene.scene.science.wcs.all_pix2world(*grid, 0)
    east = ((ours[0] - true[0] + 180) % 360 - 180) * np.cos(np.radians(true[1])) * 3.6e6
    north = (ours[1] - true[1]) * 3.6e6
    assert np.sqrt(np.mean(east**2 + north**2) / 2) < 10


def test_a_region_without_data_and_a_saturated_ccd_are_named(scene: VisitScene, calibrated: CalibratedImage) -> None:
    camera = scene.scene.studio.camera
    holed = scene.visit()
    box = np.s_[500:900, 300:1200]
    holed.combined.image[box], holed.combined.variance[box] = 0.0, 1e10
    holed.combined.mask[box] |= np.uint16(MaskPlane.NO_DATA)
    holed.unusable[box] = True
    result = calibrate_visit(holed, scene.references, camera=camera, detector=camera.detectors[0])
    inner = (result.sources["x"] > 310) & (result.sources["x"] < 1190)
    inner &= (result.sources["y"] > 510) & (result.sources["y"] < 890)
    assert not inner.any()
    assert result.photo_calib == pytest.approx(calibrated.photo_calib, rel=0.002)
    full = np.full(SIZE, int(MaskPlane.SAT), np.uint16)
    with pytest.raises(SaturatedDetectorError):
        measure_background(scene.combined.image, full)
    dark = dataclasses.replace(scene.visit(), unusable=np.ones(SIZE, np.bool_))
    with pytest.raises(TooFewStarsError):
        calibrate_visit(dark, scene.references, camera=camera, detector=camera.detectors[0])
