"""What a night of DayMOPS changed, as tables: the difference of two states, complete enough to fold the later from the earlier.

Every tracklet has one holder or none; a detection that loses its object is listed with 0, a tracklet that is no more as
withdrawn. What is only forgotten, because it is too old to change, is not listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from processors.moving_objects.day_candidates import NightCandidates
from processors.moving_objects.day_state import OBJECT, DayRules, DayState, How, nights_of
from processors.moving_objects.day_tracklets import TrackletTable, tracklets_of
from processors.moving_objects.detections import day_obs_of
from processors.moving_objects.tracklet_pruning import stationary_detections
from schemas.events import TrackletStatus, Verdict
from schemas.orbits import ORBIT_ROW

__all__ = ["REASSIGNED", "VERDICT", "DayChanges", "changes_between"]

Array = np.ndarray[Any, Any]

REASSIGNED = np.dtype(
    [
        ("dia_source_id", "<i8"),
        ("ss_object_id", "<i8"),
        ("designation", "<U16"),
        ("offset_ra_arcsec", "<f8"),
        ("offset_dec_arcsec", "<f8"),
    ]
)
"""See ``schemas.events.DayMopsDecision.reassigned``."""

VERDICT = np.dtype([("dia_object_id", "<i8"), ("dia_source_id", "<i8"), ("verdict", "i1")])
"""See ``schemas.events.DayMopsDecision.verdicts``."""

_VERDICT_OF = {
    How.LINKED: Verdict.LINKED,
    How.ATTRIBUTED: Verdict.ATTRIBUTED,
    How.PRECOVERED: Verdict.PRECOVERED,
    How.IDENTIFIED: Verdict.ATTRIBUTED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DayChanges:
    """The tables of a decision; columns as ``schemas.events.DayMopsDecision`` says."""

    tracklets: TrackletTable
    orbits: Array
    orbit_tracklets: Array
    """All tracklets of each orbit, orbit by orbit, int64."""
    reassigned: Array
    verdicts: Array


def changes_between(
    before: DayState,
    after: DayState,
    night: NightCandidates,
    *,
    merged: Mapping[str, str],
    reasons: Mapping[str, tuple[str, ...]],
    rules: DayRules,
) -> DayChanges:
    """Return what changed between two states.

    Parameters
    ----------
    before, after
        The states.
    night
        The night whose DIAObjects get verdicts.
    merged
        Designation of each object that ended to the one that has its detections now.
    reasons
        Why each object that was fitted may not be reported.
    rules
        What stands still.
    """
    table = tracklets_of(after)
    orbits, held = _orbits(before, after, table, {**_taken_over(before, after), **merged}, reasons)
    return DayChanges(
        tracklets=_changed(before, tracklets_of(before), table, _first_day(after)),
        orbits=orbits,
        orbit_tracklets=held,
        reassigned=_reassigned(before, after),
        verdicts=_verdicts(night, after, table, rules),
    )


def _taken_over(before: DayState, after: DayState) -> dict[str, str]:
    """Return which objects are no more while most of what they held is one other's: nights linked again may never have formed them."""
    gone = before.objects["designation"][~np.isin(before.objects["designation"], after.objects["designation"])]
    mine = before.held[np.isin(before.held["designation"], gone)]
    now = (
        dict(zip(after.held["detection_id"].tolist(), after.held["designation"].tolist(), strict=True))
        if len(mine)
        else {}
    )
    holders = dict[str, list[str]]()
    for name, one in zip(mine["designation"].tolist(), mine["detection_id"].tolist(), strict=True):
        holders.setdefault(name, []).append(now.get(one, ""))
    some = {name: [holder for holder in every if holder] for name, every in holders.items()}
    return {name: own[0] for name, own in some.items() if len(set(own)) == 1 and 2 * len(own) > len(holders[name])}


def _first_day(state: DayState) -> int:
    rows = state.linking.detections
    return day_obs_of(int(nights_of(rows)[0])) if len(rows) else 0


def _changed(before: DayState, old: TrackletTable, new: TrackletTable, first_day: int) -> TrackletTable:
    """Return the tracklets that are new or have another holder, and as withdrawn those that are no more."""
    same = dict(zip(old.rows["tracklet_id"].tolist(), old.rows[["status", "holder"]].tolist(), strict=True))
    now = zip(new.rows["tracklet_id"].tolist(), new.rows[["status", "holder"]].tolist(), strict=True)
    fresh = np.array([same.get(one) != state for one, state in now], bool)
    gone = ~np.isin(old.rows["tracklet_id"], new.rows["tracklet_id"])
    forgotten = (old.rows["day_obs"] < first_day) & (old.rows["status"] == TrackletStatus.ATTRIBUTED)
    forgotten &= ~np.isin(old.rows["holder"], before.objects["designation"])
    ended = old.where(gone & ~forgotten)
    ended.rows["status"], ended.rows["holder"] = TrackletStatus.WITHDRAWN, ""
    return TrackletTable.joined(new.where(fresh), ended)


