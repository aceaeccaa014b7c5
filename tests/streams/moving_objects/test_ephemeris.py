"""`nightcast ephemeris` against JPL Horizons and against the geometry of its own rows; its errors; its fields."""

from __future__ import annotations

import csv
import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from astropy.coordinates import get_body_barycentric
from astropy.time import Time
from rich.console import Console
from typer.testing import CliRunner

from processors.moving_objects.orbit_csv import STATE_COLUMNS, format_orbit_csv
from processors.moving_objects.orbit_table import OrbitTable, assembled, no_orbits
from schemas.orbits import orbit_rows
from streams.cli.common import PIPED_WIDTH
from streams.cli.ephemeris import ephemeris
from streams.moving_objects.ephemeris import Circle, field_ephemeris, object_ephemeris, one_orbit, orbits_of_file
from streams.moving_objects.files import store_rows
from streams.moving_objects.moments import parse_utc, tai_of
from tests.streams.moving_objects.conftest import System
from tests.support.solar_system import population

DATA = Path(__file__).parents[2] / "data" / "moving_objects"
MJD_EPOCH = dt.datetime(1858, 11, 17)
APP = typer.Typer()
APP.command()(ephemeris)
MIDNIGHT = "2026-09-22T04:43:00"


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTCAST_DATA_DIR", str(tmp_path / "data"))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(APP, list(arguments), catch_exceptions=False)


