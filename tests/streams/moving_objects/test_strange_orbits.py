"""Strange orbits on their whole way: out of a file of people, into a table, and onto the sky beside all others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from processors.moving_objects.elements import elements_of
from processors.moving_objects.orbit_csv import STATE_COLUMNS
from processors.moving_objects.orbit_table import perihelion_states
from streams.cli.main import build
from streams.moving_objects.ephemeris import Circle, field_ephemeris, object_ephemeris, orbits_of_file

MOMENT_TAI = 61304.2
"""September 2026."""

ELEMENTS = {
    "1I/hyperbola": (0.9, 1.2, 0.4, 0.0), "parabola": (1.1, 1.0, 0.3, 0.0), "circle": (2.5, 0.0, 0.2, 0.0),
    "in the plane": (2.2, 0.1, 0.0, 0.0), "circle in it": (3.0, 0.0, 0.0, 0.0), "retrograde": (2.0, 0.2, 3.0, 0.0),
    "old epoch": (2.4, 0.1, 0.1, -5000.0), "far epoch": (2.4, 0.1, 0.1, 3000.0), "long ellipse": (0.8, 0.9999, 1.2, 0.0),
}  # fmt: skip
"""Perihelion, eccentricity, inclination (radians) and days of the epoch from the moment."""


def csv_of(rows: list[tuple[str, float, Any, str]]) -> str:
    lines = [",".join(("designation", "epoch_mjd_tdb", *STATE_COLUMNS, "h"))]
    lines += [",".join((name[:16], repr(epoch), *(repr(float(x)) for x in state), h)) for name, epoch, state, h in rows]
    return "\n".join(lines) + "\n"


def state_of(q: float, e: float, i: float) -> Any:
    angles = np.array([[i, 1.0, 2.0]])
    return perihelion_states(q_au=np.array([q]), e=np.array([e]), angles=angles, days_since=np.array([60.0]))[0]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of every strange orbit, two of them without H."""
    rows = [
        (name, MOMENT_TAI + days, state_of(q, e, i), "" if "circle" in name else "17.5")
        for name, (q, e, i, days) in ELEMENTS.items()
    ]
    made = tmp_path_factory.mktemp("strange") / "strange.csv"
    made.write_text(csv_of(rows))
    return made


def test_every_conic_and_epoch_is_read_with_its_elements(path: Path) -> None:
    table = orbits_of_file(path)
    assert table.problems == ()
    found = elements_of(table.orbits["state"], table.orbits["epoch_mjd_tdb"])
    for row, (q, e, i, _) in zip(found, ELEMENTS.values(), strict=True):
        assert (row["q_au"], row["e"]) == pytest.approx((q, e), abs=1e-9)
        assert row["i_deg"] == pytest.approx(np.degrees(i), abs=1e-9)


def test_they_are_seen_one_by_one_and_all_together_at_the_same_places(path: Path) -> None:
    table = orbits_of_file(path)
    names, field = field_ephemeris(table, Circle(ra_deg=0.0, dec_deg=0.0, radius_deg=180.0), MOMENT_TAI, code="X05")
    assert sorted(names) == sorted(table.orbits["designation"].tolist())
    for k, name in enumerate(table.orbits["designation"].tolist()):
        single = type(table)(orbits=table.orbits[k : k + 1], covariances=table.covariances[k : k + 1], problems=())
        (alone,) = object_ephemeris(single, np.array([MOMENT_TAI]), code="X05")
        together = field[names.index(name)]
        off = np.hypot(
            (alone["ephRa"] - together["ephRa"]) * np.cos(np.radians(alone["ephDec"])),
            alone["ephDec"] - together["ephDec"],
        )
        # The one is integrated step by step, the others in common steps: 10 mas over years.
        assert off * 3600 < 0.02, name
        assert np.isfinite(alone["ephVmag"]) == ("circle" not in name)


def test_a_missing_magnitude_is_null_for_programs_and_a_dash_for_people(path: Path) -> None:
    arguments = ["ephemeris", "circle", "--orbits", str(path), "--from", "2026-09-21T04:00", "--to", "2026-09-21T04:00"]
    told = CliRunner().invoke(build(), [*arguments, "--json"], catch_exceptions=False)
    assert json.loads(told.stdout)["rows"][0]["v_mag"] is None
    assert " - " in CliRunner().invoke(build(), arguments, catch_exceptions=False).stdout


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,61304,nan,0,0,0,0.01,0,17", "its x_au is not finite"), ("a,nan,2,0,0,0,0.01,0,17", "its epoch_mjd_tdb is not finite"),
        ("a,61304,2,0,0,0,0.01", "it has 7 cells instead of 9"), ("a,61304,two,0,0,0,0.01,0,17", "its x_au is no number"),
        (",61304,2,0,0,0,0.01,0,17", "its designation is empty"), ("1I/hyperbola,61000,2,0,0,0,0.01,0,17", "another line has a newer orbit"),
    ],
)  # fmt: skip
def test_a_broken_line_is_told_with_its_number_and_the_rest_is_read(
    path: Path, tmp_path: Path, line: str, reason: str
) -> None:
    broken = tmp_path / "broken.csv"
    lines = path.read_text().splitlines()
    broken.write_text("\n".join([*lines[:4], line, *lines[4:]]) + "\n")
    table = orbits_of_file(broken)
    assert len(table.orbits) == len(ELEMENTS)
    (problem,) = table.problems
    assert problem.line == 5
    assert reason in problem.reason


def test_an_epoch_outside_the_ephemeris_and_an_unknown_observatory_are_one_sentence(path: Path, tmp_path: Path) -> None:
    ancient = tmp_path / "ancient.csv"
    ancient.write_text(csv_of([("ancient", -2_000_000.0, state_of(2.0, 0.1, 0.1), "17")]))
    at = ["--from", "2026-09-21T04:00", "--to", "2026-09-21T04:00"]
    for arguments, code in (
        (["ephemeris", "ancient", "--orbits", str(ancient), *at], "ephemeris_span"),
        (["ephemeris", "circle", "--orbits", str(path), "--observatory", "QQQ", *at], "unknown_observatory"),
    ):
        done = CliRunner().invoke(build(), arguments)
        assert done.exit_code == 1
        assert f"({code})" in done.output
