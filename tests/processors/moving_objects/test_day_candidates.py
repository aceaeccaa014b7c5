"""Which DIASources DayMOPS looks at, and what they are as detections."""

from __future__ import annotations

import numpy as np
import pytest

from processors.moving_objects.day_candidates import candidates_of, detections_of_sources, night_by_hand
from processors.moving_objects.detections import validated_detections
from schemas.detections import DETECTION
from schemas.ids import pack_dia_source_id
from schemas.public import null_rows

NIGHT, BEFORE = 20260921, 20260920


def sources(count: int, *, day_obs: int = NIGHT, first: int = 0) -> np.ndarray:
    rows = null_rows("diaSource", count)
    rows["visit"] = day_obs * 100_000 + 1
    rows["diaSourceId"] = [pack_dia_source_id(day_obs * 100_000 + 1, 3, first + k) for k in range(count)]
    rows["diaObjectId"], rows["midpointMjdTai"] = rows["diaSourceId"], 61305.2
    rows["ra"], rows["dec"] = 10.0 + 0.1 * np.arange(count), -5.0
    rows["raErr"] = rows["decErr"] = 0.05 / 3600
    rows["psfFlux"], rows["psfFluxErr"], rows["band"] = 3631.0, 36.31, "i"
    return rows


def test_a_plain_source_is_a_detection_with_its_errors_and_magnitude() -> None:
    (row,) = detections_of_sources(sources(1))
    assert (row["ra"], row["dec"], row["midpoint_mjd_tai"], row["band"]) == (10.0, -5.0, 61305.2, 3)
    assert row["ra_err_arcsec"] == pytest.approx(0.05)
    assert row["mag"] == pytest.approx(22.5, abs=1e-3)  # 3631 nJy are a billionth of the AB zero point, 3631 Jy
    assert row["mag_err"] == pytest.approx(0.01086, abs=1e-4)
    assert (row["trail_length_arcsec"], row["trail_angle_deg"]) == (0.0, 0.0)


def test_a_trailed_source_has_the_trails_middle_length_angle_and_magnitude() -> None:
    rows = sources(2)
    rows["trailLength"], rows["trailAngle"] = 2.5, 130.0
    rows["trailRa"], rows["trailDec"], rows["trailRaErr"], rows["trailDecErr"] = 359.9999, -5.1, 1e-5, 2e-5
    rows["trailFlux"], rows["trailFluxErr"] = 36310.0, 363.1
    rows["trail_flag"][1] = 1
    trailed, flagged = detections_of_sources(rows)
    assert (trailed["ra"], trailed["dec"]) == (359.9999, -5.1)
    assert trailed["dec_err_arcsec"] == pytest.approx(0.072)
    assert (trailed["trail_length_arcsec"], trailed["trail_angle_deg"]) == (2.5, 130.0)
    assert trailed["mag"] == pytest.approx(20.0, abs=1e-3)
    assert flagged["trail_length_arcsec"] == 0.0
    assert flagged["ra"] == rows["ra"][1]


def test_what_has_no_place_time_or_error_is_left_out_and_no_flux_is_no_magnitude() -> None:
    rows = sources(7)
    rows["ra"][0], rows["midpointMjdTai"][1], rows["raErr"][2], rows["decErr"][3] = np.nan, np.nan, np.nan, 0.0
    rows["band"][4], rows["psfFlux"][5], rows["psfFlux"][6] = "", -1.0, np.nan
    found = detections_of_sources(rows)
    assert found["detection_id"].tolist() == rows["diaSourceId"][5:].tolist()
    assert np.isnan(found["mag"]).all()
    assert len(validated_detections(found)) == 2


def test_stationary_negative_and_dipole_sources_are_no_candidates() -> None:
    rows = sources(6)
    rows["diaObjectId"][0] = sources(1, day_obs=BEFORE)["diaSourceId"][0]
    rows["isNegative"][1], rows["isDipole"][2] = 1, 1
    rows["diaObjectId"][4] = rows["diaSourceId"][3]
    night = candidates_of(NIGHT, rows[::-1], sources(1, first=90))
    assert set(night.detections["detection_id"]) == {*rows["diaSourceId"][3:], sources(1, first=90)["diaSourceId"][0]}
    founded = night.founded
    assert founded["dia_object_id"].tolist() == rows["diaSourceId"][[1, 2, 3, 5]].tolist()
    assert founded["stationary"].tolist() == [0, 0, 1, 0]


def test_an_empty_night_has_no_candidates() -> None:
    night = candidates_of(NIGHT, sources(0), sources(0))
    assert night.detections.dtype == DETECTION
    assert len(night.detections) == len(night.founded) == 0
    assert len(night_by_hand(NIGHT, night.detections).founded) == 0


def test_a_night_by_hand_founds_an_object_with_each_detection() -> None:
    rows = detections_of_sources(sources(3))
    night = night_by_hand(NIGHT, np.concatenate([rows, rows]))
    assert night.founded["dia_source_id"].tolist() == sorted(rows["detection_id"].tolist())
