"""The Tracklet Database and the owners of detections as folds of DayMOPS' decisions; each keeps what must always hold.

A tracklet has one holder or none, a detection is in one held tracklet at most, and belongs to the object that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from processors.errors import ProcessingError
from processors.moving_objects.day_changes import DayChanges
from schemas.events import TrackletStatus

__all__ = ["BrokenLedgerError", "DayLedger", "Tracked", "fold"]


class BrokenLedgerError(ProcessingError):
    """A decision contradicts what must always hold of tracklets and detections."""

    code = "broken_ledger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """A tracklet as it stands."""

    status: str
    holder: str
    day_obs: int
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayLedger:
    """What all decisions so far say."""

    tracklets: Mapping[int, Tracked] = field(default_factory=lambda: MappingProxyType({}))
    owners: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    """DIASource to the Solar System object that it belongs to."""
    designations: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Living objects of ours and their numbers."""


def fold(ledger: DayLedger, changes: DayChanges) -> DayLedger:
    """Return the ledger after a decision; a decision folded again changes nothing.

    Raises
    ------
    BrokenLedgerError
        When a detection would be in two held tracklets, or a tracklet's status and holder contradict each other.
    """
    tracklets, owners, names = dict(ledger.tracklets), dict(ledger.owners), dict(ledger.designations)
    starts = np.concatenate([[0], np.cumsum(changes.tracklets.rows["members"])]).tolist()
    ids = changes.tracklets.members.tolist()
    for row, a, b in zip(changes.tracklets.rows, starts[:-1], starts[1:], strict=True):
        number, status = int(row["tracklet_id"]), str(row["status"])
        if status == TrackletStatus.WITHDRAWN:
            tracklets.pop(number, None)
            continue
        tracklets[number] = Tracked(
            status=status, holder=str(row["holder"]), day_obs=int(row["day_obs"]), members=tuple(ids[a:b])
        )
    for row in changes.reassigned:
        owners[int(row["dia_source_id"])] = int(row["ss_object_id"])
        if not row["ss_object_id"]:
            del owners[int(row["dia_source_id"])]
    for row in changes.orbits:
        names.pop(str(row["designation"]), None)
        if row["change"] in ("new", "better"):
            names[str(row["designation"])] = int(row["ss_object_id"])
    _require_one_holder(tracklets)
    return DayLedger(
        tracklets=MappingProxyType(tracklets), owners=MappingProxyType(owners), designations=MappingProxyType(names)
    )


def _require_one_holder(tracklets: Mapping[int, Tracked]) -> None:
    holder: dict[int, int] = {}
    for number, one in tracklets.items():
        if (one.status == TrackletStatus.FREE) is not (one.holder == ""):
            raise BrokenLedgerError(f"Tracklet {number} is {one.status} and its holder is {one.holder or 'nobody'}.")
        for member in one.members if one.holder else ():
            if holder.setdefault(member, number) != number:
                raise BrokenLedgerError(f"Detection {member} is in the held tracklets {holder[member]} and {number}.")
    for number, one in tracklets.items():
        if not one.holder and any(member in holder for member in one.members):
            raise BrokenLedgerError(f"Free tracklet {number} has a detection that another one holds.")
