from __future__ import annotations

import numpy as np
import pytest

from processors.differencing.score import MOST_OWN_NOISE, ScoreMap, add_systematics, calibrate_noise
from processors.differencing.systematics import Systematics
from tests.support.difference_scenes import Moffat, add_sources
from tests.support.score_maps import score_white

SHAPE = (300, 520)
"""Two tiles."""
PSF = Moffat(4.0).draw(0, 0)


def score_of(
    image: np.ndarray, variance: float = 25.0, usable: np.ndarray | None = None, static: np.ndarray | None = None
) -> ScoreMap:
    return score_white(image, PSF, variance, usable=usable, static=static)


def test_noise_has_a_score_of_standard_deviation_one_up_to_the_edge() -> None:
    score = score_of(np.random.default_rng(1).normal(scale=5.0, size=SHAPE))
    assert score.snr.std() == pytest.approx(1.0, abs=0.03)
    assert score.snr[:3].std() == pytest.approx(1.0, abs=0.15)


def test_a_star_has_its_flux_and_the_best_possible_error() -> None:
    image = np.zeros(SHAPE)
    add_sources(image, Moffat(4.0), [150.0], [100.0], [5000.0])
    score = score_of(image)
    assert score.flux[100, 150] == pytest.approx(5000, rel=1e-3)
    assert score.error[100, 150] == pytest.approx(5 / np.sqrt(np.sum(PSF**2)), rel=1e-3)
    assert np.unravel_index(np.argmax(score.snr), SHAPE) == (100, 150)


def test_masked_pixels_cost_signal_but_do_not_bias() -> None:
    image = np.zeros(SHAPE)
    add_sources(image, Moffat(4.0), [150.0], [100.0], [5000.0])
    usable = np.ones(SHAPE, bool)
    usable[:, 151] = False
    image[~usable] = 1e9
    score, whole = score_of(image, usable=usable), score_of(np.where(usable, image, 0))
    assert score.flux[100, 150] == pytest.approx(5000, rel=1e-3)
    assert score.error[100, 150] > whole.error[100, 150]


def test_where_nothing_is_known_there_is_no_score() -> None:
    usable = np.ones(SHAPE, bool)
    usable[80:160, 80:160] = False
    score = score_of(np.ones(SHAPE), usable=usable)
    assert score.snr[120, 120] == 0
    assert np.isinf(score.error[120, 120])
    assert (score_of(np.ones(SHAPE), variance=0.0).snr == 0).all()


def test_wrong_variances_are_found_out() -> None:
    image = np.random.default_rng(2).normal(scale=6.0, size=SHAPE)
    score = calibrate_noise(score_of(image), np.ones(SHAPE, bool))
    assert score.noise_scale == pytest.approx(1.2, abs=0.03)
    assert score.snr.std() == pytest.approx(1.0, abs=0.03)


def test_few_pixels_calibrate_nothing() -> None:
    score = score_of(np.ones(SHAPE))
    assert calibrate_noise(score, np.zeros(SHAPE, bool)) is score


def test_bright_static_sources_lower_the_score_around_them_only() -> None:
    image, static = np.zeros(SHAPE), np.zeros(SHAPE)
    add_sources(image, Moffat(4.0), [150.0, 50.0], [100.0, 50.0], [500.0, 500.0])
    add_sources(static, Moffat(4.0), [150.0], [100.0], [1e5])
    plain = score_of(image, static=static)
    wings = np.zeros(SHAPE, bool)
    careful = add_systematics(plain, Systematics(flux_fraction=0.01, centroid_pixels=0.05), wings)
    assert careful.snr[100, 150] < 0.25 * plain.snr[100, 150]
    assert careful.snr[50, 50] == pytest.approx(plain.snr[50, 50], rel=1e-3)
    in_wings = add_systematics(plain, Systematics(flux_fraction=0.01), ~wings)
    assert in_wings.snr[100, 150] < careful.snr[100, 150]


def test_new_light_is_judged_by_the_noise_that_is_there_without_it() -> None:
    image = np.zeros(SHAPE)
    add_sources(image, Moffat(4.0), [50.0, 150.0], [100.0, 100.0], [500.0, -500.0])
    plain, wings = score_of(image), np.zeros(SHAPE, bool)
    error = float(plain.error[100, 50])
    judged = add_systematics(
        plain,
        Systematics(flux_fraction=0.0, centroid_pixels=0.0, saturated_fraction=0.0),
        wings,
        0.05 * error**2 / 500.0,
    )
    assert judged.snr[100, 50] == pytest.approx(plain.snr[100, 50] / np.sqrt(0.95), rel=1e-3)
    assert judged.snr[100, 150] == pytest.approx(plain.snr[100, 150], rel=1e-6)
    most = add_systematics(
        plain, Systematics(flux_fraction=0.0, centroid_pixels=0.0, saturated_fraction=0.0), wings, 10 * error**2 / 500.0
    )
    assert most.snr[100, 50] == pytest.approx(plain.snr[100, 50] / np.sqrt(1 - MOST_OWN_NOISE), rel=1e-3)


def test_the_seam_between_tiles_is_not_seen() -> None:
    image = np.random.default_rng(4).normal(scale=5.0, size=SHAPE)
    add_sources(image, Moffat(4.0), [259.6], [100.0], [5000.0])
    here, moved = score_of(image), score_of(np.roll(image, 100, axis=1))
    np.testing.assert_allclose(here.snr[40:-40, 200:320], moved.snr[40:-40, 300:420], atol=2e-4)
