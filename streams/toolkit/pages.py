"""Pages for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, File, Header, Query, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from fastapi.templating import Jinja2Templates
from pydantic import ValidationError

from streams.alert_files import OpenedAlert, validate
from streams.toolkit.api import read_upload
from streams.toolkit.api_system import health_of, live_response
from streams.toolkit.dependencies import OwnPage, TheToolkit, identifier
from streams.toolkit.filters import BANDS, Filters, cursor_of, search_of
from streams.toolkit.lightcurve import packet_light_curve, utc_texts
from streams.toolkit.models import LightCurve, NewAnnotation
from streams.toolkit.notes import add_annotation
from streams.toolkit.opened import opened_context
from streams.toolkit.present import FILTERS
from streams.toolkit.service import History, Toolkit, decode_object, record_as_json
from streams.toolkit.sheet import compare, property_sheet
from streams.views import moving, nights, queries
from streams.views.errors import RequestError
from streams.views.rows import AlertRow, AnnotationRow
from streams.views.sky import Cone

__all__ = ["page", "router", "packet_context"]

router = APIRouter(include_in_schema=False)

_TEMPLATES = Jinja2Templates(directory=Path(__file__).parent / "templates")
_TEMPLATES.env.filters |= FILTERS
_TEMPLATES.env.trim_blocks = _TEMPLATES.env.lstrip_blocks = True
_TEMPLATES.env.globals["m"] = _TEMPLATES.env.get_template("macros.html").module

_ROLES = ("science", "template", "difference")
_NEIGHBOURS_ARCSEC = 30.0
"""Within this distance other objects are shown beside one: a few seeing discs, where a wrong association would be."""


def page(request: Request, name: str, context: dict[str, Any], status: int = 200) -> HTMLResponse:
    """Return a page made from a template, with what every page needs."""
    toolkit: Toolkit = request.app.state.toolkit
    common = {"health": health_of(toolkit), "bands": BANDS, "roles": _ROLES}
    return _TEMPLATES.TemplateResponse(request, name, common | context, status_code=status)


@router.get("/")
def newest_alerts(
    request: Request, toolkit: TheToolkit, filters: Annotated[Filters, Depends()], before: Annotated[str, Query()] = ""
) -> Response:
    """Show the newest alerts, or those that the filters leave."""
    problem, rows = None, []
    with toolkit.view.reading() as connection:
        sequence = queries.last_sequence(connection)
        try:
            rows = queries.search_alerts(connection, search_of(filters, before=before, limit=_PAGE))
        except RequestError as error:
            problem = error.sentence
    context = {
        "filters": filters,
        "rows": rows,
        "problem": problem,
        "sequence": sequence,
        "following": _next_page(request, rows[-1]) if len(rows) == _PAGE else None,
        "before": before,
        "night": _night_summary(toolkit),
    }
    return page(request, "alerts.html", context, 422 if problem else 200)


_PAGE = 40


@router.get("/live/rows")
def live_rows(
    toolkit: TheToolkit,
    filters: Annotated[Filters, Depends()],
    since: Annotated[str, Query()] = "",
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Send each new alert as a row of the list's table."""
    return live_response(toolkit, filters, last_event_id or since, _render_row)


@router.get("/find")
def find(toolkit: TheToolkit, q: Annotated[str, Query(max_length=80)] = "") -> Response:
    """Lead from the search field to an alert, an object, an orbit or the list about a position."""
    with toolkit.view.reading() as connection:
        named = moving.orbit_of(connection, designation=" ".join(q.split()))
    if named is not None:
        return RedirectResponse(f"/orbits/{quote(named.designation)}", 303)
    search = search_of(_only(q))
    if search.identifier is not None:
        with toolkit.view.reading() as connection:
            if queries.dia_object_record(connection, search.identifier) is not None or queries.alerts_of_object(
                connection, search.identifier
            ):
                return RedirectResponse(f"/objects/{search.identifier}", 303)
            queries.alert(connection, search.identifier)
        return RedirectResponse(f"/alerts/{search.identifier}", 303)
    return RedirectResponse(f"/?{urlencode({'q': q.strip()})}", 303)


@router.get("/objects/{object_id}")
def object_page(request: Request, toolkit: TheToolkit, object_id: str) -> Response:
    """Show everything known of an object."""
    return page(request, "object.html", _object_context(toolkit, toolkit.history(identifier(object_id))))


@router.get("/alerts/{alert_id}")
def alert_page(request: Request, toolkit: TheToolkit, alert_id: str) -> Response:
    """Show an alert as it was sent, beside its object as it is now."""
    number = identifier(alert_id)
    with toolkit.view.reading() as connection:
        alert = queries.alert(connection, number)
        record = None if alert.object_id is None else queries.dia_object_record(connection, alert.object_id)
        targets = [("alert", number)]
        notes = queries.annotations_of(connection, targets)
        siblings = [] if alert.object_id is None else queries.alerts_of_object(connection, alert.object_id)
    opened = toolkit.opened(number)
    sent, now = opened.record.get("diaObject"), None if record is None else decode_object(record)
    context = {
        "alert": alert,
        "siblings": siblings,
        "comparison": compare(sent, now, "diaObject") if sent and now else [],
        "now": now,
        "stamps": toolkit.stamps_of(number),
        "stretch": toolkit.stretch_of([row.alert_id for row in siblings] or [number]),
        "provenance": toolkit.provenance(alert),
        "notes": _threads(notes),
        "target": ("alert", number),
        **packet_context(opened, toolkit),
    }
    return page(request, "alert.html", context)


@router.get("/open")
def open_form(request: Request) -> Response:
    """Offer to open a packet file."""
    return page(request, "open.html", {"opened": [], "name": ""})


