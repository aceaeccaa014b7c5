"""The supervisor's loop: orders of processes up, a watch over all of them, and down again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from infra.logs import get_logger
from infra.supervisor.child import Child
from infra.supervisor.managed import Managed
from infra.supervisor.report import EngineState, EngineStatus, write_status
from infra.supervisor.spec import ProcessSpec

__all__ = ["Supervisor"]

STARTING_TICK_S = 0.05
TICK_S = 0.2
MEMORY_EVERY_S = 2.0

logger = get_logger("infra.supervisor")


class Supervisor:
    """Keeps processes running until it is told to stop.

    Parameters
    ----------
    specs
        The processes.
    run_dir, logs_dir
        Where pid files and the status, and where logs are written.
    env
        Environment of the processes.
    ended
        Called with the id of each process that has ended by itself.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        run_dir: Path,
        logs_dir: Path,
        env: Mapping[str, str] | None = None,
        ended: Callable[[int], None] | None = None,
    ) -> None:
        ordered = sorted(specs, key=lambda spec: spec.order)
        self._managed = [
            Managed(Child(spec, logs_dir=logs_dir, run_dir=run_dir, env=env), ended=ended) for spec in ordered
        ]
        self._status_file = run_dir / "status.json"
        self._state = EngineState.STARTING
        self._reason = ""
        self._started = time.time()
        self._memory: dict[str, float] = {}
        self._memory_at = 0.0
        self._total_mb = self._peak_mb = 0.0
        self._written: EngineStatus | None = None

    def run(self, stop: threading.Event) -> EngineState:
        """Start everything, watch until the event is set, stop everything; return the last state.

        When a process cannot be started at all, everything is stopped and the state is FAILED.
        """
        while not stop.is_set():
            self._step()
            if self._state is EngineState.FAILED:
                break
            stop.wait(TICK_S if self._state is EngineState.RUNNING else STARTING_TICK_S)
        failed = self._state is EngineState.FAILED
        if not failed:
            self._state = EngineState.STOPPING
        self._publish()
        self._stop_all()
        self._state = EngineState.FAILED if failed else EngineState.STOPPED
        self._publish()
        return self._state

    def status(self) -> EngineStatus:
        """Return the status as it is."""
        return EngineStatus(
            state=self._state,
            processes=tuple(item.status(self._memory.get(item.name, 0.0)) for item in self._managed),
            reason=self._reason,
            rss_mb=self._total_mb,
            peak_rss_mb=self._peak_mb,
            started_unix_s=self._started,
        )

    def _step(self) -> None:
        for group in self._orders():
            for item in group:
                item.step()
            hopeless = [item for item in group if item.hopeless]
            if hopeless:
                self._state = EngineState.FAILED
                self._reason = "; ".join(f"the process {item.name} {item.reason}" for item in hopeless)
                logger.error("start_given_up", reason=self._reason)
                return
            if not all(item.settled for item in group):
                break
        else:
            self._state = EngineState.RUNNING
        self._measure()
        self._publish()

    def _orders(self, *, falling: bool = False) -> Iterable[list[Managed]]:
        for order in sorted({item.child.spec.order for item in self._managed}, reverse=falling):
            yield [item for item in self._managed if item.child.spec.order == order]

    def _stop_all(self) -> None:
        for group in self._orders(falling=True):
            deadline = time.monotonic() + max(item.child.spec.stop_timeout_s for item in group)
            for item in group:
                if item.child.running:
                    item.child.terminate()
            for item in group:
                item.child.stop(max(0.0, deadline - time.monotonic()))
                item.mark_stopped()
            self._publish()

    def _measure(self) -> None:
        now = time.monotonic()
        if now - self._memory_at < MEMORY_EVERY_S:
            return
        self._memory_at = now
        self._memory = {item.name: _tree_mb(item.child.pid) for item in self._managed if item.child.running}
        self._total_mb = sum(self._memory.values()) + psutil.Process().memory_info().rss / 1e6
        self._peak_mb = max(self._peak_mb, self._total_mb)

    def _publish(self) -> None:
        status = self.status()
        if status != self._written:
            write_status(self._status_file, status)
            self._written = status


def _tree_mb(pid: int | None) -> float:
    total = 0
    with contextlib.suppress(psutil.Error):  # it ended meanwhile
        leader = psutil.Process(pid)
        for process in (leader, *leader.children(recursive=True)):
            with contextlib.suppress(psutil.Error):  # one of its children ended meanwhile
                total += process.memory_info().rss
    return round(total / 1e6, 1)
