"""A whole system of its own for tests, driven by its command line as its user would, and what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from infra.ports import free_port
from infra.reading import headers_of, read_to_end
from infra.settings import PREFIX, Settings
from schemas import avro
from schemas.errors import SchemaError
from schemas.events import DeadLetter
from schemas.topics import TOPICS, dead_letter_topic, topic
from schemas.wire import unframe
from streams.replay.engines import settings_of
from streams.replay.logs import RunLogs, read_run

__all__ = [
    "CRASHABLE",
    "UNHURRIED",
    "Installation",
    "dead_letters",
    "events_of",
    "installed",
    "published",
    "replayed",
    "replaying",
    "settings_variables",
]

CRASHABLE = (
    "ocs-bridge",
    "dmcs",
    "nightmops",
    "orchestration",
    "archiver",
    "detectors",
    "association",
    "alert-assembly",
    "distribution",
    "manifests",
    "quality",
)
"""Every stage, by the name of its crash point."""

UNHURRIED = {
    "night__close_after_s": "600",
    "control__known_objects_wait_s": "600",
    "control__prediction_wait_s": "600",
    "control__exposure_grace_s": "600",
}
"""Settings that put deadlines by the wall's clock off: how busy the machine is must not change what is found."""

COMMAND = Path(sys.executable).parent / "nightcast"
PATIENCE_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A data directory with settings of its own."""

    data_dir: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the settings, the data directory's among them."""

    @cached_property
    def settings(self) -> Settings:
        """The settings with which its system runs or ran."""
        return settings_of(self.data_dir)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its commands: this process's, without settings of anybody else."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        empty = self.data_dir.with_suffix(".toml")
        empty.touch()
        return kept | {"NIGHTCAST_CONFIG": str(empty), "COLUMNS": "200"} | dict(self.variables)

    def run(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code, unless that is None."""
        done = subprocess.run(
            [COMMAND, *arguments], env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert code is None or done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}{self.last_words()}"
        return done

    def json(self, *arguments: str, code: int | None = 0) -> Any:
        """Run a command with ``--json`` and return the document it prints."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def processes(self) -> list[psutil.Process]:
        """Return every living process that belongs to the data directory, whoever started it."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # it ended, or is another user's
                own = process.environ().get("NIGHTCAST_DATA_DIR") == str(self.data_dir)
                if own and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def last_words(self) -> str:
        """Return the errors that its processes logged, for the message of a test that fails."""
        lines = []
        for file in sorted((self.data_dir / "logs").glob("*.log")):
            ill = [line for line in file.read_text(errors="replace").splitlines() if '"level": "error"' in line]
            lines += [f"{file.stem}: {line[:600]}" for line in ill[-5:]]
        return "\n" + "\n".join(lines)

    def restarts(self) -> dict[str, int]:
        """Return how often the supervisor started each process again."""
        return {row["name"]: row["restarts"] for row in self.json("status", code=None)["processes"]}

    def wait_until_healthy(self) -> None:
        """Ask for the status until every process is ready: a stage may be on its way back."""
        deadline = time.monotonic() + PATIENCE_S
        while self.run("status", code=None).returncode:
            assert time.monotonic() < deadline, self.last_words()

    def logs(self) -> RunLogs:
        """Return the records that a comparison looks at."""
        return read_run(self.settings.bootstrap)


def settings_variables(data_dir: Path, **more: str) -> dict[str, str]:
    """Return the variables of a system on free ports; ``kafka__partitions="1"`` and the like change other settings."""
    ports = ("kafka__port", "kafka__controller_port", "registry__port", "web__port", "metrics__port")
    values = {"data_dir": str(data_dir), "night__camera": "tiny", **{name: str(free_port()) for name in ports}, **more}
    return {PREFIX + name.upper(): value for name, value in values.items()}


@contextmanager
def installed(data_dir: Path, **more: str) -> Iterator[Installation]:
    """Give an installation, and stop whatever it left running."""
    installation = Installation(data_dir=data_dir, variables=settings_variables(data_dir, **more))
    try:
        yield installation
    finally:
        installation.run("down", code=None)


@contextmanager
def replaying(recording: Path, data_dir: Path, **more: str) -> Iterator[tuple[Installation, Iterator[str]]]:
    """Begin to play a recording into a system of its own, through the command line.

    Gives the system, which runs until the context ends, and the lines that the command prints while it plays; when they
    are over, the night is.

    Parameters
    ----------
    recording
        File of the recording.
    data_dir
        New folder of the system that plays it.
    **more
        Settings that differ, such as ``kafka__partitions="1"``.
    """
    own = {PREFIX + name.upper(): value for name, value in {"data_dir": str(data_dir), **more}.items()}
    home = Installation(data_dir=data_dir, variables=own)
    arguments = ("replay", "run", str(recording), "--data-dir", str(data_dir), "--keep")
    try:
        with subprocess.Popen(
            [COMMAND, *arguments], env=home.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                yield home, _lines(process, home)
            finally:
                process.terminate()
    finally:
        home.run("down", code=None)


@contextmanager
def replayed(recording: Path, data_dir: Path, **more: str) -> Iterator[Installation]:
    """Play a recording to its end; the system runs until the context ends. Parameters are those of `replaying`."""
    with replaying(recording, data_dir, **more) as (home, said):
        for _ in said:
            continue
        yield home


def _lines(process: subprocess.Popen[str], home: Installation) -> Iterator[str]:
    said: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        yield line
    assert process.wait(PATIENCE_S) == 0, "".join(said[-20:]) + home.last_words()


def events_of(bootstrap: str, name: str) -> list[Any]:
    """Return the committed events of a topic, each partition in order; what is no event of it is left out."""
    kind = topic(name).event
    assert kind is not None
    decoded = []
    for message in read_to_end(bootstrap, name):
        with suppress(SchemaError):  # no event of the topic: the dead letters' matter
            decoded.append(avro.decode(kind, unframe(message.value() or b"")[1]))
    return decoded


def dead_letters(bootstrap: str) -> list[DeadLetter]:
    """Return every dead letter of a system."""
    names = [dead_letter_topic(row.name) for row in TOPICS if row.dead_letters]
    return [
        avro.decode(DeadLetter, unframe(m.value() or b"")[1]) for name in names for m in read_to_end(bootstrap, name)
    ]


def published(settings: Settings) -> Counter[int]:
    """Return how often each alert is on the public topic, for a reader of what is committed."""
    return Counter(int(headers_of(m)["alert_id"]) for m in read_to_end(settings.bootstrap, settings.alerts.topic))
