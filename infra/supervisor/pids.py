"""Pid files that cannot be mistaken: the process id with the moment the process was created."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil

__all__ = ["ends", "kill_group", "living", "write_pid_file"]

SAME_MOMENT_S = 0.05
POLL_S = 0.05


def write_pid_file(path: Path, pid: int) -> None:
    """Write down a process that has just been started."""
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:  # it ended at once; its parent will see that
        created = 0.0
    path.write_text(f"{pid} {created!r}\n")


def living(path: Path) -> psutil.Process | None:
    """Return the process of a pid file, or None when it has ended, even if its id is another process's now."""
    try:
        pid, created = path.read_text().split()
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(created)) < SAME_MOMENT_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, psutil.Error):
        return None


def kill_group(leader: psutil.Process) -> None:
    """End the group that a process leads at once, also when the leader itself has ended before its children."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the whole group has ended
        os.killpg(leader.pid, signal.SIGKILL)


def ends(process: psutil.Process, *, within_s: float) -> bool:
    """Wait for a process and tell whether it ended in time.

    A zombie has ended: its parent, for instance the command that started the system and still runs, has only not looked yet.
    """
    deadline = time.monotonic() + within_s
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
    return True
