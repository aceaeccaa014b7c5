"""``nightcast ephemeris``: where an object is seen night by night, or which known objects a field holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column

from infra.settings import Settings
from streams.cli.common import JsonOption, load, one_sentence_errors, print_json, print_table

if TYPE_CHECKING:
    from processors.moving_objects.orbit_table import OrbitTable

__all__ = ["ephemeris"]

DEFAULT_ROWS = 10
"""Rows where no end is given."""

_HEADS = ("RA", "Dec", "dRA", "dDec", "V", "r", "delta", "phase", "elong", "error ellipse")
_CAPTION = "rates: deg/day on the great circle; r, delta: au; phase, elongation: deg; ellipse: arcsec, position angle"


def ephemeris(
    designation: Annotated[
        str | None, typer.Argument(metavar="[OBJECT]", help="Such as 433, '2014 AA3' or K14A03A; none for a field.")
    ] = None,
    orbits: Annotated[
        Path | None,
        typer.Option("--orbits", dir_okay=False, help="Take orbits of this file (as `orbits import`) and no system."),
    ] = None,
    begin: Annotated[str | None, typer.Option("--from", help="First moment, ISO, UTC (this hour).")] = None,
    end: Annotated[str | None, typer.Option("--to", help=f"Last moment ({DEFAULT_ROWS} rows).")] = None,
    step: Annotated[str, typer.Option(help="Such as 1d, 6h, 10m or 30s.")] = "1d",
    ra: Annotated[str | None, typer.Option(help="Of a field's centre: degrees, or hours as 12:30:15.2.")] = None,
    dec: Annotated[str | None, typer.Option(help="Of a field's centre: degrees, or degrees as -01:15:00.")] = None,
    radius: Annotated[float | None, typer.Option(help="Of a field, degrees, up to 180.")] = None,
    at: Annotated[str | None, typer.Option(help="Moment of a field, ISO, UTC.")] = None,
    observatory: Annotated[
        str | None, typer.Option(help="Code of the Minor Planet Center (setting night.observatory).")
    ] = None,
    asteroids: Annotated[bool, typer.Option("--asteroids", help="Let sixteen heavy asteroids pull as well.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell where an object is seen from moment to moment, or which known objects are in a field at one moment.

    Orbits are those of the Moving Object Database of the running system, or of a file. The motion is integrated with all planets;
    places are astrometric, ICRS, from the observatory, with light time.
    """
    from streams.views.errors import RequestError

    settings = load()
    code = observatory or settings.night.observatory
    with one_sentence_errors():
        if designation is None:
            circle, moment = _field(ra, dec, radius, at)
            if begin or end:
                raise RequestError("A field is asked for one moment: give --at, not --from and --to.")
            _tell_field(_orbits(settings, orbits), circle, moment, code, asteroids, as_json)
            return
        if any(value is not None for value in (ra, dec, radius, at)):
            raise RequestError(
                "Give an object with --from, --to and --step, or a field with --ra, --dec, --radius and --at."
            )
        moments = _moments(begin, end, step)
        where = "the Moving Object Database (see `nightcast orbits list`)" if orbits is None else orbits.name
        _tell_object(_orbits(settings, orbits, designation), designation, where, moments, code, asteroids, as_json)


def _orbits(settings: Settings, path: Path | None, wanted: str | None = None) -> OrbitTable:
    from streams.moving_objects.ephemeris import orbits_of_file, orbits_of_system

    return orbits_of_system(settings, wanted) if path is None else orbits_of_file(path)


def _field(ra: str | None, dec: str | None, radius: float | None, at: str | None) -> tuple[Any, dt.datetime]:
    from streams.moving_objects.ephemeris import Circle
    from streams.moving_objects.moments import parse_utc
    from streams.views.errors import RequestError
    from streams.views.sky import parse_position

    if ra is None or dec is None or radius is None or at is None:
        raise RequestError("Give an object, or a field by all of --ra, --dec, --radius and --at.")
    if not 0.0 < radius <= 180.0:
        raise RequestError(f"The radius of a field is above 0 and at most 180 degrees, not {radius:g}.")
    east, north = parse_position(f"{ra} {dec}")
    return Circle(ra_deg=east, dec_deg=north, radius_deg=radius), parse_utc(at)


def _moments(begin: str | None, end: str | None, step: str) -> list[dt.datetime]:
    from streams.moving_objects.moments import grid, parse_step, parse_utc

    between = parse_step(step)
    now = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
    first = now if begin is None else parse_utc(begin)
    return grid(first, first + (DEFAULT_ROWS - 1) * between if end is None else parse_utc(end), between)


def _tell_object(
    table: OrbitTable,
    wanted: str,
    where: str,
    moments: Sequence[dt.datetime],
    code: str,
    asteroids: bool,
    as_json: bool,
) -> None:
    from streams.moving_objects.ephemeris import object_ephemeris, one_orbit, record
    from streams.moving_objects.moments import tai_of, utc_text

    orbit = one_orbit(table, wanted, where=where)
    name = str(orbit.orbits["designation"][0])
    rows = [record(row) for row in object_ephemeris(orbit, tai_of(moments), code=code, asteroids=asteroids)]
    times = [utc_text(moment) for moment in moments]
    if as_json:
        listed = [{"utc": time, **row} for time, row in zip(times, rows, strict=True)]
        print_json({"designation": name, "observatory": code, "rows": listed})
        return
    _print(f"{name} from {code}; {_CAPTION}", "UTC", times, rows)


def _tell_field(table: OrbitTable, circle: Any, moment: dt.datetime, code: str, asteroids: bool, as_json: bool) -> None:
    from streams.moving_objects.ephemeris import field_ephemeris, record
    from streams.moving_objects.moments import tai_of, utc_text

    names, found = field_ephemeris(table, circle, float(tai_of([moment])[0]), code=code, asteroids=asteroids)
    rows = [record(row) for row in found]
    if as_json:
        listed = [{"designation": name, **row} for name, row in zip(names, rows, strict=True)]
        print_json({"utc": utc_text(moment), "observatory": code, "orbits": len(table.orbits), "rows": listed})
        return
    _print(
        f"{len(rows)} of {len(table.orbits)} objects at {utc_text(moment)} from {code}; {_CAPTION}",
        "object",
        names,
        rows,
    )


def _print(title: str, first: str, names: Sequence[str], rows: Sequence[dict[str, float | None]]) -> None:
    columns = (Column(first, no_wrap=True), *(Column(head, no_wrap=True, justify="right") for head in _HEADS))
    cells = [(name, *_cells(row)) for name, row in zip(names, rows, strict=True)]
    print_table(title, columns, cells, empty="No known object is in this field.")


def _cells(row: dict[str, float | None]) -> list[str]:
    from streams.views.sky import sexagesimal

    ra, dec, major = row["ra_deg"], row["dec_deg"], row["semi_major_arcsec"]
    place = ["-", "-"] if ra is None or dec is None else sexagesimal(ra, dec).split()
    shown = {
        "rate_ra_deg_per_day": "+.5f",
        "rate_dec_deg_per_day": "+.5f",
        "v_mag": ".2f",
        "helio_range_au": ".5f",
        "topo_range_au": ".5f",
        "phase_angle_deg": ".2f",
        "elongation_deg": ".2f",
    }
    numbers = ["-" if row[name] is None else format(row[name], form) for name, form in shown.items()]
    ellipse = (
        "-" if major is None else f"{major:.3g} x {row['semi_minor_arcsec']:.3g} at {row['position_angle_deg']:.0f}"
    )
    return [*place, *numbers, ellipse]
