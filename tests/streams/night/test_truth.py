"""Completeness and false positives are counted as the summary documents them."""

from __future__ import annotations

import numpy as np
import pytest

from streams.night.summary import KEYS, NightSummary, latency_of, summary_document
from streams.night.truth import NightScore, score_night, score_visit

TRUTH = np.array(
    [
        (1, 1, "variable", 0.0, 0.0, 20.0, False, "1"),
        (1, 1, "supernova", 359.9999, 0.01, 9.0, False, "2"),
        (1, 1, "variable", 0.02, 0.0, 7.0, False, "3"),
        (1, 1, "variable", 0.03, 0.0, 50.0, True, "4"),
        (1, 1, "star_motion", 0.04, 0.0, 30.0, False, "5"),
        (1, 2, "variable", 0.05, 0.0, 30.0, False, "6"),
    ],
    dtype=[
        ("visit", "i8"),
        ("detector", "i4"),
        ("kind", "U24"),
        ("ra", "f8"),
        ("dec", "f8"),
        ("predicted_snr", "f8"),
        ("masked", "?"),
        ("key", "U24"),
    ],
)
ARCSEC = 1 / 3600


def score(ra: list[float], dec: list[float]) -> tuple[int, ...]:
    result = score_visit(TRUTH, np.array(ra), np.array(dec), {1})
    return result.true_changes, result.found, result.moved_stars, result.moved_stars_found, result.false_positives


def test_only_strong_unmasked_changes_on_processed_detectors_count() -> None:
    assert score([], []) == (2, 0, 1, 0, 0)


def test_a_match_lies_within_one_arcsecond_also_across_the_origin_of_right_ascension() -> None:
    assert score([360 - 0.5 * ARCSEC, 0.0], [0.0, 0.01]) == (2, 2, 1, 0, 0)
    assert score([1.01 * ARCSEC], [0.0]) == (2, 0, 1, 0, 1)


def test_a_faint_or_masked_change_explains_a_detection_and_a_moved_star_is_counted_apart() -> None:
    assert score([0.02, 0.03, 0.04, 0.5], [0.0] * 4) == (2, 0, 1, 1, 1)


def test_a_known_asteroid_is_recognised_by_its_own_number_only() -> None:
    places = np.array([0.0, 0.0]), np.array([0.0, 0.01])
    for numbers, expected in (([77, 0], 1), ([78, 0], 0), ([0, 0], 0), ([0, 77], 0)):
        result = score_visit(TRUTH, *places, {1}, ss_object_id=np.array(numbers), known={"1": 77, "9": 5})
        assert (result.known_asteroids, result.known_asteroids_recognised) == (1, expected)


def test_a_night_is_the_sum_of_its_visits() -> None:
    one = score_visit(TRUTH, np.array([0.0, 0.5]), np.array([0.0, 0.0]), {1})
    night = score_night([(one, 4), (one, 4)])
    assert night.completeness == pytest.approx(0.5)
    assert night.false_positives_per_ccd == pytest.approx(0.25)


def test_the_document_has_exactly_the_documented_keys() -> None:
    empty = NightSummary(
        day_obs=20261129,
        visits=0,
        visits_cancelled=0,
        detectors_done=0,
        detectors_failed=0,
        wavefront_done=0,
        diasources=0,
        alerts=0,
        quarantined=0,
        dead_letters=0,
        latency_s=latency_of([]),
        score=NightScore(
            true_changes=0,
            found=0,
            moved_stars=0,
            moved_stars_found=0,
            diasources=0,
            false_positives=0,
            detectors=0,
        ),
    )
    document = summary_document(empty)
    assert set(document) == set(KEYS)
    assert document["completeness_snr8"] is None


def test_latency_quantiles_are_numpys() -> None:
    latency = latency_of(list(range(101)))
    assert latency is not None
    assert (latency.p50, latency.p95, latency.p98, latency.max) == (50, 95, 98, 100)
