"""The whole engine: up, status, doctor, metrics, kill, down."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from infra.broker.probe import broker_answers
from infra.doctor import diagnose
from infra.errors import AlreadyRunningError, PortTakenError, StartError
from infra.settings import Settings
from infra.supervisor import EngineState, ProcessSpec, down, engine_processes, mark_ready, ready_file, status, up
from infra.supervisor.child import Child
from infra.supervisor.pids import ends, living
from tests.support.engine import engine_settings
from tests.support.waiting import PATIENCE_S, eventually

STAGE = """
import signal
from infra.metrics import StageMetrics
from infra.settings import load_settings
from infra.supervisor import mark_ready
StageMetrics("stage").taken("jobs", 3)
mark_ready(load_settings(), "stage")
signal.pause()
"""


def _stage(settings: Settings) -> ProcessSpec:
    return ProcessSpec(
        name="stage",
        argv=(sys.executable, "-c", STAGE),
        order=10,
        env=settings.environment(),
        health=ready_file(settings, "stage"),
    )


def _processes_of(settings: Settings) -> list[str]:
    mark = str(settings.data_dir)
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and settings.data_dir and mark in " ".join(process.environ().values()):
                found.append(process.name())
        except psutil.Error:
            continue
    return found


@pytest.mark.broker
def test_the_engine_from_start_to_end(tmp_path: Path) -> None:
    settings = engine_settings(tmp_path / "data")
    said: list[str] = []
    try:
        up(settings, [_stage(settings)], progress=said.append)
        assert said[-8:] == [f"{name}: {word}" for name, word in _EXPECTED]
        eventually(lambda: status(settings).rss_mb > 0)
        assert status(settings).healthy
        assert status(settings).peak_rss_mb < 1000
        assert all(finding.ok for finding in diagnose(settings)), diagnose(settings)
        _metrics_are_served(settings)
        with pytest.raises(AlreadyRunningError, match="nightcast down"):
            up(settings)
        _a_vanished_supervisor_is_noticed(settings)
        up(settings)
        assert status(settings).healthy
        started = time.monotonic()
        assert down(settings) == []
        assert time.monotonic() - started < 15
    finally:
        down(settings)
    assert status(settings).state is EngineState.STOPPED
    assert not broker_answers(settings.bootstrap)
    assert _processes_of(settings) == []
    assert down(settings) == []


_EXPECTED = (
    ("broker", "starting"),
    ("broker", "ready"),
    ("registry", "starting"),
    ("registry", "ready"),
    ("topics", "starting"),
    ("topics", "done"),
    ("stage", "starting"),
    ("stage", "ready"),
)


def _metrics_are_served(settings: Settings) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.metrics.port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    assert 'nightcast_process_ready{process="broker"} 1.0' in text
    assert 'nightcast_events_total{stage="stage",topic="jobs"} 3.0' in text


def _a_vanished_supervisor_is_noticed(settings: Settings) -> None:
    supervisor = living(settings.run_dir / "supervisor.pid")
    assert supervisor is not None
    supervisor.send_signal(signal.SIGKILL)
    eventually(lambda: status(settings).state is EngineState.FAILED)
    assert "broker, registry, stage" in status(settings).reason


@pytest.mark.broker
def test_a_stage_that_cannot_start_leaves_nothing_running(broker, tmp_path: Path) -> None:
    settings = engine_settings(tmp_path / "data").model_copy(
        update={
            "kafka": broker.settings.kafka.model_copy(update={"bootstrap_servers": broker.bootstrap}),
            "registry": broker.settings.registry.model_copy(update={"url": broker.registry_url}),
        }
    )
    assert [spec.name for spec in engine_processes(settings)] == ["topics"]
    argv = (sys.executable, "-c", "raise SystemExit('sorry')")
    bad = ProcessSpec(name="bad", argv=argv, order=10, health=ready_file(settings, "bad"))
    with pytest.raises(StartError, match="the process bad ended with code 1: sorry"):
        up(settings, [bad])
    assert status(settings).state is EngineState.FAILED
    assert _processes_of(settings) == []
    down(settings)
    assert status(settings).state is EngineState.STOPPED


def test_a_taken_port_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    settings = engine_settings(tmp_path / "data")
    with socket.create_server(("127.0.0.1", settings.registry.port)), pytest.raises(PortTakenError) as raised:
        up(settings)
    assert "NIGHTCAST_REGISTRY__PORT" in str(raised.value)
    assert not settings.run_dir.exists()


def test_the_doctor_names_what_is_ill(tmp_path: Path) -> None:
    settings = engine_settings(tmp_path / "file" / "data").model_copy(update={"cache_dir": tmp_path / "cache"})
    (tmp_path / "file").write_text("")
    (tmp_path / "cache" / "kafka-4.3.1").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", settings.web.port)):
        ill = {finding.name: finding.sentence for finding in diagnose(settings) if not finding.ok}
    assert set(ill) == {"data directory", "kafka jars", "web.port"}
    assert "NIGHTCAST_WEB__PORT" in ill["web.port"]
    assert "NIGHTCAST_DATA_DIR" in ill["data directory"]
    assert "46 jars" in ill["kafka jars"]


def test_the_doctor_looks_at_a_cluster_by_address(tmp_path: Path) -> None:
    settings = engine_settings(tmp_path)
    away = settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    registry = settings.registry.model_copy(update={"url": "http://127.0.0.1:1"})
    settings = settings.model_copy(update={"kafka": away, "registry": registry})
    ill = {finding.name for finding in diagnose(settings) if not finding.ok}
    assert ill == {"kafka", "registry"}


def test_marking_ready_outside_of_a_supervisor_does_no_harm(tmp_path: Path) -> None:
    settings = engine_settings(tmp_path)
    mark_ready(settings, "stage")
    assert Path(ready_file(settings, "stage").target).read_text() == str(os.getpid())


def test_what_a_vanished_supervisor_left_is_ended_with_its_children(tmp_path: Path) -> None:
    settings = engine_settings(tmp_path)
    program = (
        "import subprocess, sys\nfrom infra.supervisor import mark_ready\nfrom infra.settings import load_settings\n"
        "child = subprocess.Popen(['sleep', '600'])\nmark_ready(load_settings(), 'parent')\nchild.wait()\n"
    )
    spec = ProcessSpec(
        name="parent",
        argv=(sys.executable, "-c", program),
        env=settings.environment(),
        health=ready_file(settings, "parent"),
    )
    child = Child(spec, logs_dir=settings.logs_dir, run_dir=settings.run_dir)
    child.start()
    child.wait_ready()
    (sleeper,) = psutil.Process(child.pid).children()
    assert down(settings) == ["parent"]
    eventually(lambda: not sleeper.is_running() or sleeper.status() == psutil.STATUS_ZOMBIE)
    assert not child.running
    assert list(settings.run_dir.glob("*.pid")) == []


def test_a_process_has_ended_though_its_parent_has_not_looked_yet() -> None:
    program = "import subprocess, time\nprint(subprocess.Popen(['sleep', '600']).pid, flush=True)\ntime.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        sleeper = psutil.Process(int(parent.stdout.readline()))
        assert not ends(sleeper, within_s=0.1)
        sleeper.kill()
        assert ends(sleeper, within_s=PATIENCE_S)
        assert sleeper.status() == psutil.STATUS_ZOMBIE
        parent.kill()
