"""Which decisions of DayMOPS wait for their answer, and when the moment is right: no visit under way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from schemas import avro
from schemas.events import Announced, Cancelled, DayMopsDecision, VisitClosed, VisitEvent
from schemas.tables import Claim
from schemas.wire import EventCodec, frame
from streams.association.waiting import WaitingCorrections, is_answered
from tests.support.association_cases import DAY_OBS, detector_result, source_rows, visit_number
from tests.support.association_night import announcement
from tests.support.corrections import LoggedNight

CLAIM = Claim(uri="u", sha256="s", size=1)
CLOSED = VisitClosed(outcomes=(), last_readout_mjd_tai=1.0, last_readout_sent_unix_s=1.0, reason="complete")
NAME = "TestCam"


class Registry:
    """Knows the schema of two kinds of events."""

    def register(self, subject: str, schema: str) -> int:
        """Return the id."""
        return 1

    def schema(self, identifier: int) -> str:
        """Return the schema of an id."""
        return avro.schema_text(VisitEvent if identifier == 1 else DayMopsDecision)


class Message:
    """A record of a partition."""

    def __init__(self, offset: int, value: bytes | None) -> None:
        self._offset, self._value = offset, value

    def offset(self) -> int:
        """Return its offset."""
        return self._offset

    def partition(self) -> int:
        """Return its partition."""
        return 0

    def value(self) -> bytes | None:
        """Return its value."""
        return self._value


class Partition:
    """A partition that grows."""

    def __init__(self) -> None:
        self.values: list[bytes | None] = []
        self.read_from: list[int] = []

    def put(self, event: Any) -> None:
        """Append an event, or bytes that are none."""
        if isinstance(event, VisitEvent | DayMopsDecision):
            event = frame(1 if isinstance(event, VisitEvent) else 2, avro.encode(event))
        self.values.append(event)

    def end(self) -> int:
        """Return the offset after the last record."""
        return len(self.values)

    def records(self, first: int, end: int | None = None) -> Iterator[Message]:
        """Yield the records of a span."""
        self.read_from.append(first)
        for offset in range(first, len(self.values) if end is None else end):
            yield Message(offset, self.values[offset])

    def close(self) -> None:
        """Do nothing."""


def decided(sequence: int, *, day_obs: int = DAY_OBS, instrument: str = NAME) -> DayMopsDecision:
    return DayMopsDecision(
        instrument=instrument, day_obs=day_obs, sequence=sequence, window=(), tracklets=CLAIM, orbits=CLAIM,
        reassigned=CLAIM, verdicts=CLAIM, counts={},
    )  # fmt: skip


def visit_event(index: int, fact: Announced | Cancelled | VisitClosed, instrument: str = NAME) -> VisitEvent:
    return VisitEvent(instrument=instrument, visit=visit_number(index), fact=fact)


@pytest.fixture
def logs() -> tuple[Partition, Partition]:
    return Partition(), Partition()


@pytest.fixture
def waiting(logs: tuple[Partition, Partition]) -> WaitingCorrections:
    return WaitingCorrections(*logs, EventCodec(Registry()))  # type: ignore[arg-type]


def test_what_is_answered_waits_no_longer_and_an_older_sequence_is_passed_over(
    waiting: WaitingCorrections, logs: tuple[Partition, Partition]
) -> None:
    night = LoggedNight()
    for event in (decided(0), decided(1), b"no decision", None, decided(0, instrument="other"), decided(0)):
        logs[0].put(event)
    waiting.read()
    assert waiting.next_of(NAME, night.view) == decided(0)
    night.correct({})
    assert waiting.next_of(NAME, night.view) == decided(1)
    night.correct({}, sequence=1)
    assert waiting.next_of(NAME, night.view) is None
    assert waiting.next_of("other", LoggedNight().view) == decided(0, instrument="other")
    assert len(waiting) == 1
    logs[0].put(decided(0, day_obs=DAY_OBS + 1))
    waiting.read()
    assert logs[0].read_from == [0, 6]
    assert waiting.next_of(NAME, night.view) == decided(0, day_obs=DAY_OBS + 1)


def test_an_answer_counts_for_older_sequences_of_its_night_only() -> None:
    night = LoggedNight()
    night.correct({}, sequence=2)
    assert [is_answered(night.view, decided(sequence)) for sequence in (0, 2, 3)] == [True, True, False]
    assert not is_answered(night.view, decided(0, day_obs=DAY_OBS + 1))


def test_it_is_quiet_when_every_announced_visit_is_closed_and_the_last_one_decided(
    waiting: WaitingCorrections, logs: tuple[Partition, Partition]
) -> None:
    night, visits = LoggedNight(), logs[1]
    assert waiting.is_quiet(NAME, night.view)
    for index in range(2):
        visits.put(visit_event(index, announcement(index)))
    assert not waiting.is_quiet(NAME, night.view)
    assert waiting.is_quiet("other", night.view)
    visits.put(visit_event(1, Cancelled(reason="clouds")))
    assert not waiting.is_quiet(NAME, night.view)
    visits.put(visit_event(0, CLOSED))
    assert not waiting.is_quiet(NAME, night.view)  # association has not got to it
    rows = source_rows([10.0], [0.0], visit=visit_number(0))
    night.decide(visit_number(0), [detector_result(rows, visit=visit_number(0))])
    assert waiting.is_quiet(NAME, night.view)
    visits.put(visit_event(0, announcement(0)))  # said again, after its end
    visits.put(b"no event")
    assert waiting.is_quiet(NAME, night.view)


def test_what_is_given_up_is_forgotten(waiting: WaitingCorrections, logs: tuple[Partition, Partition]) -> None:
    logs[0].put(decided(0))
    waiting.read()
    waiting.give_up(decided(0))
    assert waiting.next_of(NAME, LoggedNight().view) is None
