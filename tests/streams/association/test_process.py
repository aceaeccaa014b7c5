"""Association and alert assembly as processes on the real broker: the same bytes whatever dies, repeats or is partitioned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from infra.faults import CrashPoints
from infra.kafka import consumer
from infra.objects import open_object_store
from infra.settings import Settings
from schemas import avro
from schemas.events import (
    AssembledAlert,
    AssociationDecision,
    DeadLetter,
    DiaObjectVersion,
    DiaSourceEvent,
    KnownObjects,
    LateResult,
    ObjectUpdate,
    OutcomeStatus,
    VisitEvent,
)
from schemas.tables import Table
from tests.support.association_cases import detector_result, midpoint_of, source_rows, visit_number
from tests.support.association_night import INSTRUMENT, Expected, Telescope, by_name, contents, plan_night, stages
from tests.support.engine import running_engine

pytestmark = pytest.mark.broker

POINTS = ("association-decided", "association-logged", "association-folded", "association", "alert-assembly")
STAGES = ("association", "alert-assembly")


def alerts_are_there(settings: Settings, expected: Expected) -> bool:
    found = {alert.alert_id for alert, _ in contents(settings, "alert-packets", AssembledAlert)}
    return found >= set(expected.alerts)


def caught_up(settings: Settings) -> bool:
    """Tell whether association has committed everything that is in the visits' log."""
    client, place = consumer(settings.bootstrap, "nightcast.association"), TopicPartition("visit-events", 0)
    (committed,) = client.committed([place], timeout=20)
    _, end = client.get_watermark_offsets(place, timeout=20)
    client.close()
    return committed.offset == end


def assert_topics_hold(settings: Settings, expected: Expected) -> None:
    assert [datum for _, datum in contents(settings, "association-log", AssociationDecision)] == expected.log
    for topic, event, name, wanted in (
        ("object-updates", ObjectUpdate, lambda e: (e.dia_object_id, e.visit), expected.updates),
        ("diasources", DiaSourceEvent, lambda e: e.dia_source_id, expected.sources),
        ("diaobjects", DiaObjectVersion, lambda e: (e.dia_object_id, e.visit), expected.objects),
        ("alert-packets", AssembledAlert, lambda e: e.alert_id, expected.alerts),
    ):
        found = by_name(contents(settings, topic, event), name)
        assert found == {key: {datum} for key, datum in wanted.items()}, topic


def assert_known_objects(settings: Settings, expected: Expected) -> None:
    objects, seen = open_object_store(settings), {}
    for event, _ in contents(settings, "known-objects", KnownObjects):
        rows = avro.decode(Table, objects.get(event.positions)).to_array()
        assert event.count == len(rows)
        seen[event.visit] = rows.tobytes()
    assert seen == {visit: rows.tobytes() for visit, rows in expected.known.items()}


@pytest.mark.parametrize(("partitions", "times", "points"), [(4, 1, POINTS), (1, 2, ()), (16, 1, ())])
def test_the_same_bytes_after_kills_repetitions_and_repartitioning(
    tmp_path: Path, partitions: int, times: int, points: tuple[str, ...]
) -> None:
    planned, expected = plan_night()
    with running_engine(tmp_path, partitions=partitions) as engine:
        settings = engine.settings
        telescope = Telescope(settings)
        for plan in planned[:3]:
            telescope.announce(plan)
        for before, plan in enumerate(planned):
            telescope.close(plan, times=times)
            if before + 3 < len(planned):
                telescope.announce(planned[before + 3])
        armed = {"NIGHTCAST_FAULTS__CRASH": "[" + ",".join(f'"{point}"' for point in points) + "]"}
        with stages(settings, STAGES, environment=armed) as keeper:
            keeper.wait(lambda: alerts_are_there(settings, expected), for_s=240.0)
            exit_codes = {name: child.stop(15.0) for name, child in keeper.children.items()}
        assert exit_codes == dict.fromkeys(STAGES, 0)
        deaths = sum(len(codes) for codes in keeper.deaths.values())
        crashes = CrashPoints(settings.faults_dir)
        assert deaths == len(points) == sum(crashes.fired(point) is not None for point in points)
        for point in ("association", "alert-assembly"):
            fired = crashes.fired(point)
            if fired is not None:  # killed between reading an input and committing it
                assert any(offset > fired["committed"].get(place, 0) for place, offset in fired["read"].items())
        assert_topics_hold(settings, expected)
        assert_known_objects(settings, expected)
        assert contents(settings, "dlq.visit-events", DeadLetter) == []


