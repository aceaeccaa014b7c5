"""Truth tests of the whole: scenes with everything known go in, DIASources come out."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from processors.differencing.errors import (
    HopelessDifferenceError,
    InvalidImageError,
    TemplateCoverageError,
    TooFewKernelStarsError,
)
from processors.differencing.layers import VisitInfo
from processors.differencing.pipeline import DifferenceResult, difference
from schemas.ids import unpack_dia_source_id
from schemas.masks import MaskPlane
from schemas.public import dia_source_dtype, to_public_records
from tests.support.difference_scenes import Scene, make_scene, match

INFO = VisitInfo(
    visit=2026092100001,
    detector=7,
    band="r",
    midpoint_mjd_tai=61000.25,
    exposure_time=30.0,
    processed_mjd_tai=61000.2502,
)


@functools.cache
def scene(**options: object) -> Scene:
    return make_scene(**options)  # type: ignore[arg-type]


@functools.cache
def result(**options: object) -> DifferenceResult:
    made = scene(**options)
    return difference(made.science, made.template, info=INFO)


def judged(**options: object) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the true transients that count, their sources' indices, the sources, and which have no true change."""
    made, sources = scene(**options), result(**options).sources
    changes = made.changes
    index = match(changes["x"], changes["y"], sources["x"], sources["y"])
    false = match(sources["x"], sources["y"], changes["x"], changes["y"]) < 0
    counted = (changes["kind"] == "transient") & (changes["predicted_snr"] > 8)
    return changes[counted], index[counted], sources, false


SCENES = [
    {"seed": 3, "n_changes": 30},
    {"seed": 4, "n_changes": 30, "science_fwhm": 3.4, "template_fwhm": 4.2, "rotation_deg": 89.0},
    {"seed": 5, "n_changes": 30, "science_fwhm": 5.5, "template_fwhm": 3.6, "science_scale": 0.8},
]


@pytest.mark.parametrize("options", SCENES)
def test_changes_are_found_with_their_fluxes_and_hardly_anything_else(options: dict[str, object]) -> None:
    changes, index, sources, false = judged(**options)
    found = index >= 0
    assert found.mean() >= 0.95
    assert false.sum() <= 2
    flux = sources["psfFlux"][index[found]]
    truth = changes["flux"][found]
    pull = (flux - truth) / sources["psfFluxErr"][index[found]]
    weight = 1 / sources["psfFluxErr"][index[found]] ** 2
    assert np.sum(weight * flux * truth) / np.sum(weight * truth**2) == pytest.approx(1.0, abs=0.03)
    assert 1.4826 * np.median(np.abs(pull - np.median(pull))) < 1.5
    assert ((sources["isNegative"][index[found]] == 1) == (truth < 0)).mean() > 0.95


def test_bright_changes_have_unbiased_fluxes_and_honest_errors() -> None:
    pulls, ratios, offsets = [], [], []
    for seed in (11, 12):
        options = {"seed": seed, "n_changes": 60, "n_stars": 90, "n_galaxies": 0, "change_snr": (15.0, 60.0)}
        changes, index, sources, _ = judged(**options)
        alone = (
            match(changes["x"], changes["y"], scene(**options).static["x"], scene(**options).static["y"], 14.0)
        ) < 0
        good = (index >= 0) & alone & (sources["isDipole"][index] != 1)
        row = sources[index[good]]
        pulls += list((row["psfFlux"] - changes["flux"][good]) / row["psfFluxErr"])
        ratios += list(row["psfFlux"] / changes["flux"][good])
        offsets += list((row["x"] - changes["x"][good]) / row["xErr"])
    assert abs(np.mean(ratios) - 1) < 0.01
    assert 0.85 < np.std(pulls) < 1.2
    assert 0.75 < 1.4826 * np.median(np.abs(offsets)) < 1.3


def test_empty_sky_has_unit_scores() -> None:
    options = SCENES[0]
    score = result(**options).score
    empty = score.snr[np.abs(score.static_flux) < score.error]
    assert 1.4826 * np.median(np.abs(empty)) == pytest.approx(1.0, abs=0.03)
    assert np.mean(np.abs(empty) < 2) == pytest.approx(0.954, abs=0.02)
    assert 0.95 < score.noise_scale < 1.08


