"""CPU time, and where there is a truth the error, of our work beside a named peer's, measured in one run."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["PEER_CPU_SECONDS", "Measured", "PeerTooSlowError", "attempt", "beside", "cpu_seconds", "within"]

PEER_CPU_SECONDS = 120.0
"""CPU time after which a peer is stopped."""

SLOW_SECONDS = 5.0
"""A call that takes longer is not repeated."""


class PeerTooSlowError(Exception):
    """A peer was stopped at its limit of CPU time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One row: what was done, by us and by a peer."""

    what: str
    ours_s: float
    """CPU seconds, the best of the repeats."""
    peer: str
    peer_s: float
    """NaN when the peer did not finish, and the note says why."""
    note: str = ""
    """What one of the two does that the other does not."""
    error_of: str = ""
    """What the errors are of, with its unit; empty where nothing but time is compared."""
    ours_error: float = float("nan")
    """Distance from the truth, 0 or more."""
    peer_error: float = float("nan")

    @property
    def ratio(self) -> float:
        """How many times our CPU time the peer takes."""
        return self.peer_s / self.ours_s

    @property
    def error_ratio(self) -> float:
        """How many times our error the peer's is; NaN where there is none."""
        return self.peer_error / self.ours_error if self.ours_error > 0 else float("nan")


@contextmanager
def within(cpu: float) -> Iterator[None]:
    """Stop what runs inside at its limit of CPU seconds, in the main thread, as soon as Python code runs again.

    Raises
    ------
    PeerTooSlowError
        At the limit.
    """

    def stop(_number: int, _frame: Any) -> None:
        raise PeerTooSlowError(f"stopped after {cpu:.0f} CPU s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, cpu)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def attempt(action: Callable[[], Any], *, cpu: float = PEER_CPU_SECONDS) -> tuple[Any, str]:
    """Return what a peer gives and no problem, or None and its problem in a few words: its failure is a result too."""
    try:
        with within(cpu):
            return action(), ""
    except Exception as problem:
        text = " ".join(str(problem).split())[:80]
        return None, text if isinstance(problem, PeerTooSlowError) else f"failed: {type(problem).__name__} {text}"


def cpu_seconds(action: Callable[[], object], *, repeats: int = 3, calls: int = 1) -> float:
    """Return the least CPU seconds of one call, after a first one that compiles what needs compiling.

    Parameters
    ----------
    action
        What is measured.
    repeats
        How many times it is measured: the least time is the one least disturbed. What takes long is measured once.
    calls
        Calls in each measurement.
    """
    start = time.process_time()
    action()
    if time.process_time() - start > SLOW_SECONDS:
        repeats = 1
    times = []
    for _ in range(repeats):
        start = time.process_time()
        for _ in range(calls):
            action()
        times.append((time.process_time() - start) / calls)
    return min(times)


def beside(
    what: str,
    ours: Callable[[], object],
    peer: str,
    theirs: Callable[[], object],
    *,
    note: str = "",
    calls: int = 1,
    errors: tuple[str, float, float] | None = None,
) -> Measured:
    """Measure our way and a peer's of doing one thing; a peer that fails or is too slow leaves a row that says so.

    Parameters
    ----------
    what, note
        What is done, and what one of the two does that the other does not.
    ours, peer, theirs
        Our way; the peer's name and way.
    calls
        Of ours in each measurement; a tenth of that of the peer's.
    errors
        What they are of, ours and the peer's.
    """
    seconds = cpu_seconds(ours, calls=calls)
    peer_s, problem = attempt(lambda: cpu_seconds(theirs, calls=max(1, calls // 10)))
    name, mine, other = errors or ("", float("nan"), float("nan"))
    return Measured(
        what=what,
        ours_s=seconds,
        peer=peer,
        peer_s=float("nan") if problem else peer_s,
        note="; ".join(part for part in (note, f"peer {problem}" if problem else "") if part),
        error_of=name,
        ours_error=mine,
        peer_error=other,
    )
