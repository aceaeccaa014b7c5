"""Detections: what is refused, one order for every order of delivery, nights by noon."""

from __future__ import annotations

import numpy as np
import pytest

from processors.moving_objects.detections import (
    DETECTION,
    day_obs_of,
    mjd_of_day_obs,
    night_numbers,
    no_detections,
    validated_detections,
)
from processors.moving_objects.errors import InvalidDetectionsError


def rows(count: int = 6) -> np.ndarray:
    rng = np.random.default_rng(5)
    table = np.zeros(count, DETECTION)
    table["detection_id"] = rng.permutation(100)[:count]
    table["midpoint_mjd_tai"] = 61304.2 + rng.integers(0, 3, count)
    table["ra"], table["dec"] = rng.uniform(0, 360, count), rng.uniform(-90, 90, count)
    table["ra_err_arcsec"] = table["dec_err_arcsec"] = 0.1
    return table


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("ra", 360.0, "right ascension"),
        ("ra", np.nan, "right ascension"),
        ("dec", -90.1, "declination"),
        ("midpoint_mjd_tai", np.inf, "finite time"),
        ("ra_err_arcsec", 0.0, "position error"),
        ("dec_err_arcsec", np.nan, "position error"),
        ("band", 6, "band"),
        ("trail_length_arcsec", -1.0, "trail length"),
    ],
)
def test_a_broken_column_is_refused_with_the_detection_named(column: str, value: float, words: str) -> None:
    table = rows()
    table[column][3] = value
    with pytest.raises(InvalidDetectionsError, match=rf"{table['detection_id'][3]} has .*{words}"):
        validated_detections(table)


def test_a_trail_needs_an_angle() -> None:
    table = rows()
    table["trail_length_arcsec"][2], table["trail_angle_deg"][2] = 2.0, np.nan
    with pytest.raises(InvalidDetectionsError, match="without an angle"):
        validated_detections(table)


def test_another_dtype_is_refused() -> None:
    with pytest.raises(InvalidDetectionsError, match="dtype"):
        validated_detections(np.zeros(3))


def test_any_order_and_double_delivery_give_the_same_rows() -> None:
    table = rows()
    once = validated_detections(table)
    again = validated_detections(np.concatenate([table[::-1], table[2:4]]))
    assert once.tobytes() == again.tobytes()
    assert (np.diff(once["midpoint_mjd_tai"]) >= 0).all()


def test_one_identifier_for_two_detections_is_refused() -> None:
    table = np.concatenate([rows(), rows()[:1]])
    table["mag"][-1] = 20.0
    with pytest.raises(InvalidDetectionsError, match="twice with different contents"):
        validated_detections(table)


def test_no_detections_are_valid() -> None:
    assert len(validated_detections(no_detections())) == 0


def test_a_night_runs_from_noon_to_noon_and_its_name_comes_back() -> None:
    night = night_numbers(np.array([61304.51, 61305.49, 61305.51]))
    assert night.tolist() == [61304, 61304, 61305]
    assert day_obs_of(61304) == 20260921
    assert mjd_of_day_obs(20260921) == 61304
