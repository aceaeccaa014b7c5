"""One night of three visits, observed once and recorded, that every end-to-end test starts from."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from schemas.events import VisitEvent
from streams.replay.logs import RunLogs
from tests.support.nights import UNHURRIED, Installation, events_of, installed, published

VISITS = 3


@dataclass(frozen=True, kw_only=True)
class ObservedNight:
    """What a night left behind, and what its commands said while the system ran; the system is down."""

    home: Installation
    printed: dict[str, Any]
    """What ``nightcast night --json`` printed."""
    summary: dict[str, Any]
    """What summary.json holds."""
    folder: Path
    recording: Path
    logs: RunLogs
    published: Counter[int]
    visit_events: list[VisitEvent]
    answers: dict[str, Any]
    """Documents of other commands, by their words."""
    metrics: str
    down_s: float
    left: list[str]
    """Processes that were alive after ``nightcast down``."""


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObservedNight]:
    """Observe a night through the command line, ask everything about it, record it, stop."""
    with installed(tmp_path_factory.mktemp("night") / "data", **UNHURRIED) as home:
        printed = home.json("night", "--visits", str(VISITS), "--cadence", "4")
        folder = home.settings.night_dir(printed["day_obs"])
        words = ("status", "doctor", "alerts validate --all", "jobs list", "dlq list", "alerts list")
        answers = {line: home.json(*line.split()) for line in words}
        recording = folder / "recording.avro"
        home.run("replay", "record", str(printed["day_obs"]))
        with urllib.request.urlopen(f"http://127.0.0.1:{home.settings.metrics.port}/metrics", timeout=60) as answer:
            metrics = answer.read().decode()
        seen = home.logs(), published(home.settings), events_of(home.settings.bootstrap, "visit-events")
        started = time.monotonic()
        home.run("down")
        took = time.monotonic() - started
        yield ObservedNight(
            home=home,
            printed=printed,
            summary=json.loads((folder / "summary.json").read_text()),
            folder=folder,
            recording=recording,
            logs=seen[0],
            published=seen[1],
            visit_events=seen[2],
            answers=answers,
            metrics=metrics,
            down_s=took,
            left=[" ".join(process.cmdline()) for process in home.processes()],
        )
