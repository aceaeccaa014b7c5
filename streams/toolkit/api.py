"""HTTP API, version 1: alerts and objects."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, File, Query, Response, UploadFile

from schemas.wire import unframe
from streams.alert_files import export_avro, export_fits, export_json, validate
from streams.toolkit.dependencies import TheToolkit, identifier
from streams.toolkit.filters import Filters, cursor_of, search_of
from streams.toolkit.lightcurve import light_curve_csv, utc_texts
from streams.toolkit.models import Alert, AlertPage, LightCurve, ObjectAnswer, OpenedPacket, Problem
from streams.toolkit.service import decode_object, record_as_json
from streams.toolkit.sheet import json_record
from streams.toolkit.stamps import ROLES, Stretch, png
from streams.views import queries
from streams.views.errors import NotInViewError, RequestError
from streams.views.sky import Cone, parse_position

__all__ = ["FOREVER", "MAXIMUM_UPLOAD_BYTES", "router", "read_upload"]

router = APIRouter(prefix="/api/v1", responses={404: {"model": Problem}, 422: {"model": Problem}})

FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
"""For what can never change: an alert as sent, and pictures of it whose stretch is in their address."""

MAXIMUM_UPLOAD_BYTES = 32 << 20


@router.get("/alerts", tags=["alerts"])
def list_alerts(
    toolkit: TheToolkit,
    filters: Annotated[Filters, Depends()],
    before: Annotated[str, Query(description="`next` of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> AlertPage:
    """Search alerts, latest first."""
    with toolkit.view.reading() as connection:
        rows = queries.search_alerts(connection, search_of(filters, before=before, limit=limit))
    following = cursor_of(rows[-1]) if len(rows) == limit else None
    return AlertPage(alerts=[Alert.of(row) for row in rows], next=following)


@router.get("/alerts/{alert_id}", tags=["alerts"])
def get_alert(toolkit: TheToolkit, alert_id: str) -> Alert:
    """Return an alert's line in the index."""
    with toolkit.view.reading() as connection:
        return Alert.of(queries.alert(connection, identifier(alert_id)))


@router.get("/alerts/{alert_id}/packet", tags=["alerts"])
def get_packet(
    toolkit: TheToolkit, alert_id: str, form: Annotated[Literal["sent", "avro", "json", "fits"], Query()] = "json"
) -> Response:
    """Return the packet: exactly as sent (wire format), or as an Avro container, JSON, or FITS of its stamps."""
    number = identifier(alert_id)
    message = toolkit.packet(number)
    headers = {**FOREVER, "ETag": f'"{hashlib.sha256(unframe(message)[1]).hexdigest()}-{form}"'}
    if form == "json":
        opened = toolkit.opened(number)
        return Response(export_json(opened, with_stamps=True), media_type="application/json", headers=headers)
    body = {"sent": lambda: message, "avro": lambda: export_avro(toolkit.opened(number))}.get(
        form, lambda: export_fits(toolkit.opened(number))
    )()
    ending = {"sent": "bin", "avro": "avro", "fits": "fits"}[form]
    return _download(body, f"alert-{number}.{ending}", "application/fits" if form == "fits" else "avro/binary", headers)


@router.get("/alerts/{alert_id}/stamps/{role}.fits", tags=["alerts"])
def get_stamp_fits(toolkit: TheToolkit, alert_id: str, role: str) -> Response:
    """Return a stamp (science, template, difference) as FITS, exactly as in the packet."""
    number = identifier(alert_id)
    data = toolkit.stamp_file(number, role)
    return _download(data, f"alert-{number}-{role}.fits", "application/fits", FOREVER)


