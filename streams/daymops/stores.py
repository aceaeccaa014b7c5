"""The events of the orbit store and the tracklet store that follow from a decision; again, the same events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from infra.objects import ObjectStore
from schemas.events import (
    DayMopsDecision,
    OrbitDetermined,
    OrbitEvent,
    OrbitOrigin,
    TrackletState,
    TrackletStatus,
)
from schemas.orbits import COVARIANCE_COLUMNS, STATE_COLUMNS
from streams.daymops.desk import rows_of
from streams.stage_codec import Outgoing

__all__ = ["ORBIT_TOPIC", "TRACKLET_TOPIC", "stored"]

ORBIT_TOPIC, TRACKLET_TOPIC = "orbit-store", "tracklet-store"


def stored(decision: DayMopsDecision, objects: ObjectStore) -> list[Outgoing]:
    """Return the events of the stores.

    An orbit that was given up, and a tracklet that was withdrawn, end in a tombstone; one merged into another says so.

    Raises
    ------
    ObjectMissingError, CorruptObjectError
        When a table of the decision is gone or broken.
    """
    return [*_orbits(decision, objects), *_tracklets(decision, objects)]


def _orbits(decision: DayMopsDecision, objects: ObjectStore) -> Iterator[Outgoing]:
    rows = rows_of(objects, decision.orbits)
    held = _members(decision.orbit_tracklets, objects, "tracklet_id", rows["tracklets"])
    for row, tracklets in zip(rows, held, strict=True):
        name = str(row["designation"])
        fact = None if row["change"] == "withdrawn" else _determined(row, tracklets, decision.day_obs)
        record = None if fact is None else OrbitEvent(designation=name, fact=fact)
        yield Outgoing(topic=ORBIT_TOPIC, key=name, record=record)


def _determined(row: Any, tracklets: tuple[int, ...], day_obs: int) -> OrbitDetermined:
    covariance = tuple(float(row[name]) for name in COVARIANCE_COLUMNS)
    return OrbitDetermined(
        origin=OrbitOrigin.DISCOVERED,
        ss_object_id=int(row["ss_object_id"]),
        epoch_mjd_tdb=float(row["epoch_mjd_tdb"]),
        state=tuple(float(row[name]) for name in STATE_COLUMNS),
        covariance=covariance if np.isfinite(covariance).all() else (),
        absolute_magnitude=float(row["h"]) if np.isfinite(row["h"]) else None,
        slope=float(row["g"]),
        day_obs=day_obs,
        tracklets=tracklets,
        n_detections=int(row["n_observations"]),
        arc_days=float(row["arc_days"]),
        chi2=float(row["chi2"]),
        rms_arcsec=float(row["rms_arcsec"]),
        reportable=bool(row["reportable"]),
        reasons=tuple(line for line in str(row["reasons"]).split("\n") if line),
        merged_into=str(row["merged_into"]) or None,
    )


def _tracklets(decision: DayMopsDecision, objects: ObjectStore) -> Iterator[Outgoing]:
    rows = rows_of(objects, decision.tracklets)
    members = _members(decision.tracklet_members, objects, "dia_source_id", rows["members"])
    for row, own in zip(rows, members, strict=True):
        state = _tracklet(row, own, decision)
        yield Outgoing(topic=TRACKLET_TOPIC, key=state.tracklet_id, record=state)
        if state.status is TrackletStatus.WITHDRAWN:
            yield Outgoing(topic=TRACKLET_TOPIC, key=state.tracklet_id, record=None)


def _tracklet(row: Any, members: tuple[int, ...], decision: DayMopsDecision) -> TrackletState:
    return TrackletState(
        tracklet_id=int(row["tracklet_id"]),
        instrument=decision.instrument,
        day_obs=int(row["day_obs"]),
        dia_source_ids=members,
        status=TrackletStatus(str(row["status"])),
        holder=str(row["holder"]) or None,
        mjd_tai=float(row["mjd_tai"]),
        ra=float(row["ra"]),
        dec=float(row["dec"]),
        rate_ra=float(row["rate_ra"]),
        rate_dec=float(row["rate_dec"]),
        magnitude=float(row["magnitude"]),
        decided_day_obs=decision.day_obs,
    )


def _members(claim: Any, objects: ObjectStore, name: str, counts: Any) -> list[tuple[int, ...]]:
    """Return the values of a column as groups of so many."""
    values = [] if claim is None else rows_of(objects, claim)[name].tolist()
    ends = np.cumsum(counts).tolist()
    return [tuple(values[end - count : end]) for end, count in zip(ends, counts.tolist(), strict=True)]
