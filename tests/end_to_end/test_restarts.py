"""The broker dies in the middle of a night, or is not there at all."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from infra.ports import free_port
from infra.reading import partitions_of
from streams.replay.logs import compare_runs
from tests.end_to_end.conftest import ObservedNight
from tests.support.nights import Installation, dead_letters, installed, published, replaying

pytestmark = pytest.mark.broker


def test_a_killed_broker_delays_the_night_and_changes_nothing(night: ObservedNight, tmp_path: Path) -> None:
    with replaying(night.recording, tmp_path / "data", kafka__partitions="16") as (home, said):
        line = next(line for line in said if "closed" in line)  # one visit is closed, another is being worked on
        assert "complete" in line
        os.kill(pid_of(home, "broker"), signal.SIGKILL)
        assert "Replayed" in " ".join(said)
        again = home.logs()
        found = compare_runs(night.logs, again)
        assert found.identical, found
        assert published(home.settings) == night.published
        assert dead_letters(home.settings.bootstrap) == []
        assert partitions_of(home.settings.bootstrap, "object-updates") == list(range(16))
        assert home.restarts()["broker"] == 1
        home.wait_until_healthy()
    assert home.processes() == []


@pytest.mark.parametrize("command", ["up", "night", "alerts tail --until-end"])
def test_a_cluster_that_does_not_answer_is_one_sentence(tmp_path: Path, command: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    with installed(tmp_path / "data", kafka__bootstrap_servers=address) as home:
        started = time.monotonic()
        done = home.run(*command.split(), code=1)
        assert time.monotonic() - started < 30
        assert "Error (kafka_unavailable): " in done.stderr
        assert len(done.stderr.splitlines()) <= 2
        assert home.processes() == []


def pid_of(home: Installation, name: str) -> int:
    """Return the id of a running process of the system."""
    return next(int(row["pid"]) for row in home.json("status")["processes"] if row["name"] == name)
