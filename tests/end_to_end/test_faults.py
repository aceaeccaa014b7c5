"""A night on which everything goes wrong: each fault has its typed error or dead letter, the rest of the night goes on.

One system observes seven visits, each with another fault of camera or observatory, on a data release that lacks a template and
the calibrations of a sensor, after messages that nobody can decode were put on its topics.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra import kafka
from infra.objects import open_object_store
from infra.reading import place_of, read_to_end
from infra.settings import load_settings
from infra.telescope import Fault, build_release
from schemas.camera import load_camera
from schemas.events import (
    AvailableExposure,
    DetectorOutcome,
    DetectorResult,
    ExposureEvent,
    LostExposure,
    OutcomeStatus,
    VisitClosed,
)
from schemas.wire import frame
from tests.support.nights import Installation, dead_letters, events_of, installed, published

pytestmark = pytest.mark.broker

CAMERA = load_camera("tiny")
SPOILED, WHOLE, WAVEFRONT = (detector.id for detector in CAMERA.detectors)
"""The detector that camera faults hit, the one whose template is missing in band i, the one without calibrations."""

FAULTS = (
    Fault.MISSING_SNAP,
    Fault.TRUNCATED_FITS,
    Fault.MISSING_AMPLIFIER,
    Fault.NO_IMAGE,
    Fault.MALFORMED_NEXT_VISIT,
    Fault.UNKNOWN_INSTRUMENT,
    Fault.CANCELLED,
)
"""Of visits 1 to 7, whose bands are r and i in turn."""

UNREADABLE = {"undecodable_event": b"no event at all", "unknown_schema": frame(987_654, b"datum")}
"""Payloads by the code with which each is refused."""

READERS = {
    "visit-events": {"dmcs", "nightmops", "orchestration", "detectors", "association", "manifests", "quality"},
    "jobs": {"dmcs", "orchestration", "archiver", "detectors", "quality"},
    "exposures": {"detectors"},
    "daymops-log": {"association", "daymops"},
    "night-events": {"daymops"},
    "object-updates": {"alert-assembly"},
    "alert-packets": {"distribution"},
}
"""Topics that get unreadable messages, and the stages that read them."""


@dataclass(frozen=True, kw_only=True)
class BadNight:
    """A night with faults, its system still running."""

    home: Installation
    summary: dict[str, Any]
    places: dict[str, list[tuple[int, int]]]
    """Where the unreadable messages of a topic lie."""

    @property
    def bootstrap(self) -> str:
        """Address of its broker."""
        return self.home.settings.bootstrap

    def visit(self, number: int) -> int:
        """Return the id of a visit by its number, from 1: each has two exposures."""
        return int(self.summary["day_obs"]) * 100_000 + 2 * number - 1

    def closing(self, number: int) -> VisitClosed:
        """Return the closing of a visit; there must be exactly one."""
        events = events_of(self.bootstrap, "visit-events")
        facts = [e.fact for e in events if e.visit == self.visit(number) and isinstance(e.fact, VisitClosed)]
        assert len(facts) == 1
        return facts[0]

    def outcome(self, number: int, detector: int) -> DetectorOutcome:
        """Return what became of a detector of a visit."""
        return next(o for o in self.closing(number).outcomes if o.detector == detector)

    def notes(self, number: int, detector: int) -> tuple[str, ...]:
        """Return the notes of a detector's result."""
        results: list[DetectorResult] = events_of(self.bootstrap, "detector-results")
        (result,) = [r for r in results if (r.visit, r.detector) == (self.visit(number), detector)]
        return result.notes


def spoiled_cache(folder: Path) -> Path:
    """Return a cache with the release of the simulated sky, without the template and the calibrations that shall be missing."""
    cache = load_settings().cache_dir
    release = build_release(CAMERA, 1, cache)
    document = json.loads(release.path.read_text())
    document["masters"].pop(str(WAVEFRONT))
    document["templates"] = [t for t in document["templates"] if (t["detector"], t["band"]) != (WHOLE, "i")]
    copy = folder / release.directory.relative_to(cache)
    copy.mkdir(parents=True)
    for entry in release.directory.iterdir():
        if entry != release.path:
            (copy / entry.name).symlink_to(entry)
    (copy / release.path.name).write_text(json.dumps(document))
    for jars in cache.glob("kafka-*"):
        (folder / jars.name).symlink_to(jars)
    return folder


