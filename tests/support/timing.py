"""CPU time of our work beside a named peer's, measured in one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Measured", "beside", "cpu_seconds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One row: what was done, by us and by a peer."""

    what: str
    ours_s: float
    """CPU seconds, the best of the repeats."""
    peer: str
    peer_s: float
    note: str = ""
    """What one of the two does that the other does not."""

    @property
    def ratio(self) -> float:
        """How many times our CPU time the peer takes."""
        return self.peer_s / self.ours_s


def cpu_seconds(action: Callable[[], object], *, repeats: int = 3, calls: int = 1) -> float:
    """Return the least CPU seconds of one call, after a first one that compiles what needs compiling.

    Parameters
    ----------
    action
        What is measured.
    repeats
        How many times it is measured: the least time is the one least disturbed.
    calls
        Calls in each measurement.
    """
    action()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        for _ in range(calls):
            action()
        times.append((time.process_time() - start) / calls)
    return min(times)


def beside(
    what: str, ours: Callable[[], object], peer: str, theirs: Callable[[], object], *, note: str = "", calls: int = 1
) -> Measured:
    """Measure our way and a peer's of doing one thing."""
    return Measured(
        what=what,
        ours_s=cpu_seconds(ours, calls=calls),
        peer=peer,
        peer_s=cpu_seconds(theirs, calls=max(1, calls // 10)),
        note=note,
    )