def _orbits(
    before: DayState, after: DayState, table: TrackletTable, merged: Mapping[str, str],
    reasons: Mapping[str, tuple[str, ...]],
) -> tuple[Array, Array]:  # fmt: skip
    """Return the orbits that changed, and the tracklets that they hold, one after the other."""
    old = {str(row["designation"]): row for row in before.objects}
    now = {str(row["designation"]): row for row in after.objects}
    changed = [
        (name, row, "better" if name in old else "new") for name, row in now.items() if _differs(old.get(name), row)
    ]
    changed += [(name, old[name], "merged" if name in merged else "withdrawn") for name in old if name not in now]
    changed.sort(key=lambda one: one[0])
    texts = ["\n".join(reasons.get(name, ())) for name, _, _ in changed]
    widest = max([1, *(len(text) for text in texts)])
    rows = np.zeros(len(changed), _orbit_dtype(widest))
    held: list[Array] = []
    order = np.argsort(table.rows["holder"], kind="stable")
    holders = table.rows["holder"][order]
    for row, (name, orbit, change), text in zip(rows, changed, texts, strict=True):
        for column in (*(ORBIT_ROW.names or ()), "chi2", "reportable"):
            row[column] = orbit[column]
        row["change"], row["reasons"], row["merged_into"] = change, text, merged.get(name, "") if name in old else ""
        a, b = np.searchsorted(holders, name), np.searchsorted(holders, name, side="right")
        held.append(np.sort(table.rows["tracklet_id"][order[a:b]]))
        row["tracklets"] = b - a
    return rows, np.concatenate(held) if held else np.zeros(0, np.int64)


def _differs(old: Any, new: Any) -> bool:
    return old is None or any(_bytes(old[name]) != _bytes(new[name]) for name in OBJECT.names or ())


def _bytes(value: Any) -> bytes:
    return np.asarray(value).tobytes()


def _orbit_dtype(widest: int) -> np.dtype[Any]:
    text = [("change", "<U9"), ("reasons", f"<U{widest}"), ("merged_into", "<U16")]
    return np.dtype([*ORBIT_ROW.descr, ("chi2", "<f8"), ("reportable", "i1"), *text, ("tracklets", "<i8")])


def _reassigned(before: DayState, after: DayState) -> Array:
    """Return whose each detection is that has another owner than before; 0 for none any more."""
    old = dict(zip(before.held["detection_id"].tolist(), before.held["ss_object_id"].tolist(), strict=True))
    ids = zip(after.held["detection_id"].tolist(), after.held["ss_object_id"].tolist(), strict=True)
    moved = after.held[np.array([old.get(one) != owner for one, owner in ids], bool)]
    lost = before.held[~np.isin(before.held["detection_id"], after.held["detection_id"])]
    lost = lost[_still_counts(before, after, lost)]
    rows = np.zeros(len(moved) + len(lost), REASSIGNED)
    rows["dia_source_id"] = np.concatenate([moved["detection_id"], lost["detection_id"]])
    for name in ("ss_object_id", "designation", "offset_ra_arcsec", "offset_dec_arcsec"):
        rows[name][: len(moved)] = moved[name]
    rows["offset_ra_arcsec"][len(moved) :] = rows["offset_dec_arcsec"][len(moved) :] = np.nan
    return rows[np.argsort(rows["dia_source_id"], kind="stable")]


def _still_counts(before: DayState, after: DayState, rows: Array) -> Array:
    """Return which holdings that are gone were taken back: those of imported objects are forgotten when they are old."""
    ours = np.isin(rows["designation"], before.objects["designation"])
    if not len(after.linking.detections):
        return np.ones(len(rows), bool)
    return np.asarray(ours | (nights_of(rows) >= nights_of(after.linking.detections)[0]))


def _verdicts(night: NightCandidates, after: DayState, table: TrackletTable, rules: DayRules) -> Array:
    rows = np.zeros(len(night.founded), VERDICT)
    sources = night.founded["dia_source_id"]
    rows["dia_object_id"], rows["dia_source_id"] = night.founded["dia_object_id"], sources
    free = table.where(table.rows["status"] == TrackletStatus.FREE)
    rows["verdict"][np.isin(sources, free.members)] = Verdict.TRACKLET
    window = after.linking.detections
    still = window["detection_id"][stationary_detections(window, rules.nightly.pruning)] if len(window) else sources[:0]
    rows["verdict"][np.isin(sources, still) | (night.founded["stationary"] == 1)] = Verdict.STATIONARY
    for how, verdict in _VERDICT_OF.items():
        rows["verdict"][np.isin(sources, after.held["detection_id"][after.held["how"] == how])] = verdict
    return rows
