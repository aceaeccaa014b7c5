"""Orbit files read: against skyfield, and line by line what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2
from processors.moving_objects.errors import InvalidOrbitsError
from processors.moving_objects.fixed_columns import BAD, BLANK, GOOD, split_lines
from processors.moving_objects.mpcorb import packed_epochs, parse_mpcorb
from processors.moving_objects.orbit_csv import COLUMNS, format_orbit_csv
from processors.moving_objects.orbit_import import import_orbits
from processors.moving_objects.orbit_table import OrbitTable, perihelion_states

SAMPLE = Path(__file__).parents[2] / "data" / "moving_objects" / "orbit_files" / "MPCORB_sample.DAT"
LINE = (
    b"00004    3.25  0.15 K25BL  26.80969  151.53711  103.70232    7.14406  0.0901676  0.27158812   2.3615413  0 MPO964264"
    b"  7603 112 1821-2025 0.69 M-p 18k MPCORBFIT  4000      (4) Vesta              20250624"
)


def changed(column: int, text: str) -> bytes:
    """The line with other text from a column (from 1) on."""
    return LINE[: column - 1] + text.encode("latin-1") + LINE[column - 1 + len(text) :]


def test_a_file_of_the_minor_planet_center_is_read() -> None:
    table = import_orbits("mpcorb", [(1, SAMPLE.read_bytes())])
    assert table.orbits["designation"].tolist() == ["1", "2", "4", "2007 TA418"]
    assert table.orbits["epoch_mjd_tdb"].tolist() == [61000.0, 61000.0, 61000.0, 59000.0]
    assert table.orbits["line"].tolist() == [9, 10, 11, 13]
    ceres, unknown = table.orbits[0], table.orbits[3]
    assert (ceres["h"], ceres["g"], ceres["n_observations"], ceres["n_oppositions"]) == (3.35, 0.15, 7384, 126)
    assert (ceres["rms_arcsec"], ceres["u_parameter"], ceres["arc_days"]) == (0.69, 0, 225 * 365.25)
    assert np.isnan(unknown["h"])
    assert (unknown["g"], unknown["arc_days"], unknown["u_parameter"]) == (0.15, 5.0, -1)
    assert np.isnan(table.covariances).all()
    assert [(problem.line, problem.reason) for problem in table.problems] == [
        (8, "another line has a newer orbit of this object"),
        (14, "its mean anomaly is no number"),
        (15, "it is shorter than an orbit"),
    ]
    assert "K07Tf8B" in str(table.problems[1])


def test_states_agree_with_skyfield() -> None:
    """Skyfield carries the same elements by its own solver and frames."""
    from skyfield.api import load
    from skyfield.data.spice import inertial_frames
    from skyfield.keplerlib import _KeplerOrbit

    table = import_orbits("mpcorb", [(1, SAMPLE.read_bytes())])
    lines = {line[:5]: line for line in SAMPLE.read_text().splitlines() if "K25BL" in line}
    gm_km3_s2 = GM_SUN_AU3_PER_DAY2 * 149597870.7**3 / 86400**2
    epoch = load.timescale(builtin=True).tdb_jd(61000.0 + 2400000.5)
    for row, line in zip(table.orbits[:3], lines.values(), strict=True):
        numbers = [float(line[a:b]) for a, b in ((92, 103), (70, 79), (59, 68), (48, 57), (37, 46), (26, 35))]
        semilatus = numbers[0] * (1 - numbers[1] ** 2)
        orbit = _KeplerOrbit._from_mean_anomaly(semilatus, *numbers[1:], epoch, gm_km3_s2, 10, line[:5])
        orbit._rotation = inertial_frames["ECLIPJ2000"].T
        at = orbit.at(epoch)
        np.testing.assert_allclose(row["state"][:3], at.position.au, atol=1e-12)
        np.testing.assert_allclose(row["state"][3:], at.velocity.au_per_d, atol=1e-14)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (changed(1, "0000x"), "its designation is unreadable"),
        (changed(21, "K25D1"), "its epoch is unreadable"),
        (changed(21, "K252U"), "its epoch is unreadable"),
        (changed(27, "      NaN"), "its mean anomaly is no number"),
        (changed(38, " " * 9), "its argument of perihelion is no number"),
        (changed(71, "-.0901676"), "its eccentricity and semi-major axis give no perihelion"),
        (changed(71, "1.0000000"), "its eccentricity and semi-major axis give no perihelion"),
        (changed(71, "1.2000000"), "its eccentricity and semi-major axis give no perihelion"),
        (changed(93, "        inf"), "its semi-major axis is no number"),
        (changed(9, "3.2.5"), "its absolute magnitude H is no number"),
        (LINE[:60], "it is shorter than an orbit"),
        (b"\xff\xfe garbage", "it is shorter than an orbit"),
    ],
)
def test_a_broken_line_is_told_and_the_rest_read(line: bytes, reason: str) -> None:
    table = parse_mpcorb(b"\n".join([LINE, line, b"", LINE]) + b"\n", 101)
    assert table.orbits["line"].tolist() == [101, 104]
    assert [(problem.line, problem.reason) for problem in table.problems] == [(102, reason)]
    assert len(table.problems[0].text) <= 80


def test_a_hyperbola_is_read() -> None:
    line = changed(71, "1.2000000")[:92] + b" -2.0000000" + LINE[103:]
    row = parse_mpcorb(line).orbits[0]
    r, v = row["state"][:3], row["state"][3:]
    energy = v @ v / 2 - GM_SUN_AU3_PER_DAY2 / np.linalg.norm(r)
    assert energy == pytest.approx(GM_SUN_AU3_PER_DAY2 / 4, rel=1e-9)


def test_a_circle_in_the_plane_is_read() -> None:
    line = changed(71, "0.0000000")[:59] + b"  0.00000" + changed(71, "0.0000000")[68:]
    row = parse_mpcorb(line).orbits[0]
    assert np.linalg.norm(row["state"][:3]) == pytest.approx(2.3615413, rel=1e-12)


def test_line_ends_of_other_systems_and_none_at_the_end_are_read() -> None:
    assert len(parse_mpcorb(LINE + b"\r\n" + LINE).orbits) == 2
    assert len(parse_mpcorb(b"").orbits) == 0
    assert parse_mpcorb(b"\n\n").problems == ()


def test_pieces_of_a_file_give_what_the_whole_gives() -> None:
    data = SAMPLE.read_bytes()
    lines = data.splitlines(keepends=True)
    head, tail = b"".join(lines[:9]), b"".join(lines[9:])
    whole, parts = import_orbits("mpcorb", [(1, data)]), import_orbits("mpcorb", [(1, head), (10, tail)])
    assert whole.orbits.tobytes() == parts.orbits.tobytes()
    assert whole.problems == parts.problems


def test_packed_dates_are_the_calendars() -> None:
    texts = ["K2555", "J9611", "K25BL", "I00C4", "K242T", "K252T", "K25D1", "K2550", "9611A", "     "]
    codes = np.array([text.encode() for text in texts], "S5").view(np.uint8).reshape(-1, 5)
    days, good = packed_epochs(codes)
    expected = ["2025-05-05", "1996-01-01", "2025-11-21", "1800-12-04", "2024-02-29"]
    assert good.tolist() == [True] * 5 + [False] * 5
    mjd = [(np.datetime64(day) - np.datetime64("1858-11-17")).astype(int) for day in expected]
    assert days[:5].tolist() == mjd
    assert np.isnan(days[5:]).all()


@pytest.mark.parametrize(
    ("text", "state"),
    [("1.5", GOOD), (" -0.25 ", GOOD), ("+3", GOOD), (".5", GOOD), ("5.", GOOD), ("   ", BLANK), ("", BLANK)]
    + [(text, BAD) for text in ("1e5", "1 2", "--1", "1.2.3", ".", "-", "nan", "12345678901234567890")],
)
def test_numbers_of_columns_are_those_of_their_text(text: str, state: int) -> None:
    values, states = split_lines(f"ab{text}".encode()).decimals(3, 30)
    assert states.tolist() == [state]
    assert (values[0] == float(text)) if state == GOOD else np.isnan(values[0])


def test_numbers_are_the_nearest_doubles() -> None:
    random = np.random.default_rng(8)
    texts = [f"{x:.{k}f}" for x, k in zip(random.uniform(-400, 400, 2000), random.integers(0, 10, 2000), strict=True)]
    values, states = split_lines("\n".join(texts).encode()).decimals(1, 20)
    assert (states == GOOD).all()
    assert values.tolist() == [float(text) for text in texts]


def entry(**changes: object) -> dict[str, object]:
    vesta: dict[str, object] = {"H": 3.25, "G": 0.15, "Num_obs": 7603, "rms": 0.69, "U": "0", "Number": "(4)"}
    vesta |= {
        "Name": "Vesta",
        "Principal_desig": "A807 FA",
        "Other_desigs": ["X", "Y"],
        "Epoch": 2461000.5,
        "M": 26.80969,
    }
    vesta |= {"Peri": 151.53711, "Node": 103.70232, "i": 7.14406, "e": 0.0901676, "n": 0.27158812, "a": 2.3615413}
    vesta |= {"Num_opps": 112, "Tp": 2460901.8, "Perihelion_dist": 2.1486}
    return {key: value for key, value in (vesta | changes).items() if value != "absent"}


def test_json_gives_what_the_columns_give() -> None:
    data = json.dumps([entry()], indent=1).encode()
    one, two = import_orbits("json", [(1, data)]).orbits[0], parse_mpcorb(LINE).orbits[0]
    assert one["line"] == 2
    for name in ("designation", "epoch_mjd_tdb", "h", "g", "n_observations", "n_oppositions", "u_parameter"):
        assert one[name] == two[name], name
    np.testing.assert_allclose(one["state"], two["state"], rtol=1e-14)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"Number": "absent", "Principal_desig": "nothing"}, "its designation is unreadable"),
        ({"e": None}, "its e is no number"),
        ({"i": float("nan")}, "its i is not finite"),
        ({"a": -2.0}, "its eccentricity and semi-major axis give no perihelion"),
        ({"e": -0.1}, "its eccentricity is negative"),
        ({"e": 1.0, "Tp": "absent"}, "its Tp is no number"),
        ({"e": 1.1, "Perihelion_dist": 0}, "its perihelion distance is not positive"),
        ({"H": "bright"}, "its H is no number"),
    ],
)
def test_a_broken_object_is_told_and_the_rest_read(wrong: dict[str, object], reason: str) -> None:
    lines = [json.dumps(entry()), json.dumps(entry(**wrong)), json.dumps(entry(Number="(5)", H="absent", U="E"))]
    table = import_orbits("json", [(1, ("[" + ",\n".join(lines) + "]").encode())])
    assert table.orbits["designation"].tolist() == ["4", "5"]
    assert np.isnan(table.orbits["h"][1])
    assert table.orbits["u_parameter"].tolist() == [0, -1]
    assert [(problem.line, problem.reason) for problem in table.problems] == [(2, reason)]


def test_an_object_that_is_cut_off_does_not_take_the_next_with_it() -> None:
    cut = json.dumps(entry())[:100]
    table = import_orbits("json", [(1, f"[{cut}\n,{json.dumps(entry(Number='(9)'))}]".encode())])
    assert table.orbits["designation"].tolist() == ["9"]
    assert [problem.reason for problem in table.problems] == ["it is no JSON object"]


def test_parabolas_and_hyperbolas_come_by_their_perihelion() -> None:
    objects = [entry(Number="absent", Principal_desig="C/2023 A3", e=1.0, a=None, Tp=2460951.25, Perihelion_dist=0.4)]
    objects.append(entry(Number="1I", e=1.2, Tp=2460990.0, Perihelion_dist=0.25))
    table = import_orbits("json", [(1, json.dumps(objects).encode())])
    r, v = table.orbits["state"][:, :3], table.orbits["state"][:, 3:]
    energy = (v**2).sum(axis=1) / 2 - GM_SUN_AU3_PER_DAY2 / np.linalg.norm(r, axis=1)
    np.testing.assert_allclose(energy, [0.0, GM_SUN_AU3_PER_DAY2 * 0.2 / 0.25 / 2], atol=1e-15)
    assert (np.einsum("ni,ni->n", r, v) > 0).all()
    assert table.orbits["designation"].tolist() == ["C/2023 A3", "1I"]


def test_states_come_back_from_their_table_bit_by_bit() -> None:
    table = import_orbits("mpcorb", [(1, SAMPLE.read_bytes())])
    covariances = table.covariances.copy()
    covariances[1] = np.random.default_rng(3).normal(size=(6, 6))
    covariances[1] += covariances[1].T.copy()
    table = OrbitTable(orbits=table.orbits, covariances=covariances, problems=table.problems)
    again = import_orbits("csv", [(1, format_orbit_csv(table).encode())])
    for name in ("designation", "epoch_mjd_tdb", "state", "g"):
        assert np.array_equal(again.orbits[name], table.orbits[name]), name
    assert np.array_equal(again.orbits["h"], table.orbits["h"], equal_nan=True)
    assert np.array_equal(again.covariances, table.covariances, equal_nan=True)
    assert again.problems == ()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("X2,61000,1,0,0,0,0.017", "it has 7 cells instead of 8"),
        ("X2,61000,1,0,0,0,0.017,abc", "its vz_au_per_day is no number"),
        ("X2,61000,1,0,0,0,nan,0", "its vy_au_per_day is not finite"),
        ("X2,,1,0,0,0,0.017,0", "its epoch_mjd_tdb is missing"),
        (",61000,1,0,0,0,0.017,0", "its designation is empty or too long"),
        ("X2,61000,inf,0,0,0,0.017,0", "its x_au is not finite"),
    ],
)
def test_a_broken_row_is_told_and_the_rest_read(row: str, reason: str) -> None:
    good = "{},61000.25,1,0,0,0,0.017,0"
    text = "\n".join([",".join(COLUMNS), good.format("sim-0001"), row, "", good.format("K07Tf8A")])
    table = import_orbits("csv", [(1, text.encode())])
    assert table.orbits["designation"].tolist() == ["sim-0001", "K07Tf8A"]
    assert table.orbits["line"].tolist() == [2, 5]
    assert [(problem.line, problem.reason) for problem in table.problems] == [(3, reason)]


def test_columns_may_stand_in_any_order_and_others_are_passed_over() -> None:
    text = "note,h," + ",".join(reversed(COLUMNS)) + '\n"a, b",21.5,0,0.017,0,0,0,1,61000,1995 XA\n'
    table = import_orbits("csv", [(1, text.encode())])
    row = table.orbits[0]
    assert (row["designation"], row["h"], row["epoch_mjd_tdb"]) == ("1995 XA", 21.5, 61000.0)
    assert row["state"].tolist() == [1, 0, 0, 0, 0.017, 0]


def test_a_header_that_lacks_columns_is_refused() -> None:
    with pytest.raises(InvalidOrbitsError, match="vz_au_per_day"):
        import_orbits("csv", [(1, ",".join(COLUMNS[:-1]).encode())])
    with pytest.raises(InvalidOrbitsError, match="cov_01"):
        import_orbits("csv", [(1, ",".join([*COLUMNS, "cov_00"]).encode())])
    with pytest.raises(InvalidOrbitsError, match="xml"):
        import_orbits("xml", [])


def test_an_empty_file_has_no_orbits() -> None:
    for kind in ("mpcorb", "json", "csv"):
        table = import_orbits(kind, [])
        assert len(table.orbits) == len(table.covariances) == 0
        assert table.problems == ()


def test_of_equal_epochs_the_first_line_is_kept() -> None:
    table = import_orbits("mpcorb", [(1, LINE + b"\n" + changed(9, " 9.99") + b"\n")])
    assert table.orbits["h"].tolist() == [3.25]
    assert [problem.line for problem in table.problems] == [2]


def test_elements_that_are_not_finite_give_no_state() -> None:
    states = perihelion_states(
        q_au=np.array([1.0, np.nan]), e=np.array([0.1, 0.1]), angles=np.zeros((2, 3)), days_since=np.array([0.0, 0.0])
    )
    assert np.isfinite(states[0]).all()
    assert np.isnan(states[1]).all()
