"""Night by night: as complete as the whole window at once, the same after a replay, identifiers that stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from processors.moving_objects.detections import DETECTION, night_numbers, no_detections
from processors.moving_objects.linking_nightly import NightlyRules, NightlyState, begin, link_night
from tests.support.small_survey import SmallSurvey, small_survey

SURVEY = small_survey(seed=677)
SLOWING = Path(__file__).parents[2] / "data" / "moving_objects" / "survey" / "near_earth_slowing.csv"
"""An object of a simulated survey (M, seed 922) that passes the Earth, with heliocentric states of the observer."""


def nights_of(survey: SmallSurvey) -> list[np.ndarray]:
    number = np.floor(survey.detections["midpoint_mjd_tai"] - 0.5)
    return [np.flatnonzero(number == n) for n in np.unique(number)]


def run(survey: SmallSurvey, **rules: int) -> list[NightlyState]:
    state, seen = begin(), []
    for rows in nights_of(survey):
        state, _ = link_night(state, survey.detections[rows], survey.observers[rows], NightlyRules(**rules))
        seen.append(state)
    return seen


STATES = run(SURVEY)


def owners(state: NightlyState, survey: SmallSurvey) -> list[set[int]]:
    known = dict(zip(survey.detections["detection_id"].tolist(), survey.owner.tolist(), strict=True))
    return [{known[int(i)] for i in members} for members in state.members()]


def test_every_findable_object_has_one_pure_link_in_the_end() -> None:
    own = owners(STATES[-1], SURVEY)
    assert all(len(o) == 1 and -1 not in o for o in own)
    found = [next(iter(o)) for o in own]
    assert len(set(found)) == len(found)
    assert set(SURVEY.findable().tolist()) <= set(found)


def test_no_detection_is_in_two_links_and_no_free_tracklet_holds_a_linked_one() -> None:
    for state in STATES:
        assert len(np.unique(state.links.members)) == len(state.links.members)
        assert not np.isin(state.tracklets.members, state.links.members).any()


def test_a_link_keeps_its_identifier_while_it_grows() -> None:
    earlier, later = STATES[2], STATES[-1]
    assert len(earlier.link_ids) > 100
    assert set(earlier.link_ids.tolist()) <= set(later.link_ids.tolist())
    before = dict(zip(earlier.link_ids.tolist(), earlier.members(), strict=True))
    after = dict(zip(later.link_ids.tolist(), later.members(), strict=True))
    assert all(set(m.tolist()) <= set(after[i].tolist()) for i, m in before.items())
    assert sum(len(after[i]) > len(m) for i, m in before.items()) > 100


def test_a_replay_and_another_order_within_a_night_give_the_same_state() -> None:
    state = begin()
    for rows in nights_of(SURVEY):
        mixed = np.random.default_rng(3).permutation(np.concatenate([rows, rows[:5]]))
        state, _ = link_night(state, SURVEY.detections[mixed], SURVEY.observers[mixed])
    assert state.link_ids.tolist() == STATES[-1].link_ids.tolist()
    assert state.states().tobytes() == STATES[-1].states().tobytes()


def test_a_night_delivered_twice_changes_nothing() -> None:
    rows = nights_of(SURVEY)[-1]
    state, changed = link_night(STATES[-1], SURVEY.detections[rows], SURVEY.observers[rows])
    assert state is STATES[-1]
    assert not len(changed.founded)
    assert not len(changed.grown)


def test_an_empty_night_changes_nothing() -> None:
    state, changed = link_night(STATES[2], no_detections(), np.zeros((0, 6)))
    assert state is STATES[2]
    assert changed.joined == ()


def test_links_that_leave_a_short_window_keep_their_detections() -> None:
    state, gone = begin(), np.zeros(0, np.int64)
    for rows in nights_of(SURVEY):
        before = dict(zip(state.link_ids.tolist(), state.members(), strict=True))
        state, changed = link_night(
            state, SURVEY.detections[rows], SURVEY.observers[rows], NightlyRules(window_nights=8)
        )
        gone = np.concatenate([gone, *(before[i] for i in changed.retired.tolist())])
        held = np.concatenate([*state.members(), np.zeros(0, np.int64)])
        assert not np.isin(held, gone).any()
        assert len(np.unique(held)) == len(held)
    assert len(gone) > 500
    assert np.ptp(state.detections["midpoint_mjd_tai"]) < 8.0


@pytest.mark.parametrize("missing", [(0, 3, 9, 12), (0, 6, 9, 12)])
def test_missing_nights_cost_only_what_they_held(missing: tuple[int, ...]) -> None:
    survey = small_survey(seed=55, nights=missing)
    own = [next(iter(o)) for o in owners(run(survey)[-1], survey)]
    assert np.isin(survey.findable(), own).mean() > 0.99


def test_an_object_that_slows_down_to_a_fifth_is_found_on_its_third_night() -> None:
    """Going on as on its first night it would be ten degrees farther than it is on the last."""
    table = np.genfromtxt(SLOWING, delimiter=",", names=True)
    rows = np.zeros(len(table), DETECTION)
    rows["detection_id"], rows["ra_err_arcsec"], rows["mag_err"] = np.arange(1, 8), table["error_arcsec"], 0.1
    rows["dec_err_arcsec"], rows["band"] = table["error_arcsec"], 2
    for name in ("visit", "midpoint_mjd_tai", "ra", "dec", "mag", "trail_length_arcsec", "trail_angle_deg"):
        rows[name] = table[name]
    observers = np.stack([table[name] for name in table.dtype.names[-6:]], axis=1)
    state, nights = begin(), night_numbers(rows["midpoint_mjd_tai"])
    for night in np.unique(nights):
        state, _ = link_night(state, rows[nights == night], observers[nights == night])
    assert [m.tolist() for m in state.members()] == [list(range(1, 8))]
