"""Crash points: places where a test, or an engineer rehearsing a failure, can have a process killed with SIGKILL.

A point is armed by name in the settings (``NIGHTCAST_FAULTS__CRASH='["dmcs"]'``). The first time the process reaches an armed
point it leaves a marker in the data directory, forced to disk, and kills itself; when it comes back the marker says that it has
happened, and the point stays quiet. Without armed points a call costs one look into an empty set.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["CrashPoints"]


class CrashPoints:
    """The crash points of one process.

    Parameters
    ----------
    folder
        Where markers are kept; made when a point fires.
    armed
        Names of points that shall fire once.
    """

    def __init__(self, folder: Path, armed: Iterable[str] = ()) -> None:
        self._folder = folder
        self._armed = frozenset(armed)

    def reach(self, name: str, facts: Mapping[str, Any] | None = None) -> None:
        """Die here if the point is armed and has not fired yet.

        Parameters
        ----------
        name
            Name of the point: that of the stage.
        facts
            What the marker shall prove, such as the offsets read and not committed.
        """
        if name not in self._armed or self.fired(name) is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{name}.json").open("w") as marker:
            json.dump({"pid": os.getpid(), **(facts or {})}, marker)
            marker.flush()
            os.fsync(marker.fileno())
        os.kill(os.getpid(), signal.SIGKILL)

    def fired(self, name: str) -> dict[str, Any] | None:
        """Return what the marker of a point says, or None when it has not fired."""
        path = self._folder / f"{name}.json"
        if not path.exists():
            return None
        facts: dict[str, Any] = json.loads(path.read_text() or "{}")
        return facts
