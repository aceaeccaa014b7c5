"""The decision that answers DayMOPS: sources are given to Solar System objects or taken from them, and objects follow.

By day DayMOPS links what nothing explained, attributes what had no prediction, and undoes links that were wrong. Association
answers each of its decisions with one of its own, a function of that decision and of the state alone, in four steps:

1. Sources that DayMOPS names and whose object is another one now leave their object. What it repeats changes nothing; what is
   not a source of ours is counted and left alone.
2. Those with a Solar System object are that object's.
3. The others, of a link that was given up, are associated again, visit by visit in order of time: back to the DIAObject that they
   founded if it still lives, else by the rule of every night, to the nearest object within the radius or to a new one under the
   identifier that they would have founded, which is their own.
4. A DIAObject without a source in the twelve months is closed. One that lost some is summarised anew.

Nothing that was published changes: no identifier, no alert.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from processors.association.blocks import Blocks, ChangedBlocks, Changes
from processors.association.decide import match_visit
from processors.association.fold import regrouped
from processors.association.history import History
from processors.association.ownership import RELEASED
from processors.association.rules import Rules
from processors.association.updates import accepted_rows
from schemas.events import AssociationDecision, Correction
from schemas.ids import day_visit
from schemas.public import dia_source_dtype, forced_source_dtype
from schemas.tables import Table

__all__ = ["CLOSED", "VERDICT", "Corrected", "NightToCorrect", "Wanted", "correct", "rows_of_sources", "wanted_changes"]

Array = np.ndarray[Any, Any]

CLOSED = np.dtype([("diaObjectId", "<i8"), ("ssObjectId", "<i8")])
"""A row of a correction's ``closed``."""

VERDICT = np.dtype([("diaObjectId", "<i8"), ("verdict", "i1")])
"""A row of a correction's ``verdicts``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NightToCorrect:
    """What DayMOPS decided for a night."""

    instrument: str
    day_obs: int
    sequence: int
    over_mjd_tai: float
    """When the night was over: the time of processing that new versions carry."""
    reassigned: Array
    """Rows with dia_source_id and ss_object_id, 0 for none."""
    verdicts: Array
    """Rows with dia_object_id and verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Sources whose object shall change, in order of their identifiers."""

    owners: Array
    """Whose each is, rows of OWNER_ROW."""
    ss_object_ids: Array
    """Whose it shall be, 0 where of no Solar System object."""
    unknown: int
    """Sources named that are none of ours."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Identifier of a source that two objects shall have, to the reason."""

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self.owners)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """What is known of the sources whose object changes."""

    rows: Array
    """Public DIASource rows, in order of their identifiers."""
    circumstances: Array
    """Public ssSource rows of those that a Solar System object shall have, in the same order."""
    orbits: Mapping[int, bytes]
    """Encoded mpc_orbits record of each Solar System object concerned, where it is known."""


def wanted_changes(view: History, reassigned: Array) -> Wanted:
    """Return what a table of reassigned sources asks for that is not so already.

    Parameters
    ----------
    view
        The state after every earlier decision.
    reassigned
        Rows with dia_source_id and ss_object_id; a source that is named twice alike is named once, one that two objects shall
        have keeps the one it has.
    """
    pairs = np.unique(
        np.stack([reassigned["dia_source_id"], reassigned["ss_object_id"]], axis=1).astype(np.int64), axis=0
    )
    twice = {one for one, count in Counter(pairs[:, 0].tolist()).items() if count > 1}
    pairs = pairs[~np.isin(pairs[:, 0], list(twice))] if twice else pairs
    owners = view.owners(pairs[:, 0])
    known = pairs[np.isin(pairs[:, 0], owners["diaSourceId"])]
    other = known[:, 1] != owners["ssObjectId"]
    return Wanted(
        owners=owners[other],
        ss_object_ids=known[other, 1],
        unknown=len(pairs) - len(known),
        refused={str(one): "several Solar System objects are to have the source" for one in sorted(twice)},
    )


def rows_of_sources(decisions: Iterable[AssociationDecision], source_ids: Array) -> Array:
    """Return the public rows of sources, each as the decision that took it in has it, in order of their identifiers."""
    found = [np.zeros(0, dia_source_dtype())]
    for decision in decisions:
        rows = accepted_rows(decision)
        found.append(rows[np.isin(rows["diaSourceId"], source_ids)])
    rows = np.concatenate(found)
    _, first = np.unique(rows["diaSourceId"], return_index=True)
    return rows[first]


