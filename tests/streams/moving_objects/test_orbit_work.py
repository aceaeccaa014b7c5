"""Orbits by hand: fits to files and to what is held, reports, ephemerides; each as a person runs it."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.kafka import producer
from infra.objects import ObjectStore
from processors.moving_objects.ades import ContextGroup, read_psv, read_xml, write_psv, write_xml
from processors.moving_objects.ades_report import observation_block
from processors.moving_objects.cometary import cometary_elements
from processors.moving_objects.kepler import two_body
from processors.moving_objects.obs80 import obs80_lines
from schemas import avro
from schemas.events import DayMopsDecision, OrbitDetermined, OrbitEvent
from schemas.tables import Claim, Table
from streams.cli import orbits
from streams.moving_objects import reporting
from streams.moving_objects.fitting import NothingToFitError, fit_observations
from streams.moving_objects.holdings import detections_in, held_tracklets, observations_of
from streams.moving_objects.night_ephemerides import outdated_night, refresh_ephemerides
from streams.moving_objects.observation_files import read_observations
from streams.moving_objects.own_orbits import OwnOrbit
from streams.moving_objects.reporting import InvalidReportError, Reporter, judge, make_report, write_report
from streams.stage_codec import Outgoing
from tests.streams.moving_objects.conftest import System

pytest.importorskip("heyoka")

from tests.support.moving_view import NAMES, orbit_event, rows_of, tracklets_of
from tests.support.orbit_arcs import TrueArcs, simulated_arcs

REPORTER = Reporter(submitter="N. Cast", measurers=("N. Cast", "D. Mops"), station="X05", institution="Nightcast")
CONTEXT = [ContextGroup(name="observatory", lines=(("mpcCode", "X05"),))]


@pytest.fixture(scope="module")
def truth() -> TrueArcs:
    return simulated_arcs("MBA", len(NAMES), seed=91, nights=14, seen=(5, 6))


def document(truth: TrueArcs) -> Any:
    names = np.repeat(NAMES, np.diff(truth.offsets))
    return observation_block(truth.detections, names.tolist(), context=CONTEXT, station="X05")


def answer(result: Any) -> Any:
    assert result.exit_code == 0, result.output
    # Without the command's own log settings a line about what was done may come before.
    return json.loads(result.stdout[result.stdout.index("{") :])


@pytest.mark.parametrize("form", ["psv", "xml", "psv.gz", "obs80"])
def test_orbits_of_a_file_are_those_of_its_objects(truth: TrueArcs, form: str, tmp_path: Path, system: System) -> None:
    path = tmp_path / f"observations.{form}"
    texts = {
        "psv": write_psv([document(truth)]),
        "xml": write_xml([document(truth)]),
        "obs80": "\n".join(obs80_lines(reporting._shorter(document(truth)))),
    }
    text = texts[form.removesuffix(".gz")].encode()
    path.write_bytes(gzip.compress(text) if form.endswith(".gz") else text)
    found = answer(system.run(orbits.app, "fit", str(path), "--json"))
    assert found["problems"] == []
    # In 80 columns our names have seven letters.
    assert [one["name"] for one in found["orbits"]] == [n[:1] + n[2:] if form == "obs80" else n for n in NAMES]
    for k, one in enumerate(found["orbits"]):
        assert one["status"] == "converged"
        assert len(one["observations"]) == len(rows_of(truth, k))
        moved = np.asarray(two_body(truth.states[k : k + 1], one["epoch_mjd_tdb"] - truth.epoch_mjd_tdb))
        true = cometary_elements(moved, np.array([one["epoch_mjd_tdb"]]))[0]
        for name in ("a", "e", "i"):
            fit = one["elements"][name]
            # Two-body motion carries the truth over up to a week: 1e-5 of it is not the fit's.
            assert fit["value"] == pytest.approx(true[name], abs=5 * fit["sigma"] + 2e-5 * abs(true[name]))
    if form != "obs80":
        assert np.median([one["chi2"] / one["dof"] for one in found["orbits"]]) == pytest.approx(1.0, abs=0.6)


def test_people_see_elements_residuals_and_the_verdict(truth: TrueArcs, tmp_path: Path, system: System) -> None:
    path = tmp_path / "one.psv"
    block = observation_block(rows_of(truth, 0), [NAMES[0]] * len(rows_of(truth, 0)), context=CONTEXT, station="X05")
    path.write_text(write_psv([block]).replace("|X05|", "|X05|", 1))
    text = system.run(orbits.app, "fit", str(path)).stdout
    for said in (
        NAMES[0],
        "planets and Moon",
        "one sigma",
        "residuals, arcsec",
        "chi2",
        "The link rules would take it.",
    ):
        assert said in text
    two_body_text = system.run(orbits.app, "fit", str(path), "--two-body").stdout
    assert "motion under the Sun alone" in two_body_text


def test_a_few_detections_are_no_orbit_and_the_rules_say_why(truth: TrueArcs, tmp_path: Path, system: System) -> None:
    rows = rows_of(truth, 0)[:2]
    path = tmp_path / "two.psv"
    path.write_text(write_psv([observation_block(rows, ["x"] * 2, context=CONTEXT, station="X05")]))
    (one,) = answer(system.run(orbits.app, "fit", str(path), "--json"))["orbits"]
    assert one["status"] == "fewer than three usable detections at three times"
    assert one["elements"]["a"] == {"value": None, "sigma": None}
    assert not one["reportable"]
    assert any("fewer than 3" in reason for reason in one["reasons"])
    assert "The link rules would not take it" in system.run(orbits.app, "fit", str(path)).stdout


def test_a_wrong_observation_is_set_aside_when_asked(truth: TrueArcs, tmp_path: Path, system: System) -> None:
    rows = rows_of(truth, 0).copy()
    rows["dec"][3] += 5.0 / 3600
    path = tmp_path / "wrong.psv"
    path.write_text(write_psv([observation_block(rows, ["x"] * len(rows), context=CONTEXT, station="X05")]))
    (kept,) = answer(system.run(orbits.app, "fit", str(path), "--json"))["orbits"]
    (cut,) = answer(system.run(orbits.app, "fit", str(path), "--outliers", "5", "--json"))["orbits"]
    assert kept["chi2"] > 100 * cut["chi2"]
    assert [k for k, one in enumerate(cut["observations"]) if not one["used"]] == [3]
    assert "The residuals are too large" in " ".join(kept["reasons"])


def test_all_observations_may_be_one_objects(truth: TrueArcs, tmp_path: Path, system: System) -> None:
    rows = rows_of(truth, 0)
    path = tmp_path / "split.psv"
    names = [f"trk{k // 2}" for k in range(len(rows))]
    path.write_text(write_psv([observation_block(rows, names, context=CONTEXT, station="X05")]))
    found = answer(system.run(orbits.app, "fit", str(path), "--as", "joined", "--json"))
    assert [one["name"] for one in found["orbits"]] == ["joined"]
    assert found["orbits"][0]["reportable"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "nothing_to_fit"), (b"\xff\xfe\x00", "orbit_file"), (b"<ades", "ades_format"), (b"PAR1xx", "parquet"),
        (b"\x1f\x8bbroken", "orbit_file"), (b"# version=2017\n", "ades_format"),
        (b"     Nxxxxxx  C2026 09 21.24502810 05 30.150-01 02 03.45                      ZZZ", "unknown_observatory"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_fitted_are_one_sentence(
    content: bytes, code: str, tmp_path: Path, system: System
) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    done = system.run(orbits.app, "fit", str(path))
    assert done.exit_code == 1
    assert f"({code})" in done.output


def test_a_broken_observation_is_told_and_the_rest_is_fitted(truth: TrueArcs, tmp_path: Path, system: System) -> None:
    lines = write_psv([document(truth)]).splitlines()
    lines.insert(-3, lines[-1].replace("|X05|", "||"))
    path = tmp_path / "broken.psv"
    path.write_text("\n".join(lines))
    found = answer(system.run(orbits.app, "fit", str(path), "--json"))
    assert len(found["problems"]) == 1
    assert "it has no stn" in system.run(orbits.app, "fit", str(path)).stdout
    assert len(found["orbits"]) == 3


def test_an_observation_of_an_unknown_station_is_told_and_the_rest_is_fitted(
    truth: TrueArcs, tmp_path: Path, system: System
) -> None:
    lines = write_psv([document(truth)]).splitlines()
    lines.insert(-3, lines[-1].replace("|X05|", "|ZZZ|"))
    path = tmp_path / "stations.psv"
    path.write_text("\n".join(lines))
    found = answer(system.run(orbits.app, "fit", str(path), "--json"))
    whole = tmp_path / "whole.psv"
    whole.write_text(write_psv([document(truth)]))
    ((problem,), same) = found["problems"], answer(system.run(orbits.app, "fit", str(whole), "--json"))
    assert "No observatory has the code 'ZZZ'" in problem["reason"]
    assert found["orbits"] == same["orbits"]
    read = read_observations(path)
    assert str(read.stations[problem["line"] - 1]) == "ZZZ"


def test_a_file_that_is_not_there_is_said(system: System) -> None:
    done = system.run(orbits.app, "fit", "nowhere.psv")
    assert done.exit_code == 1
    assert "There is no file nowhere.psv." in done.stderr


def test_nothing_to_fit_is_an_error() -> None:
    with pytest.raises(NothingToFitError):
        fit_observations(observations_of(np.zeros(0, "i8"), "x"), code="X05")


# What the log holds.


def event_of(name: str, rows: Any) -> OrbitEvent:
    (fit,) = fit_observations(observations_of(rows, name), code="X05")
    return orbit_event(fit, tracklets_of(rows, name))


def decision(claim: Claim | None, nothing: Claim) -> DayMopsDecision:
    return DayMopsDecision(
        instrument="NightcastSim", day_obs=20251204, sequence=0, window=(20251204,), tracklets=nothing, orbits=nothing,
        reassigned=nothing, verdicts=nothing, counts={"links": 3.0}, detections=claim,
    )  # fmt: skip


@pytest.fixture
def discovered(system: System, truth: TrueArcs) -> System:
    """A system whose DayMOPS found three objects; the third one's detections are in no table."""
    for topic in ("tracklet-store", "daymops-log", "ephemeris-catalogues"):
        producer(system.settings.bootstrap, client_id="test").list_topics(topic, timeout=10)
    kept = truth.detections[: truth.offsets[2]]
    claim = system.objects.put(avro.encode(Table.from_array(kept)))
    out = system.producer()
    for k, name in enumerate(NAMES):
        tracklets = tracklets_of(rows_of(truth, k), name)
        out.put(Outgoing(topic="tracklet-store", key=one.tracklet_id, record=one) for one in tracklets)
        system.put([event_of(name, rows_of(truth, k))])
    out.put([Outgoing(topic="daymops-log", key="NightcastSim", record=decision(claim, claim))])
    out.confirm()
    return system


