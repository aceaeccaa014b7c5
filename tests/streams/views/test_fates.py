"""A DIAObject that DayMOPS closed says to which Solar System object its detections went, in whatever order topics are read."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from sqlalchemy import select

from processors.association.fold import object_versions
from processors.association.updates import object_updates
from schemas.events import DiaObjectVersion, ObjectUpdate, Verdict
from schemas.public_avro import encode_rows
from streams.views import moving, queries, tables
from streams.views.errors import NotInViewError
from streams.views.fold import Message
from streams.views.view import View
from tests.support.association_cases import DAY_OBS, detector_result, midpoint_of, source_rows, visit_number
from tests.support.corrections import NAMES, LoggedNight, number_of, updates_of
from tests.support.toolkits import fill, make_view

ONE = NAMES[0]


def story() -> tuple[LoggedNight, list[ObjectUpdate], int]:
    """Return a night of one detection, what is said of it until DayMOPS gives it to an asteroid, and its object."""
    night, visit = LoggedNight(), visit_number(0)
    rows = source_rows([10.0], [0.0], visit=visit, mjd=midpoint_of(0))
    decision = night.decide(visit, [detector_result(rows, visit=visit)])
    updates = list(object_updates(decision, object_versions(night.view, decision)))
    (identifier,) = decision.new_objects
    updates += updates_of(night, night.correct({identifier: ONE}, verdicts={identifier: int(Verdict.LINKED)}))
    return night, updates, identifier


def messages(view: View, updates: list[ObjectUpdate]) -> list[Message]:
    """Return the updates as messages, each object in a partition of its own, as objects are."""
    keys = sorted({update.owner for update in updates})
    found = []
    for offset, update in enumerate(updates):
        value = view.codec.encode("object-updates", update)
        partition = keys.index(update.owner)
        found.append(Message(topic="object-updates", partition=partition, offset=offset, key=b"k", value=value))
    return found


@pytest.mark.parametrize("together", [True, False])
def test_a_detection_is_the_new_objects_whichever_partition_is_read_first(tmp_path: Path, together: bool) -> None:
    _, updates, identifier = story()
    for place, order in enumerate(itertools.permutations(range(len(updates)))):
        if [one for one in order if updates[one].owner == identifier] != [0, 1]:
            continue  # the messages of one partition come in order
        view = make_view(tmp_path / f"{place}")
        made = [messages(view, updates)[one] for one in order]
        for batch in [made] if together else [[message] for message in made]:
            fill(view, batch)
        with view.reading() as connection:
            rows = connection.execute(select(tables.measurements.c.object_id)).scalars().all()
            assert rows == [number_of(ONE)]
            assert queries.measurements_of(connection, identifier) == []


def test_a_closed_object_says_where_it_went(tmp_path: Path) -> None:
    night, updates, identifier = story()
    view = make_view(tmp_path)
    version = object_versions(night.view, night.log[0])
    record = encode_rows(version, "diaObject")[0]
    event = DiaObjectVersion(dia_object_id=identifier, visit=visit_number(0), record=record)
    key = identifier.to_bytes(8, "big")
    kept = Message(topic="diaobjects", partition=0, offset=0, key=key, value=view.codec.encode("diaobjects", event))
    fill(view, [*messages(view, updates), kept])
    with view.reading() as connection:
        assert queries.dia_object(connection, identifier).n_sources == 1
    fill(view, [Message(topic="diaobjects", partition=0, offset=1, key=key, value=None)])
    with view.reading() as connection:
        fate = queries.fate_of(connection, identifier)
        assert fate is not None
        assert (fate.closed, fate.ss_object_id, fate.designation) == (True, number_of(ONE), ONE)
        assert (fate.verdict, fate.day_obs) == (Verdict.LINKED, DAY_OBS)
        with pytest.raises(NotInViewError, match=f"closed by DayMOPS of night {DAY_OBS}.*{ONE}"):
            queries.dia_object(connection, identifier)
        assert queries.fate_of(connection, 7) is None


def test_verdicts_of_a_night_are_counted_and_listed(tmp_path: Path) -> None:
    night, visit = LoggedNight(), visit_number(0)
    rows = source_rows([10.0, 10.1, 10.2, 10.3], [0.0] * 4, visit=visit, mjd=midpoint_of(0))
    decision = night.decide(visit, [detector_result(rows, visit=visit)])
    updates = list(object_updates(decision, object_versions(night.view, decision)))
    first, second, third, fourth = decision.new_objects
    verdicts = {first: Verdict.LINKED, second: Verdict.TRACKLET, third: Verdict.TRACKLET, fourth: Verdict.STATIONARY}
    updates += updates_of(night, night.correct({first: ONE}, verdicts={key: int(one) for key, one in verdicts.items()}))
    view = make_view(tmp_path)
    fill(view, messages(view, updates))
    with view.reading() as connection:
        counts = {int(Verdict.TRACKLET): 2, int(Verdict.LINKED): 1, int(Verdict.STATIONARY): 1}
        assert moving.count_verdicts(connection, {DAY_OBS, 20200101}) == {DAY_OBS: counts}
        fates = moving.fates_of_night(connection, DAY_OBS)
        assert [(one.object_id, one.verdict, one.closed) for one in fates] == [
            (key, verdicts[key], key == first) for key in sorted(verdicts)
        ]
        assert fates[sorted(verdicts).index(first)].designation == ONE
        only = moving.fates_of_night(connection, DAY_OBS, verdict=int(Verdict.TRACKLET))
        assert [one.object_id for one in only] == sorted((second, third))
        assert len(moving.fates_of_night(connection, DAY_OBS, limit=3)) == 3
        assert moving.fates_of_night(connection, 20200101) == []


def test_an_object_whose_detections_a_later_night_gave_away_stays_with_its_own_night(tmp_path: Path) -> None:
    night, updates, identifier = LoggedNight(), list[ObjectUpdate](), 0
    visit = visit_number(0)
    decision = night.decide(visit, [detector_result(source_rows([10.0], [0.0], visit=visit), visit=visit)])
    (identifier,) = decision.new_objects
    verdicts = {identifier: int(Verdict.TRACKLET)}
    updates += updates_of(night, night.correct({}, verdicts=verdicts))
    view = make_view(tmp_path)
    fill(view, messages(view, updates))
    with view.reading() as connection:
        assert moving.count_verdicts(connection, {DAY_OBS}) == {DAY_OBS: {int(Verdict.TRACKLET): 1}}
    updates += updates_of(night, night.correct({identifier: ONE}, day_obs=DAY_OBS + 2))
    fill(view, messages(view, updates))
    with view.reading() as connection:
        assert moving.count_verdicts(connection, {DAY_OBS, DAY_OBS + 2}) == {DAY_OBS: {-1: 1}}
        (fate,) = moving.fates_of_night(connection, DAY_OBS, verdict=-1)
    assert (fate.object_id, fate.closed, fate.designation, fate.day_obs) == (identifier, True, ONE, DAY_OBS + 2)
