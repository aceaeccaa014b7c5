"""Fakes beside the night's work: exact, harmless, and a fair measure of what is found."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from processors.differencing.completeness import (
    LEVELS,
    CompletenessCurve,
    combine_metrics,
    fit_logistic,
    measure_completeness,
    metrics_of,
)
from processors.differencing.fakes import FAKE_LEVELS, inject_fakes, measure_sky
from processors.differencing.pipeline import DifferenceResult, difference
from processors.differencing.psf import ConstantPsf, PsfGrid, render_psf
from processors.differencing.score import ScoreMap
from schemas.masks import MaskPlane
from tests.support.difference_scenes import Moffat, Scene, make_scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(seed=31)


@pytest.fixture(scope="module")
def result(scene: Scene) -> DifferenceResult:
    return difference(scene.science, scene.template)


def noise_only(
    shape: tuple[int, int] = (700, 700), *, seed: int = 41, understated: float = 1.0, mask: int = 0
) -> DifferenceResult:
    """A difference that is white noise of a known size, with its exact matched filter."""
    psf = PsfGrid.sample(ConstantPsf(Moffat(4.2).draw(0, 0)), shape, 20)
    image = np.random.default_rng(seed).normal(0, 100.0, shape).astype(np.float32)
    variance = np.full(shape, (100.0 / understated) ** 2, np.float32)
    power = float(np.sum(psf.mean**2))
    flux = (fftconvolve(image, psf.mean[::-1, ::-1], mode="same") / power).astype(np.float32)
    error = np.full(shape, 100.0 / understated / math.sqrt(power), np.float32)
    zeros = np.zeros(shape, np.float32)
    planes = np.full(shape, mask, np.uint16)
    return DifferenceResult(
        image=image,
        variance=variance,
        mask=planes,
        psf=psf,
        template=zeros,
        template_variance=zeros,
        template_psf=psf,
        science_psf=psf,
        score=ScoreMap(flux=flux, error=error, static_flux=zeros, snr=flux / error),
        kernel=cast("Any", None),
        matching=cast("Any", None),
        sources=np.zeros(0),
    )


def arrays_of(result: DifferenceResult) -> list[NDArray[Any]]:
    score = result.score
    return [
        result.image,
        result.variance,
        result.mask,
        result.template,
        result.sources,
        score.flux,
        score.error,
        score.snr,
        score.static_flux,
        result.psf.images,
    ]


def test_no_fake_reaches_an_image_a_mask_or_a_source(scene: Scene, result: DifferenceResult) -> None:
    before = [array.tobytes() for array in arrays_of(result)]
    for array in arrays_of(result):
        array.flags.writeable = False
    curve = measure_completeness(result, visit=7, detector=3)
    for array in arrays_of(result):
        array.flags.writeable = True
    assert curve.injected.sum() == 50
    assert curve.found.sum() > 20
    assert [array.tobytes() for array in arrays_of(result)] == before
    assert not (result.mask & MaskPlane.INJECTED).any()
    fakes = inject_fakes(result, visit=7, detector=3)
    again = difference(scene.science, scene.template)
    assert again.sources.tobytes() == result.sources.tobytes()
    nearest = np.hypot(
        np.subtract.outer(fakes["x"], result.sources["x"]), np.subtract.outer(fakes["y"], result.sources["y"])
    )
    assert nearest.min() > 4.0


def test_places_depend_on_visit_and_detector_alone(result: DifferenceResult) -> None:
    first, second = (inject_fakes(result, visit=7, detector=3) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    for visit, detector in ((7, 4), (8, 3), (2026112900001, 188)):
        other = inject_fakes(result, visit=visit, detector=detector)
        assert np.hypot(other["x"][:5] - first["x"][:5], other["y"][:5] - first["y"][:5]).min() > 1.0
    assert sorted(first["level"]) == sorted(FAKE_LEVELS)
    quarters = np.histogram2d(first["x"], first["y"], bins=2, range=[[0, 511], [0, 511]])[0]
    assert quarters.min() >= 8


def test_a_window_is_scored_as_the_whole_image_would_be() -> None:
    result = noise_only()
    result.mask[::9, ::7] |= np.uint16(MaskPlane.BAD)
    usable = (result.mask & MaskPlane.BAD) == 0
    psf, half = result.psf, 12
    for fake in inject_fakes(result, visit=1)[:6]:
        drawn = np.empty((3, 41, 41))
        ix, iy = render_psf(psf.x_nodes, psf.y_nodes, psf.coefficients, float(fake["x"]), float(fake["y"]), drawn)
        box = np.s_[iy - half : iy + half + 1, ix - half : ix + half + 1]
        weight = psf.mean[20 - half : 20 + half + 1, 20 - half : 20 + half + 1] * usable[box]
        added = float(np.sum(weight * drawn[0, 20 - half : 20 + half + 1, 20 - half : 20 + half + 1]))
        share = added / float(np.sum(weight**2))
        noise = float(result.score.flux[iy, ix])
        assert fake["measured"] == pytest.approx(fake["flux"] + noise / share, rel=1e-5)
        assert share == pytest.approx(1.0, abs=0.06)


def test_fakes_are_found_as_sources_in_the_science_image_are(scene: Scene, result: DifferenceResult) -> None:
    fakes = inject_fakes(result, visit=7, detector=3)
    image = scene.science.image.copy()
    grid = PsfGrid.sample(scene.science.psf, image.shape, 20)
    for fake in fakes:
        drawn = np.empty((3, 41, 41))
        ix, iy = render_psf(grid.x_nodes, grid.y_nodes, grid.coefficients, float(fake["x"]), float(fake["y"]), drawn)
        image[iy - 20 : iy + 21, ix - 20 : ix + 21] += (fake["flux"] * drawn[0]).astype(np.float32)
    real = difference(replace(scene.science, image=image), scene.template).sources
    distance = np.hypot(np.subtract.outer(fakes["x"], real["x"]), np.subtract.outer(fakes["y"], real["y"]))
    found = ((distance < 2.5) & (real["psfFlux"] > 0)).any(axis=1)
    assert np.mean(found == fakes["found"]) >= 0.9
    bright = fakes["level"] >= 8
    assert found[bright].all()
    assert fakes["found"][bright].all()


def test_in_pure_noise_completeness_is_that_of_a_gaussian() -> None:
    result = noise_only()
    curve = combine_metrics(metrics_of(measure_completeness(result, visit=v)) for v in range(30))
    share = curve.found / curve.injected
    expected = norm.cdf(np.array(LEVELS) - 5.0)
    # The best of several pixels about the true place is taken: a little above what one pixel would give.
    assert (share > expected - 0.08).all()
    assert (share < expected + 0.15).all()
    assert curve.snr50 == pytest.approx(4.87, abs=0.15)
    assert curve.snr50_error < 0.08
    assert abs(curve.flux_bias) < 0.02
    assert curve.between(8.0, math.inf) > 0.98
    assert curve.at(curve.snr50) == pytest.approx(0.5)


@pytest.mark.parametrize("understated", [1.0, 1.3])
def test_empty_sky_tells_whether_the_noise_is_right(understated: float) -> None:
    result = noise_only(understated=understated)
    sky = measure_sky(result, visit=2)
    assert len(sky) == 200
    curve = measure_completeness(result, visit=2)
    assert curve.sky_psf_pull_sd == pytest.approx(understated, rel=0.18)
    assert curve.sky_aperture_pull_sd == pytest.approx(understated, rel=0.18)
    assert abs(curve.sky_aperture_pull_median) < 0.3


def test_counts_of_many_detectors_add_up() -> None:
    result = noise_only()
    curves = [measure_completeness(result, visit=v) for v in (1, 2)]
    whole = combine_metrics([*map(metrics_of, curves), {"n_sources": 3.0}])
    np.testing.assert_array_equal(whole.injected, curves[0].injected + curves[1].injected)
    np.testing.assert_array_equal(whole.found, curves[0].found + curves[1].found)
    alone = combine_metrics([metrics_of(curves[0])])
    assert metrics_of(alone) == metrics_of(curves[0])
    assert whole.snr50_error < alone.snr50_error
    nothing = combine_metrics([])
    assert math.isnan(nothing.snr50)
    assert math.isnan(nothing.between(0, 99))


@pytest.mark.parametrize("shape", [(700, 700), (30, 30)])
def test_without_usable_pixels_there_are_no_fakes(shape: tuple[int, int]) -> None:
    curve = measure_completeness(noise_only(shape, mask=int(MaskPlane.SAT) if shape[0] > 100 else 0))
    assert curve.injected.sum() == 0
    values = (curve.snr50, curve.width, curve.flux_bias, curve.sky_psf_pull_sd, curve.at(5.0))
    assert all(math.isnan(value) for value in values)
    assert metrics_of(curve)["fakes_injected"] == 0.0


def test_the_fit_agrees_with_an_independent_one() -> None:
    random = np.random.default_rng(51)
    level = np.arange(3.0, 9.0, 0.5)
    injected = np.full(level.size, 2000)
    found = random.binomial(injected, 1 / (1 + np.exp(-(level - 5.2) / 0.6)))
    snr50, error, width = fit_logistic(level, injected, found)
    x = np.repeat(level, 2)[:, None]
    judge = LogisticRegression(C=1e8, tol=1e-10, max_iter=1000)
    judge.fit(x, np.tile([1, 0], level.size), sample_weight=np.column_stack([found, injected - found]).ravel())
    assert snr50 == pytest.approx(-judge.intercept_[0] / judge.coef_[0, 0], abs=1e-3)
    assert width == pytest.approx(1 / judge.coef_[0, 0], rel=2e-3)
    assert abs(snr50 - 5.2) < 4 * error
    assert error < 0.02


def test_the_fits_error_is_its_scatter() -> None:
    random = np.random.default_rng(52)
    level = np.array(LEVELS)
    injected = np.array([FAKE_LEVELS.count(v) for v in LEVELS])
    fits = [
        fit_logistic(level, injected, random.binomial(injected, 1 / (1 + np.exp(-(level - 5.0) / 0.6))))
        for _ in range(400)
    ]
    values = np.array([f[:2] for f in fits if math.isfinite(f[0])])
    assert len(values) > 395
    assert np.std(values[:, 0]) == pytest.approx(np.median(values[:, 1]), rel=0.2)
    assert np.mean(values[:, 0]) == pytest.approx(5.0, abs=0.06)


def test_a_clean_step_has_a_finite_fit_and_none_without_a_rise() -> None:
    level = np.array([4.0, 5.0, 6.0])
    counts = np.array([4, 4, 4])
    snr50, error, width = fit_logistic(level, counts, np.array([0, 4, 4]))
    assert 4.0 < snr50 < 5.0
    assert 0 < error < 2
    assert width > 0
    assert math.isnan(fit_logistic(level, counts, np.array([4, 2, 0]))[0])
    assert math.isnan(fit_logistic(level, np.array([4, 0, 0]), np.array([2, 0, 0]))[0])


def test_a_curve_without_fit_has_no_value() -> None:
    empty = np.zeros(0)
    curve = CompletenessCurve(
        level=empty,
        injected=empty.astype(np.int64),
        found=empty.astype(np.int64),
        snr50=math.nan,
        snr50_error=math.nan,
        width=math.nan,
        flux_bias=math.nan,
        sky_psf_pull_sd=math.nan,
        sky_aperture_pull_sd=math.nan,
        sky_aperture_pull_median=math.nan,
    )
    assert math.isnan(curve.at(5.0))
