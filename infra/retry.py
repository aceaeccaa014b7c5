"""The one retry helper: again, with growing pauses, for as long as the failure is of the kind that may pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from schemas.errors import NightcastError

__all__ = ["retried"]

T = TypeVar("T")


def retried(action: Callable[[], T], *, for_s: float, first_pause_s: float = 0.1, longest_pause_s: float = 2.0) -> T:
    """Call an action until it succeeds, fails for good, or the time is up.

    Parameters
    ----------
    action
        Called without arguments.
    for_s
        No new attempt is begun after this many seconds.
    first_pause_s, longest_pause_s
        Pauses double from the first to the longest.

    Raises
    ------
    Exception
        What the last attempt raised: at once when it is not retriable.
    """
    attempts = Retrying(
        stop=stop_after_delay(for_s),
        wait=wait_exponential(multiplier=first_pause_s, max=longest_pause_s),
        retry=retry_if_exception(_may_pass),
        reraise=True,
    )
    return attempts(action)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, NightcastError) and error.retriable