def test_moved_stars_are_dipoles_without_flux() -> None:
    options = {"seed": 4, "n_dipoles": 5, "n_changes": 10}
    made, found = scene(**options), result(**options).sources
    moved = made.changes[made.changes["kind"] == "star_motion"]
    index = match(moved["x"], moved["y"], found["x"], found["y"])
    assert (index >= 0).all()
    rows = found[index]
    assert (rows["isDipole"] == 1).mean() >= 0.8
    dipoles = rows[rows["isDipole"] == 1]
    np.testing.assert_allclose(dipoles["dipoleLength"], 0.5 * 0.2, atol=0.03)
    np.testing.assert_allclose(np.mod(dipoles["dipoleAngle"], 360.0), 270.0, atol=25)
    assert (np.abs(dipoles["psfFlux"]) < 0.05 * dipoles["dipoleMeanFlux"]).all()
    others = np.setdiff1d(np.arange(len(found)), index)
    assert (found["isDipole"][others] == 1).sum() == 0


def test_a_moving_body_leaves_a_trail() -> None:
    made = scene(seed=6, n_changes=0)
    steps = np.linspace(-6, 6, 61)
    angle = np.radians(30)
    image = np.array(made.science.image, dtype=float)
    from tests.support.difference_scenes import add_sources

    add_sources(
        image, made.truth_psf, 250 + steps * np.cos(angle), 260 + steps * np.sin(angle), np.full(61, 60000.0 / 61)
    )
    science = dataclasses.replace(made.science, image=image.astype("f4"))
    sources = difference(science, made.template).sources
    row = sources[match(np.array([250.0]), np.array([260.0]), sources["x"], sources["y"])[0]]
    assert row["trailLength"] == pytest.approx(12 * 0.2, rel=0.12)
    assert row["trailAngle"] == pytest.approx(60.0, abs=6) or row["trailAngle"] == pytest.approx(120.0, abs=6)
    assert row["trailFlux"] == pytest.approx(60000, rel=0.08)
    assert row["trailFlux"] > 1.2 * row["psfFlux"]
    assert row["trail_flag"] == 0
    assert row["extendedness"] > 0.95


def test_rows_are_public_records_in_canonical_order() -> None:
    found = result(**SCENES[0])
    rows = found.sources
    assert rows.dtype == dia_source_dtype()
    assert (np.diff(np.round(rows["y"].astype(float), 3)) >= 0).all()
    ids = [unpack_dia_source_id(int(i)) for i in rows["diaSourceId"]]
    assert [(i.visit, i.detector, i.rank) for i in ids] == [(INFO.visit, INFO.detector, n) for n in range(len(rows))]
    record = to_public_records(rows, "diaSource")[0]
    assert record["diaObjectId"] is None
    assert record["reliability"] is None
    assert record["band"] == "r"
    assert record["midpointMjdTai"] == INFO.midpoint_mjd_tai
    for name in ("ra", "dec", "raErr", "decErr", "snr", "psfFlux", "scienceFlux", "templateFlux", "ixxPSF", "apFlux"):
        assert np.isfinite(record[name]), name
    assert found.metrics["n_sources"] == len(rows)


def test_positions_on_the_sky_are_those_of_the_pixels() -> None:
    made, rows = scene(**SCENES[0]), result(**SCENES[0]).sources
    x, y = made.science.wcs.all_world2pix(rows["ra"], rows["dec"], 0)
    np.testing.assert_allclose(x, rows["x"], atol=1e-4)
    np.testing.assert_allclose(y, rows["y"], atol=1e-4)
    good = np.isfinite(rows["xErr"]) & (rows["isDipole"] != 1)
    np.testing.assert_allclose(rows["decErr"][good] * 3600 / 0.2, rows["yErr"][good], rtol=0.02)


def test_forced_fluxes_of_both_images_differ_by_the_change() -> None:
    _, index, sources, _ = judged(**SCENES[0])
    rows = sources[index[index >= 0]]
    error = np.hypot(rows["scienceFluxErr"], rows["templateFluxErr"])
    gap = rows["scienceFlux"] - rows["templateFlux"] - rows["psfFlux"]
    assert np.median(np.abs(gap) / error) < 0.7


