"""``nightcast orbits fit | ephemerides | report``: what people do with orbits by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column

from streams.cli.common import JsonOption, console, load, one_sentence_errors, print_json, print_table

if TYPE_CHECKING:
    from infra.settings import Settings
    from processors.moving_objects.observations import Observations
    from schemas.events import EphemerisCatalogue
    from streams.moving_objects.fitting import FittedOrbit

__all__ = ["ephemerides", "fit", "report"]

MOST_PROBLEMS = 20
"""Broken observations that are shown."""

_UNITS = {
    "q": "au", "e": "", "i": "deg", "node": "deg", "argperi": "deg", "peri_time": "MJD TDB", "a": "au",
    "mean_anomaly": "deg", "period": "d", "mean_motion": "deg/d",
}  # fmt: skip

_RESIDUAL_HEADS = ("UTC", "station", "east", "north", "sigma", "")

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--detections",
        exists=True,
        file_okay=False,
        help="Folder with detections.parquet, for nights that DayMOPS was given by hand.",
    ),
]


def fit(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|DESIGNATION",
            help="Observations (ADES as PSV or XML, 80 columns, detections.parquet; may be gzipped), or an orbit of ours.",
        ),
    ],
    nbody: Annotated[
        bool, typer.Option("--nbody/--two-body", help="Let planets and Moon pull, or the Sun alone.")
    ] = True,
    outliers: Annotated[
        float,
        typer.Option(min=0.0, help="Set observations aside that stand out by more sigmas than this; 0 keeps all."),
    ] = 0.0,
    one: Annotated[str | None, typer.Option("--as", help="Take all observations as this one object's.")] = None,
    observatory: Annotated[
        str | None, typer.Option(help="Code for observations that name none (setting night.observatory).")
    ] = None,
    detections: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit an orbit to the observations of a file, or again to what a discovery of ours holds; nothing is stored.

    A file may hold many objects: each is fitted for itself, from a scan of all distances. Shown are the elements with their
    one-sigma errors, the residuals, and what the Minor Planet Center's rules for links say.
    """
    from streams.moving_objects.fitting import fit_observations, fitted_record

    settings = load()
    with one_sentence_errors():
        observations = _observations(settings, source, detections)
        orbits = fit_observations(
            observations,
            code=observatory or settings.night.observatory,
            nbody=nbody,
            outlier_sigmas=outliers,
            name=one,
        )
    if as_json:
        problems = [{"line": p.line, "reason": p.reason} for p in observations.problems]
        print_json({"orbits": [fitted_record(orbit) for orbit in orbits], "problems": problems})
        return
    for problem in observations.problems[:MOST_PROBLEMS]:
        console.print(f"  {problem}", markup=False)
    for orbit in orbits:
        _tell(orbit, "planets and Moon" if nbody else "the Sun alone")


def _observations(settings: Settings, source: str, folder: Path | None) -> Observations:
    from infra.errors import OrbitFileError
    from streams.moving_objects.holdings import observations_of
    from streams.moving_objects.observation_files import read_observations, with_known_stations
    from streams.moving_objects.own_orbits import own_orbit

    path = Path(source)
    if path.is_file():
        return with_known_stations(read_observations(path))
    if path.suffix or len(path.parts) > 1:
        raise OrbitFileError(f"There is no file {source}.")
    orbit = own_orbit(settings, source, folder)
    if orbit.missing:
        typer.echo(f"Warning: {orbit.missing} of its detections are in no table (see --detections).", err=True)
    return observations_of(orbit.detections, orbit.designation)


