"""Every message goes out once and in its visit's order, held back as the pace says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.replay.errors import ReplayError
from streams.replay.pacing import Pace, Score, parse_pace
from streams.replay.recording import RecordedMessage

FLAT_OUT = Pace(None)


def message(at: float, visit: int | None) -> RecordedMessage:
    return RecordedMessage(topic="t", at_unix_s=at, key=None, value=b"%d" % int(at * 10), headers=(), visit=visit)


def test_at_real_pace_the_gaps_are_those_of_the_night() -> None:
    score = Score([message(100.0, 1), message(101.0, 1), message(105.0, 2)], [1, 2], Pace(1.0))
    assert [m.at_unix_s for m in score.due(0.0, ())] == [100.0]
    assert [m.at_unix_s for m in score.due(1.5, ())] == [101.0]
    assert score.due(4.9, ()) == []
    assert [m.at_unix_s for m in score.due(5.0, ())] == [105.0]
    assert score.finished


def test_a_factor_shortens_the_gaps() -> None:
    score = Score([message(100.0, 1), message(108.0, 1)], [1], Pace(4.0))
    assert len(score.due(1.9, ())) == 1
    assert len(score.due(2.0, ())) == 1


def test_flat_out_a_visit_waits_for_the_end_of_the_one_two_before() -> None:
    messages = [message(at, visit) for at, visit in enumerate([1, 2, 1, 3, 2, 4, 3])]
    score = Score(messages, [1, 2, 3, 4], FLAT_OUT)
    assert [m.visit for m in score.due(0.0, ())] == [1, 2, 1, 2]
    assert score.due(99.0, ()) == []
    assert [m.visit for m in score.due(99.0, {1})] == [3, 3]
    assert [m.visit for m in score.due(99.0, {1, 2})] == [4]


def test_what_names_no_visit_follows_what_came_before_it() -> None:
    messages = [message(0, 1), message(1, None), message(2, 3), message(3, None), message(4, 2)]
    score = Score(messages, [1, 2, 3], FLAT_OUT)
    assert [m.at_unix_s for m in score.due(0.0, ())] == [0, 1, 4]
    assert [m.at_unix_s for m in score.due(0.0, {1})] == [2, 3]


@pytest.mark.parametrize("pace", [FLAT_OUT, Pace(1.0)])
def test_visits_wait_for_the_corrections_that_lay_before_them(pace: Pace) -> None:
    messages = [message(at, visit) for at, visit in enumerate([1, 2, 3, 4])]
    score = Score(messages, [1, 2, 3, 4], pace, [0, 2, 2])
    closed = {1, 2, 3, 4}
    assert score.due(99.0, closed) == []
    assert [m.visit for m in score.due(99.0, closed, 1)] == [1, 2]
    assert score.due(99.0, closed, 2) == []
    assert [m.visit for m in score.due(99.0, closed, 3)] == [3, 4]


@given(st.lists(st.sampled_from([1, 2, 3, 4, 5, None]), max_size=30))
def test_flat_out_everything_is_played_once_and_in_each_visits_order(visits: list[int | None]) -> None:
    messages = [message(float(at), visit) for at, visit in enumerate(visits)]
    announced = list(dict.fromkeys(visit for visit in visits if visit is not None))
    score, played, closed = Score(messages, announced, FLAT_OUT), [], set()
    for visit in [*announced, None]:
        played += score.due(0.0, closed)
        closed.add(visit)
    assert score.finished
    assert sorted(m.at_unix_s for m in played) == [m.at_unix_s for m in messages]
    for visit in announced:
        own = [m.at_unix_s for m in played if m.visit == visit]
        assert own == sorted(own)


@pytest.mark.parametrize(("text", "factor"), [("real", 1.0), ("4", 4.0), ("0.5", 0.5), ("flat-out", None)])
def test_a_pace_is_read(text: str, factor: float | None) -> None:
    assert parse_pace(text) == Pace(factor)


@pytest.mark.parametrize("text", ["", "fast", "0", "-2", "nan", "inf"])
def test_what_is_no_pace_is_refused(text: str) -> None:
    with pytest.raises(ReplayError, match="A pace is real, a factor"):
        parse_pace(text)
