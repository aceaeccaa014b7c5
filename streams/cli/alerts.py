"""``nightcast alerts``: follow, show, check and export the published alerts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.common import JsonOption, console, load, one_sentence_errors, print_json, print_table

if TYPE_CHECKING:
    from streams.alert_files import OpenedAlert
    from streams.views.view import View

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.command()
def tail(
    topic: Annotated[str | None, typer.Option(help="Public topic (setting: lsst-alerts-v11).")] = None,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", "-b", help="Also what is there already.")] = False,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many alerts.")] = None,
    until_end: Annotated[bool, typer.Option("--until-end", "-e", help="End at the end of the topic.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Follow the public topic, an alert a line, as a program of any broker would; end it with Ctrl-C."""
    from streams.cli.tail import Follower, asked_to_end, line_of

    settings = load()
    ended = asked_to_end()
    seen = 0
    with one_sentence_errors(), ExitStack() as stack:
        follower = Follower(
            settings.bootstrap, settings.registry_url, topic or settings.alerts.topic, from_beginning=from_beginning
        )
        stack.callback(follower.close)
        follower.start()
        try:
            for message, record in follower.alerts(ended, until_end=until_end):
                size = len(message.value() or b"")
                line = _json_line(record, follower.schema(message)) if as_json else line_of(record, size)
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
                seen += 1
                if seen == count:
                    break
        except BrokenPipeError:
            # the reader of our output, such as `head`, has gone: nothing more to say, also not at exit
            sys.stdout = sys.__stderr__ or sys.stderr
    if not as_json:
        typer.echo(f"{seen} alert{'' if seen == 1 else 's'}.", err=True)


@app.command()
def show(
    what: Annotated[str, typer.Argument(help="Id of an alert in the store, or an alert file.")],
    as_json: JsonOption = False,
    with_stamps: Annotated[bool, typer.Option("--with-stamps", help="With --json: the stamps too, in base64.")] = False,
) -> None:
    """Show one alert: what it is of, its history, its stamps, and which rules it breaks."""
    from streams.alert_files import export_json
    from streams.alert_text import show as as_text

    with one_sentence_errors():
        for alert in _opened([what]):
            if as_json:
                typer.echo(export_json(alert, with_stamps=with_stamps))
            else:
                console.print(as_text(alert))


