"""The view is a fold of messages: any batches, repeats and order of partitions give the same tables."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from infra.errors import RegistryUnavailableError
from schemas import events
from streams.views import nights, queries, tables
from streams.views.database import open_database
from streams.views.errors import NotInViewError
from streams.views.fold import Folder, Message
from streams.views.queries import AlertSearch
from streams.views.reader import writing
from streams.views.sky import Cone
from streams.views.view import View
from tests.support.packets import build_sky
from tests.support.toolkits import alert_messages, fill, make_view, messages_of

STORIES = build_sky(objects=3, epochs=4)
ALERTS = [alert for story in STORIES for alert in story.alerts]


@pytest.fixture
def view(tmp_path: Path) -> View:
    """A view of three objects of four alerts each."""
    made = make_view(tmp_path)
    fill(made, messages_of(made.codec, STORIES))
    return made


def contents(view: View) -> dict[str, list[Any]]:
    """Return every table, without the order of arrival."""
    with view.reading() as connection:
        return {
            name: sorted(
                tuple(v for k, v in row.items() if not (name == "alerts" and k == "sequence"))
                for row in connection.execute(select(table)).mappings()
            )
            for name, table in tables.metadata.tables.items()
            if name != "positions"
        }


def test_an_alert_is_kept_byte_for_byte(view: View) -> None:
    with view.reading() as connection:
        assert [queries.packet(connection, alert.alert_id) for alert in ALERTS] == [alert.framed for alert in ALERTS]


def test_the_index_says_what_the_packet_says(view: View) -> None:
    alert = ALERTS[1]
    source = alert.record["diaSource"]
    with view.reading() as connection:
        row = queries.alert(connection, alert.alert_id)
    assert (row.object_id, row.visit, row.detector, row.band) == (
        alert.object_id,
        alert.visit,
        alert.detector,
        source["band"],
    )
    assert (row.ra, row.dec, row.mjd) == (source["ra"], source["dec"], source["midpointMjdTai"])
    assert row.snr == pytest.approx(source["snr"], rel=1e-6)
    assert row.size == len(alert.framed)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=6), repeats=st.integers(0, 2))
def test_batches_and_repeats_change_nothing(
    cuts: list[int], repeats: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole, parts = (make_view(tmp_path_factory.mktemp("fold")) for _ in range(2))
    messages = messages_of(whole.codec, STORIES)
    messages_of(parts.codec, STORIES)  # registers the same schemas under the same ids
    assert fill(whole, messages) == len(messages)
    bounds = [0, *sorted(min(cut, len(messages)) for cut in cuts), len(messages)]
    for start, end in itertools.pairwise(bounds):
        for _ in range(1 + repeats):
            fill(parts, messages[start:end])
    assert contents(parts) == contents(whole)


def test_a_failure_in_the_middle_leaves_neither_rows_nor_positions(view: View) -> None:
    class Broken:
        def register(self, subject: str, schema: str) -> int:
            raise AssertionError

        def schema(self, identifier: int) -> str:
            raise RegistryUnavailableError("the registry does not answer")

    from schemas.wire import EventCodec

    before = contents(view)
    messages = alert_messages(build_sky(objects=1, epochs=1), first_offset=500)
    foreign = dataclasses.replace(messages[0], topic="diaobjects", value=b"\x00\x00\x00\x00\x63abc", offset=900)
    with pytest.raises(RegistryUnavailableError), writing(view.engine) as connection:
        Folder(EventCodec(Broken()), Broken().schema).fold(connection, [*messages, foreign])
    assert contents(view) == before


def test_a_broken_message_is_noted_and_passed_over(view: View) -> None:
    broken = Message(topic="alert-store", partition=1, offset=0, key=b"1", value=b"\x00\x00\x00\x04\x4dnonsense")
    unknown = Message(topic="job-ledger", partition=0, offset=10_000, key=b"x", value=b"\x00\x00\x00\x03\xe7abc")
    assert fill(view, [broken, unknown]) == 2
    with view.reading() as connection:
        faults = connection.execute(select(tables.faults).order_by(tables.faults.c.topic)).all()
        assert queries.count_alerts(connection) == len(ALERTS)
    assert [(fault.topic, fault.offset) for fault in faults] == [("alert-store", 0), ("job-ledger", 10_000)]
    assert "no alert packet" in faults[0].reason


def test_a_tombstone_takes_an_object_away(view: View) -> None:
    gone = STORIES[0].object_id
    fill(view, [Message(topic="diaobjects", partition=0, offset=99, key=str(gone).encode(), value=None)])
    with view.reading() as connection, pytest.raises(NotInViewError, match="no object"):
        queries.dia_object(connection, gone)


def test_an_annotation_is_never_replaced(view: View) -> None:
    first = _note("n1", "first")
    messages = [
        Message(
            topic="alert-annotations",
            partition=0,
            offset=n,
            key=b"n1",
            value=view.codec.encode("alert-annotations", note),
        )
        for n, note in enumerate([first, dataclasses.replace(first, explanation="forged")])
    ]
    fill(view, messages)
    fill(view, [dataclasses.replace(messages[1], offset=7)])
    with view.reading() as connection:
        assert queries.annotation(connection, "n1").explanation == "first"


@pytest.mark.parametrize(("radius", "expected"), [(1.0, 1), (20.0, 2), (40.0, 3)])
def test_a_cone_about_right_ascension_zero(view: View, radius: float, expected: int) -> None:
    cone = Cone(ra=359.999, dec=-1.25, radius_arcsec=radius)
    with view.reading() as connection:
        found = queries.objects_near(connection, cone)
        alerts = queries.search_alerts(connection, AlertSearch(cone=cone, limit=500))
    assert [row.object_id for row in found] == [story.object_id for story in STORIES[:expected]]
    assert len(alerts) == 4 * expected
    assert [row.separation_arcsec for row in found] == sorted(row.separation_arcsec or 0 for row in found)


def test_a_cone_about_a_pole_holds_every_right_ascension(view: View) -> None:
    with view.reading() as connection:
        assert len(queries.objects_near(connection, Cone(ra=123.0, dec=-90.0, radius_arcsec=89.5 * 3600))) == 3


def test_pages_follow_one_another_without_gap_or_repeat(view: View) -> None:
    with view.reading() as connection:
        seen: list[int] = []
        before = None
        while rows := queries.search_alerts(connection, AlertSearch(limit=5, before=before)):
            seen += [row.alert_id for row in rows]
            before = (rows[-1].mjd, rows[-1].alert_id)
    truth = sorted(
        ALERTS, key=lambda alert: (alert.record["diaSource"]["midpointMjdTai"], alert.alert_id), reverse=True
    )
    assert seen == [alert.alert_id for alert in truth]


def test_filters_are_those_of_a_plain_loop(view: View) -> None:
    search = AlertSearch(bands=("g", "i"), snr_min=20.0, mjd_min=61406.0, mjd_max=61407.11, limit=500)
    with view.reading() as connection:
        found = {row.alert_id for row in queries.search_alerts(connection, search)}
    truth = {
        alert.alert_id
        for alert in ALERTS
        if (source := alert.record["diaSource"])["band"] in ("g", "i")
        and source["snr"] >= 20
        and 61406.0 <= source["midpointMjdTai"] <= 61407.11
    }
    assert found == truth != set()


def test_a_night_is_its_visits(view: View) -> None:
    with view.reading() as connection:
        night = nights.latest_night(connection)
        visits = nights.visits_of_night(connection, night or 0)
    assert night == 20270102
    assert [(row.alerts, row.published, row.complete, row.jobs) for row in visits] == [
        (3, 3, True, {"succeeded": 4})
    ] * 2


def test_tables_of_another_version_are_made_anew(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(view.engine.url)
    view.engine.dispose()
    monkeypatch.setattr(tables, "VERSION", tables.VERSION + 1)
    again = open_database(url)
    with again.connect() as connection:
        assert queries.count_alerts(connection) == 0


def _note(identifier: str, text: str) -> events.Annotation:
    return events.Annotation(
        annotation_id=identifier, target_kind="object", target_id=STORIES[0].object_id, author="Ada", author_kind="human",
        topic="remark", version="", created_unix_s=1.0, classification="", explanation=text, data="", url="",
    )  # fmt: skip
