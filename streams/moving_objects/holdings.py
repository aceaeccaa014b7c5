"""What orbits of ours hold: their tracklets, from the tracklet store, and the detections that these are made of.

DayMOPS keeps each night's detections as a table beside its decision; a folder of detections (`nightcast simulate`) may stand in
for nights that it was given by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.objects import ObjectStore
from processors.moving_objects.detections import DETECTION, no_detections
from processors.moving_objects.observations import Observations
from schemas import avro
from schemas.errors import NightcastError
from schemas.events import DayMopsDecision, TrackletState
from schemas.tables import Claim, Table

__all__ = ["detection_claims", "detections_in", "detections_of_folder", "held_tracklets", "observations_of"]


def held_tracklets(states: Iterable[TrackletState], holder: str) -> list[TrackletState]:
    """Return the newest states of an orbit's tracklets, by time; ``states`` in the order of the log."""
    newest = {state.tracklet_id: state for state in states}
    mine = [state for state in newest.values() if state.holder == holder]
    return sorted(mine, key=lambda state: (state.mjd_tai, state.tracklet_id))


def detection_claims(decisions: Iterable[DayMopsDecision]) -> list[Claim]:
    """Return where the detections of nights are, the newest decision of each night, by night."""
    newest = {(one.instrument, one.day_obs): one.detections for one in decisions if one.detections is not None}
    return [newest[key] for key in sorted(newest)]


def detections_in(claims: Iterable[Claim], objects: ObjectStore, wanted: Iterable[int]) -> NDArray[Any]:
    """Return the detections with some identifiers, in order of time; those that no table has are left out.

    A table that is gone, or is none, is passed over: its detections are missing then.
    """
    parts, rest = [no_detections()], np.array(sorted(set(wanted)), np.int64)
    for claim in claims:
        if not len(rest):
            break
        try:
            rows = avro.decode(Table, objects.get(claim)).to_array()
        except NightcastError:
            continue
        found = rows[np.isin(rows["detection_id"], rest)].astype(DETECTION)
        parts.append(found)
        rest = np.setdiff1d(rest, found["detection_id"])
    rows = np.concatenate(parts)
    return rows[np.lexsort((rows["detection_id"], rows["midpoint_mjd_tai"]))]


def detections_of_folder(folder: Path, wanted: Iterable[int]) -> NDArray[Any]:
    """Return the detections of a folder's ``detections.parquet`` with some identifiers."""
    from infra.telescope.detections.files import read_table

    rows = np.asarray(read_table(folder, "detections"))
    return rows[np.isin(rows["detection_id"], sorted(set(wanted)))].astype(DETECTION)


def observations_of(detections: NDArray[Any], name: str) -> Observations:
    """Return detections as observations of one object from the observatory of the settings."""
    names: Sequence[str] = [name] * len(detections)
    return Observations(
        detections=detections,
        names=np.array(names, np.str_),
        stations=np.full(len(detections), "", "<U3"),
        problems=(),
    )