@router.post("/open", dependencies=[OwnPage])
async def open_file(request: Request, toolkit: TheToolkit, file: Annotated[UploadFile, File()]) -> Response:
    """Show the alerts of a packet file; nothing is kept."""
    opened = toolkit.open_bytes(await read_upload(file))
    shown = [opened_context(one) | packet_context(one, None) for one in opened[:_SHOWN_OF_FILE]]
    context = {"opened": shown, "count": len(opened), "name": file.filename or "the file"}
    return page(request, "open.html", context)


_SHOWN_OF_FILE = 5
"""Alerts of one container that are shown: each brings its stamps inside the page."""


@router.get("/nights")
@router.get("/nights/{day_obs}")
def night_page(request: Request, toolkit: TheToolkit, day_obs: int | None = None) -> Response:
    """Show the visits of a night."""
    chosen, visits = toolkit.night(day_obs)
    return page(request, "night.html", {"day_obs": chosen, "visits": visits, "night": _night_summary(toolkit, day_obs)})


@router.get("/visits/{visit}")
def visit_page(request: Request, toolkit: TheToolkit, visit: str) -> Response:
    """Lead to the alerts of a visit."""
    with toolkit.view.reading() as connection:
        row = nights.visit(connection, identifier(visit))
    return RedirectResponse(f"/?visit={row.visit}", 303)


@router.get("/api")
def api_page(request: Request) -> Response:
    """Describe the HTTP API, without the network that other descriptions need."""
    operations = [
        {"path": path, "method": method.upper(), **operation}
        for path, methods in request.app.openapi()["paths"].items()
        for method, operation in methods.items()
    ]
    return page(request, "api.html", {"operations": operations})


@router.post("/annotations", dependencies=[OwnPage])
async def annotate(request: Request, toolkit: TheToolkit) -> Response:
    """Add a remark from the form of a page, and lead back to it."""
    form = {name: str(value) for name, value in (await request.form()).items() if value != ""}
    try:
        new = NewAnnotation.model_validate(form)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(f"The field {'.'.join(map(str, first['loc']))} is wrong: {first['msg'].lower()}.") from error
    note = await run_in_threadpool(add_annotation, toolkit.view, toolkit.log, new)
    where = "objects" if note.target_kind == "object" else "alerts"
    return RedirectResponse(f"/{where}/{note.target_id}#note-{note.annotation_id}", 303)


def packet_context(opened: OpenedAlert, toolkit: Toolkit | None) -> dict[str, Any]:
    """Return what the panels about one packet show: sheets, raw record, light curve, verdict of the gate."""
    record = opened.record
    names = ("diaSource", "diaObject", "ssSource", "mpc_orbits") if opened.is_lsst else ("candidate",)
    sheets = {name: property_sheet(record[name], name) for name in names if record.get(name)}
    points = packet_light_curve(record) if opened.is_lsst else []
    curve = LightCurve.of(None, points, utc_texts([point.mjd for point in points]))
    return {
        "packet": opened,
        "sheets": sheets,
        "raw": json.dumps(record_as_json(opened), indent=2, ensure_ascii=False),
        "violations": validate(opened),
        "curve": curve.model_dump(),
        "held": toolkit is not None,
    }


def _object_context(toolkit: Toolkit, history: History) -> dict[str, Any]:
    ra, dec = history.position
    with toolkit.view.reading() as connection:
        near = queries.objects_near(connection, Cone(ra=ra, dec=dec, radius_arcsec=_NEIGHBOURS_ARCSEC), 12)
        alerts = [("alert", epoch.alert.alert_id) for epoch in history.epochs]
        notes = queries.annotations_of(connection, [("object", history.object_id), *alerts])
    points = list(history.points)
    curve = LightCurve.of(history.object_id, points, utc_texts([point.mjd for point in points]))
    newest = history.newest
    return {
        "history": history,
        "position": (ra, dec),
        "curve": curve.model_dump(),
        "points": curve.points,
        "neighbours": [row for row in near if row.object_id != history.object_id],
        "notes": _threads(notes),
        "target": ("object", history.object_id),
        "object_sheet": property_sheet(history.record, "diaObject") if history.record else [],
        "provenance": toolkit.provenance(history.epochs[-1].alert) if history.epochs else None,
        **(packet_context(newest, toolkit) | {"curve": curve.model_dump()} if newest else {"packet": None}),
    }


def _threads(notes: list[AnnotationRow]) -> list[AnnotationRow]:
    """Return remarks newest first; a retraction says nothing by itself and shows on the remark that it takes back."""
    return [note for note in notes if not (note.retracts and not note.explanation and not note.classification)]


def _night_summary(toolkit: Toolkit, day_obs: int | None = None) -> dict[str, Any]:
    chosen, visits = toolkit.night(day_obs)
    done = [row for row in visits if row.published is not None]
    slowest = max((row.latency_max_s for row in done if row.latency_max_s is not None), default=None)
    p95 = max((row.latency_p95_s for row in done if row.latency_p95_s is not None), default=None)
    return {
        "day_obs": chosen,
        "visits": len(visits),
        "closed": len(done),
        "alerts": sum(row.alerts for row in visits),
        "expected": sum(row.expected or 0 for row in done),
        "published": sum(row.published or 0 for row in done),
        "quarantined": sum(row.quarantined or 0 for row in done),
        "complete": bool(done) and all(row.complete for row in done),
        "latency_p95_s": p95,
        "latency_max_s": slowest,
    }


def _render_row(row: AlertRow) -> str:
    return _TEMPLATES.env.get_template("alert_row.html").render(row=row, fresh=True)


def _next_page(request: Request, last: AlertRow) -> str:
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "before" and value]
    return "?" + urlencode([*kept, ("before", cursor_of(last))])


def _only(q: str) -> Filters:
    return Filters(q=q)