def test_an_orbit_of_ours_is_fitted_again_to_what_it_holds(discovered: System, truth: TrueArcs) -> None:
    (one,) = answer(discovered.run(orbits.app, "fit", NAMES[1], "--json"))["orbits"]
    assert one["name"] == NAMES[1]
    assert len(one["observations"]) == len(rows_of(truth, 1))
    assert one["reportable"]


def test_an_orbit_that_is_not_ours_and_one_without_detections(discovered: System) -> None:
    for wanted, code in (("NCzzzzzz", "unknown_orbit"), (NAMES[2], "nothing_to_fit")):
        done = discovered.run(orbits.app, "fit", wanted)
        assert done.exit_code == 1
        assert f"({code})" in done.output


def test_show_says_class_and_report_status(discovered: System) -> None:
    found = answer(discovered.run(orbits.app, "show", NAMES[0], "--json"))
    assert found["orbit_class"] == "main belt"
    assert found["reportable"] is True
    assert found["tracklets"] >= 5
    assert "main belt" in discovered.run(orbits.app, "show", NAMES[0]).stdout


def test_a_report_has_what_the_rules_take_and_says_what_is_held_back(discovered: System, tmp_path: Path) -> None:
    arguments = ("report", "20251204", "--submitter", "N. Cast", "--output", str(tmp_path), "--obs80", "--json")
    found = answer(discovered.run(orbits.app, *arguments))
    assert found["reported"] == list(NAMES[:2])
    assert [one["designation"] for one in found["held_back"]] == [NAMES[2]]
    assert "in no table" in found["held_back"][0]["reasons"][0]
    assert [Path(one).name for one in found["files"]] == [
        "discoveries-20251204.psv", "discoveries-20251204.xml", "discoveries-20251204.obs80",
    ]  # fmt: skip
    psv, xml, obs80 = (Path(one).read_text() for one in found["files"])
    assert read_psv(psv) == read_xml(xml)
    assert {len(line) for line in obs80.splitlines()} == {80}
    assert answer(discovered.run(orbits.app, "report", "20240101", *arguments[2:]))["reported"] == []
    assert "held back" in discovered.run(orbits.app, *arguments[:-1]).stdout


