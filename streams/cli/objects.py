"""``nightcast objects``: DIAObjects and their histories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.common import JsonOption, console, load, one_sentence_errors, print_json, print_table

if TYPE_CHECKING:
    from streams.toolkit.lightcurve import Measurement
    from streams.toolkit.service import Toolkit
    from streams.views.view import View

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.command()
def show(
    object_id: Annotated[str, typer.Argument(help="Id of the object.")],
    as_json: JsonOption = False,
) -> None:
    """Show an object: where it is, its light curve, its alerts and what people say of it."""
    from streams.cli.view_access import current_view, identifier_of
    from streams.toolkit.lightcurve import utc_texts
    from streams.toolkit.models import Alert, Annotation, LightCurve, ObjectAnswer
    from streams.toolkit.service import decode_object
    from streams.toolkit.sheet import json_record
    from streams.views import queries

    with one_sentence_errors(), current_view(load()) as view:
        number = identifier_of(object_id)
        with view.reading() as connection:
            row = queries.dia_object(connection, number)
            record = queries.dia_object_record(connection, number) or b""
            alerts = queries.alerts_of_object(connection, number)
            targets = [("object", number), *(("alert", alert.alert_id) for alert in alerts)]
            notes = queries.annotations_of(connection, targets)
        points = _toolkit(view).light_curve(number)
    if as_json:
        answer = ObjectAnswer.of(row, json_record(decode_object(record), "diaObject")).model_dump()
        curve = LightCurve.of(number, points, utc_texts([point.mjd for point in points]))
        answer["light_curve"] = curve.model_dump()["points"]
        answer["alerts"] = [Alert.of(alert).model_dump() for alert in alerts]
        answer["annotations"] = [Annotation.of(note).model_dump() for note in notes]
        print_json(answer)
        return
    _print_header(number, row.ra, row.dec, row.n_sources)
    _print_curve(points)
    remarks = [(_clock(note.created_unix_s), note.author, note.classification, note.explanation) for note in notes]
    print_table("Annotations", ("time", "author", "class", "remark"), remarks, empty="No annotation.")


@app.command()
def near(
    position: Annotated[str, typer.Argument(help="Degrees '359.999 -1.25' or sexagesimal '23:59:59.8 -01:15:00'.")],
    radius: Annotated[float, typer.Option(min=0.001, help="Arcseconds.")] = 10.0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List the objects about a position, nearest first."""
    from streams.cli.view_access import current_view
    from streams.toolkit.models import ObjectAnswer
    from streams.views import queries
    from streams.views.sky import Cone, parse_position, sexagesimal

    with one_sentence_errors():
        ra, dec = parse_position(position)
        with current_view(load()) as view, view.reading() as connection:
            rows = queries.objects_near(connection, Cone(ra=ra, dec=dec, radius_arcsec=radius), limit)
    if as_json:
        print_json([ObjectAnswer.of(row).model_dump(exclude={"record"}) for row in rows])
        return
    lines = [
        (row.object_id, f'{row.separation_arcsec or 0:.3f}"', f"{row.ra:.6f} {row.dec:+.6f}", row.n_sources)
        for row in rows
    ]
    title = f'Objects within {radius:g}" of {sexagesimal(ra, dec)}'
    print_table(title, ("object", "separation", "RA, Dec", "detections"), lines, empty="No object is there.")


def _toolkit(view: View) -> Toolkit:
    from streams.toolkit.live import Changes
    from streams.toolkit.notes import KafkaAnnotationLog
    from streams.toolkit.service import Toolkit

    settings = load()
    log = KafkaAnnotationLog(settings.bootstrap, view.codec)
    return Toolkit(settings=settings, view=view, log=log, changes=Changes())


def _print_header(number: int, ra: float, dec: float, detections: int) -> None:
    from streams.views.sky import galactic, sexagesimal

    longitude, latitude = galactic(ra, dec)
    console.print(f"[bold]DIAObject {number}[/]   {detections} detections")
    console.print(f"ICRS {ra:.6f} {dec:+.6f}   {sexagesimal(ra, dec)}   galactic {longitude:.5f} {latitude:+.5f}\n")


def _print_curve(points: list[Measurement]) -> None:
    from streams.toolkit.present import ab_magnitude, flux_text

    lines = []
    for point in points:
        magnitude = ab_magnitude(point.science_flux)
        lines.append(
            (
                f"{point.mjd:.5f}",
                point.kind,
                point.band or "?",
                flux_text(point.flux, point.flux_error),
                "" if magnitude is None else f"{magnitude:.2f}",
                "" if point.snr is None else f"{point.snr:.1f}",
                point.visit,
            )
        )
    columns = ("MJD TAI", "kind", "band", "difference flux", "total mag", "S/N", "visit")
    print_table(f"Light curve: {len(lines)} measurements", columns, lines, empty="No alert of it is in the store.")


def _clock(unix_s: float) -> str:
    from streams.toolkit.present import FILTERS

    return str(FILTERS["clock"](unix_s))