def _tell(orbit: FittedOrbit, forces: str) -> None:
    from processors.moving_objects.ades_report import utc_texts

    console.print(f"\n[bold]{orbit.name or 'one object'}[/]: {orbit.status}; motion under {forces}")
    if orbit.ok:
        table = [
            (name, f"{orbit.elements[name]:.7f}", f"{orbit.sigmas[name]:.2g}", unit)
            for name, unit in _UNITS.items()
            if orbit.elements[name] == orbit.elements[name]
        ]
        columns = [
            Column("element"),
            Column("value", justify="right"),
            Column("one sigma", justify="right"),
            Column("unit"),
        ]
        print_table(f"epoch {orbit.epoch_mjd_tdb:.5f} MJD TDB, H {orbit.h:.2f}", columns, table, empty="")
        other = f"; {orbit.minima} solutions are possible" if orbit.minima > 1 else ""
        console.print(f'chi2 {orbit.chi2:.2f} of {orbit.dof} degrees of freedom, RMS {orbit.rms_arcsec:.3f}"{other}')
    rows = [
        (time, station, f"{e:+.3f}", f"{n:+.3f}", f"{row['ra_err_arcsec']:.3f}", "" if used else "set aside")
        for time, station, (e, n), row, used in zip(
            utc_texts(orbit.detections["midpoint_mjd_tai"]),
            orbit.stations,
            orbit.residuals_arcsec,
            orbit.detections,
            orbit.used,
            strict=True,
        )
    ]
    heads = [Column(head, justify="right" if 1 < k < 5 else "left") for k, head in enumerate(_RESIDUAL_HEADS)]
    print_table("residuals, arcsec", heads, rows, empty="")
    console.print("The link rules would take it." if not orbit.reasons else "The link rules would not take it:")
    for reason in orbit.reasons:
        console.print(f"  {reason}", markup=False)


def ephemerides(
    night: Annotated[int, typer.Argument(help="Night, YYYYMMDD.")],
    rebuild: Annotated[bool, typer.Option(help="Build them anew from the orbits as they are now.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a night's coarse ephemerides; build them where there are none.

    NightMOPS builds them itself with the night's first visit. Built by hand they are there before it, and a night that has begun
    keeps those that it began with.
    """
    from streams.moving_objects.night_ephemerides import night_ephemerides

    with one_sentence_errors():
        found, built = night_ephemerides(load(), night, rebuild=rebuild, say=_say if not as_json else _nothing)
    if as_json:
        print_json({**_catalogue(found), "built_now": built})
        return
    for key, value in _catalogue(found).items():
        console.print(f"{key:>24}  {value}", markup=False)


def _catalogue(found: EphemerisCatalogue) -> dict[str, Any]:
    return {
        "instrument": found.instrument,
        "day_obs": found.day_obs,
        "mid_night_mjd_tai": found.mid_night_mjd_tai,
        "objects": found.count,
        "refused": found.refused,
        "bytes": found.file.size,
        "sha256": found.file.sha256,
        "orbits_sha256": found.orbits_sha256,
    }


def _say(sentence: str) -> None:
    console.print(sentence, markup=False)


def _nothing(_: str) -> None:
    return None


def report(
    submitter: Annotated[str, typer.Option(help="Who submits, as the Minor Planet Center wants it: 'J. Smith'.")],
    night: Annotated[
        int | None, typer.Argument(help="Night of the DayMOPS run that found them, YYYYMMDD (all nights).")
    ] = None,
    output: Annotated[Path, typer.Option(file_okay=False, help="Folder of the files.")] = Path("reports"),
    measurer: Annotated[list[str] | None, typer.Option(help="Who measured (the submitter); may be repeated.")] = None,
    obs80: Annotated[bool, typer.Option("--obs80", help="Write lines of 80 columns as well.")] = False,
    detections: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write discoveries as ADES, PSV and XML; nothing is sent anywhere.

    Each is fitted again to the observations of the report, and only what the link rules of the Minor Planet Center take goes in.
    The files are checked by our own rules, and by the iau-ades package where it is installed.
    """
    from streams.moving_objects.own_orbits import chosen_for_report, own_orbits
    from streams.moving_objects.reporting import Reporter, make_report, write_report

    settings = load()
    reporter = Reporter(
        submitter=submitter, measurers=tuple(measurer or [submitter]), station=settings.night.observatory
    )
    with one_sentence_errors():
        chosen = own_orbits(settings, chosen_for_report(settings, night), detections)
        made = make_report(chosen, reporter)
        paths = write_report(made, output, f"discoveries-{night or 'all'}", obs80=obs80) if made.names else []
    if as_json:
        held = [{"designation": name, "reasons": list(reasons)} for name, reasons in made.held_back]
        print_json({"reported": list(made.names), "held_back": held, "files": [str(path) for path in paths]})
        return
    console.print(f"{len(made.names)} discoveries, {len(made.block.rows)} observations")
    for path in paths:
        console.print(f"  {path}", markup=False, soft_wrap=True)
    for name, reasons in made.held_back:
        console.print(f"  held back: {name}: {'; '.join(reasons)}", markup=False)
