"""Pages of moving objects: what DayMOPS did and found, what it says of a night's DIAObjects, and one object with its orbit.

What computes orbits is loaded with the first such page, so that the toolkit starts without it.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from schemas.events import OrbitDetermined, OrbitEvent, Verdict
from streams.toolkit.dependencies import TheToolkit
from streams.toolkit.pages import page
from streams.views import moving

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

SHOWN_ORBITS = 200
SHOWN_RUNS = 14
"""A fortnight of nights."""
SHOWN_FATES = 500


@router.get("/orbits")
def orbits_page(request: Request, toolkit: TheToolkit, reportable: bool | None = None) -> Response:
    """Show DayMOPS' last runs and our discoveries, the newest first."""
    with toolkit.view.reading() as connection:
        counts = moving.count_orbits(connection)
        runs = moving.newest_runs(connection, SHOWN_RUNS)
        found = moving.newest_orbits(connection, SHOWN_ORBITS, reportable=reportable)
        verdicts = moving.count_verdicts(connection, {run.day_obs for run in runs})
    context = {
        "counts": counts,
        "runs": runs,
        "verdicts": verdicts,
        "orbits": [_line(one) for one in found],
        "reportable": reportable,
    }
    return page(request, "orbits.html", context)


@router.get("/verdicts/{day_obs}")
def verdicts_page(
    request: Request,
    toolkit: TheToolkit,
    day_obs: int,
    verdict: Annotated[int | None, Query(ge=-1, le=max(Verdict))] = None,
) -> Response:
    """Show what DayMOPS says of the DIAObjects that single sources of a night founded."""
    with toolkit.view.reading() as connection:
        counts = moving.count_verdicts(connection, {day_obs}).get(day_obs, {})
        fates = moving.fates_of_night(connection, day_obs, verdict=verdict, limit=SHOWN_FATES)
    context = {
        "day_obs": day_obs,
        "kinds": [*(int(one) for one in Verdict), -1],
        "counts": counts,
        "total": counts.get(verdict, 0) if verdict is not None else sum(counts.values()),
        "fates": fates,
        "chosen": verdict,
    }
    return page(request, "verdicts.html", context)


@router.get("/orbits/{name:path}")
def orbit_page(request: Request, toolkit: TheToolkit, name: str) -> Response:
    """Show a moving object by its designation or its number."""
    from streams.toolkit.orbit_view import orbit_view

    return page(request, "orbit.html", {"orbit": orbit_view(toolkit, name)})


def _line(event: OrbitEvent) -> dict[str, Any]:
    from processors.moving_objects.cometary import cometary_elements
    from schemas.orbits import states_of
    from streams.moving_objects.orbit_store import own_rows
    from streams.toolkit.orbit_view import class_of

    fact = event.fact
    assert isinstance(fact, OrbitDetermined)
    row = own_rows({event.designation: fact})
    elements = cometary_elements(states_of(row), row["epoch_mjd_tdb"])[0]
    return {
        "designation": event.designation,
        "fact": fact,
        "orbit_class": class_of(row),
        "elements": {name: float(elements[name]) for name in ("q", "e", "i")},
    }
