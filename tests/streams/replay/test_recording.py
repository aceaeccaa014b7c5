"""A recording comes back from its file as it was, and gives a replay exactly what was recorded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from infra.objects import ObjectStore
from schemas.events import AssociationDecision, Correction, DayMopsDecision, EphemerisCatalogue
from schemas.ids import day_visit
from schemas.tables import Claim, Table
from streams.replay.corrections import CorrectionScore, claims_of, in_time, too_late
from streams.replay.errors import RecordingError, ReplayError
from streams.replay.provide import provide_files, provide_release
from streams.replay.record import choose_nights, raw_files
from streams.replay.recording import (
    MessageHeader,
    RawFile,
    RecordedCorrection,
    RecordedMessage,
    Recording,
    RecordingHeader,
    read_recording,
    write_recording,
)

NIGHT = 20270115
CLAIM = Claim(uri="u", sha256="s", size=1)


def header(folder: Path, **changes: object) -> RecordingHeader:
    fields = {
        "nights": (NIGHT,),
        "instrument": "i",
        "camera": "tiny",
        "subname": "sal",
        "visits": (1, 2),
        "release": CLAIM,
        "schemas": {"7": ("subject", '{"type":"int"}')},
        "files": (RawFile(path="a", sha256="b", size=3), RawFile(path="c", sha256="d", size=1, text="x")),
        "nights_folder": str(folder / "nights"),
        "objects_folder": str(folder / "objects"),
    }
    return RecordingHeader(**(fields | changes))  # type: ignore[arg-type]


EPHEMERIDES = EphemerisCatalogue(
    instrument="i",
    day_obs=NIGHT,
    mid_night_mjd_tai=61421.2,
    count=3,
    file=CLAIM,
    orbits=CLAIM,
    orbits_sha256="o",
    refused=0,
)


def decided(day_obs: int, sequence: int = 0, instrument: str = "i") -> DayMopsDecision:
    """Return a decision of DayMOPS."""
    return DayMopsDecision(
        instrument=instrument,
        day_obs=day_obs,
        sequence=sequence,
        window=(day_obs,),
        tracklets=CLAIM,
        orbits=CLAIM,
        reassigned=CLAIM,
        verdicts=CLAIM,
        counts={"links": 1.0},
    )


def answer(day_obs: int, sequence: int = 0, *, instrument: str = "i", visit: int | None = None) -> AssociationDecision:
    """Return association's decision of a visit, or its answer to DayMOPS."""
    nothing = Table.from_array(np.zeros(0, [("x", "<i8")]))
    correction = Correction(released=nothing, closed=nothing, verdicts=nothing, orbits={})
    return AssociationDecision(
        instrument=instrument,
        visit=day_visit(day_obs) if visit is None else visit,
        sequence=sequence,
        day_obs=day_obs,
        band="",
        processed_mjd_tai=0.0,
        diasources=nothing,
        forced=nothing,
        new_objects=(),
        quarantined={},
        cutouts={},
        details={},
        correction=correction if visit is None else None,
    )


def test_corrections_are_recorded_where_they_lay_and_only_those_in_time() -> None:
    one, two = (day_visit(NIGHT) + number for number in (1, 3))
    log = [
        answer(NIGHT - 1),
        answer(NIGHT, visit=one),
        answer(NIGHT, instrument="other"),
        answer(NIGHT),
        answer(NIGHT, 1),
        answer(NIGHT, visit=two),
        answer(NIGHT, 2),
        answer(NIGHT + 1, visit=day_visit(NIGHT + 1) + 1),
    ]
    known = {
        (day, number): decided(day, number) for day, number in ((NIGHT - 1, 0), (NIGHT, 0), (NIGHT, 1), (NIGHT, 2))
    }
    found = in_time(log, known, instrument="i", nights={NIGHT})
    assert [(c.after_visit, c.decision.day_obs, c.decision.sequence) for c in found] == [
        (0, NIGHT - 1, 0),
        (one, NIGHT, 0),
        (one, NIGHT, 1),
    ]
    assert too_late(log, {NIGHT}) == {(day_visit(NIGHT), 2)}
    assert too_late(log, ()) == set()
    state = Claim(uri="state", sha256="state", size=1)
    assert list(claims_of(dataclasses.replace(decided(NIGHT), state=state))) == list(claims_of(decided(NIGHT)))
    assert len(list(claims_of(decided(NIGHT)))) == 4


def test_a_correction_is_played_after_the_visits_and_corrections_before_it(tmp_path: Path) -> None:
    places = ((0, 0), (2, 1), (2, 2))
    recorded = tuple(RecordedCorrection(after_visit=after, decision=decided(NIGHT, number)) for after, number in places)
    score = CorrectionScore(header(tmp_path, visits=(1, 2, 3), corrections=recorded))
    played = [
        score.due(*now) for now in (((), 0), ((1, 2), 0), ((1,), 1), ((1, 2), 1), ((1, 2), 1), ((1, 2), 2), ((), 3))
    ]
    assert [None if one is None else one.sequence for one in played] == [0, None, None, 1, None, 2, None]