def test_a_nights_report_has_its_discoveries_whatever_later_nights_made_of_them(
    discovered: System, tmp_path: Path
) -> None:
    changed = np.array([(NAMES[0], "new"), (NAMES[1], "withdrawn")], [("designation", "<U16"), ("change", "<U9")])
    claim = discovered.objects.put(avro.encode(Table.from_array(changed)))
    out = discovered.producer()
    early = replace(decision(None, claim), day_obs=20251201)
    out.put([Outgoing(topic="daymops-log", key="NightcastSim", record=early)])
    out.confirm()
    arguments = ("--submitter", "N. Cast", "--output", str(tmp_path), "--json")
    found = [answer(discovered.run(orbits.app, "report", night, *arguments)) for night in ("20251201", "20251204")]
    assert [one["reported"] for one in found] == [[NAMES[0]], list(NAMES[:2])]


def test_the_judge_of_iau_ades_accepts_the_report(truth: TrueArcs, tmp_path: Path) -> None:
    pytest.importorskip("ades")
    orbit = own(truth, 0)
    report = make_report([orbit], REPORTER)
    xml = write_xml([report.block])
    assert "is OK" in (judge(xml) or "")
    with pytest.raises(InvalidReportError, match="refuses the report"):
        judge(xml.replace("<stn>X05</stn>", "<stn>X0555</stn>", 1))
    assert len(write_report(report, tmp_path, "r")) == 2