def test_bad_input_lost_state_and_a_broker_that_dies_stop_nothing(tmp_path: Path) -> None:
    planned, expected = plan_night(visits=4)
    with running_engine(tmp_path, partitions=2) as engine:
        settings = engine.settings
        telescope = Telescope(settings)
        last, unknown = planned[-1], visit_number(50)
        telescope.put("visit-events", b"no event at all")
        telescope.put("object-updates", b"\x00\x00\x00\x00\x63nor this")
        late = telescope.outcome(planned[0].results[0])
        fact = LateResult(outcome=late, last_readout_mjd_tai=1.0)
        telescope.put("visit-events", VisitEvent(instrument=INSTRUMENT, visit=unknown, fact=fact))
        for plan in planned:
            telescope.announce(plan)
        with stages(settings, STAGES) as keeper:
            for plan in planned[:-1]:
                telescope.close(plan)
            keeper.wait(lambda: len(contents(settings, "association-log", AssociationDecision)) == 3)
            engine.broker.kill()
            engine.broker.start()
            engine.broker.wait_ready()
            keeper.children["association"].kill()
            store = settings.state_dir / "association" / INSTRUMENT
            for file in store.glob("*.log"):
                file.write_bytes(b"rubbish" * 1000)
            (store / "CURRENT").write_bytes(b"rubbish")
            telescope.close(last)
            keeper.wait(lambda: alerts_are_there(settings, expected), for_s=240.0)
            more = source_rows([0.003], [0.001], visit=last.visit, detector=5, mjd=midpoint_of(3))
            result = detector_result(more, visit=last.visit, detector=5, mjd=midpoint_of(3))
            outcome = replace(telescope.outcome(result), status=OutcomeStatus.LATE)
            fact = LateResult(outcome=outcome, last_readout_mjd_tai=last.readout_mjd_tai)
            for _ in range(2):
                telescope.put("visit-events", VisitEvent(instrument=INSTRUMENT, visit=last.visit, fact=fact))
            bad = replace(outcome, detector=6, result=replace(outcome.result, sha256="0" * 64))
            fact = LateResult(outcome=bad, last_readout_mjd_tai=last.readout_mjd_tai)
            for _ in range(2):
                telescope.put("visit-events", VisitEvent(instrument=INSTRUMENT, visit=last.visit, fact=fact))
            keeper.wait(lambda: len(contents(settings, "association-log", AssociationDecision)) >= 6)
            keeper.wait(lambda: caught_up(settings))
            assert keeper.deaths == {"association": [-9]}  # the broker's death killed nobody
        assert_known_objects(settings, expected)
        log = contents(settings, "association-log", AssociationDecision)
        assert [datum for _, datum in log[:4]] == expected.log
        assert [decision.sequence for decision, _ in log[4:]] == [1, 2]
        assert log[4][0].new_objects == tuple(more["diaSourceId"].tolist())
        assert log[5][0].quarantined == {"detector:6": "the result at its place in the log has another digest"}
        assert [letter.code for letter, _ in contents(settings, "dlq.visit-events", DeadLetter)] == [
            "undecodable_event",
            "never_closed",
        ]
        (letter,) = (letter for letter, _ in contents(settings, "dlq.object-updates", DeadLetter))
        assert (letter.code, letter.origin_topic, letter.payload) == (
            "unknown_schema",
            "object-updates",
            b"\x00\x00\x00\x00\x63nor this",
        )