MESSAGES = (
    RecordedMessage(
        topic="t", at_unix_s=1.5, key=b"k", value=b"\x00\xff", headers=(MessageHeader(name="h", value=b"v"),), visit=3
    ),
    RecordedMessage(topic="t", at_unix_s=2.5, key=None, value=None, headers=(), visit=None),
)


def test_a_recording_comes_back_as_it_was_and_gives_the_same_file(tmp_path: Path) -> None:
    corrections = (RecordedCorrection(after_visit=2, decision=decided(NIGHT)),)
    about = header(tmp_path, ephemerides=(EPHEMERIDES,), corrections=corrections)
    recording = Recording(header=about, messages=MESSAGES)
    first, second = tmp_path / "a.avro", tmp_path / "deeper" / "b.avro"
    write_recording(first, recording)
    assert read_recording(first) == recording
    write_recording(second, read_recording(first))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("content", [b"", b"not avro at all", b"Obj\x01broken"])
def test_another_file_is_no_recording(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.avro"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="is no recording"):
        read_recording(path)


def test_a_truncated_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.avro"
    write_recording(path, Recording(header=header(tmp_path), messages=MESSAGES * 500))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(RecordingError):
        read_recording(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"nowhere\.avro"):
        read_recording(tmp_path / "nowhere.avro")


def test_the_wanted_night_brings_those_before_it() -> None:
    known = {20270114, 20270115, 20270117}
    assert choose_nights(known, 20270115, alone=False) == [20270114, 20270115]
    assert choose_nights(known, 20270115, alone=True) == [20270115]
    with pytest.raises(ReplayError, match="they hold 20270114, 20270115, 20270117"):
        choose_nights(known, 20270116, alone=False)
    with pytest.raises(ReplayError, match="no night at all"):
        choose_nights(set(), 20270116, alone=False)


class TestFiles:
    """A small camera buffer."""

    @pytest.fixture
    def recorded(self, tmp_path: Path) -> RecordingHeader:
        exposure = tmp_path / "nights" / str(NIGHT) / "buffer" / "2027011500001"
        exposure.mkdir(parents=True)
        frame = b"SIMPLE" + bytes(100)
        (exposure / "2027011500001-000.fits").write_bytes(frame)
        (exposure / "2027011500001-000.fits.sha256").write_text(hashlib.sha256(frame).hexdigest() + "\n")
        (exposure / "complete.json").write_text("{}\n")
        (exposure / ".hidden.part").write_bytes(b"half")
        return header(tmp_path, files=tuple(raw_files(tmp_path / "nights", NIGHT)))

    def test_every_file_is_recorded_by_hash_and_small_ones_whole(self, recorded: RecordingHeader) -> None:
        names = [Path(file.path).name for file in recorded.files]
        assert names == ["2027011500001-000.fits", "2027011500001-000.fits.sha256", "complete.json"]
        assert [file.text is None for file in recorded.files] == [True, False, False]

    def test_a_replay_gets_the_same_files_without_copies(self, recorded: RecordingHeader, tmp_path: Path) -> None:
        target = tmp_path / "replay" / "nights"
        provide_files(recorded, target)
        assert tuple(raw_files(target, NIGHT)) == recorded.files
        frame = recorded.files[0].path
        assert (target / frame).samefile(Path(recorded.nights_folder) / frame)

    def test_a_frame_that_the_buffer_lost_comes_from_the_archive(
        self, recorded: RecordingHeader, tmp_path: Path
    ) -> None:
        frame = Path(recorded.nights_folder) / recorded.files[0].path
        ObjectStore.local(tmp_path / "objects", fsync=False).put(frame.read_bytes())
        frame.unlink()
        provide_files(recorded, tmp_path / "replay")
        assert tuple(raw_files(tmp_path / "replay", NIGHT)) == recorded.files

    def test_changed_bytes_are_refused(self, recorded: RecordingHeader, tmp_path: Path) -> None:
        (Path(recorded.nights_folder) / recorded.files[0].path).write_bytes(b"other")
        with pytest.raises(RecordingError, match=r"000\.fits of the recording is gone, or its bytes have changed"):
            provide_files(recorded, tmp_path / "replay")


class TestRelease:
    """A release of two files."""

    def test_all_that_the_manifest_names_is_brought(self, tmp_path: Path) -> None:
        source = ObjectStore.local(tmp_path / "objects", fsync=False)
        parts = [source.put(b"master"), source.put(b"template")]
        manifest = {
            "name": "r",
            "masters": {"0": dataclasses.asdict(parts[0])},
            "templates": [{"band": "r", "claim": dataclasses.asdict(parts[1])}],
        }
        release = source.put(json.dumps(manifest).encode())
        for folder in (str(tmp_path / "objects"), None):
            target_folder = tmp_path / f"target-{folder is None}"
            target = ObjectStore.local(target_folder, fsync=False)
            provide_release(header(tmp_path, release=release, objects_folder=folder), source, target, target_folder)
            assert [target.get(claim) for claim in (release, *parts)] == [source.get(c) for c in (release, *parts)]

    def test_a_release_that_is_gone_is_named(self, tmp_path: Path) -> None:
        empty = ObjectStore.memory()
        with pytest.raises(RecordingError, match="data release of the recording cannot be had"):
            provide_release(header(tmp_path, release=empty.put(b"{}")), ObjectStore.memory(), empty, tmp_path)
