"""Which nights are linked for a delivery: the next one, a late one, a repeated one, one that is too old."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processors.moving_objects.day_nights import (
    KEPT_NIGHTS,
    STATES_APART,
    STATES_KEPT,
    DayNights,
    fold_decision,
    retired_states,
    work_for,
)
from processors.moving_objects.errors import NightTooOldError
from schemas.events import DayMopsDecision
from schemas.tables import Claim


def claim(name: str) -> Claim:
    return Claim(uri=name, sha256=name, size=1)


def decision(day_obs: int, nights: tuple[int, ...], sequence: int = 0) -> DayMopsDecision:
    nothing = claim("x")
    return DayMopsDecision(
        instrument="Sim", day_obs=day_obs, sequence=sequence, window=nights, tracklets=nothing, orbits=nothing,
        reassigned=nothing, verdicts=nothing, counts={}, nights=nights, detections=claim(f"d{day_obs}.{sequence}"),
        state=claim(f"s{day_obs}.{sequence}.{len(nights)}"),
    )  # fmt: skip


def after(*decisions: DayMopsDecision, states_kept: int = STATES_KEPT) -> DayNights:
    nights = DayNights()
    for one in decisions:
        nights = fold_decision(nights, one, states_kept)
    return nights


def with_state(nights: DayNights) -> list[int]:
    return [night.day_obs for night in nights.nights if night.state is not None]


IN_ORDER = (decision(1, (1,)), decision(2, (2,)), decision(4, (4,)))


def test_the_first_night_begins_with_nothing() -> None:
    work = work_for(DayNights(), 5)
    assert (work.sequence, work.begin, work.now, work.again) == (0, None, None, ())


def test_the_next_night_begins_with_the_newest_state() -> None:
    work = work_for(after(*IN_ORDER), 5)
    assert work.begin == work.now == IN_ORDER[2].state
    assert (work.sequence, work.again) == (0, ())


def test_a_late_night_begins_before_it_and_later_ones_are_linked_again() -> None:
    work = work_for(after(*IN_ORDER), 3)
    assert work.begin == IN_ORDER[1].state
    assert work.now == IN_ORDER[2].state
    assert [night.day_obs for night in work.again] == [4]


def test_a_repeated_night_is_linked_from_the_state_before_it() -> None:
    work = work_for(after(*IN_ORDER), 2)
    assert work.sequence == 1
    assert work.begin == IN_ORDER[0].state
    assert [night.day_obs for night in work.again] == [2, 4]


def test_states_that_did_not_know_a_late_night_are_out_of_date() -> None:
    nights = after(*IN_ORDER, decision(3, (3, 4)))
    assert [(night.day_obs, night.state is not None) for night in nights.nights] == [
        (1, True), (2, True), (3, False), (4, True),
    ]  # fmt: skip
    work = work_for(nights, 4)
    assert work.begin == IN_ORDER[1].state
    assert [night.day_obs for night in work.again] == [3, 4]


def test_a_night_before_all_others_begins_with_nothing_and_links_all_again() -> None:
    work = work_for(after(*IN_ORDER), 0)
    assert work.begin is None
    assert [night.day_obs for night in work.again] == [1, 2, 4]


def test_a_decision_folded_again_changes_nothing() -> None:
    nights = after(*IN_ORDER)
    assert fold_decision(nights, IN_ORDER[1]) is nights
    assert after(*IN_ORDER, decision(2, (2, 4), sequence=1), IN_ORDER[1]).nights[1].decisions == 2


def test_nights_that_are_no_longer_kept_are_refused() -> None:
    nights = after(*(decision(n, (n,)) for n in range(1, KEPT_NIGHTS + STATES_APART)))
    assert nights.forgotten == 0
    nights = fold_decision(nights, decision(KEPT_NIGHTS + STATES_APART, (KEPT_NIGHTS + STATES_APART,)))
    assert len(nights.nights) == KEPT_NIGHTS
    assert nights.forgotten == STATES_APART
    with pytest.raises(NightTooOldError, match="decided for good"):
        work_for(nights, STATES_APART)
    with pytest.raises(NightTooOldError, match="no state from before"):
        work_for(nights, STATES_APART + 1)
    assert work_for(nights, STATES_APART + 2).begin == claim(f"s{STATES_APART + 1}.0.1")


def test_decisions_of_before_there_were_states_are_left_alone() -> None:
    old = DayMopsDecision(
        instrument="Sim", day_obs=1, sequence=0, window=(1,), tracklets=claim("x"), orbits=claim("x"),
        reassigned=claim("x"), verdicts=claim("x"), counts={},
    )  # fmt: skip
    assert fold_decision(DayNights(), old) == DayNights()


@pytest.mark.parametrize("states_kept", [1, 3])
def test_the_newest_states_are_kept_and_of_older_ones_one_in_a_while(states_kept: int) -> None:
    count = 2 * STATES_APART + states_kept + 4
    nights = after(*(decision(n, (n,)) for n in range(1, count + 1)), states_kept=states_kept)
    newest = list(range(count - states_kept + 1, count + 1))
    assert with_state(nights) == [1, 1 + STATES_APART, 1 + 2 * STATES_APART, *newest]
    late = work_for(nights, 1 + 2 * STATES_APART)
    assert late.begin == claim(f"s{1 + STATES_APART}.0.1")
    assert [night.day_obs for night in late.again] == list(range(2 + STATES_APART, count + 1))
    assert late.now == claim(f"s{count}.0.1")


def test_each_state_is_retired_once_and_none_that_a_night_still_has() -> None:
    decisions = [decision(n, (n,)) for n in range(1, 2 * KEPT_NIGHTS)]
    nights, gone = DayNights(), list[Claim]()
    for one in decisions:
        nights, before = fold_decision(nights, one, 2), nights
        gone += retired_states(before, nights)
        assert len(nights.states()) <= 2 + KEPT_NIGHTS // STATES_APART + 1
        assert one.day_obs - nights.forgotten < KEPT_NIGHTS + STATES_APART
        assert not set(gone) & set(nights.states())
    assert len(set(gone)) == len(gone)
    assert {*gone, *nights.states()} == {one.state for one in decisions}


def test_a_state_that_an_empty_night_left_as_it_was_is_kept_for_both() -> None:
    full = decision(1, (1,))
    every = [full, replace(decision(2, (2,)), state=full.state), decision(3, (3,)), decision(4, (4,))]
    before = after(*every[:2], states_kept=1)
    assert before.states() == (full.state, full.state)
    nights = fold_decision(before, every[2], 1)
    assert with_state(nights) == [1, 3]
    assert retired_states(before, nights) == ()


def test_fewer_states_after_a_setting_was_lowered() -> None:
    nights = after(*(decision(n, (n,)) for n in range(1, 7)), states_kept=6)
    assert with_state(nights) == [1, 2, 3, 4, 5, 6]
    lowered = fold_decision(nights, decision(7, (7,)), 0)
    assert with_state(lowered) == [1, 7]
    assert [one.uri for one in retired_states(nights, lowered)] == [f"s{n}.0.1" for n in range(2, 7)]
