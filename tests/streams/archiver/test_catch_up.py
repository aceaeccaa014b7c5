"""The catch-up archiver."""

from __future__ import annotations

from pathlib import Path

from infra.objects import ObjectStore
from schemas.events import AvailableExposure, ExposureEvent, LostExposure
from schemas.tables import Claim
from streams.archiver.catch_up import buffered, catch_up
from streams.archiver.pair import ArchivePair
from tests.support.camera_files import put_exposure, raw_fits

FIRST = 2027011500001


def test_what_the_archive_lacks_is_brought_in_oldest_first(tmp_path: Path) -> None:
    buffer = tmp_path / "buffer"
    for exposure in (FIRST + 1, FIRST):
        put_exposure(buffer, exposure, {d: raw_fits(exposure, d) for d in (0, 1)})
    put_exposure(buffer, FIRST + 2, {0: raw_fits(FIRST + 2, 0)}, complete=False)
    (buffer / str(FIRST) / "notes-x.fits").write_bytes(b"")
    (buffer / str(FIRST) / f"{FIRST}-001.fits").write_bytes(b"not what the checksum says")
    assert buffered(buffer) == [(FIRST, 0), (FIRST, 1), (FIRST + 1, 0), (FIRST + 1, 1)]
    claim = Claim(uri="u", sha256="ab" * 32, size=1)
    known = [
        event(FIRST + 1, 1, AvailableExposure(raw=claim, header={})),
        event(FIRST, 0, LostExposure(reason="late")),
    ]
    pair = ArchivePair(buffer_of=lambda _: buffer, outage=tmp_path / "o", store=ObjectStore.memory(), patience_s=0.0)
    found = list(catch_up(buffer, pair, instrument="S", events=known))
    assert [(e.exposure, e.detector, e.visit, e.snap) for e in found] == [
        (FIRST, 0, FIRST, 0),
        (FIRST + 1, 0, FIRST, 1),
    ]
    assert list(catch_up(buffer, pair, instrument="S", events=[*known, *found], limit=0)) == []


def event(exposure: int, detector: int, fact: AvailableExposure | LostExposure) -> ExposureEvent:
    return ExposureEvent(
        instrument="S", visit=FIRST, exposure=exposure, snap=exposure - FIRST, detector=detector, fact=fact
    )
