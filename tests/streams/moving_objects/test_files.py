"""Orbit files into the Moving Object Database and out of it, by functions and by `nightcast orbits`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from processors.moving_objects.orbit_csv import STATE_COLUMNS, format_orbit_csv
from processors.moving_objects.orbit_table import assembled, no_orbits
from schemas.events import OrbitDetermined, OrbitEvent, OrbitOrigin
from schemas.orbits import covariances_of
from streams.cli import orbits
from streams.moving_objects.files import export_orbits, import_file
from streams.moving_objects.show import UnknownOrbitError, describe, place_of
from tests.streams.moving_objects.conftest import System

MPCORB = Path(__file__).parents[2] / "data" / "moving_objects" / "orbit_files" / "MPCORB_sample.DAT"
NAMES = ("433", "2014 AA3", "C/1995 O1")


def states_file(folder: Path, names: tuple[str, ...] = NAMES, *, more: str = "") -> Path:
    """Write a CSV of near-circular orbits with covariances."""
    made = no_orbits(len(names))
    made["designation"], made["epoch_mjd_tdb"], made["h"] = names, 61290.25, 17.31
    made["state"] = [[1.5 + k, 0.1, 0.2, 0.001, 0.0172 / np.sqrt(1.5 + k), 0.002] for k in range(len(names))]
    covariances = np.broadcast_to(np.diag([1e-14] * 3 + [1e-18] * 3), (len(names), 6, 6))
    path = folder / "states.csv"
    path.write_text(format_orbit_csv(assembled(made, covariances, ())) + more)
    return path


def own(name: str) -> OrbitEvent:
    fact = OrbitDetermined(
        origin=OrbitOrigin.DISCOVERED, ss_object_id=7, epoch_mjd_tdb=61300.5, state=(2.0, 0.0, 0.0, 0.0, 0.012, 0.001),
        covariance=(), absolute_magnitude=None, slope=0.15, day_obs=20260921, tracklets=(1, 2, 3), n_detections=6,
        arc_days=5.0, chi2=9.0, rms_arcsec=0.1, reportable=True, reasons=(),
    )  # fmt: skip
    return OrbitEvent(designation=name, fact=fact)


def silent(_: str) -> None:
    return None


def test_states_go_through_the_database_without_loss(system: System, tmp_path: Path) -> None:
    path, said = states_file(tmp_path), list[str]()
    imported = import_file(system.settings, path, say=said.append)
    assert (imported.catalogue.name, imported.catalogue.count, imported.problems) == ("states.csv", 3, ())
    assert said == ["Reading states.csv as csv.", "Read 3 orbits; 0 lines gave none."]
    again = tmp_path / "again.csv"
    assert export_orbits(system.settings, again) == (3, ())
    assert sorted(again.read_text().splitlines()) == sorted(path.read_text().splitlines())
    assert covariances_of(system.at_hand().rows)[0][0, 0] == 1e-14


def test_a_gzipped_export_is_the_plain_one_zipped(system: System, tmp_path: Path) -> None:
    import_file(system.settings, states_file(tmp_path), say=silent)
    plain, zipped = tmp_path / "out.csv", tmp_path / "out.csv.gz"
    export_orbits(system.settings, plain)
    export_orbits(system.settings, zipped)
    assert gzip.decompress(zipped.read_bytes()) == plain.read_bytes()
    assert import_file(system.settings, zipped, say=silent).catalogue.count == 3


def test_mpcorb_comes_back_with_the_numbers_it_had(system: System, tmp_path: Path) -> None:
    import_file(system.settings, MPCORB, say=silent)
    out = tmp_path / "out.dat"
    count, problems = export_orbits(system.settings, out)
    assert problems == ()
    rows = system.at_hand().rows
    assert count == len(rows) > 3
    pallas = next(line for line in out.read_text().splitlines() if line.startswith("00002 "))
    original = next(line for line in MPCORB.read_text().splitlines() if line.startswith("00002 "))
    # Number, H, G, epoch and angles up to the eccentricity.
    assert pallas[:70].split() == original[:70].split()


def test_broken_lines_are_told_and_counted(system: System, tmp_path: Path) -> None:
    path = states_file(tmp_path, more="1,61000\n2,61000,x,0,0,0,0,0" + "," * 23 + "\n")
    imported = import_file(system.settings, path, name="mine", say=silent)
    assert [problem.line for problem in imported.problems] == [5, 6]
    assert (imported.catalogue.name, imported.catalogue.count, imported.catalogue.refused) == ("mine", 3, 2)


def test_only_own_orbits_are_exported_when_asked(system: System, tmp_path: Path) -> None:
    import_file(system.settings, states_file(tmp_path), say=silent)
    system.put([own("2026 SA")])
    out = tmp_path / "own.csv"
    assert export_orbits(system.settings, out, own_only=True) == (1, ())
    assert out.read_text().splitlines()[1].startswith("2026 SA,61300.5,2.0,")
    assert export_orbits(system.settings, out)[0] == 4


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ("433", 0), ("(433)", 0), ("00433", 0), (" 2014   AA3 ", 1), ("K14A03A", 1), ("C/1995 O1", 2), ("CJ95O010", 2),
        ("434", None), ("", None), ("nonsense", None),
    ],
)  # fmt: skip
def test_objects_are_found_by_every_form_of_their_names(wanted: str, place: int | None) -> None:
    assert place_of(np.array(NAMES), wanted) == place
    assert place_of(np.zeros(0, "<U16"), wanted) is None


def test_names_that_are_none_of_the_centres_are_found_as_they_are() -> None:
    assert place_of(np.array(["T1", "my rock"]), "my  rock") == 1


def test_a_description_has_elements_with_their_errors(system: System, tmp_path: Path) -> None:
    import_file(system.settings, states_file(tmp_path), say=silent)
    system.put([own("2026 SA")])
    found = describe(system.settings, "K14A03A")
    assert (found["designation"], found["origin"], found["h"]) == ("2014 AA3", "imported", pytest.approx(17.31))
    state = np.array([2.5, 0.1, 0.2, 0.001, 0.0172 / np.sqrt(2.5), 0.002])
    momentum = np.cross(state[:3], state[3:])
    # The inclination to the ecliptic of the orbit's pole.
    pole = np.array([0.0, -np.sin(np.radians(84381.448 / 3600)), np.cos(np.radians(84381.448 / 3600))])
    tilt = np.degrees(np.arccos(momentum @ pole / np.linalg.norm(momentum)))
    inclination = next(value for name, value in found.items() if name.startswith("i"))
    assert inclination["value"] == pytest.approx(tilt, abs=1e-9)
    assert 0.0 < inclination["sigma"] < 1e-3
    mine = describe(system.settings, "2026 SA")
    assert (mine["origin"], mine["h"]) == ("own", None)
    with pytest.raises(UnknownOrbitError, match="No orbit of '5' is known"):
        describe(system.settings, "5")


def answer(result: Any) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_import_list_show_export_by_commands(system: System, tmp_path: Path) -> None:
    done = system.run(orbits.app, "import", str(states_file(tmp_path)), "--name", "three")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "three: 3 orbits are known now.")
    system.put([own("2026 SA")])
    listed = answer(system.run(orbits.app, "list", "--json"))
    assert [row["designation"] for row in listed] == ["2014 AA3", "2026 SA", "433", "C/1995 O1"]
    assert [row["designation"] for row in answer(system.run(orbits.app, "list", "--own", "--json"))] == ["2026 SA"]
    assert len(answer(system.run(orbits.app, "list", "--limit", "2", "--json"))) == 2
    text = system.run(orbits.app, "list").stdout
    assert "4 orbits" in text
    (mine,) = [line.split("│")[2:5] for line in text.splitlines() if "2026 SA" in line]
    assert [cell.strip() for cell in mine] == ["own", "61300.5", "-"]
    assert answer(system.run(orbits.app, "show", "433", "--json"))["packed"] == "00433"
    shown = {line.split()[0]: line.split()[1:] for line in system.run(orbits.app, "show", "433").stdout.splitlines()}
    assert (shown["origin"], shown["rms_arcsec"]) == (["imported"], ["-"])
    value, _, sigma = shown["e"]
    assert 0.0 < float(sigma) < 1e-5 < float(value) < 1.0
    out = tmp_path / "out.csv"
    assert "4 orbits" in system.run(orbits.app, "export", str(out)).stdout
    assert len(out.read_text().splitlines()) == 5


def test_an_empty_database_is_said(system: System) -> None:
    assert "No orbit is known: import a catalogue." in system.run(orbits.app, "list").stdout
    assert answer(system.run(orbits.app, "list", "--json")) == []


def test_import_tells_broken_lines_to_people_and_programs(system: System, tmp_path: Path) -> None:
    path = states_file(tmp_path, more="".join(f"{k},short\n" for k in range(25)))
    told = system.run(orbits.app, "import", str(path)).stdout
    assert "line 5: it has 2 cells instead of 31" in told
    assert "and 5 more (see --json)" in told
    found = answer(system.run(orbits.app, "import", str(path), "--json"))
    assert (found["orbits"], len(found["problems"]), found["problems"][0]["line"]) == (3, 25, 5)


def sentence(result: Any) -> str:
    assert result.exit_code == 1
    return " ".join(str(result.stderr).split())


def test_errors_are_a_sentence_and_change_nothing(system: System, tmp_path: Path) -> None:
    path = states_file(tmp_path)
    system.run(orbits.app, "import", str(path))
    worse = tmp_path / "worse.csv"
    worse.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")
    assert "(worse_catalogue): The new catalogue lacks 2 of the 3 objects" in sentence(
        system.run(orbits.app, "import", str(worse))
    )
    header = ",".join(("designation", "epoch_mjd_tdb", *STATE_COLUMNS))
    for content, said in (
        ("designation,x\n1,2\n", "(invalid_orbits): The table of orbits has no column"),
        (f"{header}\n", "(worse_catalogue): The new catalogue has no orbits"),
        (f"{header}\nmy rock,61000,2,0,0,0,0.01,0\n", "(worse_catalogue): The new catalogue has no orbits"),
    ):
        worse.write_text(content)
        refused = system.run(orbits.app, "import", str(worse))
        assert said in sentence(refused)
        assert ("line 2: its designation has no packed form: 'my rock'" in refused.stdout) == ("rock" in content)
    assert len(system.at_hand().rows) == 3
    assert "(unknown_orbit)" in sentence(system.run(orbits.app, "show", "5"))
    assert "(orbit_file)" in sentence(system.run(orbits.app, "export", str(tmp_path / "none" / "out.csv")))
    assert system.run(orbits.app, "import", str(tmp_path / "missing.csv")).exit_code == 2
    worse.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")
    forced = system.run(orbits.app, "import", str(worse), "--force")
    assert (forced.exit_code, len(system.at_hand().rows)) == (0, 1)


def test_one_bad_designation_does_not_refuse_the_others(system: System, tmp_path: Path) -> None:
    path = states_file(tmp_path)
    lines = path.read_text().splitlines()
    lines.insert(2, "my rock," + lines[1].partition(",")[2])
    path.write_text("\n".join(lines) + "\n")
    found = answer(system.run(orbits.app, "import", str(path), "--json"))
    assert found["orbits"] == 3
    (problem,) = found["problems"]
    assert (problem["line"], problem["text"]) == (3, "my rock")
    assert "no packed form" in problem["reason"]
    told = system.run(orbits.app, "import", str(path), "--force").stdout
    assert "line 3: its designation has no packed form: 'my rock'" in told


def test_more_orbits_than_memory_allows_are_refused_before_they_fill_it(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTCAST_NIGHTMOPS__MEMORY_GB", "1e-6")
    refused = sentence(system.run(orbits.app, "import", str(states_file(tmp_path))))
    assert "(catalogue_too_large)" in refused
    assert "are allowed: raise the limit or split the file" in refused
    assert system.records() == 0
