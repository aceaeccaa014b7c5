"""Questions to the view about visits and nights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select, union

from schemas.ids import day_obs_of
from streams.views import tables
from streams.views.errors import NotInViewError
from streams.views.rows import VisitRow

__all__ = ["latest_night", "visit", "visits_of_night"]


def latest_night(connection: Connection) -> int | None:
    """Return the night (YYYYMMDD) of the latest visit that anything is known of, None when there is nothing."""
    newest = [
        connection.execute(select(func.max(table.c.visit))).scalar()
        for table in (tables.alerts, tables.manifests, tables.jobs, tables.quality)
    ]
    known = [value for value in newest if value is not None]
    return day_obs_of(max(known)) if known else None


def visits_of_night(connection: Connection, day_obs: int) -> list[VisitRow]:
    """Return the visits of a night, earliest first."""
    first, last = day_obs * 100_000, day_obs * 100_000 + 99_999
    members = union(
        *(
            select(table.c.visit).where(table.c.visit.between(first, last))
            for table in (tables.alerts, tables.manifests, tables.jobs, tables.quality)
        )
    )
    return _rows(connection, sorted(connection.execute(members).scalars()))


def visit(connection: Connection, visit_id: int) -> VisitRow:
    """Return one visit.

    Raises
    ------
    NotInViewError
        When nothing is known of it.
    """
    row = _rows(connection, [visit_id])[0]
    if row.expected is None and not row.alerts and not row.jobs and row.verdict is None:
        raise NotInViewError(f"Nothing is known of visit {visit_id}.")
    return row


def _rows(connection: Connection, visits: Sequence[int]) -> list[VisitRow]:
    if not visits:
        return []
    manifests = _by_visit(connection, tables.manifests, visits)
    qualities = _by_visit(connection, tables.quality, visits, tables.quality.c.detector.is_(None))
    alerts = tables.alerts.c
    counted = connection.execute(
        select(alerts.visit, func.count(), func.min(alerts.band)).where(alerts.visit.in_(visits)).group_by(alerts.visit)
    ).all()
    counts = {row[0]: (int(row[1]), row[2]) for row in counted}
    jobs: dict[int, dict[str, int]] = {}
    columns = tables.jobs.c
    grouped = select(columns.visit, columns.state, func.count()).where(columns.visit.in_(visits))
    for number, state, count in connection.execute(
        grouped.group_by(columns.visit, columns.state).order_by(columns.state)
    ):
        jobs.setdefault(number, {})[state] = int(count)
    return [
        _row(number, manifests.get(number), qualities.get(number), counts.get(number, (0, None)), jobs.get(number, {}))
        for number in visits
    ]


def _by_visit(connection: Connection, table: Any, visits: Sequence[int], *conditions: Any) -> dict[int, Any]:
    statement = select(table).where(table.c.visit.in_(visits), *conditions)
    return {row["visit"]: row for row in connection.execute(statement).mappings()}


def _row(number: int, manifest: Any, quality: Any, counted: tuple[int, str | None], jobs: dict[str, int]) -> VisitRow:
    known = manifest or {}
    return VisitRow(
        visit=number,
        band=quality["band"] if quality else counted[1],
        expected=known.get("expected"),
        published=known.get("published"),
        quarantined=known.get("quarantined"),
        complete=bool(known["complete"]) if manifest else None,
        latency_p50_s=known.get("latency_p50_s"),
        latency_p95_s=known.get("latency_p95_s"),
        latency_max_s=known.get("latency_max_s"),
        alerts=counted[0],
        jobs=jobs,
        verdict=quality["verdict"] if quality else None,
        quality=json.loads(quality["values"]) if quality else {},
        reasons=tuple(json.loads(quality["reasons"])) if quality else (),
    )
