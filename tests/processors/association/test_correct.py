"""What DayMOPS decides by day becomes association's: sources change hands, objects close, nothing is in two places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.association.blocks import MemoryBlocks
from processors.association.correct import wanted_changes
from processors.association.decide import detectors_of
from processors.association.fold import fold, object_versions
from processors.association.history import History
from processors.association.known_objects import known_objects
from processors.association.ss_objects import ss_object_versions
from processors.association.updates import accepted_rows, dia_object_versions, dia_source_events, object_updates
from schemas import avro
from schemas.events import AssociationDecision, Verdict
from schemas.ids import day_visit
from schemas.public_avro import decode_record
from tests.support.association_cases import (
    DAY_OBS,
    FIRST_MJD,
    detector_result,
    forced_rows,
    midpoint_of,
    source_rows,
    visit_number,
)
from tests.support.corrections import NAMES, LoggedNight, number_of, reassignments, updates_of
from tests.support.predictions import predicted

ONE, TWO, THREE = NAMES
STEP = 5.0 / 3600.0
"""How far an asteroid of the tests moves between visits: every detection founds an object of its own."""


def observed(visits: int = 3, *, extra: int = 2, seed: int = 1) -> LoggedNight:
    """Return a night with an asteroid that nobody knows, beside objects that stand still."""
    night, rng = LoggedNight(), np.random.default_rng(seed)
    for index in range(visits):
        night.decide(visit_number(index), [result(index, rng, extra=extra)], band="r")
    return night


def result(index: int, rng: np.random.Generator, *, extra: int = 2) -> Any:
    visit, mjd = visit_number(index), midpoint_of(index)
    jitter = rng.normal(0.0, 0.03 / 3600.0, extra)
    ra = [10.0 + index * STEP, *(10.01 + 0.01 * np.arange(extra) + jitter)]
    return detector_result(source_rows(ra, [0.0] * (1 + extra), visit=visit, mjd=mjd), visit=visit, mjd=mjd)


def asteroid(night: LoggedNight) -> list[int]:
    """Return the sources of the asteroid: the first of each visit."""
    return [int(accepted_rows(one)["diaSourceId"][0]) for one in night.log if one.correction is None]


def every_source(night: LoggedNight) -> list[int]:
    return sorted(int(one) for decision in night.log for one in accepted_rows(decision)["diaSourceId"])


def assert_each_source_has_one_owner(night: LoggedNight) -> None:
    objects, moving = night.objects(), night.moving()
    owned = [one for group in (objects, moving) for ids in group.values() for one in ids]
    assert sorted(owned) == sorted(set(every_source(night)))
    assert all(objects.values())
    owners = night.view.owners(np.array(every_source(night)))
    assert owners["diaSourceId"].tolist() == sorted(set(every_source(night)))
    assert ((owners["diaObjectId"] == 0) != (owners["ssObjectId"] == 0)).all()
    for row in owners:
        group = objects.get(int(row["diaObjectId"])) or moving[_name(int(row["ssObjectId"]))]
        assert int(row["diaSourceId"]) in group


def _name(number: int) -> str:
    return next(name for name in NAMES if number_of(name) == number)


def test_an_asteroids_sources_leave_their_objects_which_are_closed() -> None:
    night = observed()
    mine, standing = asteroid(night), {one: ids for one, ids in night.objects().items() if len(ids) == 3}
    decision = night.correct(dict.fromkeys(mine, ONE))
    assert decision.correction is not None
    assert decision.correction.closed.to_array().tolist() == [(one, number_of(ONE)) for one in mine]
    assert night.objects() == standing
    assert night.moving() == {ONE: mine}
    rows = decision.moving.to_array()
    assert rows["diaObjectId"].tolist() == [0, 0, 0]
    assert (decision.visit, decision.day_obs, decision.new_objects) == (day_visit(DAY_OBS), DAY_OBS, ())
    assert_each_source_has_one_owner(night)


def test_an_object_that_loses_some_sources_is_summarised_anew_and_its_other_sources_stay() -> None:
    night = observed()
    (identifier, ids), *_ = [(one, ids) for one, ids in night.objects().items() if len(ids) == 3]
    decision = night.correct({ids[0]: ONE})
    (version,) = object_versions(night.view, decision)
    assert (version["diaObjectId"], version["nDiaSources"]) == (identifier, 2)
    assert version["firstDiaSourceMjdTai"] == midpoint_of(1)
    assert version["validityStartMjdTai"] == decision.processed_mjd_tai
    assert night.objects()[identifier] == ids[1:]
    (head,) = [
        row
        for row in night.view.heads(night.view.pixels_of(np.array([identifier])))
        if row["diaObjectId"] == identifier
    ]
    assert head["detections"] == 2
    assert_each_source_has_one_owner(night)


def test_a_link_that_is_given_up_gives_its_sources_back() -> None:
    night = observed()
    before, mine = night.objects(), asteroid(night)
    night.correct(dict.fromkeys(mine, ONE))
    decision = night.correct(dict.fromkeys(mine, None), sequence=1)
    assert decision.new_objects == tuple(mine)
    assert night.objects() == before
    assert night.moving() == {}
    assert_each_source_has_one_owner(night)


def test_a_released_source_joins_the_nearest_object_within_the_radius() -> None:
    night = observed(extra=1)
    (identifier, ids), *_ = [(one, ids) for one, ids in night.objects().items() if len(ids) == 3]
    night.correct(dict.fromkeys(ids[1:], ONE))
    decision = night.correct(dict.fromkeys(ids[1:], None), sequence=1)
    assert decision.new_objects == ()
    assert night.objects()[identifier] == ids
    assert_each_source_has_one_owner(night)


def test_a_released_source_goes_back_to_the_living_object_that_it_founded() -> None:
    night = LoggedNight()
    for index, east in enumerate((0.0, 0.9)):
        visit = visit_number(index)
        rows = source_rows([10.0 + east / 3600.0], [0.0], visit=visit, mjd=midpoint_of(index), error_arcsec=0.5)
        night.decide(visit, [detector_result(rows, visit=visit)])
    ((identifier, ids),) = night.objects().items()
    assert len(ids) == 2
    night.correct({identifier: ONE})
    assert night.objects() == {identifier: ids[1:]}
    night.correct({identifier: None}, sequence=1)
    assert night.objects() == {identifier: ids}


def test_a_source_moves_from_one_solar_system_object_to_another() -> None:
    night = observed()
    mine = asteroid(night)
    night.correct(dict.fromkeys(mine, ONE))
    decision = night.correct(dict.fromkeys(mine, TWO), sequence=1)
    versions = dict(ss_object_versions(night.view, decision))
    assert versions[number_of(ONE)] is None
    assert versions[number_of(TWO)] is not None
    assert decision.diasources.rows == 0
    assert night.moving() == {TWO: mine}
    assert_each_source_has_one_owner(night)


def test_sources_of_a_known_object_that_had_no_prediction_are_repaired_by_day() -> None:
    """The prediction was late, or the clock had slipped: association founded objects, attribution by day knows better."""
    night, visits = LoggedNight(), [visit_number(index) for index in range(3)]
    for index, visit in enumerate(visits):
        at, mjd = 10.0 + index * STEP, midpoint_of(index)
        slip = 40.0 / 3600.0 if index == 1 else 0.0
        there = None if index == 2 else predicted([at + slip], [0.0], mjd=mjd)
        rows = source_rows([at], [0.0], visit=visit, mjd=mjd)
        night.decide(visit, [detector_result(rows, visit=visit, mjd=mjd)], predicted=there)
    assert [one.moving.rows for one in night.log] == [1, 0, 0]
    known = int(night.log[0].moving.to_array()["ssObjectId"][0])
    founded = [int(one.diasources.to_array()["diaSourceId"][0]) for one in night.log[1:]]
    assert sorted(night.objects()) == founded
    wanted = wanted_changes(night.view, _to(known, [int(night.log[0].moving.to_array()["diaSourceId"][0]), *founded]))
    assert wanted.owners["diaSourceId"].tolist() == founded
    night.correct(dict.fromkeys(founded, ONE))
    assert night.objects() == {}
    later = visit_number(3)
    rows = source_rows([10.0 + 2 * STEP], [0.0], visit=later, mjd=midpoint_of(3))
    decision = night.decide(later, [detector_result(rows, visit=later, mjd=midpoint_of(3))])
    assert decision.new_objects == (int(rows["diaSourceId"][0]),)


def _to(number: int, ids: list[int]) -> Any:
    rows = reassignments(dict.fromkeys(ids, ONE))
    rows["ss_object_id"] = number
    return rows


def test_what_is_so_already_changes_nothing_and_unknown_sources_are_counted() -> None:
    night = observed()
    mine = asteroid(night)
    night.correct(dict.fromkeys(mine, ONE))
    state = dict(night.blocks.values)
    wanted = wanted_changes(night.view, reassignments({**dict.fromkeys(mine, ONE), 12345: ONE}))
    assert (len(wanted), wanted.unknown) == (0, 1)
    again = night.correct(dict.fromkeys(mine, ONE))
    assert again.moving.rows == again.diasources.rows == 0
    assert dict(night.blocks.values) == state  # the sequence was folded before


def test_a_source_that_two_objects_shall_have_keeps_its_own_and_says_so() -> None:
    night = observed()
    (first, *_), rows = asteroid(night), reassignments({asteroid(night)[0]: ONE})
    other = rows.copy()
    other["ss_object_id"] = number_of(TWO)
    wanted = wanted_changes(night.view, np.concatenate([rows, other, rows]))
    assert len(wanted) == 0
    assert list(wanted.refused) == [str(first)]


def test_nothing_to_correct_is_a_decision_too() -> None:
    night = observed()
    before = night.objects()
    decision = night.correct({}, verdicts={7: Verdict.STATIONARY})
    assert night.objects() == before
    assert updates_of(night, decision) != []
    assert list(ss_object_versions(night.view, decision)) == []


def test_closed_objects_take_no_source_and_no_forced_photometry_and_are_not_known() -> None:
    night = observed()
    mine = asteroid(night)
    night.correct(dict.fromkeys(mine, ONE))
    as_of = visit_number(2), midpoint_of(4)
    known = known_objects(night.view, (10.0, 0.0), 600.0, as_of=as_of, rules=night.rules)
    assert not set(known["diaObjectId"].tolist()) & set(mine)
    visit = visit_number(4)
    rows = source_rows([10.0], [0.0], visit=visit, mjd=midpoint_of(4))
    forced = forced_rows([mine[0]], 10.0, 0.0, visit=visit)
    decision = night.decide(visit, [detector_result(rows, forced, visit=visit)])
    assert decision.new_objects == (int(rows["diaSourceId"][0]),)
    assert decision.forced.rows == 0
    assert decision.quarantined == {f"forced:0:{mine[0]}": "there is no such object"}


def test_decisions_say_the_same_after_a_correction_as_before_it() -> None:
    night = observed()
    said = [_said(night, decision) for decision in night.log]
    night.correct(dict.fromkeys(asteroid(night), ONE))
    decision, told = night.log[-1], _said(night, night.log[-1])
    night.correct(dict.fromkeys(asteroid(night)[:2], TWO), sequence=1)
    visit = visit_number(5)
    night.decide(visit, [result(5, np.random.default_rng(3))])
    assert [_said(night, one) for one in night.log[:3]] == said
    assert _said(night, decision) == told


def _said(night: LoggedNight, decision: AssociationDecision) -> list[bytes]:
    versions = object_versions(night.view, decision)
    objects = [avro.encode(one) for _, one in ss_object_versions(night.view, decision) if one is not None]
    updates = updates_of(night, decision) if decision.correction else object_updates(decision, versions)
    return [avro.encode(update) for update in updates] + objects


def test_the_state_is_the_fold_of_the_log() -> None:
    night = observed()
    mine = asteroid(night)
    night.correct(dict.fromkeys(mine, ONE))
    night.decide(visit_number(4), [result(4, np.random.default_rng(3))])
    night.correct({mine[0]: None, mine[1]: TWO}, sequence=1)
    night.correct(dict.fromkeys(mine, ONE), day_obs=DAY_OBS + 1)
    blocks = MemoryBlocks()
    for decision in night.log:
        datum = avro.encode(decision)
        blocks.apply(fold(blocks, avro.decode(AssociationDecision, datum), detectors_of(decision), rules=night.rules))
        blocks.apply(fold(blocks, avro.decode(AssociationDecision, datum), detectors_of(decision), rules=night.rules))
    assert blocks.values == night.blocks.values
    assert History(blocks).decisions() == len(night.log)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 8), st.sampled_from([None, ONE, TWO]), max_size=9), max_size=4))
def test_whatever_daymops_decides_each_source_has_one_owner(rounds: list[dict[int, str | None]]) -> None:
    night = observed()
    sources = sorted(set(every_source(night)))
    for sequence, pairs in enumerate(rounds):
        night.correct({sources[place]: name for place, name in pairs.items()}, sequence=sequence)
        assert_each_source_has_one_owner(night)
        expected = {sources[place]: name for place, name in pairs.items() if name}
        for source, name in expected.items():
            assert source in night.moving()[name]


def test_updates_tell_what_each_object_lost_and_gained() -> None:
    night = observed()
    mine = asteroid(night)
    (identifier, ids), *_ = [(one, ids) for one, ids in night.objects().items() if len(ids) == 3]
    decision = night.correct(
        dict.fromkeys([*mine, ids[1]], ONE), verdicts={mine[0]: Verdict.LINKED, ids[0]: Verdict.STATIONARY}
    )
    updates = updates_of(night, decision)
    told = {update.dia_object_id or update.ss_object_id: update for update in updates}
    assert {one: told[one].cause for one in told} == {
        **dict.fromkeys(mine, "closed"),
        identifier: "reassigned",
        number_of(ONE): "reassigned",
    }
    assert all(update.corrects for update in updates)
    closed = told[mine[0]]
    assert (closed.released, closed.successor, closed.verdict, closed.dia_object) == (
        (mine[0],),
        number_of(ONE),
        Verdict.LINKED,
        b"",
    )
    assert told[identifier].released == (ids[1],)
    assert told[identifier].verdict == Verdict.STATIONARY
    assert decode_record(told[identifier].dia_object, "diaObject")["nDiaSources"] == 2
    gained = told[number_of(ONE)]
    assert gained.dia_source_ids == tuple(sorted([*mine, ids[1]]))
    assert len(gained.midpoints_mjd_tai) == len(gained.circumstances) == 4
    assert decode_record(gained.mpc_orbits, "mpc_orbits")["designation"] == ONE
    records = [decode_record(event.record, "diaSource") for event in dia_source_events(updates)]
    assert [record["diaSourceId"] for record in records] == list(gained.dia_source_ids)
    assert {record["ssObjectId"] for record in records} == {number_of(ONE)}
    assert {record["diaObjectId"] for record in records} == {None}
    assert [version.dia_object_id for version in dia_object_versions(updates)] == [identifier]


def test_a_solar_system_object_has_a_record_of_all_its_sources() -> None:
    night = observed(visits=4)
    mine = asteroid(night)
    decision = night.correct(dict.fromkeys(mine, ONE))
    ((number, version),) = ss_object_versions(night.view, decision)
    assert version is not None
    record = decode_record(version.record, "ssObject")
    assert (number, version.designation, version.day_obs) == (number_of(ONE), ONE, DAY_OBS)
    assert (record["ssObjectId"], record["nObs"], record["r_nObs"]) == (number, 4, 4)
    assert record["arc"] == pytest.approx(midpoint_of(3) - midpoint_of(0))
    assert record["firstObservationMjdTai"] == midpoint_of(0)
    assert record["r_H"] == pytest.approx(
        31.4 - 2.5 * 3 - 5 * np.log10(2.5 * 1.6), abs=0.7
    )  # phase angle of 10 degrees
    assert record["r_phaseAngleMin"] == pytest.approx(10.0)
    assert record["MOIDEarth"] > 0.5
    assert record["tisserand_J"] == pytest.approx(3.3, abs=0.3)


def test_a_known_object_has_a_record_after_each_visit_that_sees_it() -> None:
    night = LoggedNight()
    seen = []
    for index in range(2):
        visit, mjd = visit_number(index), midpoint_of(index)
        rows = source_rows([10.0], [0.0], visit=visit, mjd=mjd)
        night.decide(visit, [detector_result(rows, visit=visit, mjd=mjd)], predicted=predicted([10.0], [0.0], mjd=mjd))
        ((_, version),) = ss_object_versions(night.view, night.log[-1])
        assert version is not None
        seen.append(decode_record(version.record, "ssObject")["nObs"])
    assert seen == [1, 2]
    assert midpoint_of(1) > FIRST_MJD
