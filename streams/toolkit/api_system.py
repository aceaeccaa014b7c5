"""HTTP API, version 1: annotations, nights, news and health."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from streams.toolkit.dependencies import OwnPage, TheToolkit, identifier
from streams.toolkit.filters import Filters, matches, search_of
from streams.toolkit.live import heard
from streams.toolkit.models import Alert, Annotation, Health, NewAnnotation, Night, Problem, Visit
from streams.toolkit.notes import add_annotation
from streams.toolkit.service import Toolkit
from streams.views import nights, queries
from streams.views.errors import RequestError
from streams.views.rows import AlertRow

__all__ = ["event_stream", "health_of", "live_response", "router"]

router = APIRouter(prefix="/api/v1", responses={404: {"model": Problem}, 422: {"model": Problem}})

_KEEP_ALIVE_S = 10.0
"""A silent stream says something this often, so that proxies keep it and the banner's state stays fresh."""


@router.get("/annotations", tags=["annotations"])
def list_annotations(
    toolkit: TheToolkit, target_kind: Annotated[str, Query(pattern="^(object|alert)$")], target_id: str
) -> list[Annotation]:
    """Return all remarks on an alert or object, newest first; superseded and retracted ones say so."""
    with toolkit.view.reading() as connection:
        rows = queries.annotations_of(connection, [(target_kind, identifier(target_id))])
    return [Annotation.of(row) for row in rows]


@router.post("/annotations", tags=["annotations"], status_code=201, dependencies=[OwnPage])
def post_annotation(toolkit: TheToolkit, new: NewAnnotation) -> Annotation:
    """Add a remark, supersede one or take one back; returns when it is durable and readable."""
    return Annotation.of(add_annotation(toolkit.view, toolkit.log, new))


@router.get("/annotations/{annotation_id}", tags=["annotations"])
def get_annotation(toolkit: TheToolkit, annotation_id: str) -> Annotation:
    """Return one remark."""
    with toolkit.view.reading() as connection:
        return Annotation.of(queries.annotation(connection, annotation_id))


@router.get("/nights/latest", tags=["nights"])
def get_latest_night(toolkit: TheToolkit) -> Night:
    """Return the latest night and its visits."""
    return _night(toolkit, None)


@router.get("/nights/{day_obs}", tags=["nights"])
def get_night(toolkit: TheToolkit, day_obs: int) -> Night:
    """Return a night (YYYYMMDD) and its visits."""
    return _night(toolkit, day_obs)


@router.get("/visits/{visit}", tags=["nights"])
def get_visit(toolkit: TheToolkit, visit: str) -> Visit:
    """Return one visit."""
    with toolkit.view.reading() as connection:
        return Visit.of(nights.visit(connection, identifier(visit)))


@router.get("/live/alerts", tags=["alerts"], response_class=StreamingResponse)
def live_alerts(
    toolkit: TheToolkit,
    filters: Annotated[Filters, Depends()],
    since: Annotated[str, Query(description="id of the last event seen; only news by default")] = "",
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Send alerts as they come (server-sent events): `alert` with its line in the index, `status` with the health."""
    return live_response(toolkit, filters, last_event_id or since, _as_json)


@router.get("/health", tags=["system"])
def get_health(toolkit: TheToolkit, response: Response) -> Health:
    """Tell whether the toolkit follows Kafka; answers 200 also when it does not, because its pages still work."""
    response.headers["Cache-Control"] = "no-store"
    return health_of(toolkit)


def health_of(toolkit: Toolkit) -> Health:
    """Return the health of the toolkit."""
    reader = toolkit.view.reader
    with toolkit.view.reading() as connection:
        count = queries.count_alerts(connection)
    trouble = reader.trouble
    return Health(status="behind" if trouble else "ok", trouble=trouble, caught_up=reader.caught_up, alerts=count)


def live_response(
    toolkit: Toolkit, filters: Filters, since: str, render: Callable[[AlertRow], str]
) -> StreamingResponse:
    """Return a stream of alerts that come after one, each rendered for its reader."""
    search = search_of(filters)
    if since and not since.isdigit():
        raise RequestError(f"'{since}' is no id of an event.")
    with toolkit.view.reading() as connection:
        start = int(since) if since else queries.last_sequence(connection)

    def select(row: AlertRow) -> bool:
        return matches(row, search)

    stream = event_stream(toolkit, start, select, render)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def event_stream(
    toolkit: Toolkit, start: int, select: Callable[[AlertRow], bool], render: Callable[[AlertRow], str]
) -> AsyncIterator[str]:
    """Yield server-sent events: selected alerts in order of arrival, and the health when it changes."""
    sequence, told = start, None
    yield "retry: 2000\n\n"
    while not toolkit.changes.closed:
        bell = toolkit.changes.bell()
        health = await run_in_threadpool(health_of, toolkit)
        if told != health:
            told = health
            yield _event("status", health.model_dump_json())
        rows = await run_in_threadpool(_news, toolkit, sequence)
        for row in rows:
            sequence = row.sequence
            if select(row):
                yield _event("alert", render(row), sequence)
        if not rows and not await heard(bell, _KEEP_ALIVE_S):
            yield ": still here\n\n"


def _news(toolkit: Toolkit, sequence: int) -> list[AlertRow]:
    with toolkit.view.reading() as connection:
        return queries.alerts_after(connection, sequence)


def _event(name: str, data: str, identifier: int | None = None) -> str:
    lines = [] if identifier is None else [f"id: {identifier}"]
    lines += [f"event: {name}", *(f"data: {line}" for line in data.splitlines() or [""])]
    return "\n".join(lines) + "\n\n"


def _as_json(row: AlertRow) -> str:
    values: dict[str, Any] = Alert.of(row).model_dump()
    return json.dumps(values)


def _night(toolkit: Toolkit, day_obs: int | None) -> Night:
    chosen, visits = toolkit.night(day_obs)
    return Night(day_obs=chosen, visits=[Visit.of(row) for row in visits])