@router.get("/alerts/{alert_id}/stamps/{role}.png", tags=["alerts"])
def get_stamp_png(
    toolkit: TheToolkit,
    alert_id: str,
    role: str,
    stretch: Annotated[
        str, Query(description="black, white, softening and centre in nJy; the alert's own by default")
    ] = "",
) -> Response:
    """Return a stamp as a picture, one pixel a pixel, first row at the bottom."""
    number = identifier(alert_id)
    found = toolkit.stamps_of(number).get(role)
    if found is None or role not in ROLES:
        raise NotInViewError(f"Alert {number} has no {role} stamp that can be read.")
    chosen = Stretch.decoded(stretch) if stretch else toolkit.stretch_of([number])[role]
    return Response(png(found.pixels, chosen), media_type="image/png", headers=FOREVER)


@router.get("/objects", tags=["objects"])
def list_objects(
    toolkit: TheToolkit,
    position: Annotated[str, Query(description="degrees or sexagesimal, as '359.999 -1.25'", max_length=80)],
    radius: Annotated[float, Query(gt=0, le=648_000, description="arcseconds")] = 10.0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[ObjectAnswer]:
    """Return the objects about a position, nearest first."""
    ra, dec = parse_position(position)
    with toolkit.view.reading() as connection:
        rows = queries.objects_near(connection, Cone(ra=ra, dec=dec, radius_arcsec=radius), limit)
    return [ObjectAnswer.of(row) for row in rows]


@router.get("/objects/{object_id}", tags=["objects"])
def get_object(toolkit: TheToolkit, object_id: str) -> ObjectAnswer:
    """Return an object as it is known now."""
    number = identifier(object_id)
    with toolkit.view.reading() as connection:
        row = queries.dia_object(connection, number)
        record = queries.dia_object_record(connection, number)
    return ObjectAnswer.of(row, None if record is None else json_record(decode_object(record), "diaObject"))


@router.get("/objects/{object_id}/alerts", tags=["objects"])
def get_object_alerts(toolkit: TheToolkit, object_id: str) -> list[Alert]:
    """Return an object's alerts, oldest first."""
    with toolkit.view.reading() as connection:
        return [Alert.of(row) for row in queries.alerts_of_object(connection, identifier(object_id))]


@router.get("/objects/{object_id}/light-curve", tags=["objects"])
def get_light_curve(toolkit: TheToolkit, object_id: str) -> LightCurve:
    """Return every detection and forced measurement of an object, earliest first."""
    number = identifier(object_id)
    points = toolkit.light_curve(number)
    return LightCurve.of(number, points, utc_texts([point.mjd for point in points]))


@router.get("/objects/{object_id}/light-curve.csv", tags=["objects"])
def get_light_curve_csv(toolkit: TheToolkit, object_id: str) -> Response:
    """Return the light curve as comma-separated values."""
    number = identifier(object_id)
    text = light_curve_csv(toolkit.light_curve(number))
    return _download(text.encode(), f"object-{number}.csv", "text/csv; charset=utf-8", {})


@router.post("/packets", tags=["alerts"])
async def open_packet(toolkit: TheToolkit, file: Annotated[UploadFile, File()]) -> list[OpenedPacket]:
    """Open a packet file that anyone made, judge it by the gate's rules, and return it as JSON; nothing is kept."""
    return [
        OpenedPacket(
            alert_id=str(opened.alert_id),
            schema_name=opened.schema_name,
            schema_id=opened.schema_id,
            violations=[{"rule": found.rule, "sentence": found.sentence} for found in validate(opened)],
            record=record_as_json(opened),
        )
        for opened in toolkit.open_bytes(await read_upload(file))
    ]


async def read_upload(file: UploadFile) -> bytes:
    """Return an uploaded file's bytes.

    Raises
    ------
    RequestError
        When it is empty or larger than any alert.
    """
    data = await file.read(MAXIMUM_UPLOAD_BYTES + 1)
    if not data:
        raise RequestError("The file is empty; choose an .avro or .bin file with an alert.")
    if len(data) > MAXIMUM_UPLOAD_BYTES:
        raise RequestError(f"The file is larger than {MAXIMUM_UPLOAD_BYTES >> 20} MiB; send single alerts.")
    return data


def _download(body: bytes, name: str, media_type: str, headers: dict[str, str]) -> Response:
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(body, media_type=media_type, headers={**headers, **disposition})
