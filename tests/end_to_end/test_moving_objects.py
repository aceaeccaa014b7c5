"""Asteroids from the command line to alerts: half are known from a catalogue, the others are discovered by DayMOPS first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.telescope import plan_night
from infra.telescope.known_orbits import designation_of, is_known
from infra.telescope.sky import make_asteroids
from schemas.camera import load_camera
from schemas.events import (
    AssociationDecision,
    DayMopsDecision,
    DiaSourceEvent,
    NightEnded,
    OrbitDetermined,
    SsObjectVersion,
    TrackletStatus,
)
from schemas.public_avro import decode_record
from streams.night.truth import read_truth
from tests.support.nights import UNHURRIED, events_of, installed
from tests.support.waiting import eventually

pytestmark = pytest.mark.broker

VISITS = 2


@dataclass(frozen=True, kw_only=True)
class Observed:
    """A night with moving objects, and what was said before it."""

    summary: dict[str, Any]
    discovered: dict[str, Any]
    repeated: dict[str, Any]
    orbits: list[dict[str, Any]]
    grown: dict[str, list[int]]
    """Designation of each object of ours to how many detections it had in each version of its orbit."""
    daymops: list[DayMopsDecision]
    ended: list[NightEnded]
    tracklets: dict[int, Any]
    """Newest state of each tracklet."""
    validation: dict[str, Any]
    decisions: list[AssociationDecision]
    corrections: list[AssociationDecision]
    """Association's answers to DayMOPS."""
    sources: dict[int, DiaSourceEvent]
    """Newest event of each DIASource."""
    ss_objects: dict[int, SsObjectVersion]
    """Newest version of each Solar System object."""
    true_moving: dict[int, Any]
    names: dict[str, str]
    """Truth's key of each asteroid to the designation in the catalogue, empty where it is in none."""


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("asteroids")
    with installed(folder / "data", **UNHURRIED) as home:
        home.run("up")
        day_obs = home.settings.night.day_obs
        home.run("simulate", "fortnight", str(day_obs), "--visits", str(VISITS), "--output", str(folder / "before"))
        command = ("daymops", "run", str(day_obs - 1), "--detections", str(folder / "before"))
        discovered, repeated = home.json(*command), home.json(*command)
        summary = home.json("night", "--visits", str(VISITS), "--cadence", "4")
        settings = home.settings
        camera = load_camera(settings.night.camera)
        plan = plan_night(
            camera, settings.night.seed, day_obs, VISITS, bands=settings.night.bands, n_snaps=settings.night.snaps
        )
        asteroids = make_asteroids(camera, settings.night.seed, day_obs, [visit.start_mjd_tai for visit in plan])
        truth: Path = settings.night_dir(day_obs) / "truth"
        answers = _answers(settings.bootstrap, len(events_of(settings.bootstrap, "daymops-log")))
        yield Observed(
            summary=summary,
            discovered=discovered,
            repeated=repeated,
            orbits=home.json("orbits", "list"),
            grown=_grown(settings.bootstrap),
            daymops=events_of(settings.bootstrap, "daymops-log"),
            ended=events_of(settings.bootstrap, "night-events"),
            tracklets={one.tracklet_id: one for one in events_of(settings.bootstrap, "tracklet-store")},
            validation=home.json("alerts", "validate", "--all"),
            decisions=[d for d in events_of(settings.bootstrap, "association-log") if d.correction is None],
            corrections=answers,
            sources={one.dia_source_id: one for one in events_of(settings.bootstrap, "diasources")},
            ss_objects={one.ss_object_id: one for one in events_of(settings.bootstrap, "ssobjects")},
            true_moving={visit.visit: read_truth(truth / f"{visit.visit}.parquet") for visit in plan},
            names={str(one.key): designation_of(one) if is_known(one) else "" for one in asteroids},
        )
        home.run("down")


def _answers(bootstrap: str, wanted: int) -> list[AssociationDecision]:
    """Wait for association's answers to DayMOPS."""

    def answers() -> list[AssociationDecision]:
        return [d for d in events_of(bootstrap, "association-log") if d.correction is not None]

    eventually(lambda: len(answers()) >= wanted, said=lambda: f"{len(answers())} of {wanted} decisions were answered")
    return answers()


def _grown(bootstrap: str) -> dict[str, list[int]]:
    grown: dict[str, list[int]] = {}
    for event in events_of(bootstrap, "orbit-store"):
        if isinstance(event.fact, OrbitDetermined):
            grown.setdefault(event.designation, []).append(event.fact.n_detections)
    return grown


def test_unknown_asteroids_are_discovered_from_the_fortnight_before(observed: Observed) -> None:
    unknown = sum(not name for name in observed.names.values())
    assert unknown >= 1
    assert observed.discovered["new"] is True
    assert len(observed.discovered["orbits"]) == unknown
    assert observed.discovered["counts"]["reportable"] == unknown


def test_a_repeated_run_decides_nothing_new(observed: Observed) -> None:
    assert observed.repeated == observed.discovered | {"new": False}