@app.command()
def validate(
    what: Annotated[list[str] | None, typer.Argument(help="Ids in the store, or alert files.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every alert of the store.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge alerts by the rules of the publication gate; exit code 1 when one breaks a rule."""
    from streams.alert_files import validate as judge

    if not what and not everything:
        raise typer.BadParameter("name files or ids, or say --all")
    found: list[dict[str, Any]] = []
    count = 0
    with one_sentence_errors():
        for alert in _everything() if everything else _opened(what or []):
            count += 1
            found += [
                {"alert_id": str(alert.alert_id), "rule": broken.rule, "sentence": broken.sentence}
                for broken in judge(alert)
            ]
    if as_json:
        print_json({"alerts": count, "violations": found})
    else:
        rows = [(one["alert_id"], one["rule"], one["sentence"]) for one in found]
        kept = f"{count} alert{'' if count == 1 else 's'}: every rule is kept."
        print_table(f"{count} alerts, {len(found)} rules broken", ("alert", "rule", "what is wrong"), rows, empty=kept)
    if found:
        raise typer.Exit(1)


@app.command("list")
def list_alerts(
    query: Annotated[str, typer.Argument(help="Id of an alert or object, or a position; all when left out.")] = "",
    radius: Annotated[float | None, typer.Option(help="About the position, arcseconds (10).")] = None,
    band: Annotated[list[str] | None, typer.Option(help="Only these bands.")] = None,
    snr_min: Annotated[float | None, typer.Option(help="Least S/N on the difference image.")] = None,
    visit: Annotated[str, typer.Option(help="Only this visit.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 40,
    as_json: JsonOption = False,
) -> None:
    """List alerts of the store, latest first."""
    from streams.cli.view_access import current_view
    from streams.toolkit.filters import Filters, search_of
    from streams.toolkit.models import Alert
    from streams.views import queries

    filters = Filters(
        q=query,
        radius="" if radius is None else str(radius),
        band=band,
        snr_min="" if snr_min is None else str(snr_min),
        visit=visit,
    )
    with one_sentence_errors(), current_view(load()) as view, view.reading() as connection:
        rows = queries.search_alerts(connection, search_of(filters, limit=limit))
    if as_json:
        print_json([Alert.of(row).model_dump() for row in rows])
        return
    columns = ("alert", "object", "MJD TAI", "band", "flux nJy", "S/N", "RA", "Dec", "visit")
    lines = [
        (
            row.alert_id,
            row.object_id or "",
            f"{row.mjd:.5f}",
            row.band or "?",
            "" if row.flux is None else f"{row.flux:.0f}",
            "" if row.snr is None else f"{row.snr:.1f}",
            f"{row.ra:.6f}",
            f"{row.dec:+.6f}",
            row.visit,
        )
        for row in rows
    ]
    print_table("Alerts", columns, lines, empty="No alert matches.")


@app.command()
def export(
    what: Annotated[list[str] | None, typer.Argument(help="Ids of alerts in the store, or files.")] = None,
    of_object: Annotated[list[str] | None, typer.Option("--object", help="All alerts of this object.")] = None,
    form: Annotated[str, typer.Option("--form", "-f", help="avro, json, fits or parquet.")] = "avro",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; a folder for FITS.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every alert of the store.")] = False,
) -> None:
    """Write alerts to a file: one Avro container, JSON lines, a FITS file of stamps for each, or a Parquet table."""
    from streams.cli.export import Form, write_alerts

    if form not in set(Form):
        raise typer.BadParameter(f"'{form}' is none of {', '.join(Form)}", param_hint="--form")
    if not what and not of_object and not everything:
        raise typer.BadParameter("name ids, files or objects, or say --all")
    target = out or Path("alerts" if form == "fits" else f"alerts.{form}")
    with one_sentence_errors():
        alerts = list(_everything()) if everything else [*_opened(what or []), *_of_objects(of_object or [])]
        files = write_alerts(alerts, Form(form), target)
    typer.echo(f"{len(alerts)} alert{'' if len(alerts) == 1 else 's'} in {files[0] if len(files) == 1 else target}")


@app.command()
def rebuild() -> None:
    """Empty the view that pages and commands read, and fold it again from the topics."""
    from streams.views.view import open_view

    with one_sentence_errors():
        view = open_view(load())
        try:
            folded = view.rebuild()
        finally:
            view.engine.dispose()
    typer.echo(f"The view is made again from {folded:,} messages.")


def _opened(what: list[str]) -> Iterator[OpenedAlert]:
    """Open alerts by id and by file."""
    from streams.alert_files import open_alert_file
    from streams.cli.view_access import current_view, identifier_of
    from streams.views import queries
    from streams.views.errors import RequestError

    with ExitStack() as stack:
        view: View | None = None
        for name in what:
            path = Path(name)
            if path.is_file():
                yield from open_alert_file(path)
                continue
            try:
                number = identifier_of(name)
            except RequestError:
                raise RequestError(f"'{name}' is neither an identifier nor a file.") from None
            if view is None:
                view = stack.enter_context(current_view(load()))
            with view.reading() as connection:
                message = queries.packet(connection, number)
            yield from _open_message(view, message)


def _of_objects(numbers: list[str]) -> Iterator[OpenedAlert]:
    from streams.cli.view_access import current_view, identifier_of
    from streams.views import queries

    if not numbers:
        return
    with current_view(load()) as view:
        for number in numbers:
            with view.reading() as connection:
                members = queries.alerts_of_object(connection, identifier_of(number))
                messages = [queries.packet(connection, member.alert_id) for member in members]
            for message in messages:
                yield from _open_message(view, message)


def _everything() -> Iterator[OpenedAlert]:
    from streams.cli.view_access import current_view
    from streams.views import queries

    with current_view(load()) as view:
        sequence = 0
        while True:
            with view.reading() as connection:
                rows = queries.alerts_after(connection, sequence)
                messages = [queries.packet(connection, row.alert_id) for row in rows]
            if not rows:
                return
            sequence = rows[-1].sequence
            for message in messages:
                yield from _open_message(view, message)


def _open_message(view: View, message: bytes) -> Iterator[OpenedAlert]:
    from schemas.public import bundled_alert_schema
    from schemas.wire import unframe
    from streams.alert_files import open_alert_bytes, registry_lookup

    known = bundled_alert_schema(unframe(message)[0]) is not None
    yield from open_alert_bytes(message, [] if known else [registry_lookup(view.registry)])


def _json_line(record: dict[str, Any], schema: dict[str, Any]) -> str:
    from streams.alert_files import OpenedAlert, export_json

    opened = OpenedAlert(record=record, schema=schema, schema_id=None)
    return json.dumps(json.loads(export_json(opened)), separators=(",", ":"))
