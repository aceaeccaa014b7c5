"""The reader against a real broker: exactly once into the view, however often it dies."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from infra.errors import KafkaUnavailableError
from infra.ports import free_port
from infra.settings import load_settings
from streams.views import queries, tables
from streams.views.queries import AlertSearch
from streams.views.view import View, open_view
from tests.support.engine import RunningEngine
from tests.support.packets import build_sky
from tests.support.toolkits import put_into_kafka
from tests.support.waiting import PATIENCE_S

STORIES = build_sky(objects=2, epochs=3, ra=120.0, dec=33.0)
IDS = {alert.alert_id for story in STORIES for alert in story.alerts}


@pytest.fixture(scope="module")
def filled(broker: RunningEngine) -> RunningEngine:
    """The broker with built alerts in its topics."""
    put_into_kafka(broker.bootstrap, broker.registry_url, STORIES)
    return broker


def view_of(engine: RunningEngine, folder: Path) -> View:
    """Open a view of its own on the engine's topics."""
    return open_view(engine.settings.model_copy(update={"data_dir": folder}))


def held(view: View) -> set[int]:
    """Return which of our alerts the view holds."""
    with view.reading() as connection:
        return {row.alert_id for row in queries.search_alerts(connection, AlertSearch(limit=10_000))} & IDS


@pytest.mark.broker
def test_catching_up_twice_folds_everything_once(filled: RunningEngine, tmp_path: Path) -> None:
    view = view_of(filled, tmp_path)
    assert view.reader.catch_up() > 0
    assert held(view) == IDS
    assert view.reader.catch_up() == 0
    again = view_of(filled, tmp_path)
    assert again.reader.catch_up() == 0
    with again.reading() as connection:
        assert queries.packet(connection, STORIES[0].alerts[0].alert_id) == STORIES[0].alerts[0].framed


@pytest.mark.broker
def test_two_processes_folding_into_one_view_do_not_collide(filled: RunningEngine, tmp_path: Path) -> None:
    views = [view_of(filled, tmp_path) for _ in range(2)]
    folded: list[int] = []
    threads = [threading.Thread(target=lambda view=view: folded.append(view.reader.catch_up())) for view in views]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    alone = view_of(filled, tmp_path / "alone")
    assert sum(folded) == alone.reader.catch_up()
    # Other tests may have put things into the broker's topics that are no records: both find the same ones.
    faults = []
    for one in (views[0], alone):
        with one.reading() as connection:
            faults.append(sorted(row[:3] for row in connection.execute(select(tables.faults))))
    assert faults[0] == faults[1]
    assert held(views[0]) == IDS


@pytest.mark.broker
def test_rebuilding_gives_the_same_view(filled: RunningEngine, tmp_path: Path) -> None:
    view = view_of(filled, tmp_path)
    folded = view.reader.catch_up()
    assert view.rebuild() == folded
    assert held(view) == IDS


def test_a_broker_that_does_not_answer_is_named(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, kafka={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    view = open_view(settings)
    with pytest.raises(KafkaUnavailableError, match="does not answer"):
        view.reader.catch_up(timeout_s=1.0)
