"""One child process: its group, its pid file, its log, its health and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from infra.broker.probe import broker_answers
from infra.errors import StartError
from infra.supervisor.pids import write_pid_file
from infra.supervisor.spec import Health, ProcessSpec

__all__ = ["Child", "is_healthy", "rotate"]

POLL_S = 0.05
LOG_BYTES = 20 << 20
"""A log file larger than this is put aside (one generation is kept) when its process starts."""


class Child:
    """A process started from its spec, in a session and process group of its own.

    Parameters
    ----------
    spec
        What to start.
    logs_dir, run_dir
        Folders of its log file and its pid file.
    env
        Its environment, to which the spec's is added; this process's when not given.
    """

    def __init__(
        self, spec: ProcessSpec, *, logs_dir: Path, run_dir: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.spec = spec
        self.log_file = logs_dir / f"{spec.name}.log"
        self.pid_file = run_dir / f"{spec.name}.pid"
        self._env = {**(os.environ if env is None else env), **spec.env}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id, or None before the first start."""
        return None if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code (negative: the signal that ended it), or None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; its output is appended to its log file.

        Raises
        ------
        StartError
            When the program cannot be executed.
        """
        for folder in (self.log_file.parent, self.pid_file.parent):
            folder.mkdir(parents=True, exist_ok=True)
        rotate(self.log_file)
        try:
            with self.log_file.open("ab") as log:
                self._process = subprocess.Popen(
                    self.spec.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._env,
                    start_new_session=True,
                )
        except OSError as error:
            raise StartError(f"The process {self.spec.name} cannot be started: {error}.") from error
        write_pid_file(self.pid_file, self._process.pid)

    def healthy(self) -> bool:
        """Tell whether the process is ready by the rule of its spec."""
        return self.running and is_healthy(self.spec.health, self.pid)

    def wait_ready(self) -> None:
        """Wait until the process is ready, or, for a task, until it has ended well.

        Raises
        ------
        StartError
            When it ends before, or is not ready in time; the sentence carries the end of its log.
        """
        deadline = time.monotonic() + self.spec.health.timeout_s
        while time.monotonic() < deadline:
            if self.spec.task and self.exit_code == 0:
                self.forget()
                return
            if self.exit_code is not None:
                raise StartError(f"The process {self.spec.name} ended with code {self.exit_code}: {self.log_tail()}")
            if not self.spec.task and self.healthy():
                return
            time.sleep(POLL_S)
        raise StartError(
            f"The process {self.spec.name} was not ready after {self.spec.health.timeout_s:.0f} s: {self.log_tail()}"
        )

    def terminate(self) -> None:
        """Ask the process group to end, without waiting."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process group at once and wait for the process."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        self.forget()

    def stop(self, timeout_s: float | None = None) -> int | None:
        """End the process: SIGTERM, a wait, then SIGKILL to whatever is left of its group. Return its exit code."""
        if self._process is None:
            return None
        if self.running:
            self.terminate()
            limit = self.spec.stop_timeout_s if timeout_s is None else timeout_s
            with contextlib.suppress(subprocess.TimeoutExpired):  # what does not end in time is killed below
                self._process.wait(limit)
        self.kill()
        return self._process.returncode

    def forget(self) -> None:
        """Remove the pid file."""
        self.pid_file.unlink(missing_ok=True)

    def log_tail(self, characters: int = 600) -> str:
        """Return the end of the log file, or a word that there is none."""
        try:
            text = self.log_file.read_text(errors="replace").strip()
        except OSError:
            text = ""
        return text[-characters:] or f"its log {self.log_file} is empty"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # the whole group has ended already
                os.killpg(self._process.pid, number)


def rotate(log_file: Path) -> None:
    """Put a log file aside when it has grown large."""
    with contextlib.suppress(FileNotFoundError):  # the first start has no log yet
        if log_file.stat().st_size > LOG_BYTES:
            log_file.replace(log_file.with_suffix(".log.1"))


def is_healthy(health: Health, pid: int | None) -> bool:
    """Tell whether a process is ready by a rule."""
    if health.kind == "kafka":
        return broker_answers(health.target)
    if health.kind == "http":
        return _responds(health.target)
    if health.kind == "file":
        return _holds_pid(Path(health.target), pid)
    return True


def _responds(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _holds_pid(path: Path, pid: int | None) -> bool:
    try:
        return path.read_text().strip() == str(pid)
    except OSError:
        return False
