"""Association and alert assembly as processes on the real broker: the same bytes whatever dies, repeats or is partitioned."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.faults import CrashPoints
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
    ObjectUpdate,
)
from schemas.tables import Table
from tests.support.association_night import Expected, Telescope, by_name, contents, plan_night, stages
from tests.support.engine import running_engine

pytestmark = pytest.mark.broker

POINTS = ("association-decided", "association-logged", "association-folded", "association", "alert-assembly")
STAGES = ("association", "alert-assembly")


def alerts_are_there(settings: Settings, expected: Expected) -> bool:
    found = {alert.alert_id for alert, _ in contents(settings, "alert-packets", AssembledAlert)}
    return found >= set(expected.alerts)


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


@pytest.mark.parametrize(("partitions", "times", "points"), [(4, 1, POINTS), (1, 2, ()), (16, 1, ("association",))])
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
            keeper.wait(lambda: alerts_are_there(settings, expected), for_s=150.0)
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