def correct(
    asked: NightToCorrect, wanted: Wanted, supplied: Corrected, blocks: Blocks, *, rules: Rules | None = None
) -> AssociationDecision:
    """Decide what follows from DayMOPS' decision.

    Parameters
    ----------
    asked
        Which, and its verdicts.
    wanted
        What it changes (`wanted_changes`).
    supplied
        Rows, circumstances and orbits of the sources and objects concerned, for all of ``wanted``.
    blocks
        The state after every earlier decision.
    rules
        The numbers to work by.
    """
    rules = rules or Rules()
    released = _released(wanted.owners)
    rows = supplied.rows.copy()
    rows["diaObjectId"], rows["ssObjectId"] = 0, wanted.ss_object_ids
    moving, free = rows[rows["ssObjectId"] != 0], rows[rows["ssObjectId"] == 0]
    number = History(blocks).decisions()
    changes = regrouped(blocks, free[:0], number, released=released, as_of_mjd=asked.over_mjd_tai, rules=rules)
    lost = np.unique(released["diaObjectId"][released["diaObjectId"] != 0])
    founded = _join(free, blocks, changes, (number, asked.over_mjd_tai), rules)
    closed = lost[~History(ChangedBlocks(blocks, changes)).alive(lost)]
    return AssociationDecision(
        instrument=asked.instrument,
        visit=day_visit(asked.day_obs),
        sequence=asked.sequence,
        day_obs=asked.day_obs,
        band="",
        processed_mjd_tai=asked.over_mjd_tai,
        diasources=Table.from_array(free),
        forced=Table.from_array(np.zeros(0, forced_source_dtype())),
        new_objects=tuple(sorted(founded)),
        quarantined=dict(wanted.refused),
        cutouts={},
        details=_details(wanted, (moving, free), lost, closed),
        moving=Table.from_array(moving),
        circumstances=Table.from_array(supplied.circumstances),
        mpc_orbits=tuple(supplied.orbits.get(one, b"") for one in moving["ssObjectId"].tolist()),
        correction=Correction(
            released=Table.from_array(released),
            closed=Table.from_array(_closed(closed, released, wanted.ss_object_ids)),
            verdicts=Table.from_array(_verdicts(asked.verdicts)),
            orbits={str(identifier): record for identifier, record in sorted(supplied.orbits.items())},
        ),
    )


def _released(owners: Array) -> Array:
    released = np.zeros(len(owners), RELEASED)
    for name in ("diaSourceId", "diaObjectId", "ssObjectId"):
        released[name] = owners[name]
    released["midpointMjdTai"] = owners["mjd"]
    return released


def _join(free: Array, blocks: Blocks, changes: Changes, made: tuple[int, float], rules: Rules) -> list[int]:
    """Give sources of no object a DIAObject each, visit after visit, and return the objects founded; changes grow with them."""
    number, as_of_mjd = made
    founded: list[int] = []
    for visit in np.unique(free["visit"]).tolist():
        view = History(ChangedBlocks(blocks, changes))
        here = np.flatnonzero(free["visit"] == visit)
        home = view.alive(free["diaSourceId"][here])
        free["diaObjectId"][here[home]] = free["diaSourceId"][here[home]]
        others = here[~home]
        if len(others):
            matched = match_visit(free[others], view, visit, rules=rules)
            free["diaObjectId"][others] = matched.object_ids
            founded += matched.founded.tolist()
        changes |= regrouped(ChangedBlocks(blocks, changes), free[here], number, as_of_mjd=as_of_mjd, rules=rules)
    return founded


def _closed(closed: Array, released: Array, ss_object_ids: Array) -> Array:
    """Return each closed object with the Solar System object that most of its sources went to, of several the lowest."""
    rows = np.zeros(len(closed), CLOSED)
    rows["diaObjectId"] = closed
    for row in rows:
        went = Counter(ss_object_ids[released["diaObjectId"] == row["diaObjectId"]].tolist())
        row["ssObjectId"] = min(went, key=lambda one: (one == 0, -went[one], one))
    return rows


def _verdicts(verdicts: Array) -> Array:
    """Return what DayMOPS says of DIAObjects, each once."""
    rows = np.zeros(len(verdicts), VERDICT)
    if len(verdicts):
        rows["diaObjectId"], rows["verdict"] = verdicts["dia_object_id"], verdicts["verdict"]
    rows = rows[np.lexsort((rows["verdict"], rows["diaObjectId"]))]
    return rows[np.append(np.diff(rows["diaObjectId"]) != 0, True)] if len(rows) else rows


def _details(wanted: Wanted, parts: tuple[Array, Array], lost: Array, closed: Array) -> dict[str, float]:
    moving, free = parts
    return {
        "reassigned": float(len(moving)),
        "released": float(len(free)),
        "closed": float(len(closed)),
        "reduced": float(len(lost) - len(closed)),
        "unknown": float(wanted.unknown),
    }
