"""The supervisor on small programs."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from infra.errors import StartError
from infra.supervisor import Health, ProcessSpec
from infra.supervisor.child import Child, rotate
from infra.supervisor.pids import living, write_pid_file
from infra.supervisor.report import EngineState, EngineStatus, ProcessState, read_status
from infra.supervisor.spec import specs_from_json, specs_to_json
from infra.supervisor.supervisor import Supervisor
from tests.support.waiting import PATIENCE_S, eventually

SLEEPER = ("sleep", "600")


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", program)


class _Run:
    def __init__(self, folder: Path, *specs: ProcessSpec) -> None:
        self.supervisor = Supervisor(specs, run_dir=folder / "run", logs_dir=folder / "logs")
        self.stop = threading.Event()
        self.result: list[EngineState] = []
        self.thread = threading.Thread(target=lambda: self.result.append(self.supervisor.run(self.stop)))

    def status(self) -> EngineStatus:
        return self.supervisor.status()

    def row(self, name: str):
        return next(row for row in self.status().processes if row.name == name)


@contextmanager
def running(folder: Path, *specs: ProcessSpec) -> Iterator[_Run]:
    (folder / "run").mkdir(parents=True, exist_ok=True)
    run = _Run(folder, *specs)
    run.thread.start()
    try:
        yield run
    finally:
        run.stop.set()
        run.thread.join(PATIENCE_S)
        assert not run.thread.is_alive()


def test_orders_start_one_after_the_other_and_stop_the_other_way(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    program = (
        "import signal, sys\n"
        "def note(word):\n    open({journal!r}, 'a').write(word + ' ' + {name!r} + chr(10))\n"
        "signal.signal(signal.SIGTERM, lambda *_: (note('stop'), sys.exit(0)))\n"
        "note('start')\nopen({ready!r}, 'w').write(str(__import__('os').getpid()))\nsignal.pause()\n"
    )
    specs = [
        ProcessSpec(
            name=name,
            argv=python(program.format(journal=str(journal), name=name, ready=str(tmp_path / name))),
            order=order,
            health=Health(kind="file", target=str(tmp_path / name)),
        )
        for name, order in (("last", 9), ("first", 1), ("middle", 5))
    ]
    with running(tmp_path, *specs) as run:
        eventually(lambda: run.status().state is EngineState.RUNNING)
        assert run.status().healthy
    words = ["start first", "start middle", "start last", "stop last", "stop middle", "stop first"]
    assert journal.read_text().splitlines() == words
    assert run.result == [EngineState.STOPPED]
    written = read_status(tmp_path / "run" / "status.json")
    assert [row.state for row in written.processes] == [ProcessState.STOPPED] * 3
    assert list((tmp_path / "run").glob("*.pid")) == []


def test_a_killed_process_comes_back(tmp_path: Path) -> None:
    with running(tmp_path, ProcessSpec(name="sleeper", argv=SLEEPER)) as run:
        eventually(lambda: run.status().healthy)
        pid = run.row("sleeper").pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: run.row("sleeper").restarts == 1 and run.row("sleeper").state is ProcessState.READY)
        assert run.row("sleeper").pid != pid
        assert run.row("sleeper").reason == "ended with code -9"
        assert run.status().state is EngineState.RUNNING


def test_a_task_runs_before_the_next_order(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    task = ProcessSpec(name="task", argv=python(f"open({str(flag)!r}, 'w')"), order=1, task=True)
    service = ProcessSpec(name="service", argv=python(f"open({str(flag)!r}); __import__('signal').pause()"), order=2)
    with running(tmp_path, service, task) as run:
        eventually(lambda: run.status().state is EngineState.RUNNING)
        assert run.row("task").state is ProcessState.DONE
        assert run.row("service").restarts == 0
    assert run.row("task").state is ProcessState.DONE


@pytest.mark.parametrize(
    "spec",
    [
        ProcessSpec(name="bad", argv=python("raise SystemExit('no such thing')"), order=2, health=Health(kind="file")),
        ProcessSpec(name="bad", argv=("/no/such/program",), order=2),
        ProcessSpec(name="bad", argv=SLEEPER, order=2, health=Health(kind="file", target="/none", timeout_s=0.2)),
        ProcessSpec(name="bad", argv=python("raise SystemExit(3)"), order=2, task=True),
    ],
    ids=["ends", "cannot be executed", "is never ready", "failing task"],
)
def test_a_process_that_cannot_start_gives_the_start_up(tmp_path: Path, spec: ProcessSpec) -> None:
    with running(tmp_path, ProcessSpec(name="good", argv=SLEEPER, order=1), spec) as run:
        eventually(lambda: run.result)
    assert run.result == [EngineState.FAILED]
    assert run.status().reason.startswith("the process bad ")
    assert run.row("good").state is ProcessState.STOPPED


def test_what_ignores_the_request_to_end_is_killed_with_its_children(tmp_path: Path) -> None:
    child_pid = tmp_path / "child"
    program = (
        "import os, signal, subprocess\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(child_pid)!r} + '.part', 'w').write(str(child.pid))\n"
        f"os.rename({str(child_pid)!r} + '.part', {str(child_pid)!r})\nchild.wait()\nsignal.pause()\n"
    )
    spec = ProcessSpec(name="stubborn", argv=python(program), stop_timeout_s=0.3)
    with running(tmp_path, spec) as run:
        eventually(child_pid.exists)
        pids = [run.row("stubborn").pid, int(child_pid.read_text())]
    for pid in pids:
        eventually(lambda pid=pid: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_memory_is_measured(tmp_path: Path) -> None:
    with running(tmp_path, ProcessSpec(name="sleeper", argv=SLEEPER)) as run:
        eventually(lambda: run.row("sleeper").rss_mb > 0)
        assert run.status().peak_rss_mb >= run.status().rss_mb > run.row("sleeper").rss_mb


def test_a_child_that_ends_early_shows_the_end_of_its_log(tmp_path: Path) -> None:
    spec = ProcessSpec(name="bad", argv=python("raise SystemExit('what went wrong')"), health=Health(kind="file"))
    child = Child(spec, logs_dir=tmp_path, run_dir=tmp_path)
    assert child.stop() is None
    child.start()
    with pytest.raises(StartError, match="ended with code 1: what went wrong"):
        child.wait_ready()


def test_a_pid_file_knows_a_process_from_a_later_one_of_the_same_id(tmp_path: Path) -> None:
    path = tmp_path / "me.pid"
    write_pid_file(path, os.getpid())
    assert living(path) == psutil.Process()
    path.write_text(f"{os.getpid()} 12345.0\n")
    assert living(path) is None
    assert living(tmp_path / "none.pid") is None


def test_specs_survive_being_written_down() -> None:
    specs = [
        ProcessSpec(name="a", argv=("x", "y"), env={"A": "1"}, ports={"web.port": 5}),
        ProcessSpec(name="b", argv=("z",), health=Health(kind="http", target="http://x", timeout_s=3), task=True),
    ]
    assert specs_from_json(specs_to_json(specs)) == specs


def test_a_large_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.supervisor.child.LOG_BYTES", 10)
    log = tmp_path / "a.log"
    rotate(log)
    log.write_text("short")
    rotate(log)
    assert log.exists()
    log.write_text("a longer log")
    rotate(log)
    assert not log.exists()
    assert (tmp_path / "a.log.1").read_text() == "a longer log"
