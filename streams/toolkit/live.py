"""Wake everyone who waits for news: the view's reader tells from its thread, requests wait in the event loop."""

from __future__ import annotations

import asyncio
import contextlib

__all__ = ["Changes", "heard"]


class Changes:
    """A bell that rings on every change of the view."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rung = asyncio.Event()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the process is about to end, so that streams must end too."""
        return self._closed

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop in which requests wait."""
        self._loop = loop

    def ring(self) -> None:
        """Wake all who wait; may be called from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                self._loop.call_soon_threadsafe(self._ring)

    def close(self) -> None:
        """Wake all who wait, for the last time."""
        self._closed = True
        self.ring()

    def bell(self) -> asyncio.Event:
        """Return the event that the next ring sets: take it before looking, so that no change falls in between."""
        return self._rung

    def _ring(self) -> None:
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()


async def heard(bell: asyncio.Event, timeout_s: float) -> bool:
    """Wait for a bell and tell whether it rang in time."""
    try:
        await asyncio.wait_for(bell.wait(), timeout_s)
    except TimeoutError:
        return False
    return True