def put_unreadable(bootstrap: str) -> dict[str, list[tuple[int, int]]]:
    """Put payloads that nobody can read on topics, and return where they lie."""
    producer = kafka.producer(bootstrap, client_id="vandal")
    for name in READERS:
        for payload in UNREADABLE.values():
            producer.produce(name, payload, key=b"vandal")
    assert producer.flush(30) == 0
    return {
        name: [place_of(m) for m in read_to_end(bootstrap, name) if m.value() in UNREADABLE.values()]
        for name in READERS
    }


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BadNight]:
    """Observe the bad night; deadlines are short, so that what never comes is given up soon."""
    folder = tmp_path_factory.mktemp("faults")
    hurried = {
        "cache_dir": str(spoiled_cache(folder / "cache")),
        "night__close_after_s": "120",
        "control__arrival_wait_s": "1",
        "control__exposure_grace_s": "5",
        "control__known_objects_wait_s": "1",
    }
    with installed(folder / "data", **hurried) as home:
        home.run("up")
        places = put_unreadable(home.settings.bootstrap)
        faults = [word for number, fault in enumerate(FAULTS, 1) for word in ("--fault", f"{number}:{fault}")]
        summary = home.json("night", "--visits", str(len(FAULTS)), "--cadence", "3", *faults)
        yield BadNight(home=home, summary=summary, places=places)


def test_the_night_goes_on_to_its_end(bad: BadNight) -> None:
    assert bad.summary["visits"] == len(FAULTS) - 1
    assert bad.summary["visits_cancelled"] == 1
    closed = [e.visit for e in events_of(bad.bootstrap, "visit-events") if isinstance(e.fact, VisitClosed)]
    assert closed == [bad.visit(number) for number in range(1, len(FAULTS) + 1)]
    assert bad.summary["alerts"] == bad.summary["diasources"] > 0
    assert set(published(bad.home.settings).values()) == {1}
    assert {row["state"] for row in bad.home.json("status")["processes"]} == {"ready", "done"}
    assert set(bad.home.restarts().values()) == {0}


def test_a_snap_that_is_never_taken(bad: BadNight) -> None:
    assert bad.closing(1).reason == "complete"
    for detector in (SPOILED, WHOLE):
        assert bad.outcome(1, detector).status is OutcomeStatus.SUCCEEDED
        assert f"exposure {bad.visit(1) + 1} is lost" in bad.notes(1, detector)


def test_a_truncated_file_is_lost_with_its_reason_and_kept_aside(bad: BadNight) -> None:
    exposure = bad.visit(2)
    (loss,) = [e for e in lost(bad) if (e.exposure, e.detector) == (exposure, SPOILED)]
    assert isinstance(loss.fact, LostExposure)
    assert loss.fact.reason.startswith("checksum: ")
    assert bad.outcome(2, SPOILED).status is OutcomeStatus.SUCCEEDED
    assert f"exposure {exposure} is lost" in bad.notes(2, SPOILED)


def test_a_missing_amplifier_fails_its_detector_alone(bad: BadNight) -> None:
    assert bad.outcome(3, SPOILED).status is OutcomeStatus.FAILED
    assert bad.outcome(3, SPOILED).reason.startswith("missing_amplifier: ")
    assert bad.outcome(3, WHOLE).status is OutcomeStatus.SUCCEEDED


def test_a_visit_without_images_closes_with_every_detector_lost(bad: BadNight) -> None:
    outcomes = bad.closing(4).outcomes
    assert {o.status for o in outcomes} == {OutcomeStatus.LOST}
    assert all("exposure" in o.reason for o in outcomes)
    given_up = {(e.exposure, e.detector) for e in lost(bad) if e.visit == bad.visit(4)}
    assert given_up == {(bad.visit(4) + snap, detector.id) for snap in (0, 1) for detector in CAMERA.detectors}


