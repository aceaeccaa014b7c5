"""What DayMOPS decides reaches every topic on the real broker, once, whatever dies, repeats or comes out of order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.objects import ObjectStore, open_object_store
from infra.reading import headers_of, read_to_end
from infra.settings import Settings
from processors.association.fold import object_versions
from schemas import avro
from schemas.events import (
    AssociationDecision,
    DayMopsDecision,
    DeadLetter,
    DiaObjectVersion,
    DiaSourceEvent,
    ObjectUpdate,
    SsObjectVersion,
    Verdict,
)
from schemas.ids import day_visit
from schemas.public_avro import decode_record
from schemas.tables import Claim, Table
from streams.association.outputs import CLOSED_HEADERS
from tests.support.association_cases import DAY_OBS, Night, detector_result, source_rows
from tests.support.association_night import (
    INSTRUMENT,
    PlannedVisit,
    Telescope,
    announcement,
    by_name,
    contents,
    midpoint_of,
    stages,
    visit_number,
)
from tests.support.corrections import NAMES, number_of, orbit, reassignments, verdict_rows
from tests.support.engine import running_engine

pytestmark = pytest.mark.broker

ONE, TWO, _ = NAMES
POINTS = ("association-logged", "association")
"""Killed between decision and fold, and between what is put out and the commit."""
STEP = 5.0 / 3600.0


def plan(index: int) -> PlannedVisit:
    """Return a visit with an asteroid and an object that stands still."""
    visit, mjd = visit_number(index), midpoint_of(index)
    rows = source_rows([0.001 + index * STEP, 0.004], [0.0, 0.003], visit=visit, mjd=mjd)
    return PlannedVisit(
        visit=visit,
        announced=announcement(index),
        results=[detector_result(rows, visit=visit, mjd=mjd)],
        readout_mjd_tai=mjd + 0.001,
        sent_unix_s=1.8e9 + index,
    )


class Day:
    """Puts decisions of DayMOPS on its log."""

    def __init__(self, settings: Settings, telescope: Telescope) -> None:
        self._objects: ObjectStore = open_object_store(settings)
        self._telescope = telescope

    def decide(self, sequence: int, pairs: dict[int, str | None], **about: Any) -> DayMopsDecision:
        """Put a decision and return it."""
        orbits = np.concatenate(
            [orbit(name) for name in sorted({name for name in pairs.values() if name})] or [orbit(ONE)[:0]]
        )
        decision = DayMopsDecision(
            instrument=INSTRUMENT,
            day_obs=DAY_OBS,
            sequence=sequence,
            window=(DAY_OBS,),
            tracklets=self._claim(orbits[:0]),
            orbits=self._claim(orbits),
            reassigned=self._claim(reassignments(pairs)),
            verdicts=self._claim(verdict_rows(about.get("verdicts", {}))),
            counts={},
        )
        self.put(decision)
        return decision

    def put(self, decision: DayMopsDecision | bytes) -> None:
        """Put a decision again."""
        self._telescope.put("daymops-log", decision)

    def _claim(self, rows: np.ndarray[Any, Any]) -> Claim:
        return self._objects.put(avro.encode(Table.from_array(rows)))


def answers(settings: Settings) -> list[AssociationDecision]:
    return [d for d, _ in contents(settings, "association-log", AssociationDecision) if d.correction is not None]


def newest(settings: Settings, topic: str) -> dict[int, tuple[bytes | None, dict[str, bytes]]]:
    """Return value and headers of the newest record of each key."""
    found = {}
    for message in read_to_end(settings.bootstrap, topic):
        found[int.from_bytes(message.key() or b"", "big")] = message.value(), headers_of(message)
    return found


def test_a_correction_reaches_every_topic_whatever_dies_and_repeats(tmp_path: Path) -> None:
    planned, night = [plan(index) for index in range(4)], Night()
    for one in planned:
        night.decide(one.visit, one.results, band="r", last_readout_sent_unix_s=one.sent_unix_s)
    mine = [int(one.results[0].diasources.to_array()["diaSourceId"][0]) for one in planned[:3]]
    standing = int(planned[0].results[0].diasources.to_array()["diaSourceId"][1])
    with running_engine(tmp_path, partitions=2) as engine:
        settings, telescope = engine.settings, Telescope(engine.settings)
        day = Day(settings, telescope)
        for one in planned[:3]:
            telescope.announce(one)
            telescope.close(one)
        armed = {"NIGHTCAST_FAULTS__CRASH": "[" + ",".join(f'"{point}"' for point in POINTS) + "]"}
        with stages(settings, ("association",)) as keeper:
            keeper.wait(lambda: len(contents(settings, "association-log", AssociationDecision)) == 3)
        with stages(settings, ("association",), environment=armed) as keeper:
            linked = day.decide(0, dict.fromkeys(mine, ONE), verdicts=dict.fromkeys(mine, int(Verdict.LINKED)))
            telescope.put("daymops-log", b"no decision at all")
            day.put(linked)
            keeper.wait(lambda: len(newest(settings, "ssobjects")) == 1)
            telescope.announce(planned[3])  # what comes while a visit is under way waits for its end
            undone = day.decide(1, {mine[0]: None, mine[1]: TWO})
            keeper.wait(lambda: len(contents(settings, "dlq.daymops-log", DeadLetter)) == 1)
            telescope.close(planned[3])
            day.put(linked)
            day.put(undone)
            day.put(replace(linked, sequence=0, day_obs=DAY_OBS))
            keeper.wait(lambda: len(newest(settings, "ssobjects")) == 2)
            last = day.decide(2, {})
            keeper.wait(lambda: len(answers(settings)) == 3)
            assert keeper.children["association"].stop(15.0) == 0
        assert len(keeper.deaths["association"]) == len(POINTS)
        log = [d for d, _ in contents(settings, "association-log", AssociationDecision)]
        assert [(d.visit, d.sequence) for d in log] == [
            *((one.visit, 0) for one in planned[:3]),
            (day_visit(DAY_OBS), 0),
            (planned[3].visit, 0),
            (day_visit(DAY_OBS), 1),
            (day_visit(DAY_OBS), last.sequence),
        ]
        assert_follow_ups(settings, log, mine, standing)


def assert_follow_ups(settings: Settings, log: list[AssociationDecision], mine: list[int], standing: int) -> None:
    objects = newest(settings, "diaobjects")
    assert {one for one, (value, _) in objects.items() if value is None} == set(mine[1:])
    for one in mine[1:]:
        headers = objects[one][1]
        assert tuple(headers) == CLOSED_HEADERS
        assert headers["ss_object_id"] == str(number_of(ONE)).encode()
    assert objects[mine[0]][0] is not None  # released, it founded its object anew
    # A source changes its key with its object, and partitions have no order between them: its decision's place in the log tells.
    order = {(decision.visit, decision.sequence): place for place, decision in enumerate(log)}
    events = [event for event, _ in contents(settings, "diasources", DiaSourceEvent)]
    sources = {e.dia_source_id: e for e in sorted(events, key=lambda e: order[e.visit, e.sequence])}
    assert {one: (sources[one].dia_object_id, sources[one].ss_object_id) for one in mine} == {
        mine[0]: (mine[0], 0),
        mine[1]: (0, number_of(TWO)),
        mine[2]: (0, number_of(ONE)),
    }
    record = decode_record(sources[mine[2]].record, "diaSource")
    assert (record["diaObjectId"], record["ssObjectId"], record["diaSourceId"]) == (None, number_of(ONE), mine[2])
    versions = [version for version, _ in contents(settings, "ssobjects", SsObjectVersion)]
    counts = {version.designation: decode_record(version.record, "ssObject")["nObs"] for version in versions}
    assert counts == {ONE: 1, TWO: 1}
    circumstances = log[3].circumstances.to_array()
    assert np.isfinite(circumstances["phaseAngle"]).all()
    assert set(circumstances["designation"].tolist()) == {ONE}
    updates = by_name(contents(settings, "object-updates", ObjectUpdate), lambda u: (u.owner, u.visit, u.sequence))
    assert all(len(data) == 1 for data in updates.values())
    told = [avro.decode(ObjectUpdate, datum) for data in updates.values() for datum in data]
    causes = {(u.owner, u.sequence): (u.cause, u.successor, u.verdict) for u in told if u.visit == day_visit(DAY_OBS)}
    assert causes[mine[1], 0] == ("closed", number_of(ONE), Verdict.LINKED)
    assert causes[number_of(ONE), 0] == ("reassigned", 0, -1)
    kept = [avro.decode(DiaObjectVersion, datum) for _, datum in contents(settings, "diaobjects", DiaObjectVersion)]
    newest_standing = [v for v in kept if v.dia_object_id == standing][-1]
    assert decode_record(newest_standing.record, "diaObject")["nDiaSources"] == 4
    assert_stores_are_the_fold(log, kept)


def assert_stores_are_the_fold(log: list[AssociationDecision], kept: list[DiaObjectVersion]) -> None:
    """Fold the log anew and compare with what is in the topics."""
    night = Night()
    expected: dict[tuple[int, int], bytes] = {}
    for decision in log:
        night.fold(decision)
        for row in object_versions(night.view, decision):
            expected[int(row["diaObjectId"]), decision.visit] = row.tobytes()
    assert {(v.dia_object_id, v.visit) for v in kept} == set(expected)
