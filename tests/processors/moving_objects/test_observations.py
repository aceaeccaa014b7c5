"""Observation files of people: what we write comes back, astropy agrees on times, broken lines are told and the rest is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.time import Time

from processors.moving_objects.ades import AdesBlock, ContextGroup, read_psv, write_psv
from processors.moving_objects.ades_report import observation_block
from processors.moving_objects.detections import DETECTION
from processors.moving_objects.obs80 import obs80_lines
from processors.moving_objects.observations import DEFAULT_SIGMA_ARCSEC, read_ades, read_obs80

CONTEXT = [ContextGroup(name="observatory", lines=(("mpcCode", "X05"),))]


def detections(count: int = 6) -> Any:
    random = np.random.default_rng(4)
    rows = np.zeros(count, DETECTION)
    rows["detection_id"], rows["visit"] = np.arange(count) + 1, np.arange(count)
    rows["midpoint_mjd_tai"] = 61300.2 + np.sort(random.uniform(0, 3, count))
    rows["ra"], rows["dec"] = random.uniform(0, 360, count), random.uniform(-80, 80, count)
    rows["ra_err_arcsec"], rows["dec_err_arcsec"] = 0.0512, 0.0623
    rows["mag"], rows["mag_err"], rows["band"] = 21.25, 0.05, np.arange(count) % 6
    return rows


def test_what_we_write_as_ades_comes_back() -> None:
    rows = detections()
    block = observation_block(rows, ["NC12345"] * 3 + ["NC54321"] * 3, context=CONTEXT, station="X05")
    back = read_ades(read_psv(write_psv([block])))
    assert back.problems == ()
    assert back.names.tolist() == ["NC12345"] * 3 + ["NC54321"] * 3
    assert set(back.stations.tolist()) == {"X05"}
    np.testing.assert_allclose(back.detections["midpoint_mjd_tai"], rows["midpoint_mjd_tai"], atol=0.6e-3 / 86400)
    for name, within in (("ra", 1e-8), ("dec", 1e-8), ("mag", 1e-3), ("ra_err_arcsec", 1e-4), ("mag_err", 1e-3)):
        np.testing.assert_allclose(back.detections[name], rows[name], atol=within)
    assert back.detections["band"].tolist() == rows["band"].tolist()


def test_what_we_write_in_80_columns_comes_back_to_its_decimals() -> None:
    rows = detections()
    block = observation_block(rows, ["2014 AA3"] * 6, context=CONTEXT, station="W84", name_column="provID")
    back = read_obs80("\n".join(["", *obs80_lines(block), ""]))
    assert back.problems == ()
    assert set(back.names.tolist()) == {"2014 AA3"}
    assert set(back.stations.tolist()) == {"W84"}
    np.testing.assert_allclose(back.detections["midpoint_mjd_tai"], rows["midpoint_mjd_tai"], atol=0.6e-6)
    np.testing.assert_allclose(back.detections["ra"], rows["ra"], atol=0.0005 * 15 / 3600 + 1e-9)
    np.testing.assert_allclose(back.detections["dec"], rows["dec"], atol=0.005 / 3600 + 1e-9)
    assert set(back.detections["ra_err_arcsec"].tolist()) == {DEFAULT_SIGMA_ARCSEC}
    assert back.detections["detection_id"].tolist() == [2, 3, 4, 5, 6, 7]


def test_a_numbered_object_and_a_line_of_the_minor_planet_center() -> None:
    line = "00433         C2026 09 21.24502810 05 30.150-01 02 03.45         11.12rV     X05"
    (row,), back = read_obs80(line).detections, read_obs80(line)
    assert back.names.tolist() == ["433"]
    assert row["ra"] == pytest.approx(15 * (10 + 5 / 60 + 30.150 / 3600))
    assert row["dec"] == pytest.approx(-(1 + 2 / 60 + 3.45 / 3600))
    assert row["midpoint_mjd_tai"] == pytest.approx(Time("2026-09-21T05:52:50.4192", scale="utc").tai.mjd, abs=2e-8)
    assert row["mag"] == pytest.approx(11.12)


@pytest.mark.parametrize("text", ["2026-09-21T04:30:00.123Z", "2016-12-31T23:59:60.500Z", "1999-01-01T00:00:00Z"])
def test_times_are_those_of_astropy(text: str) -> None:
    block = AdesBlock.of([], [{"obsTime": text, "ra": "10", "dec": "5", "stn": "X05", "mode": "CCD"}])
    (row,) = read_ades([block]).detections
    assert row["midpoint_mjd_tai"] == pytest.approx(Time(text.rstrip("Z"), scale="utc").tai.mjd, abs=1e-9)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ra": "371.0"}, "ra 371 lies outside"), ({"dec": "north"}, "dec 'north' is no number"),
        ({"obsTime": "yesterday"}, "no time such as"), ({"rmsRA": "0"}, "rmsRA 0 lies outside"),
        ({"stn": ""}, "it has no stn"), ({"ra": "nan"}, "ra nan lies outside"),
    ],
)  # fmt: skip
def test_a_broken_observation_is_told_and_the_rest_is_read(changes: dict[str, str], reason: str) -> None:
    good = {"obsTime": "2026-09-21T04:30:00Z", "ra": "10", "dec": "5", "stn": "X05", "trkSub": "a"}
    back = read_ades([AdesBlock.of([], [good, good | changes, good])])
    assert len(back) == 2
    (problem,) = back.problems
    assert problem.line == 2
    assert reason in str(problem)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("00433         C2026 09 21.2450", "has 30 of 80 columns"),
        ("00433         S2026 09 21.24502810 05 30.150-01 02 03.45         11.12rV     C57", "are not read"),
        ("00433         C2026 13 21.24502810 05 30.150-01 02 03.45         11.12rV     X05", "is no date"),
        ("00433         C2026 09 41.24502810 05 30.150-01 02 03.45         11.12rV     X05", "none of a month"),
        ("00433         C2026 09 21.24502810 75 30.150-01 02 03.45         11.12rV     X05", "right ascension 75"),
        ("00433         C2026 09 21.24502810 05 30.150-01 xx 03.45         11.12rV     X05", "declination 'xx'"),
    ],
)
def test_a_broken_line_of_80_columns_is_told_with_its_number(line: str, reason: str) -> None:
    good = "00433         C2026 09 21.24502810 05 30.150-01 02 03.45         11.12rV     X05"
    back = read_obs80(f"{good}\n\n{line}\n{good}\n")
    assert len(back) == 2
    (problem,) = back.problems
    assert problem.line == 3
    assert reason in str(problem)


def test_magnitudes_of_other_systems_are_left_out_and_nothing_is_nothing() -> None:
    line = "00433         C2026 09 21.24502810 05 30.150-01 02 03.45         11.12VV     X05"
    assert np.isnan(read_obs80(line).detections["mag"][0])
    assert len(read_obs80("")) == len(read_ades([])) == 0
