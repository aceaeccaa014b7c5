"""Two nights with a correction of DayMOPS between them: recorded, written, read and replayed, association says the same, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from processors.association.fold import object_versions
from processors.association.updates import object_updates
from schemas import avro
from schemas.events import AssociationDecision, DayMopsDecision, DetectorResult, Verdict
from schemas.ids import day_obs_of, visit_id
from schemas.tables import Claim
from streams.replay.corrections import CorrectionScore, in_time
from streams.replay.recording import Recording, RecordingHeader, read_recording, write_recording
from tests.support.association_cases import FIRST_MJD, detector_result, source_rows
from tests.support.corrections import NAMES, LoggedNight, number_of, updates_of

NIGHTS = (20270115, 20270116)
ONE = NAMES[0]
STEP = 5.0 / 3600.0
VISITS = tuple(visit_id(night, number) for night in NIGHTS for number in (1, 3))


def results(visit: int) -> list[DetectorResult]:
    """Return a visit with something that stands still and an asteroid, which comes back to a place of the night before."""
    place = VISITS.index(visit)
    mjd = FIRST_MJD + (place // 2) + (place % 2) * 40.0 / 86400.0
    asteroid = (10.0, 10.0 + STEP, 10.0, 10.0 + 3 * STEP)[place]
    return [detector_result(source_rows([asteroid, 10.004], [0.0, 0.003], visit=visit, mjd=mjd), visit=visit, mjd=mjd)]


ASTEROID = {visit: int(results(visit)[0].diasources.to_array()["diaSourceId"][0]) for visit in VISITS}
PAIRS: dict[tuple[int, int], dict[int, str | None]] = {
    (NIGHTS[0], 0): {ASTEROID[VISITS[0]]: ONE, ASTEROID[VISITS[1]]: ONE},
    (NIGHTS[0], 1): {ASTEROID[VISITS[1]]: None},
    (NIGHTS[1], 0): {ASTEROID[VISITS[2]]: ONE},
}
"""What DayMOPS gives to whom: a night, the same night again after late results, the night after."""


def daymops(key: tuple[int, int]) -> DayMopsDecision:
    nothing = Claim(uri="sha256/00", sha256="00", size=1)
    return DayMopsDecision(
        instrument="TestCam", day_obs=key[0], sequence=key[1], window=(key[0],), tracklets=nothing, orbits=nothing,
        reassigned=nothing, verdicts=nothing, counts={},
    )  # fmt: skip


@dataclass
class Association:
    """Association as its log and its updates have it."""

    night: LoggedNight = field(default_factory=LoggedNight)
    written: list[bytes] = field(default_factory=list)

    def visit(self, visit: int) -> None:
        decision = self.night.decide(visit, results(visit), band="r")
        self._write(decision, object_updates(decision, object_versions(self.night.view, decision)))

    def correct(self, key: tuple[int, int]) -> None:
        verdicts = {source: int(Verdict.LINKED) for source, name in PAIRS[key].items() if name}
        decision = self.night.correct(PAIRS[key], sequence=key[1], day_obs=key[0], verdicts=verdicts)
        self._write(decision, updates_of(self.night, decision))

    def _write(self, decision: AssociationDecision, updates: Iterable[Any]) -> None:
        self.written += [avro.encode(decision), *map(avro.encode, updates)]


@pytest.fixture(scope="module")
def observed() -> Association:
    """The nights as they went: the second correction of the first night waited for a pause of the second one."""
    first = Association()
    for visit in VISITS[:2]:
        first.visit(visit)
    first.correct((NIGHTS[0], 0))
    first.visit(VISITS[2])
    first.correct((NIGHTS[0], 1))
    first.visit(VISITS[3])
    first.correct((NIGHTS[1], 0))
    return first


@pytest.fixture
def recording(observed: Association, tmp_path: Path) -> RecordingHeader:
    """What is recorded of them, as it comes back from its file."""
    known = {key: daymops(key) for key in PAIRS}
    corrections = in_time(observed.night.log, known, instrument="TestCam", nights=set(NIGHTS))
    header = RecordingHeader(
        nights=NIGHTS, instrument="TestCam", camera="tiny", subname="sal", visits=VISITS,
        release=Claim(uri="u", sha256="s", size=1), schemas={}, files=(), nights_folder=str(tmp_path),
        objects_folder=None, corrections=corrections,
    )  # fmt: skip
    write_recording(tmp_path / "night.avro", Recording(header=header, messages=()))
    return read_recording(tmp_path / "night.avro").header


def replayed(header: RecordingHeader) -> Association:
    """Return association after a replay: visits in their order, each correction as soon as the recording lets it."""
    again, score, closed, answered = Association(), CorrectionScore(header), list[int](), 0
    for visit in (*header.visits, None):
        while (decision := score.due(closed, answered)) is not None:
            again.correct((decision.day_obs, decision.sequence))
            answered += 1
        if visit is not None:
            again.visit(visit)
            closed.append(visit)
    return again


def test_the_replay_says_the_same_byte_for_byte(observed: Association, recording: RecordingHeader) -> None:
    assert [(c.after_visit, c.decision.day_obs, c.decision.sequence) for c in recording.corrections] == [
        (VISITS[1], NIGHTS[0], 0),
        (VISITS[2], NIGHTS[0], 1),
    ]
    again = replayed(recording)
    assert len(observed.written) > len(again.written) > 10
    assert observed.written[: len(again.written)] == again.written
    left = observed.night.log[len(again.night.log) :]
    assert [(one.day_obs, one.correction is not None) for one in left] == [(NIGHTS[1], True)]


def test_the_second_night_sees_the_first_one_corrected(observed: Association, recording: RecordingHeader) -> None:
    third = observed.night.log[3]
    assert day_obs_of(third.visit) == NIGHTS[1]
    assert ASTEROID[VISITS[2]] in third.new_objects  # where the closed object had been
    assert observed.night.moving() == {ONE: [ASTEROID[VISITS[0]], ASTEROID[VISITS[2]]]}
    assert number_of(ONE) in observed.night.view.owners(observed_ids())["ssObjectId"].tolist()


def observed_ids() -> Any:
    return np.array(sorted(ASTEROID.values()), np.int64)


@pytest.mark.parametrize("kept", [0, 1])
def test_without_a_correction_at_its_place_the_replay_differs(
    observed: Association, recording: RecordingHeader, kept: int
) -> None:
    less = replace(recording, corrections=recording.corrections[:kept])
    again = replayed(less)
    assert observed.written[: len(again.written)] != again.written
