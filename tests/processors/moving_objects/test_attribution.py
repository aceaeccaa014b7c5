"""Attribution at the density of the survey: right where there is a source, nothing where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from infra.telescope.detections.plan import SurveySettings
from infra.telescope.detections.survey import simulate_survey
from processors.moving_objects.attribution import AttributionRules, Predicted, attribute_visit
from processors.moving_objects.detections import DETECTION, no_detections
from tests.support.attribution_survey import case_of, judge

FIELD_DEG = 3.1
"""Side of a square of 9.6 square degrees."""


def places(rng: np.random.Generator, count: int, dec: float) -> tuple[np.ndarray, np.ndarray]:
    north = dec + FIELD_DEG * rng.uniform(-0.5, 0.5, count)
    return (FIELD_DEG * rng.uniform(-0.5, 0.5, count) / np.cos(np.radians(north))) % 360.0, north


def shifted(ra: np.ndarray, dec: np.ndarray, east: np.ndarray, north: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move by arcseconds."""
    return (ra + east / 3600 / np.cos(np.radians(dec))) % 360.0, dec + north / 3600


def rows(ra: np.ndarray, dec: np.ndarray, sigma: float) -> np.ndarray:
    table = np.zeros(len(ra), DETECTION)
    table["detection_id"] = np.arange(len(ra))
    table["ra"], table["dec"], table["midpoint_mjd_tai"] = ra, dec, 61304.2
    table["ra_err_arcsec"] = table["dec_err_arcsec"] = sigma
    return table


def predicted(ra: np.ndarray, dec: np.ndarray, major: float, minor: float, angle: float) -> Predicted:
    n = len(ra)
    return Predicted(
        ra=ra, dec=dec, major_arcsec=np.full(n, major), minor_arcsec=np.full(n, minor), angle_deg=np.full(n, angle)
    )


@pytest.mark.parametrize("dec", [0.0, -60.0])
def test_known_objects_get_their_detections_in_the_densest_field(dec: float) -> None:
    rng = np.random.default_rng(17)
    right, wrong, own_total = 0, 0, 0
    for _ in range(3):
        ra, north = places(rng, 4000, dec)
        seen = rng.uniform(size=4000) < 0.9
        major, minor, angle = 0.3, 0.05, 30.0
        along, across = major * rng.normal(size=4000), minor * rng.normal(size=4000)
        sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
        east, up = along * sine + across * cosine, along * cosine - across * sine
        true_ra, true_dec = shifted(ra, north, east, up)
        sigma = 0.1
        own = shifted(true_ra[seen], true_dec[seen], *(sigma * rng.normal(size=(2, seen.sum()))))
        false = places(rng, 5000 - int(seen.sum()), dec)
        table = rows(*(np.concatenate(pair) for pair in zip(own, false, strict=True)), sigma)
        owner, _ = attribute_visit(table, predicted(ra, north, major, minor, angle))
        truth = np.concatenate([np.flatnonzero(seen), np.full(len(false[0]), -1)])
        real = truth >= 0
        right += (owner[real] == truth[real]).sum()
        wrong += ((owner >= 0) & (owner != truth)).sum()
        own_total += real.sum()
    assert right / own_total >= 0.995
    assert wrong / own_total <= 0.0005


def test_the_closest_wins_and_each_is_used_once() -> None:
    ra, dec = np.array([10.0, 10.0]), np.array([0.0, 0.6 / 3600])
    table = rows(np.array([10.0, 10.0]), np.array([0.2 / 3600, 0.9 / 3600]), 0.01)
    owner, far = attribute_visit(table, predicted(ra, dec, 0.01, 0.01, 0.0))
    assert owner.tolist() == [0, 1]
    assert far == pytest.approx([0.2, 0.3], abs=1e-6)
    lone, _ = attribute_visit(table[:1], predicted(ra, dec, 0.01, 0.01, 0.0))
    assert lone.tolist() == [0]


@pytest.mark.parametrize(("angle", "expected"), [(90.0, 0), (0.0, -1)])
def test_the_radius_follows_the_error_ellipse(angle: float, expected: int) -> None:
    east = 2.0 / 3600
    table = rows(np.array([10.0 + east]), np.array([0.0]), 0.01)
    owner, _ = attribute_visit(table, predicted(np.array([10.0]), np.array([0.0]), 0.9, 0.01, angle))
    assert owner.tolist() == [expected]


def test_right_ascension_wraps_and_the_pole_is_a_place() -> None:
    table = rows(np.array([0.00005, 200.0]), np.array([-30.0, 89.99999]), 0.05)
    where = predicted(np.array([359.99995, 20.0]), np.array([-30.0, 89.99999]), 0.1, 0.1, 0.0)
    assert attribute_visit(table, where)[0].tolist() == [0, 1]


def test_no_sources_no_objects_and_no_predictions() -> None:
    table = rows(np.array([10.0]), np.array([0.0]), 0.1)
    none = predicted(np.zeros(0), np.zeros(0), 0.1, 0.1, 0.0)
    assert attribute_visit(table, none)[0].tolist() == [-1]
    assert len(attribute_visit(no_detections(), predicted(np.array([1.0]), np.array([1.0]), 0.1, 0.1, 0.0))[0]) == 0
    unknown = predicted(np.array([np.nan]), np.array([0.0]), 0.1, 0.1, 0.0)
    assert attribute_visit(table, unknown)[0].tolist() == [-1]


def test_an_object_that_is_hardly_known_is_left_to_its_tracklets() -> None:
    table = rows(np.array([10.0]), np.array([0.0]), 0.1)
    vague = predicted(np.array([10.0]), np.array([0.0]), 12.0, 0.1, 0.0)
    assert attribute_visit(table, vague)[0].tolist() == [-1]
    assert attribute_visit(table, vague, AttributionRules(widest_arcsec=15.0))[0].tolist() == [0]


def test_fitted_orbits_carried_to_the_night_get_their_detections() -> None:
    """Orbits fitted to what earlier nights saw, two visits of 5,000 sources each; heyoka is the truth of the motion."""
    survey = simulate_survey(SurveySettings(size="S", seed=31, nights=11))
    case = case_of(survey, nights_before=9, visits=4, sources_a_visit=5000, seed=31)
    assert len(case.detections) == 20_000
    score = judge(case)
    assert score.known > 300
    assert (
        score.right >= 0.99
    )  # one in three hundred is a third of a per cent; the benchmark asks 0.995 of five thousand
    assert score.wrong <= 1.0 / 300.0
