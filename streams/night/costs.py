"""What a night costs: CPU time of every process of the system, and the most memory they held together."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress

import psutil

from infra import supervisor
from infra.settings import Settings

__all__ = ["CostMeter"]

_PERIOD_S = 2.0


class CostMeter:
    """Samples the system's processes in a thread of its own.

    Parameters
    ----------
    settings
        Which system.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="costs", daemon=True)
        self._first: dict[tuple[str, int], float] = {}
        self._last: dict[tuple[str, int], float] = {}
        self.peak_rss_mb = 0.0

    def start(self) -> None:
        """Begin to sample."""
        self._sample()
        self._first = dict(self._last)
        self._thread.start()

    def stop(self) -> Mapping[str, float]:
        """End, and return CPU seconds since the start by process of the system."""
        self._stop.set()
        self._thread.join()
        self._sample()
        spent: dict[str, float] = {}
        for key, seconds in self._last.items():
            spent[key[0]] = spent.get(key[0], 0.0) + seconds - self._first.get(key, 0.0)
        return spent

    def _run(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            self._sample()

    def _sample(self) -> None:
        rss = 0.0
        for process in supervisor.status(self._settings).processes:
            if process.pid is None:
                continue
            for member in _family(process.pid):
                with suppress(psutil.Error):  # it ended meanwhile; its last sample stays
                    times = member.cpu_times()
                    self._last[process.name, member.pid] = times.user + times.system
                    rss += member.memory_info().rss
        self.peak_rss_mb = max(self.peak_rss_mb, rss / 1e6)


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:  # between two samples a process may end
        return []
