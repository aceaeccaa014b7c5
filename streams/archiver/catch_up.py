"""The catch-up archiver: finds images in the camera's buffer that the archive lacks and brings them in, the oldest first.

What it finds is published like any other image; the live jobs of a visit that is closed do not run for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.logs import get_logger
from processors.control.archive import split_raft, unarchived
from schemas.errors import NightcastError
from schemas.events import AvailableExposure, ExposureEvent
from streams.archiver.pair import COMPLETE_MARKER
from streams.archiver.worker import Pair

__all__ = ["buffered", "catch_up"]

log = get_logger(__name__)


def buffered(buffer: Path) -> list[tuple[int, int]]:
    """Return the files of complete exposures in a buffer, as (exposure, detector), in order; names of others are passed over."""
    found = []
    for marker in buffer.glob(f"*/{COMPLETE_MARKER}"):
        for path in marker.parent.glob("*-*.fits"):
            exposure, _, detector = path.stem.partition("-")
            if exposure.isdigit() and detector.isdigit() and exposure == marker.parent.name:
                found.append((int(exposure), int(detector)))
    return sorted(found)


def catch_up(
    buffer: Path, pair: Pair, *, instrument: str, events: Sequence[ExposureEvent], limit: int | None = None
) -> Iterator[ExposureEvent]:
    """Archive what the archive lacks and yield the event of each image that it now has.

    Parameters
    ----------
    buffer
        A night's camera buffer.
    pair
        Brings a file in.
    instrument
        Whose images they are.
    events
        All events of exposures so far.
    limit
        At most so many files, which bounds the load on the night in progress.
    """
    visits = {e.exposure: e.visit for e in events}
    for exposure, detector in unarchived(buffered(buffer), events)[:limit]:
        try:
            stored = pair.archive(exposure, detector)
        except NightcastError as error:
            log.error("not caught up", exposure=exposure, detector=detector, code=error.code, reason=str(error))
            continue
        visit = visits.get(exposure, int(stored.header.get("VISIT", exposure)))
        (event,) = split_raft(
            instrument=instrument,
            visit=visit,
            exposure=exposure,
            detectors=(detector,),
            stored={detector: stored},
            lost={},
        )
        assert isinstance(event.fact, AvailableExposure)
        yield event
