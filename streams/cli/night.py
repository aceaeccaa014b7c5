"""``nightcast night``: observe a simulated night and say how it went."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console

from streams.cli.common import JsonOption, console, load, one_sentence_errors

__all__ = ["night"]


def night(
    visits: Annotated[int | None, typer.Option(min=1, help="Number of visits (setting: 8).")] = None,
    camera: Annotated[
        str | None, typer.Option(help="Camera description: demo, tiny, full-ccd (setting: demo).")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the sky and of all noise (setting: 1).")] = None,
    cadence: Annotated[float | None, typer.Option(min=1.0, help="Seconds from visit to visit (setting: 15).")] = None,
    day_obs: Annotated[int | None, typer.Option(help="Night, YYYYMMDD (the next one not observed yet).")] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="Fault of a visit, as NUMBER:KIND, for instance 2:missing_snap; may be repeated."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Observe a simulated night, from raw pixels to alerts on Kafka, and judge it against the simulator's truth.

    The system is started when it does not run, and is left running so that its pages can be looked at.
    """
    from streams.night.display import NightDisplay
    from streams.night.run import observe, prepare
    from streams.night.summary import summary_document

    settings = load()
    changes = {"visits": visits, "camera": camera, "seed": seed, "cadence_s": cadence}
    changed = {name: value for name, value in changes.items() if value is not None}
    settings = settings.model_copy(update={"night": settings.night.model_copy(update=changed)})
    out = Console(stderr=True, highlight=False) if as_json else console
    with one_sentence_errors(), NightDisplay(out) as display:
        plan = prepare(settings, day_obs=day_obs, faults=_faults(fault or []), say=display.say)
        display.say(f"Observing night {plan.day_obs}: {len(plan.visits)} visits.")
        summary = observe(settings, plan, show=display.show, say=display.say)
    document = summary_document(summary)
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    else:
        _print(document, settings.web.host, settings.web.port, str(plan.folder))


def _faults(texts: list[str]) -> dict[int, Any]:
    from infra.telescope import Fault

    faults = {}
    for text in texts:
        number, _, kind = text.partition(":")
        try:
            faults[int(number)] = Fault(kind)
        except ValueError:
            kinds = ", ".join(f.value for f in Fault)
            raise typer.BadParameter(f"{text!r} is not NUMBER:KIND with a kind of {kinds}.") from None
    return faults


def _print(document: dict[str, Any], host: str, port: int, folder: str) -> None:
    latency = document["latency_s"]
    rows = [
        ("visits", f"{document['visits']} closed" + _count(document["visits_cancelled"], "cancelled")),
        (
            "detectors",
            f"{document['detectors_done']} CCDs and {document['wavefront_done']} wavefront sensors done, "
            f"{document['detectors_failed']} failed",
        ),
        ("DIASources", str(document["diasources"])),
        ("alerts", f"{document['alerts']} published" + _count(document["quarantined"], "quarantined")),
        ("dead letters", str(document["dead_letters"])),
        (
            "latency",
            "none"
            if latency is None
            else f"p50 {latency['p50']} s, p95 {latency['p95']} s, p98 {latency['p98']} s, max {latency['max']} s",
        ),
        (
            "completeness",
            f"{_percent(document['completeness_snr8'])} of {document['true_changes']} true changes (S/N > 8)",
        ),
        ("moved stars", f"{_percent(document['moved_stars_found'])} found"),
        (
            "asteroids",
            f"{document['known_asteroids_recognised']} of {document['known_asteroids']} sightings of known ones recognised",
        ),
        ("false positives", f"{document['false_positives_per_ccd']} per CCD"),
        ("CPU", f"{document['cpu_s_per_ccd'].get('total', 0)} s per CCD, whole system"),
        ("memory", f"{document['peak_rss_mb']:.0f} MB at most"),
        ("time", f"{document['wall_s']:.0f} s observing after {document['set_up_s']:.0f} s of set-up"),
    ]
    console.print(f"\n[bold]Night {document['day_obs']}[/]")
    for name, value in rows:
        console.print(f"  {name:<16}{value}")
    console.print(f"\nThe same figures: {folder}/summary.json", soft_wrap=True)
    console.print(f"Look at the alerts:  http://{host}:{port}")
    console.print("Read them as a broker does:  nightcast alerts tail --from-beginning --count 5")
    console.print("See how the work went:  nightcast jobs list")
    console.print("Stop everything:  nightcast down")


def _count(number: int, word: str) -> str:
    return f", {number} {word}" if number else ""


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.1f} %"