def test_a_report_goes_without_the_judge_and_never_with_a_bad_link(
    truth: TrueArcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ades", None)
    assert judge("<ades/>") is None
    mixed = np.concatenate([rows_of(truth, 0)[:6], rows_of(truth, 1)[6:]])
    report = make_report([own(truth, 0), replace(own(truth, 1), detections=mixed)], REPORTER)
    assert report.names == (NAMES[0],)
    assert report.held_back[0][0] == NAMES[1]
    with pytest.raises(InvalidReportError, match="no discovery"):
        write_report(make_report([], REPORTER), tmp_path, "none")
    assert list(tmp_path.iterdir()) == []


def own(truth: TrueArcs, k: int) -> OwnOrbit:
    rows = rows_of(truth, k)
    fact = event_of(NAMES[k], rows).fact
    assert isinstance(fact, OrbitDetermined)
    return OwnOrbit(designation=NAMES[k], fact=fact, detections=rows, missing=0)


def test_ephemerides_are_built_once_and_shown(discovered: System) -> None:
    first = answer(discovered.run(orbits.app, "ephemerides", "20251205", "--json"))
    assert (first["objects"], first["refused"], first["built_now"]) == (3, 0, True)
    again = answer(discovered.run(orbits.app, "ephemerides", "20251205", "--json"))
    assert again == {**first, "built_now": False}
    unchanged = answer(discovered.run(orbits.app, "ephemerides", "20251205", "--rebuild", "--json"))
    assert not unchanged["built_now"]
    assert "sha256" in discovered.run(orbits.app, "ephemerides", "20251205").stdout
    done = discovered.run(orbits.app, "ephemerides", "20251345")
    assert done.exit_code == 1
    assert "is no night" in done.output


def test_an_import_tells_of_ephemerides_that_are_older_and_a_night_that_begins_has_new_ones(
    discovered: System, tmp_path: Path
) -> None:
    settings = discovered.settings
    assert outdated_night(settings) is None
    first = answer(discovered.run(orbits.app, "ephemerides", "20251205", "--json"))
    assert outdated_night(settings) is None
    refresh_ephemerides(settings, 20251205)
    path = tmp_path / "one.csv"
    path.write_text(
        "designation,epoch_mjd_tdb,x_au,y_au,z_au,vx_au_per_day,vy_au_per_day,vz_au_per_day\n"
        "2015 BB,61010,2.0,0.5,0.1,-0.002,0.009,0.001\n"
    )
    told = " ".join(discovered.run(orbits.app, "import", str(path)).stdout.split())
    assert "night 20251205 were built from the orbits before" in told
    assert "nightcast orbits ephemerides 20251205 --rebuild" in told
    refresh_ephemerides(settings, 20251204)
    assert outdated_night(settings) == 20251205
    refresh_ephemerides(settings, 20251205)
    assert outdated_night(settings) is None
    again = answer(discovered.run(orbits.app, "ephemerides", "20251205", "--json"))
    assert (first["objects"], again["objects"], again["built_now"]) == (3, 4, False)
    assert answer(discovered.run(orbits.app, "import", str(path), "--json"))["outdated_ephemerides"] is None


def test_tables_that_are_gone_leave_their_detections_missing(truth: TrueArcs) -> None:
    objects = ObjectStore.memory()
    there = objects.put(avro.encode(Table.from_array(rows_of(truth, 0))))
    gone = replace(there, uri="sha256/00/" + "0" * 64, sha256="0" * 64)
    wanted = rows_of(truth, 0)["detection_id"].tolist()
    np.testing.assert_array_equal(detections_in([gone, there], objects, wanted), rows_of(truth, 0))
    assert len(detections_in([there], objects, [])) == 0


def test_the_newest_state_of_a_tracklet_counts(truth: TrueArcs) -> None:
    first = tracklets_of(rows_of(truth, 0), "A")
    moved = replace(first[0], holder="B")
    assert held_tracklets([*first, moved], "A") == first[1:]
    assert held_tracklets([*first, moved], "B") == [moved]


def test_a_table_of_detections_is_one_object(tmp_path: Path, truth: TrueArcs) -> None:
    from infra.parquet import to_parquet

    path = tmp_path / "detections.parquet"
    path.write_bytes(to_parquet(rows_of(truth, 0)))
    found = read_observations(path)
    assert len(found) == len(rows_of(truth, 0))
    assert set(found.names.tolist()) == {""}