def test_wrong_announcements_are_dead_letters_and_the_right_ones_count(bad: BadNight) -> None:
    letters = [x for x in dead_letters(bad.bootstrap) if x.stage == "ocs-bridge"]
    assert [x.code for x in letters] == ["undecodable_event", "sal_message", "unknown_instrument"]
    assert all(x.origin_topic.endswith("logevent_nextVisit") and x.reason and x.payload for x in letters)
    assert "NoSuchCamera" in letters[2].reason
    for number in (5, 6):
        assert bad.outcome(number, SPOILED).status is OutcomeStatus.SUCCEEDED


def test_a_cancelled_visit_closes_without_results(bad: BadNight) -> None:
    assert bad.closing(7).reason == "cancelled"
    assert {o.status for o in bad.closing(7).outcomes} == {OutcomeStatus.LOST}


def test_a_missing_template_fails_for_good_the_detector_that_needs_it(bad: BadNight) -> None:
    for number in (2, 6):
        outcome = bad.outcome(number, WHOLE)
        assert outcome.status is OutcomeStatus.FAILED
        assert outcome.reason.startswith("no_template: ")
    assert bad.outcome(5, WHOLE).status is OutcomeStatus.SUCCEEDED


def test_missing_calibrations_fail_for_good_the_detector_that_needs_them(bad: BadNight) -> None:
    for number in (1, 5):
        outcome = bad.outcome(number, WAVEFRONT)
        assert outcome.status is OutcomeStatus.FAILED
        assert outcome.reason.startswith("missing_calibration: ")


def test_nothing_that_arrived_is_lost(bad: BadNight) -> None:
    settings = bad.home.settings
    archived = {(e.exposure, e.detector): e.fact.raw for e in exposures(bad) if isinstance(e.fact, AvailableExposure)}
    files = sorted(settings.camera_buffer(bad.summary["day_obs"]).glob("*/*.fits"))
    assert (
        len(files) == 3 * 2 * 5 - 3
    )  # six visits observed, one of them without images and one without its second snap
    truncated = (bad.visit(2), SPOILED)
    for file in files:
        exposure, detector = (int(part) for part in file.stem.split("-"))
        data = file.read_bytes()
        if (exposure, detector) == truncated:
            assert (settings.outage_dir / str(exposure) / f"{file.name}.rejected").read_bytes() == data
        else:
            claim = archived[exposure, detector]
            assert claim.sha256 == hashlib.sha256(data).hexdigest()
            assert open_object_store(settings).get(claim) == data
    assert len(archived) == len(files) - 1


@pytest.mark.parametrize("topic", READERS)
def test_what_cannot_be_read_is_a_dead_letter_of_every_reader(bad: BadNight, topic: str) -> None:
    letters = [x for x in dead_letters(bad.bootstrap) if x.origin_topic == topic]
    assert {(x.stage, x.code) for x in letters} == {(stage, code) for stage in READERS[topic] for code in UNREADABLE}
    assert len(letters) == len(READERS[topic]) * len(UNREADABLE)
    assert {(x.origin_partition, x.origin_offset) for x in letters} == set(bad.places[topic])
    for letter in letters:
        assert letter.payload == UNREADABLE[letter.code]
        assert letter.key == b"vandal"
        assert letter.reason.endswith(".")


def test_what_fails_for_good_is_tried_once(bad: BadNight) -> None:
    ended = bad.home.json("jobs", "list", "--kind", "detector", "--state", "ended")
    failed = [job for job in ended if job["visit"] in {bad.visit(2), bad.visit(3), bad.visit(6)}]
    assert len(failed) == 6  # a template twice, an amplifier once, calibrations in each of the three
    assert {job["attempts"] for job in failed} == {1}


def exposures(bad: BadNight) -> list[ExposureEvent]:
    """Return what the archive says of each exposure; what is no event of the topic is the dead letters' matter."""
    return [e for e in events_of(bad.bootstrap, "exposures") if isinstance(e, ExposureEvent)]


def lost(bad: BadNight) -> list[ExposureEvent]:
    """Return the losses."""
    return [e for e in exposures(bad) if isinstance(e.fact, LostExposure)]
