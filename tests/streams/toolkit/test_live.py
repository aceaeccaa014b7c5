"""Streams of news: each selected alert once, in order of arrival, from where the reader was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

from streams.toolkit.api_system import event_stream
from streams.toolkit.service import Toolkit
from tests.support.packets import build_sky
from tests.support.toolkits import alert_messages, fill, make_toolkit

STORIES = build_sky(objects=2, epochs=2)


def test_a_stream_gives_what_is_new_and_wakes_for_what_comes(tmp_path: Path) -> None:
    toolkit = make_toolkit(tmp_path)
    messages = alert_messages(STORIES)

    async def listen() -> list[str]:
        toolkit.changes.attach(asyncio.get_running_loop())
        stream = event_stream(toolkit, 0, lambda _row: True, lambda row: str(row.alert_id))
        found: list[str] = []
        for batch in (messages[:1], messages[1:]):
            fill(toolkit.view, batch)
            toolkit.changes.ring()
            found += [await next_alert(stream) for _ in batch]
        toolkit.changes.close()
        rest = [event async for event in stream]
        assert not any("event: alert" in event for event in rest)
        return found

    found = asyncio.run(asyncio.wait_for(listen(), 20))
    assert [line for event in found for line in event.splitlines() if line.startswith("id")] == [
        f"id: {number}" for number in range(1, 5)
    ]
    assert [event.split("data: ")[1].strip() for event in found] == [
        message.key.decode() for message in messages if message.key
    ]


def test_the_filter_holds_back_what_was_not_asked_for(tmp_path: Path) -> None:
    toolkit = make_toolkit(tmp_path, STORIES)

    async def listen() -> list[str]:
        toolkit.changes.attach(asyncio.get_running_loop())
        stream = event_stream(toolkit, 0, lambda row: row.band == "r", lambda row: row.band or "")
        found = [await next_alert(stream) for _ in range(2)]
        toolkit.changes.close()
        return found

    assert all("data: r" in event for event in asyncio.run(asyncio.wait_for(listen(), 20)))


def test_a_reader_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    toolkit = make_toolkit(tmp_path, STORIES)

    async def listen() -> list[str]:
        toolkit.changes.attach(asyncio.get_running_loop())
        stream = event_stream(toolkit, 2, lambda _row: True, lambda row: str(row.alert_id))
        found = [await next_alert(stream) for _ in range(2)]
        toolkit.changes.close()
        return found

    found = asyncio.run(asyncio.wait_for(listen(), 20))
    assert [event.splitlines()[0] for event in found] == ["id: 3", "id: 4"]


def test_the_health_is_told_first(tmp_path: Path) -> None:
    toolkit = make_toolkit(tmp_path)

    async def first_two(toolkit: Toolkit) -> list[str]:
        toolkit.changes.attach(asyncio.get_running_loop())
        stream = event_stream(toolkit, 0, lambda _row: True, lambda _row: "")
        return [await anext(stream), await anext(stream)]

    retry, status = asyncio.run(first_two(toolkit))
    assert retry.startswith("retry:")
    assert json.loads(status.split("data: ")[1])["status"] == "ok"


async def next_alert(stream: AsyncIterator[str]) -> str:
    """Return the next event that is an alert."""
    async for event in stream:
        if "event: alert" in event:
            return event
    raise AssertionError("the stream ended")
