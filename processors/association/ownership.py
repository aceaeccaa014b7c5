"""Whose a DIASource is: the part of the state that says it, and what folding a decision changes in it.

A DIASource is of exactly one DIAObject or of exactly one Solar System object. Visits make it so; DayMOPS may move it from one to
another, and then its old row stays where it was, marked with the decision that took it away, for the sake of earlier states.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from processors.association.blocks import (
    LIVE,
    MOVING_ROW,
    OWNER_ROW,
    SOURCE_ROW,
    Changes,
    month_key,
    month_of,
    moving_key,
    orbit_key,
    owners_key,
    pack_rows,
)
from processors.association.history import History
from schemas.events import AssociationDecision
from schemas.ids import unpack_dia_source_id

__all__ = ["RELEASED", "owned", "orbits_of", "taken_away"]

Array = np.ndarray[Any, Any]

RELEASED = np.dtype([("diaSourceId", "<i8"), ("diaObjectId", "<i8"), ("ssObjectId", "<i8"), ("midpointMjdTai", "<f8")])
"""A row of a correction's ``released``."""


def taken_away(view: History, released: Array, number: int) -> Changes:
    """Return the blocks with sources marked as no longer their objects'.

    Parameters
    ----------
    view
        The state before.
    released
        Rows of RELEASED; each source is its object's.
    number
        Number of the decision that takes them away.
    """
    of_objects, of_moving = (released[released[name] != 0] for name in ("diaObjectId", "ssObjectId"))
    pixels = view.pixels_of(of_objects["diaObjectId"]).tolist()
    months = [month_of(mjd) for mjd in of_objects["midpointMjdTai"].tolist()]
    keys = [month_key(b"s", pixel, month) for pixel, month in zip(pixels, months, strict=True)]
    changes = _marked(view, keys, SOURCE_ROW, of_objects["diaSourceId"], number)
    keys = [moving_key(identifier) for identifier in of_moving["ssObjectId"].tolist()]
    return changes | _marked(view, keys, MOVING_ROW, of_moving["diaSourceId"], number)


def owned(view: History, decision: AssociationDecision, number: int) -> Changes:
    """Return the blocks of owners and of Solar System objects as a decision leaves them.

    Parameters
    ----------
    view
        The state, with what the decision takes away taken away.
    decision
        The decision.
    number
        Its number.
    """
    changes = _owners(view, decision, number)
    moving = decision.moving.to_array() if decision.moving.rows else None
    if moving is not None:
        rows = _moving_rows(moving, decision.circumstances.to_array(), number)
        identifiers = np.unique(rows["ssObjectId"]).tolist()
        before = view.blocks([moving_key(identifier) for identifier in identifiers], MOVING_ROW)
        for identifier, old in zip(identifiers, before, strict=True):
            block = np.concatenate([old, rows[rows["ssObjectId"] == identifier]])
            block = block[np.lexsort((block["diaSourceId"], block["mjd"]))]
            changes[moving_key(identifier)] = pack_rows(block, number)
    changes |= {orbit_key(identifier): record for identifier, record in orbits_of(decision).items()}
    return changes


def orbits_of(decision: AssociationDecision) -> dict[int, bytes]:
    """Return the encoded mpc_orbits record of each Solar System object that a decision touches."""
    orbits: dict[int, bytes] = {}
    if decision.moving.rows:
        identifiers = decision.moving.to_array()["ssObjectId"].tolist()
        orbits |= {one: record for one, record in zip(identifiers, decision.mpc_orbits, strict=True) if record}
    if decision.correction is not None:
        orbits |= {int(text): record for text, record in decision.correction.orbits.items()}
    return orbits


def _marked(view: History, keys: list[bytes], dtype: np.dtype[Any], source_ids: Array, number: int) -> Changes:
    """Mark sources, each in the block of its key."""
    of_block: dict[bytes, list[int]] = {}
    for key, source in zip(keys, source_ids.tolist(), strict=True):
        of_block.setdefault(key, []).append(source)
    changes: Changes = {}
    ordered = sorted(of_block)
    for key, rows in zip(ordered, view.blocks(ordered, dtype), strict=True):
        mine = np.isin(rows["diaSourceId"], of_block[key]) & (rows["released"] == LIVE)
        rows["released"][mine] = number
        changes[key] = pack_rows(rows, number)
    return changes


def _owners(view: History, decision: AssociationDecision, number: int) -> Changes:
    parts = [table.to_array() for table in (decision.diasources, decision.moving) if table.rows]
    rows = np.zeros(sum(map(len, parts)), OWNER_ROW)
    for name, public in (("diaSourceId",) * 2, ("diaObjectId",) * 2, ("ssObjectId",) * 2, ("mjd", "midpointMjdTai")):
        rows[name] = np.concatenate([np.zeros(0, OWNER_ROW[name]), *(part[public] for part in parts)])
    of_visit = np.array([unpack_dia_source_id(one).visit for one in rows["diaSourceId"].tolist()], np.int64)
    visits = np.unique(of_visit).tolist()
    changes: Changes = {}
    for visit, old in zip(visits, view.blocks([owners_key(visit) for visit in visits], OWNER_ROW), strict=True):
        new = rows[of_visit == visit]
        block = np.concatenate([old[~np.isin(old["diaSourceId"], new["diaSourceId"])], new])
        changes[owners_key(visit)] = pack_rows(block[np.argsort(block["diaSourceId"], kind="stable")], number)
    return changes


def _moving_rows(sources: Array, circumstances: Array, number: int) -> Array:
    rows = np.zeros(len(sources), MOVING_ROW)
    for name in ("ssObjectId", "diaSourceId", "visit", "psfFlux", "psfFluxErr", "extendedness"):
        rows[name] = sources[name]
    for name in ("phaseAngle", "helioRange", "topoRange"):
        rows[name] = circumstances[name]
    rows["mjd"], rows["band"] = sources["midpointMjdTai"], sources["band"].astype("S1")
    rows["decision"], rows["released"] = number, LIVE
    return rows
