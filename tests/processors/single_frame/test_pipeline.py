"""The whole of single frame processing on synthetic scenes, and what becomes of bad input."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from scipy.spatial import cKDTree

from processors.single_frame import CalibratedImage, calibrate, calibrate_wavefront, parse_raw, warm_up
from processors.single_frame.errors import (
    AstrometryError,
    BadHeaderError,
    MismatchedSnapsError,
    MissingCalibrationError,
    MissingReferenceError,
    SingleFrameError,
    TooFewStarsError,
)
from processors.single_frame.measurement import SOURCE_DTYPE
from schemas.masks import MaskPlane
from tests.support.scenes import SKY_SCALE, Scene, make_scene


def run(scene: Scene, **changes: object) -> CalibratedImage:
    frames = [parse_raw(raw, scene.detector) for raw in scene.raws]
    inputs = {"raws": frames, "masters": scene.masters, "references": scene.references, **changes}
    return calibrate(**inputs, camera=scene.camera, detector=scene.detector)


def digest(image: CalibratedImage) -> str:
    parts = [image.image, image.variance, image.mask, image.background, image.sources, image.snaps.rejected]
    parts += [image.wcs.wcs.cd, image.wcs.wcs.crval, np.array(list(image.metrics.values()))]
    return hashlib.sha256(b"".join(p.tobytes() for p in parts) + image.psf.to_bytes()).hexdigest()


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene("tiny", seed=2, stars=45)


@pytest.fixture(scope="module")
def calibrated(scene: Scene) -> CalibratedImage:
    return run(scene)


def test_fluxes_positions_and_pixels_are_true(scene: Scene, calibrated: CalibratedImage) -> None:
    sources = calibrated.sources
    assert sources.dtype == SOURCE_DTYPE
    distance, index = cKDTree(np.column_stack([sources["x"], sources["y"]])).query(
        np.column_stack([scene.x, scene.y]), distance_upper_bound=1.0
    )
    bright = np.isfinite(distance) & (scene.flux > 2e4)
    found = sources[index[bright]]
    clean = (found["mask"] & (MaskPlane.SAT | MaskPlane.BAD | MaskPlane.SUSPECT)) == 0
    ratio = (found["psf_flux"] / (scene.flux[bright] * SKY_SCALE))[clean]
    assert np.median(ratio) == pytest.approx(1, abs=0.01)
    assert calibrated.photo_calib == pytest.approx(SKY_SCALE, rel=0.01)
    assert np.median((found["aperture_flux"] / found["psf_flux"])[clean]) == pytest.approx(1, abs=0.02)

    truth = SKY_SCALE * (sum(scene.electrons) - 2 * scene.sky)
    blank = (calibrated.mask & (MaskPlane.BAD | MaskPlane.SAT | MaskPlane.DETECTED | MaskPlane.NO_DATA)) == 0
    pull = ((calibrated.image - truth) / np.sqrt(calibrated.variance))[blank]
    assert 0.97 < pull.std() < 1.06
    assert calibrated.background_level == pytest.approx(2 * scene.sky, rel=0.002)


def test_the_wcs_is_true(scene: Scene, calibrated: CalibratedImage) -> None:
    grid = np.meshgrid(np.linspace(0, 255, 9), np.linspace(0, 255, 9))
    ours = SkyCoord(*calibrated.wcs.all_pix2world(*grid, 0), unit="deg")
    true = SkyCoord(*scene.wcs.all_pix2world(*grid, 0), unit="deg")
    assert np.sqrt(np.mean(ours.separation(true).mas ** 2) / 2) < 20
    assert calibrated.metrics["pointing_error_arcsec"] == pytest.approx(15, abs=0.5)


def test_every_product_has_its_shape_type_and_numbers(scene: Scene, calibrated: CalibratedImage) -> None:
    for plane, dtype in (("image", "f4"), ("variance", "f4"), ("mask", "u2"), ("background", "f4")):
        array = getattr(calibrated, plane)
        assert array.shape == (256, 256)
        assert array.dtype == np.dtype(dtype)
        assert np.isfinite(array).all()
    assert (calibrated.variance > 0).all()
    assert calibrated.exposure_time == 30.0
    assert calibrated.midpoint_mjd_tai == pytest.approx(60600.1 + 16 / 86400, abs=1e-9)
    assert (calibrated.visit, calibrated.detector, calibrated.band) == (2026112900001, 0, "r")
    assert calibrated.snaps.difference is not None
    assert all(isinstance(v, float) for v in calibrated.metrics.values())
    assert np.all(calibrated.mask[:3] & MaskPlane.EDGE)


def test_the_same_input_gives_the_same_bytes(scene: Scene, calibrated: CalibratedImage) -> None:
    again = run(make_scene("tiny", seed=2, stars=45))
    assert digest(again) == digest(calibrated)
    frames = [parse_raw(raw, scene.detector) for raw in reversed(scene.raws)]
    assert digest(run(scene, raws=frames)) == digest(calibrated)


def test_the_order_of_the_catalogue_does_not_matter(scene: Scene, calibrated: CalibratedImage) -> None:
    turned = run(scene, references=scene.references[::-1].copy())
    np.testing.assert_allclose(turned.image, calibrated.image, rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(turned.sources["reference"], calibrated.sources["reference"])


def test_one_snap_is_enough() -> None:
    scene = make_scene("tiny", seed=4, stars=45, snaps=1)
    calibrated = run(scene)
    assert calibrated.snaps.count == 1
    assert calibrated.photo_calib == pytest.approx(SKY_SCALE, rel=0.015)
    assert calibrated.exposure_time == 15.0


def test_a_wavefront_sensor_is_corrected_and_its_psf_measured(scene: Scene) -> None:
    frames = [parse_raw(raw, scene.detector) for raw in scene.raws]
    wavefront = calibrate_wavefront(frames, scene.masters)
    assert wavefront.psf is not None
    assert wavefront.metrics["psf_fwhm_pixels"] == pytest.approx(scene.fwhm, rel=0.2)
    empty = make_scene("tiny", seed=5, stars=0)
    frames = [parse_raw(raw, empty.detector) for raw in empty.raws]
    assert calibrate_wavefront(frames, empty.masters).psf is None


def test_a_dead_amplifier_is_carried_to_the_end(scene: Scene) -> None:
    frames = []
    for raw in scene.raws:
        frame = parse_raw(raw, scene.detector)
        first, *rest = frame.amplifiers
        silent = dataclasses.replace(first, data=np.full_like(first.data, 900))
        frames.append(dataclasses.replace(frame, amplifiers=(silent, *rest)))
    calibrated = run(scene, raws=frames)
    box = frames[0].amplifiers[0].detector.slices
    assert np.all(calibrated.mask[box] & MaskPlane.BAD)
    assert np.all(calibrated.image[box] == 0)
    assert calibrated.metrics["dead_amplifiers"] == 1
    assert calibrated.photo_calib == pytest.approx(SKY_SCALE, rel=0.015)


def test_snaps_that_do_not_belong_together_are_refused(scene: Scene) -> None:
    first, second = (parse_raw(raw, scene.detector) for raw in scene.raws)
    other = dataclasses.replace(second, exposure=dataclasses.replace(second.exposure, visit=5))
    for raws in ([], [first, first], [first, other], [first, second, other]):
        with pytest.raises(MismatchedSnapsError):
            run(scene, raws=raws)


def test_a_missing_master_or_catalogue_may_be_tried_again(scene: Scene) -> None:
    with pytest.raises(MissingCalibrationError, match="dark"):
        run(scene, masters=dataclasses.replace(scene.masters, dark=None))
    far = scene.references.copy()
    far["dec"] += 30
    with pytest.raises(MissingReferenceError):
        run(scene, references=far)
    without = scene.references[[n for n in scene.references.dtype.names if n != "flux_r"]]
    with pytest.raises(MissingReferenceError, match="band r"):
        run(scene, references=without)


def test_a_field_of_other_stars_is_a_permanent_failure(scene: Scene) -> None:
    other = make_scene("tiny", seed=77, stars=45)
    with pytest.raises(AstrometryError) as caught:
        run(scene, references=other.references)
    assert not caught.value.retriable
    assert caught.value.code == "astrometry"


def test_an_empty_sky_has_no_psf() -> None:
    scene = make_scene("tiny", seed=5, stars=0)
    with pytest.raises(TooFewStarsError):
        run(scene)


@pytest.mark.parametrize("seed", [11, 12])
def test_three_stars_are_a_named_failure_or_a_psf_but_no_solution(seed: int) -> None:
    scene = make_scene("tiny", seed=seed, stars=45, cosmic_rays=0)
    scarce = make_scene("tiny", seed=seed, stars=1, cosmic_rays=0)
    with pytest.raises((TooFewStarsError, AstrometryError)):
        run(scarce, references=scene.references)


def test_a_header_without_pointing_is_named(scene: Scene) -> None:
    frames = []
    for raw in scene.raws:
        header = {k: v for k, v in raw.header.items() if k not in ("RA", "DEC")}
        frames.append(parse_raw(dataclasses.replace(raw, header=header), scene.detector))
    with pytest.raises(BadHeaderError):
        run(scene, raws=frames)


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = SingleFrameError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all(not kind.retriable for kind in kinds)


def test_warming_up_can_be_repeated() -> None:
    warm_up()
    warm_up()
