"""One supervised process as a state machine: start, wait for health, watch, back off, start again."""

from __future__ import annotations

import time
from collections.abc import Callable

from infra.errors import StartError
from infra.logs import get_logger
from infra.supervisor.child import Child
from infra.supervisor.report import ProcessState, ProcessStatus

__all__ = ["Managed"]

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 20.0
STEADY_S = 60.0
"""A process that was ready for this long begins its pauses anew."""
SETTLED_S = 0.3
"""How long a process without a health rule must have run to count as ready: what cannot start at all ends sooner."""
START_ATTEMPTS = 2
"""How often a process that was never ready is tried before the start of the system is given up."""

logger = get_logger("infra.supervisor")


class Managed:
    """A child and its state; `step` moves it on and never waits.

    Parameters
    ----------
    child
        The process.
    ended
        Called with the process id of each process that has ended.
    """

    def __init__(self, child: Child, *, ended: Callable[[int], None] | None = None) -> None:
        self.child = child
        self.state = ProcessState.WAITING
        self.restarts = 0
        self.reason = ""
        self.was_ready = False
        self._ended = ended
        self._failures = 0
        self._since = time.time()
        self._moved = time.monotonic()

    @property
    def name(self) -> str:
        """Name of the process."""
        return self.child.spec.name

    @property
    def settled(self) -> bool:
        """Whether the processes of the next order may start."""
        return self.state in (ProcessState.READY, ProcessState.DONE) or (self.was_ready and not self.child.spec.task)

    @property
    def hopeless(self) -> bool:
        """Whether it was never ready and has been tried often enough."""
        return not self.was_ready and self._failures >= START_ATTEMPTS

    def step(self) -> None:
        """Look at the process and do what its state asks for."""
        now = time.monotonic()
        if self.state is ProcessState.WAITING:
            self._start()
        elif self.state is ProcessState.STARTING:
            self._watch_start(now)
        elif self.state is ProcessState.READY and self.child.exit_code is not None:
            if now - self._moved > STEADY_S:
                self._failures = 0
            self._back_off(f"ended with code {self.child.exit_code}")
        elif self.state is ProcessState.BACKING_OFF and now - self._moved >= self._pause():
            self.restarts += 1
            self._start()

    def status(self, rss_mb: float = 0.0) -> ProcessStatus:
        """Return its row of the status."""
        running = self.state in (ProcessState.STARTING, ProcessState.READY)
        return ProcessStatus(
            name=self.name,
            state=self.state,
            pid=self.child.pid if running else None,
            restarts=self.restarts,
            reason=self.reason,
            rss_mb=rss_mb,
            since_unix_s=self._since,
        )

    def mark_stopped(self) -> None:
        """Note that the process was stopped on purpose."""
        if self.state is not ProcessState.DONE:
            self._move(ProcessState.STOPPED)

    def _start(self) -> None:
        try:
            self.child.start()
        except StartError as error:
            self._back_off(str(error))
            return
        self._move(ProcessState.STARTING)

    def _watch_start(self, now: float) -> None:
        spec, code = self.child.spec, self.child.exit_code
        if spec.task and code == 0:
            self.was_ready = True
            self.child.forget()
            self._move(ProcessState.DONE)
        elif code is not None:
            self._back_off(f"ended with code {code}: {self.child.log_tail()}")
        elif not spec.task and self.child.healthy() and (spec.health.kind != "none" or now - self._moved > SETTLED_S):
            self.was_ready = True
            self._move(ProcessState.READY)
        elif now - self._moved > spec.health.timeout_s:
            self._back_off(f"was not ready after {spec.health.timeout_s:.0f} s: {self.child.log_tail()}")

    def _back_off(self, reason: str) -> None:
        if self.child.pid is not None:
            self.child.kill()  # what is left of its group
            if self._ended is not None:
                self._ended(self.child.pid)
        self._failures += 1
        self.reason = reason
        self._move(ProcessState.BACKING_OFF)
        logger.warning("process_ended", name=self.name, reason=reason, pause_s=self._pause())

    def _pause(self) -> float:
        return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._failures - 1)))

    def _move(self, state: ProcessState) -> None:
        self.state = state
        self._since = time.time()
        self._moved = time.monotonic()
        logger.info("process_state", name=self.name, state=state.value, pid=self.child.pid)