def answer(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def sentence(*arguments: str) -> str:
    """Return the one line that a refused command says."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    return " ".join(str(result.stderr).split())


def iso(mjd_utc: float) -> str:
    return (MJD_EPOCH + dt.timedelta(days=mjd_utc)).isoformat(timespec="microseconds")


def apart_mas(row: dict[str, Any], ra: float, dec: float) -> float:
    east = (row["ra_deg"] - ra + 180.0) % 360.0 - 180.0
    return float(np.hypot(east * np.cos(np.radians(dec)), row["dec_deg"] - dec) * 3.6e6)


def table(states: np.ndarray[Any, Any], epoch: float, covariances: np.ndarray[Any, Any] | None = None) -> OrbitTable:
    orbits = no_orbits(len(states))
    orbits["designation"] = [str(number + 1) for number in range(len(states))]
    orbits["state"], orbits["epoch_mjd_tdb"], orbits["h"] = states, epoch, 18.0
    return assembled(orbits, covariances, ())


def horizons() -> list[dict[str, str]]:
    """Cases within a month of their epoch; Pallas pulls at itself there, and 1I has jets."""
    with (DATA / "propagation" / "horizons_w84.csv").open() as file:
        return [
            r for r in csv.DictReader(file) if abs(float(r["dtDays"])) <= 31 and r["case_orbit"] not in ("12", "27")
        ]


@pytest.fixture(scope="module")
def horizons_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases' states in one file, each under the number of its row."""
    rows = horizons()
    orbits = no_orbits(len(rows))
    orbits["designation"] = [str(1000 + number) for number in range(len(rows))]
    orbits["epoch_mjd_tdb"] = [float(row["epochMjdTdb"]) for row in rows]
    orbits["state"] = [[float(row[name]) for name in ("x", "y", "z", "vx", "vy", "vz")] for row in rows]
    path = tmp_path_factory.mktemp("horizons") / "cases.csv"
    path.write_text(format_orbit_csv(assembled(orbits, None, ())))
    return path


def test_objects_are_where_horizons_sees_them(horizons_file: Path) -> None:
    errors = []
    for number, case in list(enumerate(horizons()))[::3]:
        at = iso(float(case["mjdUtc"]))
        asked = (str(1000 + number), "--orbits", str(horizons_file), "--from", at, "--to", at, "--observatory", "W84")
        (row,) = answer(*asked)["rows"]
        errors.append(apart_mas(row, float(case["ra_deg"]), float(case["dec_deg"])))
        assert row["topo_range_au"] == pytest.approx(float(case["delta_au"]), rel=1e-6)
        # Horizons' r is that of the moment when light left.
        assert row["helio_range_au"] == pytest.approx(float(case["r_au"]), rel=1e-6)
    assert len(errors) > 20
    assert np.median(errors) < 1.0
    assert max(errors) < 10.0


def test_the_observatory_matters_and_is_that_of_the_settings(horizons_file: Path) -> None:
    case = horizons()[0]
    at = iso(float(case["mjdUtc"]))
    asked = ("1000", "--orbits", str(horizons_file), "--from", at, "--to", at)
    found = answer(*asked)
    assert found["observatory"] == "X05"
    assert answer(*asked, "--observatory", "X05") == found
    # X05 and W84 share a mountain range; the Geneva observatory does not.
    assert (
        apart_mas(answer(*asked, "--observatory", "517")["rows"][0], float(case["ra_deg"]), float(case["dec_deg"]))
        > 1e3
    )


@pytest.fixture(scope="module")
def belt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bodies of all classes with covariances, H 18."""
    made = population(300, 4242, epoch_mjd_tdb=61290.0)
    scale = np.array([2e-6, 1e-6, 1e-6, 2e-8, 1e-8, 1e-8])
    mixed = np.eye(6) + 0.5 * np.eye(6, k=3) + 0.5 * np.eye(6, k=-3)
    covariances = np.broadcast_to(mixed * np.outer(scale, scale), (300, 6, 6))
    path = tmp_path_factory.mktemp("belt") / "belt.csv"
    path.write_text(format_orbit_csv(table(made.states, 61290.0, covariances)))
    return path


def test_rates_are_the_motion_of_the_places(belt: Path) -> None:
    for name in ("1", "7", "50"):
        rows = answer(name, "--orbits", str(belt), "--from", MIDNIGHT, "--to", "2026-09-22T04:45:00", "--step", "1m")[
            "rows"
        ]
        before, now, after = rows
        days = 2.0 / 1440.0
        east = (after["ra_deg"] - before["ra_deg"]) * np.cos(np.radians(now["dec_deg"])) / days
        assert now["rate_ra_deg_per_day"] == pytest.approx(east, abs=2e-6, rel=1e-5)
        assert now["rate_dec_deg_per_day"] == pytest.approx(
            (after["dec_deg"] - before["dec_deg"]) / days, abs=2e-6, rel=1e-5
        )


def test_angles_and_magnitude_follow_from_the_distances(belt: Path) -> None:
    moment = Time(MIDNIGHT, scale="utc")
    sun, earth = (get_body_barycentric(body, moment) for body in ("sun", "earth"))
    base = float((earth - sun).norm().to_value("au"))
    for name in ("3", "11", "42"):
        (row,) = answer(name, "--orbits", str(belt), "--from", MIDNIGHT, "--to", MIDNIGHT)["rows"]
        r, delta = row["helio_range_au"], row["topo_range_au"]
        phase = np.degrees(np.arccos((r * r + delta * delta - base * base) / (2 * r * delta)))
        elongation = np.degrees(np.arccos((base * base + delta * delta - r * r) / (2 * base * delta)))
        # The distances are not of one moment: light needs up to half an hour, an observer stands 1e-4 au from the centre.
        assert row["phase_angle_deg"] == pytest.approx(phase, abs=0.05)
        assert row["elongation_deg"] == pytest.approx(elongation, abs=0.05)
        half = np.tan(np.radians(phase) / 2)
        flux = 0.85 * np.exp(-3.33 * half**0.63) + 0.15 * np.exp(-1.87 * half**1.22)
        # Bowell's short form of the phase function is good to some hundredths of a magnitude.
        assert row["v_mag"] == pytest.approx(18.0 + 5 * np.log10(r * delta) - 2.5 * np.log10(flux), abs=0.05)


def test_the_error_ellipse_is_the_covariance_seen_on_the_sky(belt: Path) -> None:
    orbit = one_orbit(orbits_of_file(belt), "5", where="belt")
    at = tai_of([parse_utc("2026-10-20T05:00:00")])
    (row,) = object_ephemeris(orbit, at, code="X05")
    jacobian = np.empty((2, 6))
    for k in range(6):
        step = 1e-5 if k < 3 else 1e-7
        places = []
        for sign in (1.0, -1.0):
            state = orbit.orbits["state"].copy()
            state[0, k] += sign * step
            moved = object_ephemeris(table(state, float(orbit.orbits["epoch_mjd_tdb"][0])), at, code="X05")[0]
            places.append((moved["ephRa"] * np.cos(np.radians(row["ephDec"])), moved["ephDec"]))
        jacobian[:, k] = (np.array(places[0]) - np.array(places[1])) * 3600.0 / (2 * step)
    sky = jacobian @ orbit.covariances[0] @ jacobian.T
    values, vectors = np.linalg.eigh(sky)
    assert row["smaa_arcsec"] == pytest.approx(np.sqrt(values[1]), rel=2e-3)
    assert row["smia_arcsec"] == pytest.approx(np.sqrt(values[0]), rel=2e-3)
    angle = np.degrees(np.arctan2(vectors[0, 1], vectors[1, 1])) % 180.0
    assert (row["pa_deg"] - angle + 90.0) % 180.0 - 90.0 == pytest.approx(0.0, abs=0.2)


def test_rows_do_not_depend_on_the_others(belt: Path) -> None:
    asked = ("9", "--orbits", str(belt))
    whole = answer(*asked, "--from", "2026-09-01", "--to", "2026-10-01", "--step", "10d")["rows"]
    assert [row["utc"] for row in whole] == [f"2026-{day}T00:00:00Z" for day in ("09-01", "09-11", "09-21", "10-01")]
    for row in whole:
        (alone,) = answer(*asked, "--from", row["utc"], "--to", row["utc"])["rows"]
        assert apart_mas(alone, row["ra_deg"], row["dec_deg"]) < 1e-3
        assert alone["semi_major_arcsec"] == pytest.approx(row["semi_major_arcsec"], rel=1e-4)


def test_asteroids_pull(horizons_file: Path) -> None:
    asked = ("1000", "--orbits", str(horizons_file), "--from", "2024-01-01", "--to", "2024-01-01")
    bare, pulled = answer(*asked)["rows"][0], answer(*asked, "--asteroids")["rows"][0]
    assert 1e-3 < apart_mas(pulled, bare["ra_deg"], bare["dec_deg"]) < 1e4


def test_a_field_holds_exactly_the_objects_whose_own_ephemerides_lie_in_it(belt: Path) -> None:
    orbits, at = orbits_of_file(belt), parse_utc(MIDNIGHT)
    places = {}
    for k in range(len(orbits.orbits)):
        name = str(orbits.orbits["designation"][k])
        (places[name],) = object_ephemeris(one_orbit(orbits, name, where=""), tai_of([at]), code="X05")
    ra, dec = (np.radians([row[column] for row in places.values()]) for column in ("ephRa", "ephDec"))
    centre = np.radians([355.0, 2.0])
    cosine = np.sin(dec) * np.sin(centre[1]) + np.cos(dec) * np.cos(centre[1]) * np.cos(ra - centre[0])
    expected = {name for name, near in zip(places, cosine >= np.cos(np.radians(40.0)), strict=True) if near}
    field = ("--ra", "355", "--dec", "2", "--radius", "40", "--at", MIDNIGHT)
    found = answer(*field, "--orbits", str(belt))
    assert 10 < len(expected) < 250
    assert {row["designation"] for row in found["rows"]} == expected
    assert (found["orbits"], found["utc"]) == (300, f"{MIDNIGHT}Z")
    for row in found["rows"]:
        own = places[row["designation"]]
        assert apart_mas(row, own["ephRa"], own["ephDec"]) < 0.1
        assert row["v_mag"] == pytest.approx(float(own["ephVmag"]), abs=1e-4)
        assert row["semi_major_arcsec"] == pytest.approx(float(own["smaa_arcsec"]), rel=0.01)


def test_a_field_of_the_whole_sky_has_everything_and_hours_are_understood(belt: Path) -> None:
    everything = answer("--ra", "10", "--dec", "-20", "--radius", "180", "--at", MIDNIGHT, "--orbits", str(belt))
    assert len(everything["rows"]) == 300
    names, _ = field_ephemeris(
        orbits_of_file(belt),
        Circle(ra_deg=352.5, dec_deg=-1.5, radius_deg=10.0),
        float(tai_of([parse_utc(MIDNIGHT)])[0]),
        code="X05",
    )
    by_hours = answer(
        "--ra", "23:30:00", "--dec", "-01:30:00", "--radius", "10", "--at", MIDNIGHT, "--orbits", str(belt)
    )
    assert [row["designation"] for row in by_hours["rows"]] == names


def test_people_get_a_table(belt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.cli.common.console", Console(highlight=False, width=PIPED_WIDTH))
    asked = ("4", "--orbits", str(belt), "--from", MIDNIGHT, "--step", "6h")
    text, rows = run(*asked).stdout, answer(*asked)["rows"]
    assert len(rows) == 10
    assert all(row["utc"] in text and f"{row['elongation_deg']:.2f}" in text for row in rows)
    empty = run("--ra", "0", "--dec", "89", "--radius", "0.01", "--at", MIDNIGHT, "--orbits", str(belt))
    assert "No known object is in this field." in empty.stdout
    field = run("--ra", "355", "--dec", "2", "--radius", "40", "--at", MIDNIGHT, "--orbits", str(belt))
    assert "of 300 objects" in field.stdout


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    path = tmp_path / "bare.csv"
    path.write_text(",".join(("designation", "epoch_mjd_tdb", *STATE_COLUMNS)) + "\nT1,61290,2,0,0,0,0.012,0\n")
    (row,) = answer("T1", "--orbits", str(path), "--from", MIDNIGHT, "--to", MIDNIGHT)["rows"]
    assert {name for name, value in row.items() if value is None} == {
        "v_mag", "semi_major_arcsec", "semi_minor_arcsec", "position_angle_deg",
    }  # fmt: skip
    assert " - " in run("T1", "--orbits", str(path), "--from", MIDNIGHT).stdout


def test_orbits_of_the_database_by_both_names(system: System, belt: Path) -> None:
    orbits = orbits_of_file(belt)
    rows = orbit_rows(2)
    rows["designation"], rows["epoch_mjd_tdb"], rows["h"] = ["433", "2014 AA3"], 61290.0, 18.0
    for k, name in enumerate(("x", "y", "z", "vx", "vy", "vz")):
        rows[name] = orbits.orbits["state"][:2, k]
    store_rows(system.settings, rows, "two")
    of_file = answer("2", "--orbits", str(belt), "--from", MIDNIGHT)["rows"]
    for name in ("2014 AA3", "K14A03A", " 2014  AA3"):
        found = answer(name, "--from", MIDNIGHT)
        assert found["designation"] == "2014 AA3"
        assert [row["ra_deg"] for row in found["rows"]] == [row["ra_deg"] for row in of_file]
    assert (
        answer("(433)", "--from", MIDNIGHT)["designation"]
        == answer("00433", "--from", MIDNIGHT)["designation"]
        == "433"
    )
    assert "No orbit of '5' is in the Moving Object Database" in sentence("5")
    everything = answer("--ra", "10", "--dec", "-20", "--radius", "180", "--at", MIDNIGHT)
    assert {row["designation"] for row in everything["rows"]} == {"433", "2014 AA3"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("77777",), "(unknown_orbit): No orbit of '77777' is in belt.csv."),
        (("1", "--observatory", "ZZZ"), "(unknown_observatory): No observatory has the code 'ZZZ'"),
        (("1", "--observatory", "250"), "(unknown_observatory): 250 (Hubble Space Telescope) has no fixed place"),
        (
            ("1", "--from", "2026-10-02", "--to", "2026-10-01"),
            "(request): The ephemeris would end at 2026-10-01T00:00:00Z, before",
        ),
        (("1", "--from", "tomorrow"), "(request): 'tomorrow' is no ISO time"),
        (("1", "--step", "1 fortnight"), "(request): '1 fortnight' is no step"),
        (("1", "--step", "0d"), "(request): '0d' is no step"),
        (("1", "--from", "2026-01-01", "--to", "2027-01-01", "--step", "1m"), "(request): These are 525601 rows"),
        (("1", "--from", "2900-01-01"), "(ephemeris_span): The ephemeris does not cover MJD"),
        (("1", "--from", "0900-01-01"), "(ephemeris_span): The ephemeris does not cover MJD"),
        (("1", "--ra", "5"), "(request): Give an object with --from, --to and --step, or a field"),
        ((), "(request): Give an object, or a field by all of --ra, --dec, --radius and --at."),
        (("--ra", "5", "--dec", "5", "--radius", "1"), "(request): Give an object, or a field by all of"),
        (("--ra", "5", "--dec", "95", "--radius", "1", "--at", MIDNIGHT), "(request): "),
        (("--ra", "5", "--dec", "5", "--radius", "0", "--at", MIDNIGHT), "(request): The radius of a field is above 0"),
        (
            ("--ra", "5", "--dec", "5", "--radius", "nan", "--at", MIDNIGHT),
            "(request): The radius of a field is above 0",
        ),
        (
            ("--ra", "5", "--dec", "5", "--radius", "1", "--at", "2900-01-01"),
            "(ephemeris_span): The ephemeris does not",
        ),
        (
            ("--ra", "5", "--dec", "5", "--radius", "1", "--at", MIDNIGHT, "--from", MIDNIGHT),
            "(request): A field is asked for",
        ),
    ],
)
def test_what_makes_no_sense_is_said_in_a_sentence(belt: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in sentence(*arguments, "--orbits", str(belt))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "(orbit_file): The orbit file"),
        (b"", "(invalid_orbits): orbits.csv, read as csv, has no orbit"),
        (b"designation,x\n1,2\n", "(invalid_orbits): The table of orbits has no column epoch_mjd_tdb"),
        (b"\x1f\x8bbroken", "(orbit_file): The orbit file"),
    ],
)
def test_a_broken_file_is_said_in_a_sentence(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "orbits.csv"
    if content is not None:
        path.write_bytes(content)
    assert said in sentence("1", "--orbits", str(path))


def test_lines_that_could_not_be_read_are_counted_where_an_object_is_missing(tmp_path: Path) -> None:
    path, header = tmp_path / "orbits.csv", ",".join(("designation", "epoch_mjd_tdb", *STATE_COLUMNS))
    path.write_text(f"{header}\n1,61290,2,0,0,0,0.012,0\n2,61290,far,0,0,0,0.012,0\n")
    assert "No orbit of '2' is in orbits.csv; 1 of its lines could not be read." in sentence("2", "--orbits", str(path))
    path.write_text(f"{header}\n2,61290,far,0,0,0,0.012,0\n")
    assert "has no orbit: line 2: its x_au is no number" in sentence("2", "--orbits", str(path))
