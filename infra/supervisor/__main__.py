"""The supervisor's daemon: ``python -m infra.supervisor``, started by `infra.supervisor.up`."""

from __future__ import annotations

import os
import signal
import sys
import threading

from infra.logs import configure_logging, get_logger
from infra.metrics import forget_process, serve_metrics
from infra.settings import load_settings
from infra.supervisor.control import PROCESSES_FILE, SUPERVISOR_PID, hold_lock
from infra.supervisor.pids import write_pid_file
from infra.supervisor.report import EngineState
from infra.supervisor.spec import specs_from_json
from infra.supervisor.supervisor import Supervisor


def main() -> int:
    """Supervise until SIGTERM; return the exit code."""
    settings = load_settings()
    configure_logging("supervisor", level=settings.log.level)
    run_dir = settings.run_dir
    with hold_lock(run_dir):
        write_pid_file(run_dir / SUPERVISOR_PID, os.getpid())
        specs = specs_from_json((run_dir / PROCESSES_FILE).read_text())
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        supervisor = Supervisor(
            specs,
            run_dir=run_dir,
            logs_dir=settings.logs_dir,
            ended=lambda pid: forget_process(settings.metrics_dir, pid),
        )
        with serve_metrics(settings, supervisor.status):
            state = supervisor.run(stop)
        (run_dir / SUPERVISOR_PID).unlink(missing_ok=True)
    get_logger("infra.supervisor").info("supervisor_ended", state=state.value)
    return 1 if state is EngineState.FAILED else 0


if __name__ == "__main__":
    sys.exit(main())
