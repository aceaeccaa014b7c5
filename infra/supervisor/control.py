"""Start, stop and look at the whole system from another process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from infra.broker import broker_process, prepare_broker
from infra.broker.probe import broker_answers
from infra.errors import AlreadyRunningError, KafkaUnavailableError, StartError
from infra.metrics import MULTIPROCESS_VARIABLE, empty_metrics_dir
from infra.ports import require_free
from infra.registry import registry_process
from infra.settings import Settings
from infra.supervisor.child import rotate
from infra.supervisor.pids import ends, kill_group, living
from infra.supervisor.report import EngineState, EngineStatus, ProcessStatus, read_status
from infra.supervisor.spec import Health, ProcessSpec, specs_to_json

__all__ = ["down", "engine_processes", "hold_lock", "is_running", "mark_ready", "ready_file", "status", "up"]

PROCESSES_FILE = "processes.json"
STATUS_FILE = "status.json"
LOCK_FILE = "lock"
SUPERVISOR_PID = "supervisor.pid"
POLL_S = 0.05
DOWN_TIMEOUT_S = 30.0
CLUSTER_TIMEOUT_S = 5.0
"""How long a broker of another cluster may take to answer before anything is started."""
SWEEP_TIMEOUT_S = 8.0
"""How long what a vanished supervisor left may take to end; a broker that ends cleanly starts again 10 s sooner."""

Progress = Callable[[str], None]


def engine_processes(settings: Settings) -> list[ProcessSpec]:
    """Return the processes below the stages: broker, registry, and the task that creates topics; those that we run."""
    specs = []
    if settings.embedded_broker:
        specs.append(broker_process(settings))
    if settings.embedded_registry:
        specs.append(registry_process(settings))
    topics = ProcessSpec(
        name="topics",
        argv=(sys.executable, "-m", "infra.topics_admin"),
        order=2,
        env=settings.environment(),
        task=True,
        health=Health(timeout_s=90.0),
    )
    return [*specs, topics]


def up(settings: Settings, processes: Sequence[ProcessSpec] = (), *, progress: Progress | None = None) -> EngineStatus:
    """Start the engine and the given processes under a supervisor that stays behind, and wait until all are ready.

    What a run that was killed has left behind is ended first; its data are continued.

    Parameters
    ----------
    settings
        Ports, folders, cluster.
    processes
        The stages; their ``order`` must be above that of the engine (use 10 or more).
    progress
        Called with a sentence for each thing that happens.

    Raises
    ------
    AlreadyRunningError
        When the system of this data directory runs.
    PortTakenError
        When a port is another program's.
    DownloadError, JarsError, StartError
        When the broker cannot be made ready, or a process does not start; nothing is left running then.
    KafkaUnavailableError
        When the cluster that the settings name does not answer.
    """
    say = progress or (lambda _sentence: None)
    if is_running(settings):
        raise AlreadyRunningError(
            f"Nightcast runs already on {settings.data_dir}; see `nightcast status`, or stop it with `nightcast down`."
        )
    _sweep(settings)
    specs = [*engine_processes(settings), *processes]
    _check_ports(settings, specs)
    if settings.embedded_broker:
        prepare_broker(settings, progress=say)
    else:
        _require_cluster(settings)
    for folder in (settings.run_dir, settings.logs_dir, settings.state_dir):
        folder.mkdir(parents=True, exist_ok=True)
    empty_metrics_dir(settings.metrics_dir)
    (settings.run_dir / STATUS_FILE).unlink(missing_ok=True)
    (settings.run_dir / PROCESSES_FILE).write_text(specs_to_json(specs))
    daemon = _start_daemon(settings)
    return _wait_until_up(settings, daemon, say)


def down(settings: Settings, *, timeout_s: float = DOWN_TIMEOUT_S) -> list[str]:
    """Stop everything, leaving no process behind; return the names of those whose supervisor had vanished.

    Safe to call at any time: a system that does not run is left as it is, the remains of a killed one are ended.
    """
    supervisor = living(settings.run_dir / SUPERVISOR_PID)
    if supervisor is not None:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
            supervisor.send_signal(signal.SIGTERM)
            if not ends(supervisor, within_s=timeout_s):
                kill_group(supervisor)
    killed = _sweep(settings)
    (settings.run_dir / STATUS_FILE).unlink(missing_ok=True)
    return killed


def status(settings: Settings) -> EngineStatus:
    """Return the system's status; a system whose supervisor has vanished is FAILED, with what is left of it."""
    written = read_status(settings.run_dir / STATUS_FILE)
    if is_running(settings) or written.state in (EngineState.STOPPED, EngineState.FAILED):
        return written
    left = [path.stem for path in _pid_files(settings) if living(path) is not None]
    remains = f"; still running: {', '.join(left)}; end them with `nightcast down`" if left else ""
    return EngineStatus(
        state=EngineState.FAILED, processes=written.processes, reason=f"the supervisor vanished{remains}"
    )


