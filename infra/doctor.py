"""What is missing or ill on this machine, one sentence each."""

from __future__ import annotations

import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.broker.embedded import jars_folder, java_executable
from infra.broker.jars import load_lock, missing_jars
from infra.broker.probe import broker_answers
from infra.errors import PortTakenError
from infra.kafka import admin
from infra.ports import require_free
from infra.settings import Settings
from infra.supervisor.control import is_running, status
from infra.supervisor.report import ProcessState
from infra.topics_admin import expected_topics, missing_topics
from schemas.errors import NightcastError

__all__ = ["Finding", "diagnose"]

FREE_DISK_GB = 3.0
"""A default night writes less than 2 GB; Kafka wants room beside it."""
FREE_MEMORY_GB = 3.0
"""The idle system's limit of 2.5 GB, and something to work with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    sentence: str


def diagnose(settings: Settings) -> list[Finding]:
    """Look at everything that a night needs, and return what was found, good and bad, in the order to mend it."""
    return [finding for check in _checks(settings) for finding in check(settings)]


def _checks(settings: Settings) -> list[Callable[[Settings], Iterator[Finding]]]:
    machine = [_python, _java, _jars, _folders, _disk, _memory]
    if not settings.embedded_broker:
        machine = [_python, _folders, _disk, _memory]
    return [*machine, *([_processes] if is_running(settings) else [_ports]), _cluster, _registry]


def _python(_settings: Settings) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    ok = sys.version_info >= (3, 11)
    yield Finding(name="python", ok=ok, sentence=f"Python {version}" + ("." if ok else " is too old; 3.11 is needed."))


def _java(_settings: Settings) -> Iterator[Finding]:
    try:
        java = java_executable()
    except NightcastError as error:
        yield Finding(name="java", ok=False, sentence=str(error))
    else:
        yield Finding(name="java", ok=True, sentence=f"Java is at {java}.")


def _jars(settings: Settings) -> Iterator[Finding]:
    folder, lock = jars_folder(settings), load_lock()
    missing = missing_jars(folder, lock)
    if not missing:
        sentence = f"All {len(lock.jars)} jars of Kafka {lock.kafka} match the lock file."
    elif not folder.exists():
        sentence = f"Kafka {lock.kafka} is not here yet; the first start downloads {len(missing)} jars."
    else:
        sentence = f"{len(missing)} jars in {folder} are missing or damaged; the next start fetches them again."
    yield Finding(name="kafka jars", ok=not (missing and folder.exists()), sentence=sentence)


def _folders(settings: Settings) -> Iterator[Finding]:
    for name, folder in (("data directory", settings.data_dir), ("cache directory", settings.cache_dir)):
        nearest = _nearest(folder)
        ok = nearest.is_dir() and os.access(nearest, os.W_OK)
        setting = "NIGHTCAST_" + name.split()[0].upper() + "_DIR"
        yield Finding(
            name=name,
            ok=ok,
            sentence=f"{folder} can be written."
            if ok
            else f"{folder} cannot be written; set {setting} to another folder.",
        )


def _disk(settings: Settings) -> Iterator[Finding]:
    free = shutil.disk_usage(_nearest(settings.data_dir)).free / 1e9
    ok = free >= FREE_DISK_GB
    advice = "." if ok else f"; a night needs {FREE_DISK_GB:.0f} GB, free some or set NIGHTCAST_DATA_DIR."
    yield Finding(name="disk", ok=ok, sentence=f"{free:.1f} GB are free for {settings.data_dir}{advice}")


def _memory(settings: Settings) -> Iterator[Finding]:
    free = psutil.virtual_memory().available / 1e9
    ok = free >= FREE_MEMORY_GB or is_running(settings)
    advice = "." if ok else f"; a night needs {FREE_MEMORY_GB:.0f} GB, close other programs."
    yield Finding(name="memory", ok=ok, sentence=f"{free:.1f} GB of memory are available{advice}")


def _ports(settings: Settings) -> Iterator[Finding]:
    wanted = {"web.port": settings.web.port, "metrics.port": settings.metrics.port}
    if settings.embedded_broker:
        wanted |= {"kafka.port": settings.kafka.port, "kafka.controller_port": settings.kafka.controller_port}
    if settings.embedded_registry:
        wanted["registry.port"] = settings.registry.port
    for setting, port in sorted(wanted.items()):
        try:
            require_free(port, what=setting.split(".")[0], setting=setting)
        except PortTakenError as error:
            yield Finding(name=setting, ok=False, sentence=str(error))
        else:
            yield Finding(name=setting, ok=True, sentence=f"Port {port} is free.")


def _processes(settings: Settings) -> Iterator[Finding]:
    for row in status(settings).processes:
        ok = row.state in (ProcessState.READY, ProcessState.DONE)
        log = settings.logs_dir / f"{row.name}.log"
        again = f", restarted {row.restarts} times" if row.restarts else ""
        sentence = f"{row.state.value}{again}" + (
            "." if ok else f": {row.reason or 'no reason given'}; its log is {log}."
        )
        yield Finding(name=f"process {row.name}", ok=ok, sentence=sentence)


def _cluster(settings: Settings) -> Iterator[Finding]:
    if not is_running(settings) and settings.embedded_broker:
        return
    if not broker_answers(settings.bootstrap):
        yield Finding(name="kafka", ok=False, sentence=f"No Kafka broker answers at {settings.bootstrap}.")
        return
    yield Finding(name="kafka", ok=True, sentence=f"Kafka answers at {settings.bootstrap}.")
    try:
        missing = [row.name for row in missing_topics(admin(settings.bootstrap))]
    except NightcastError as error:
        yield Finding(name="topics", ok=False, sentence=str(error))
        return
    sentence = f"Topics are missing: {', '.join(missing)}; `nightcast up` makes them." if missing else ""
    yield Finding(name="topics", ok=not missing, sentence=sentence or f"All {len(expected_topics())} topics are there.")


def _registry(settings: Settings) -> Iterator[Finding]:
    if not is_running(settings) and settings.embedded_registry:
        return
    try:
        with urllib.request.urlopen(f"{settings.registry_url}/subjects", timeout=2.0):
            yield Finding(name="registry", ok=True, sentence=f"The schema registry answers at {settings.registry_url}.")
    except (urllib.error.URLError, OSError) as error:
        yield Finding(
            name="registry", ok=False, sentence=f"No schema registry answers at {settings.registry_url}: {error}."
        )


def _nearest(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