def test_every_detected_asteroid_becomes_an_alert_of_its_own_object(observed: Observed) -> None:
    numbers = {row["designation"]: int(row["ss_object_id"]) for row in observed.orbits}
    discovered = {int(numbers[row["designation"]]) for row in observed.discovered["orbits"]}
    seen = set()
    for decision in [one for one in observed.decisions if one.correction is None]:
        truth = observed.true_moving[decision.visit]
        sources = np.concatenate([t.to_array() for t in (decision.diasources, decision.moving) if t.rows])
        for row in truth[(truth["kind"] == "moving") & (truth["predicted_snr"] > 8) & ~truth["masked"]]:
            east = ((sources["ra"] - row["ra"] + 180) % 360 - 180) * np.cos(np.radians(row["dec"])) * 3600
            near = sources[np.hypot(east, (sources["dec"] - row["dec"]) * 3600) < 1.0]
            if not len(near):
                continue
            name = observed.names[str(row["key"])]
            wanted = {numbers[name]} if name else discovered
            assert {int(value) for value in near["ssObjectId"]} <= wanted, row
            assert not near["diaObjectId"].any()
            seen.add(str(row["key"]))
    assert {bool(observed.names[key]) for key in seen} == {True, False}


def test_their_alerts_carry_circumstances_and_orbits_and_keep_every_rule(observed: Observed) -> None:
    moving = [one for one in observed.decisions if one.moving.rows and one.correction is None]
    assert moving
    for decision in moving:
        rows = decision.circumstances.to_array()
        assert (rows["ephOffset"] < 1.0).all()
        for row, orbit in zip(rows, decision.mpc_orbits, strict=True):
            assert decode_record(orbit, "mpc_orbits")["designation"] == row["designation"]
    assert observed.validation == {"alerts": observed.summary["alerts"], "violations": []}
    assert observed.summary["known_asteroids_recognised"] == observed.summary["known_asteroids"] >= 1
    assert observed.summary["dead_letters"] == observed.summary["quarantined"] == 0


def test_the_night_itself_is_searched_without_being_asked(observed: Observed) -> None:
    night = observed.summary["day_obs"]
    assert [one.reason for one in observed.ended if one.day_obs == night][:1] == ["observed"]
    assert sum(one.day_obs == night for one in observed.daymops) == 1
    assert {one.day_obs for one in observed.tracklets.values()} >= {night}


def test_objects_of_ours_grow_by_what_the_night_recognised(observed: Observed) -> None:
    numbers = {int(row["ss_object_id"]): row["designation"] for row in observed.orbits}
    own = {row["designation"] for row in observed.discovered["orbits"]}
    seen: dict[str, int] = {}
    for decision in observed.decisions:
        moving = decision.moving.to_array() if decision.moving.rows and decision.correction is None else []
        for row in moving:
            seen[numbers[int(row["ssObjectId"])]] = seen.get(numbers[int(row["ssObjectId"])], 0) + 1
    assert set(seen) & own
    for name in set(seen) & own:
        before, after = observed.grown[name][-2:]
        assert after == before + seen[name]


def test_every_tracklet_has_one_holder_and_every_detection_one_held_tracklet(observed: Observed) -> None:
    kept = [one for one in observed.tracklets.values() if one.status is not TrackletStatus.WITHDRAWN]
    assert all((one.status is TrackletStatus.FREE) is (one.holder is None) for one in kept)
    held = [one for one in kept if one.holder is not None]
    members = [member for one in held for member in one.dia_source_ids]
    assert len(members) == len(set(members)) > 0


def test_every_decision_of_daymops_has_one_answer_of_association(observed: Observed) -> None:
    decided = [(one.day_obs, one.sequence) for one in observed.daymops]
    assert [(one.day_obs, one.sequence) for one in observed.corrections] == decided
    (night,) = [one for one in observed.corrections if one.day_obs == observed.summary["day_obs"]]
    assert night.correction is not None
    assert night.correction.verdicts.rows > 0
    before = [one for one in observed.corrections if one.day_obs < observed.summary["day_obs"]]
    assert all(one.moving.rows == one.diasources.rows == 0 for one in before)  # nothing of ours was observed then


def test_each_detection_has_one_owner_and_each_asteroid_its_record(observed: Observed) -> None:
    events = observed.sources.values()
    assert len(observed.sources) == observed.summary["diasources"]
    assert all((one.dia_object_id == 0) != (one.ss_object_id == 0) for one in events)
    held: dict[int, int] = {}
    for one in events:
        if one.ss_object_id:
            held[one.ss_object_id] = held.get(one.ss_object_id, 0) + 1
    assert held
    records = {number: decode_record(one.record, "ssObject") for number, one in observed.ss_objects.items()}
    assert {number: record["nObs"] for number, record in records.items()} == held
    names = {int(row["ss_object_id"]): row["designation"] for row in observed.orbits}
    for number, record in records.items():
        assert record["designation"] == names[number]
        assert record["MOIDEarth"] > 0
        assert record["tisserand_J"] > 0