def is_running(settings: Settings) -> bool:
    """Tell whether a supervisor holds the data directory."""
    try:
        with (settings.run_dir / LOCK_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True


@contextlib.contextmanager
def hold_lock(run_dir: Path) -> Iterator[None]:
    """Hold the data directory as its one supervisor; the system releases it even after a kill.

    Raises
    ------
    AlreadyRunningError
        When another supervisor holds it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / LOCK_FILE).open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunningError(f"Another supervisor holds {run_dir}.") from error
        yield


def ready_file(settings: Settings, name: str, *, timeout_s: float = 60.0) -> Health:
    """Return the health rule of a process that calls `mark_ready` when it is ready."""
    return Health(kind="file", target=str(_ready_path(settings, name)), timeout_s=timeout_s)


def mark_ready(settings: Settings, name: str) -> None:
    """Tell the supervisor that this process is ready; outside of a supervisor it does no harm."""
    path = _ready_path(settings, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(os.getpid()))


def _ready_path(settings: Settings, name: str) -> Path:
    return settings.run_dir / "ready" / name


def _check_ports(settings: Settings, specs: Sequence[ProcessSpec]) -> None:
    for spec in specs:
        for setting, port in spec.ports.items():
            require_free(port, what=spec.name, setting=setting)
    require_free(settings.metrics.port, what="metrics endpoint", setting="metrics.port", host=settings.metrics.host)


def _require_cluster(settings: Settings) -> None:
    if not broker_answers(settings.bootstrap, timeout_s=CLUSTER_TIMEOUT_S):
        raise KafkaUnavailableError(
            f"No Kafka broker answers at {settings.bootstrap}; start it, correct NIGHTCAST_KAFKA__BOOTSTRAP_SERVERS, "
            "or unset it to use the embedded broker."
        )


def _start_daemon(settings: Settings) -> subprocess.Popen[bytes]:
    environment = os.environ | settings.environment() | {MULTIPROCESS_VARIABLE: str(settings.metrics_dir)}
    log_file = settings.logs_dir / "supervisor.log"
    rotate(log_file)
    with log_file.open("ab") as log:
        return subprocess.Popen(
            (sys.executable, "-m", "infra.supervisor"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _wait_until_up(settings: Settings, daemon: subprocess.Popen[bytes], say: Progress) -> EngineStatus:
    told: dict[str, ProcessStatus] = {}
    try:
        while True:
            seen = read_status(settings.run_dir / STATUS_FILE)
            _tell(seen, told, say)
            if seen.state is EngineState.RUNNING:
                return seen
            if daemon.poll() is not None:
                seen = read_status(settings.run_dir / STATUS_FILE)  # its last words, written since the look above
                raise StartError(f"Nightcast did not start: {seen.reason or _last_words(settings)}")
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        down(settings)
        raise


def _tell(seen: EngineStatus, told: dict[str, ProcessStatus], say: Progress) -> None:
    for row in seen.processes:
        before = told.get(row.name)
        if before is None or before.state is not row.state:
            told[row.name] = row
            if row.state != "waiting":
                say(f"{row.name}: {row.state.value}" + (f" ({row.reason})" if row.state == "backing off" else ""))


def _last_words(settings: Settings) -> str:
    text = (settings.logs_dir / "supervisor.log").read_text(errors="replace").strip()
    return text[-600:] or "its supervisor ended without a word"


def _pid_files(settings: Settings) -> list[Path]:
    return sorted(settings.run_dir.glob("*.pid"))


def _sweep(settings: Settings) -> list[str]:
    """End what a vanished supervisor has left, gently first, remove its pid files, and return the names."""
    found = {path.stem: living(path) for path in _pid_files(settings)}
    left = {name: process for name, process in found.items() if process is not None}
    for process in left.values():
        with contextlib.suppress(psutil.Error):  # it has just ended by itself
            process.terminate()
    psutil.wait_procs(left.values(), timeout=SWEEP_TIMEOUT_S)
    for process in left.values():
        kill_group(process)
    for path in _pid_files(settings):
        path.unlink()
    return list(left)
