"""Systems beside the user's own: settings for a replay's, and those of any data directory."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from infra import supervisor
from infra.ports import free_port
from infra.settings import CONFIG_VARIABLE, PREFIX, Settings, load_settings
from infra.supervisor.control import PROCESSES_FILE, is_running
from infra.supervisor.spec import specs_from_json
from streams.processes import stage_processes
from streams.replay.errors import ReplayError
from streams.replay.recording import RecordingHeader

__all__ = ["MARKER", "forget", "only_variables", "opened_log", "replay_settings", "running_system", "settings_of"]

MARKER = "replay.json"
"""Says that a folder is a replay's, which may be forgotten."""

TOOLKIT = "toolkit"
DAYMOPS = "daymops"
"""Not part of a replay: what it decided is in the recording."""
NO_SETTINGS_FILE = "empty.toml"

NO_DEADLINE_S = 600.0
"""Deadlines by the wall's clock are put off in a replay: whether a machine is slower today must not change what is found."""


def replay_settings(header: RecordingHeader, folder: Path) -> Settings:
    """Return settings for a system that replays a recording: the user's own, but for folder, ports and deadlines."""
    ports = [free_port() for _ in range(5)]
    kafka, controller, registry, web, metrics = ports
    return load_settings(
        data_dir=folder,
        kafka={"bootstrap_servers": None, "port": kafka, "controller_port": controller},
        registry={"url": None, "port": registry},
        web={"port": web},
        metrics={"port": metrics},
        objects={"url": None},
        night={
            "instrument": header.instrument,
            "camera": header.camera,
            "subname": header.subname,
            "close_after_s": NO_DEADLINE_S,
        },
        control={"stale_after_s": 1e12, "known_objects_wait_s": NO_DEADLINE_S},
    )


def settings_of(folder: Path) -> Settings:
    """Return the settings with which the system of a data directory was last started.

    Raises
    ------
    ReplayError
        When none ever was.
    """
    try:
        specs = specs_from_json((folder / "run" / PROCESSES_FILE).read_text())
    except (OSError, ValueError, KeyError) as error:
        raise ReplayError(f"No system has ever run on {folder}.") from error
    variables = {name: value for spec in specs for name, value in spec.env.items() if name.startswith(PREFIX)}
    with only_variables(variables, folder):
        return load_settings()


@contextmanager
def running_system(settings: Settings, *, with_pages: bool, keep: bool) -> Iterator[None]:
    """Run a whole system on a replay's folder; with ``keep`` it is left running unless the replay fails."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    (settings.data_dir / MARKER).write_text(json.dumps({"camera": settings.night.camera}) + "\n")
    specs = [
        spec for spec in stage_processes(settings) if spec.name != DAYMOPS and (with_pages or spec.name != TOOLKIT)
    ]
    done = False
    try:
        with only_variables(settings.environment(), settings.data_dir):
            supervisor.up(settings, specs)
        yield
        done = True
    finally:
        if not (done and keep):
            supervisor.down(settings)


@contextmanager
def opened_log(where: str) -> Iterator[str]:
    """Give the address of the cluster of a data directory, started for as long as needed, or the address itself.

    Parameters
    ----------
    where
        A data directory, or ``host:port``.

    Raises
    ------
    ReplayError
        When it is neither.
    """
    folder = Path(where).expanduser().absolute()
    if not folder.is_dir():
        if ":" not in where:
            raise ReplayError(f"{where} is neither a data directory nor the address of a cluster.")
        yield where
        return
    settings = settings_of(folder)
    if not settings.embedded_broker or is_running(settings):
        yield settings.bootstrap
        return
    with only_variables(settings.environment(), settings.data_dir):
        supervisor.up(settings)
    try:
        yield settings.bootstrap
    finally:
        supervisor.down(settings)


def forget(folder: Path) -> None:
    """Stop a replay's system and remove its folder.

    Raises
    ------
    ReplayError
        When the folder is not a replay's: nobody's night is removed by a mistyped name.
    """
    if not (folder / MARKER).is_file():
        raise ReplayError(f"{folder} is not the folder of a replay; it is left as it is.")
    if (folder / "run" / PROCESSES_FILE).exists():
        supervisor.down(settings_of(folder))
    shutil.rmtree(folder)


@contextmanager
def only_variables(variables: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Let this process and those it starts see these settings alone, whatever the user's environment and file say.

    Parameters
    ----------
    variables
        The settings.
    folder
        Data directory, where an empty settings file is put in the place of the user's.
    """
    file = folder / "run" / NO_SETTINGS_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    before = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    for name in before:
        del os.environ[name]
    os.environ.update(variables)
    os.environ[CONFIG_VARIABLE] = str(file)
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            del os.environ[name]
        os.environ.update(before)
