"""The tracklets of a state: those that objects hold, and the free ones of the window, each with where it was and how it moved."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from processors.moving_objects.day_state import DayState, How, nights_of, tracklet_id
from processors.moving_objects.detections import day_obs_of
from schemas.events import TrackletStatus

__all__ = ["TRACKLET", "TrackletTable", "tracklets_of"]

Array = np.ndarray[Any, Any]

TRACKLET = np.dtype(
    [
        ("tracklet_id", "<i8"),
        ("day_obs", "<i8"),
        ("status", "<U11"),
        ("holder", "<U16"),
        ("mjd_tai", "<f8"),
        ("ra", "<f8"),
        ("dec", "<f8"),
        ("rate_ra", "<f8"),
        ("rate_dec", "<f8"),
        ("magnitude", "<f8"),
        ("members", "<i8"),
    ]
)
"""See ``schemas.events.DayMopsDecision.tracklets``."""

_STATUS_OF = {
    How.LINKED: TrackletStatus.LINKED,
    How.ATTRIBUTED: TrackletStatus.ATTRIBUTED,
    How.PRECOVERED: TrackletStatus.PRECOVERED,
    How.IDENTIFIED: TrackletStatus.ATTRIBUTED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackletTable:
    """Tracklets with their members."""

    rows: Array
    """Dtype ``TRACKLET``, in order of identifiers."""
    members: Array
    """detection_id of each one's members, tracklet by tracklet, ascending."""

    def where(self, keep: Array) -> TrackletTable:
        """Return those that a mask keeps."""
        owner = np.repeat(np.arange(len(self.rows)), self.rows["members"])
        return TrackletTable(rows=self.rows[keep].copy(), members=self.members[keep[owner]])

    @classmethod
    def joined(cls, one: TrackletTable, other: TrackletTable) -> TrackletTable:
        """Return two tables as one, in order of identifiers."""
        rows = np.concatenate([one.rows, other.rows])
        return _ordered(rows, np.concatenate([one.members, other.members]))


def tracklets_of(state: DayState) -> TrackletTable:
    """Return the tracklets of a state, each with its one holder.

    The detections that an object has of one night are one tracklet of its own, a single one as well. A tracklet whose detections came
    in several ways is linked before it is attributed, and attributed before it is precovered.
    """
    held = state.held[np.lexsort((state.held["detection_id"], nights_of(state.held), state.held["designation"]))]
    change = (held["designation"][1:] != held["designation"][:-1]) | (np.diff(nights_of(held)) != 0)
    starts = np.concatenate([[0], np.flatnonzero(change) + 1, [len(held)]]) if len(held) else np.zeros(1, np.int64)
    of_objects = _measured(held, starts)
    if len(held):
        of_objects["holder"] = held["designation"][starts[:-1]]
        best = np.minimum.reduceat(held["how"], starts[:-1])
        of_objects["status"] = [_STATUS_OF[How(int(how))] for how in best]
    linking = state.linking
    owner = np.repeat(np.arange(len(linking.tracklets)), np.diff(linking.tracklets.offsets))
    ids = linking.detections["detection_id"][linking.tracklets.members]
    order = np.lexsort((ids, owner))
    free = linking.detections[linking.tracklets.members[order]]
    of_nobody = _measured(free, linking.tracklets.offsets)
    of_nobody["status"] = TrackletStatus.FREE
    members = np.concatenate([held["detection_id"], free["detection_id"]])
    return _ordered(np.concatenate([of_objects, of_nobody]), members)


def _ordered(rows: Array, members: Array) -> TrackletTable:
    """Return tracklets in order of their identifiers."""
    order = np.argsort(rows["tracklet_id"], kind="stable")
    starts = np.concatenate([[0], np.cumsum(rows["members"])])
    parts = [members[starts[k] : starts[k + 1]] for k in order.tolist()]
    return TrackletTable(rows=rows[order], members=np.concatenate(parts) if parts else np.zeros(0, np.int64))


def _measured(rows: Array, starts: Array) -> Array:
    """Return the tracklets that groups of detections are, without status and holder."""
    out = np.zeros(len(starts) - 1, TRACKLET)
    if not len(out):
        return out
    out["members"] = np.diff(starts)
    owner = np.repeat(np.arange(len(out)), out["members"])
    in_time = rows[np.lexsort((rows["midpoint_mjd_tai"], owner))]
    first, last = in_time[starts[:-1]], in_time[starts[1:] - 1]
    days = np.maximum(last["midpoint_mjd_tai"] - first["midpoint_mjd_tai"], 1e-6)
    east = ((last["ra"] - first["ra"] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(first["dec"]))
    out["rate_ra"], out["rate_dec"] = east / days, (last["dec"] - first["dec"]) / days
    out["ra"], out["dec"] = first["ra"], first["dec"]
    out["mjd_tai"] = np.add.reduceat(rows["midpoint_mjd_tai"], starts[:-1]) / out["members"]
    out["day_obs"] = _days(nights_of(first))
    ids, bounds = rows["detection_id"].tolist(), starts.tolist()
    groups = [tuple(ids[a:b]) for a, b in pairwise(bounds)]
    out["tracklet_id"] = [tracklet_id(group) for group in groups]
    out["magnitude"] = [_median(rows["mag"][a:b]) for a, b in pairwise(bounds)]
    return out


def _days(nights: Array) -> Array:
    each, inverse = np.unique(nights, return_inverse=True)
    return np.array([day_obs_of(int(night)) for night in each], np.int64)[inverse]


def _median(values: Array) -> float:
    known = np.sort(values[np.isfinite(values)].astype(np.float64))
    middle = len(known) // 2
    return float(0.5 * (known[middle] + known[~middle])) if len(known) else float("nan")
