"""The kill test: the recorded night again, while every stage is killed once; and with one partition and repeated messages.

Sixteen partitions, and a broker that is killed, are those of test_restarts.py.

A stage kills itself with SIGKILL when its outputs are written and the offsets of its inputs are not; its marker, forced to disk
before, says which offsets those were. Whatever is killed, the night must come out the same, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.reading import partitions_of
from streams.replay.logs import COMPARED, RunLogs, compare_runs
from streams.replay.recording import read_recording, write_recording
from tests.end_to_end.conftest import ObservedNight
from tests.support.nights import CRASHABLE, Installation, dead_letters, published, replayed

pytestmark = pytest.mark.broker


def same_as(night: ObservedNight, again: Installation) -> None:
    """Check that a run gave the night's records and no others, and each alert once to a reader of what is committed."""
    second = again.logs()
    found = compare_runs(night.logs, second)
    assert {topic.topic for topic in found.topics} == set(COMPARED)
    assert found.identical, describe(night.logs, second)
    assert all(topic.same > 0 for topic in found.topics)
    assert published(again.settings) == night.published
    assert [letter.reason for letter in dead_letters(again.settings.bootstrap)] == []


def describe(first: RunLogs, second: RunLogs) -> str:
    """Name the first differences of each topic."""
    lines = []
    for topic in compare_runs(first, second).topics:
        if not topic.identical:
            some = [f"{c.key} {c.field}: {c.left} -> {c.right}" for c in topic.changed[:3]]
            lines.append(f"{topic.topic}: -{topic.missing[:3]} +{topic.extra[:3]} !{topic.conflicts[:3]} {some}")
    return "\n".join(lines)


def markers_of(home: Installation) -> dict[str, Any]:
    """Return what each crash point that fired has written."""
    return {file.stem: json.loads(file.read_text()) for file in home.settings.faults_dir.glob("*.json")}


def ends_by_kill(home: Installation) -> int:
    """Count the processes that the supervisor saw end by SIGKILL."""
    lines = (home.settings.logs_dir / "supervisor.log").read_text().splitlines()
    return sum('"process_ended"' in line and "ended with code -9" in line for line in lines)


@pytest.fixture(scope="module")
def killed(night: ObservedNight, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The night again, every stage killed once."""
    folder = tmp_path_factory.mktemp("killed") / "data"
    with replayed(night.recording, folder, faults__crash=json.dumps(CRASHABLE)) as home:
        yield home


def test_every_stage_is_killed_between_reading_and_committing_and_started_again(killed: Installation) -> None:
    markers = markers_of(killed)
    assert set(markers) == set(CRASHABLE)
    for stage, marker in markers.items():
        committed = {place: marker["committed"].get(place, 0) for place in marker["read"]}
        ahead = [place for place, offset in marker["read"].items() if offset > committed[place]]
        assert ahead, f"{stage} had read nothing that was not committed"
    shared = ("ocs-bridge", "dmcs", "orchestration", "nightmops", "manifests", "quality")
    processes = {marker["pid"] for marker in markers.values()}
    together = {markers[stage]["pid"] for stage in shared}  # two stages of one process may reach their points at once
    assert len(processes) == len(together) + len(CRASHABLE) - len(shared)
    assert ends_by_kill(killed) == len(processes)
    restarts = killed.restarts()
    assert restarts["control"] >= len(together) >= 2
    assert all(restarts[stage] >= 1 for stage in CRASHABLE if stage not in shared)
    assert killed.json("status")["state"] == "running"


def test_the_killed_night_comes_out_the_same(night: ObservedNight, killed: Installation) -> None:
    same_as(night, killed)


def test_one_partition_and_every_message_of_the_observatory_twice(night: ObservedNight, tmp_path: Path) -> None:
    recording = read_recording(night.recording)
    twice = replace(recording, messages=tuple(m for message in recording.messages for m in (message, message)))
    write_recording(tmp_path / "twice.avro", twice)
    with replayed(tmp_path / "twice.avro", tmp_path / "data", kafka__partitions="1") as home:
        assert partitions_of(home.settings.bootstrap, "object-updates") == [0]
        same_as(night, home)
