"""How tests wait: for a condition, patiently, and no longer than what should bring it about lives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["PATIENCE_S", "eventually"]

PATIENCE_S = 120.0
"""How long a test waits for what takes moments on a machine with nothing else to do; what comes true earlier costs nothing."""


def eventually(
    condition: Callable[[], object],
    *,
    within_s: float = PATIENCE_S,
    look: Callable[[], object] = lambda: None,
    said: Callable[[], str] = lambda: "",
    pause_s: float = 0.05,
) -> None:
    """Wait for a condition, or fail.

    Parameters
    ----------
    condition
        Asked again and again until what it returns is true.
    within_s
        How long.
    look
        Called before each further question: raises when what is waited for cannot come any more.
    said
        Gives what the message of a wait in vain ends with, such as the last lines of a log.
    pause_s
        Between two questions.
    """
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while not condition():
        look()
        assert time.monotonic() < deadline, f"the condition did not come true in {within_s:.0f} s {said()}"
        pause.wait(pause_s)
