"""Orbits written as lines of MPCORB: column by column, and read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from processors.moving_objects.mpcorb import packed_epochs
from processors.moving_objects.mpcorb_export import format_mpcorb, packed_epoch
from processors.moving_objects.orbit_import import import_orbits
from processors.moving_objects.orbit_table import OrbitTable, no_orbits, perihelion_states, table_of_rows
from processors.moving_objects.stored_orbits import stored_rows

SAMPLE = Path(__file__).parents[2] / "data" / "moving_objects" / "orbit_files" / "MPCORB_sample.DAT"


@pytest.fixture
def sample() -> OrbitTable:
    return import_orbits("mpcorb", [(1, SAMPLE.read_bytes())])


def test_lines_come_back_column_by_column(sample: OrbitTable) -> None:
    text, problems = format_mpcorb(sample)
    assert problems == ()
    original = [line for line in SAMPLE.read_text().splitlines() if line[20:25] in ("K25BL", "K205V")][:4]
    for mine, theirs in zip(text.splitlines(), original, strict=True):
        # Up to the semi-major axis but for the mean motion, which they compute with Gauss' constant.
        # One line has no slope parameter, which was read as the one that is assumed.
        assert mine[:80] == theirs[:14] + " 0.15" + theirs[19:80]
        if theirs[14:19].strip():  # the other line is made up and its mean motion too
            assert float(mine[80:91]) == pytest.approx(float(theirs[80:91]), abs=2e-8)
        assert mine[91:103] == theirs[91:103]
        assert mine[117:126] == theirs[117:126]
        assert mine[137:141] == theirs[137:141]
    assert text.splitlines()[0][166:] == "(1)"
    assert text.splitlines()[3][127:136] == "   5 days"
    assert text.splitlines()[3][166:] == "2007 TA418"


def test_what_is_written_is_read_again(sample: OrbitTable) -> None:
    again = import_orbits("mpcorb", [(1, format_mpcorb(sample)[0].encode())])
    assert again.problems == ()
    for name in ("designation", "epoch_mjd_tdb", "g", "n_observations", "n_oppositions", "u_parameter"):
        assert np.array_equal(again.orbits[name], sample.orbits[name]), name
    np.testing.assert_allclose(again.orbits["state"], sample.orbits["state"], atol=3e-7)


def test_orbits_between_midnights_are_carried_to_one() -> None:
    orbits = no_orbits(1)
    orbits["designation"], orbits["epoch_mjd_tdb"] = "2026 AA", 61000.4
    angles = np.array([[0.1, 0.2, 0.3]])
    orbits["state"] = perihelion_states(
        q_au=np.array([2.0]), e=np.array([0.1]), angles=angles, days_since=np.array([50.4])
    )
    text, _ = format_mpcorb(OrbitTable(orbits=orbits, covariances=np.full((1, 6, 6), np.nan), problems=()))
    row = import_orbits("mpcorb", [(1, text.encode())]).orbits[0]
    expected = perihelion_states(q_au=np.array([2.0]), e=np.array([0.1]), angles=angles, days_since=np.array([50.0]))
    assert row["epoch_mjd_tdb"] == 61000.0
    np.testing.assert_allclose(row["state"], expected[0], atol=5e-7)


def test_what_the_format_cannot_hold_is_told() -> None:
    orbits = no_orbits(3)
    orbits["designation"], orbits["line"] = ["A/2017 U1", "sim-7", "73P-BB"], [4, 5, 6]
    orbits["epoch_mjd_tdb"] = 61000.0
    e = np.array([1.2, 0.1, 0.6])
    orbits["state"] = perihelion_states(q_au=np.ones(3), e=e, angles=np.zeros((3, 3)), days_since=np.full(3, 9.0))
    text, problems = format_mpcorb(OrbitTable(orbits=orbits, covariances=np.full((3, 6, 6), np.nan), problems=()))
    assert text == ""
    assert [(problem.line, problem.reason) for problem in problems] == [
        (4, "its designation has no packed form"),
        (5, "its designation has no packed form"),
        (6, "its designation has no packed form"),
    ]
    orbits["designation"] = ["2017 UA1", "2017 UB1", "2017 UC1"]
    text, problems = format_mpcorb(OrbitTable(orbits=orbits, covariances=np.full((3, 6, 6), np.nan), problems=()))
    assert [problem.reason for problem in problems] == ["it is no closed orbit"]
    assert len(text.splitlines()) == 2


def test_no_orbits_are_no_lines() -> None:
    empty = OrbitTable(orbits=no_orbits(), covariances=np.zeros((0, 6, 6)), problems=())
    assert format_mpcorb(empty) == ("", ())


@pytest.mark.parametrize("mjd", [61000.0, 51544.0, -21499.0, 60369.0])
def test_dates_are_packed_as_they_are_read(mjd: float) -> None:
    codes = np.frombuffer(packed_epoch(mjd).encode(), np.uint8)[None]
    days, good = packed_epochs(codes)
    assert good.all()
    assert days[0] == mjd


def test_stored_orbits_become_a_table_again(sample: OrbitTable) -> None:
    table = table_of_rows(stored_rows(sample)[0])
    order = np.argsort(sample.orbits["designation"], kind="stable")
    for name in ("designation", "epoch_mjd_tdb", "state", "g", "n_observations", "rms_arcsec", "u_parameter"):
        assert np.array_equal(table.orbits[name], sample.orbits[name][order]), name
    assert np.array_equal(table.orbits["h"], sample.orbits["h"][order], equal_nan=True)