def test_the_same_input_gives_the_same_bytes() -> None:
    made = scene(**SCENES[0])
    first, second = result(**SCENES[0]), difference(made.science, made.template, info=INFO)
    for name in ("image", "variance", "mask", "template", "sources"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    assert first.score.snr.tobytes() == second.score.snr.tobytes()


def test_nothing_that_went_in_is_changed() -> None:
    made = make_scene(seed=8, shape=(256, 256), n_stars=60)
    before = [
        made.science.image.copy(),
        made.science.mask.copy(),
        made.template.image.copy(),
        made.template.mask.copy(),
    ]
    difference(made.science, made.template)
    after = [made.science.image, made.science.mask, made.template.image, made.template.mask]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_tiny_image_with_few_stars_works() -> None:
    made = make_scene(seed=21, shape=(256, 256), n_stars=40, n_galaxies=5, n_changes=6)
    found = difference(made.science, made.template)
    assert found.kernel.order <= 1
    index = match(made.changes["x"], made.changes["y"], found.sources["x"], found.sources["y"])
    assert (index >= 0).sum() >= 5


def test_nan_saturated_and_dead_pixels_give_no_sources() -> None:
    made = scene(seed=9)
    image, mask = made.science.image.copy(), made.science.mask.copy()
    image[100:140, 200:230] = np.nan
    image[300:305, 50:450] += 5e5
    mask[300:305, 50:450] |= int(MaskPlane.SAT)
    image[:, 400] = 1e6
    mask[:, 400] |= int(MaskPlane.BAD)
    found = difference(dataclasses.replace(made.science, image=image, mask=mask), made.template)
    rows = found.sources
    assert np.isfinite(found.image).all()
    inside = (rows["x"] > 199) & (rows["x"] < 231) & (rows["y"] > 99) & (rows["y"] < 141)
    assert not inside.any()
    assert not (np.abs(rows["x"] - 400) < 1).any()
    false = match(rows["x"], rows["y"], made.changes["x"], made.changes["y"]) < 0
    assert false.sum() <= 2
    assert has_bits(found.mask[120, 215], MaskPlane.NO_DATA)


def has_bits(value: np.integer, planes: int) -> bool:
    return bool(int(value) & int(planes))


def test_a_cosmic_ray_is_no_source() -> None:
    made = scene(seed=9)
    image = made.science.image.copy()
    for x, y in ((200, 210), (310, 77), (77, 400)):
        image[y, x] += 5000.0
    found = difference(dataclasses.replace(made.science, image=image), made.template)
    near = match(np.array([200.0, 310, 77]), np.array([210.0, 77, 400]), found.sources["x"], found.sources["y"])
    assert (near < 0).all()
    assert found.metrics["cosmic_rays"] >= 3


def test_a_template_without_noise_is_fine() -> None:
    made = scene(seed=9)
    template = dataclasses.replace(made.template, variance=np.zeros_like(made.template.variance))
    found = difference(made.science, template)
    assert np.isfinite(found.score.snr).all()
    assert found.kernel.sum == pytest.approx(1.0, abs=0.02)


def test_wrong_shapes_are_refused() -> None:
    made = scene(seed=9)
    with pytest.raises(InvalidImageError):
        difference(dataclasses.replace(made.science, variance=np.ones((3, 3), "f4")), made.template)


def test_an_image_without_a_usable_pixel_is_refused() -> None:
    made = scene(seed=9)
    mask = np.full_like(made.science.mask, int(MaskPlane.SAT))
    with pytest.raises(InvalidImageError):
        difference(dataclasses.replace(made.science, mask=mask), made.template)


def test_a_template_of_another_field_is_refused() -> None:
    made = scene(seed=9)
    from tests.support.difference_scenes import tan_wcs

    with pytest.raises(TemplateCoverageError):
        difference(made.science, dataclasses.replace(made.template, wcs=tan_wcs((632, 632), ra=0.5)))


def test_an_image_without_stars_is_refused() -> None:
    made = scene(seed=9)
    blank = np.random.default_rng(1).normal(scale=100, size=made.science.image.shape).astype("f4")
    with pytest.raises(TooFewKernelStarsError):
        difference(dataclasses.replace(made.science, image=blank), made.template)


def test_a_field_that_does_not_fit_its_template_is_given_up_or_refused() -> None:
    made, other = scene(seed=9), scene(seed=10)
    with pytest.raises((HopelessDifferenceError, TooFewKernelStarsError)):
        difference(made.science, other.template)
