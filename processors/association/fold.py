"""How the state changes: by folding decisions, each once.

``fold`` gives the changes and applies nothing; whoever keeps the blocks writes all of them in one batch. Folding a decision
that the state already holds changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from processors.association.blocks import (
    COUNT_KEY,
    FORCED_ROW,
    HEAD_ROW,
    LIVE,
    SOURCE_ROW,
    STORAGE_ORDER,
    Blocks,
    ChangedBlocks,
    Changes,
    FoldedDecision,
    head_key,
    month_key,
    month_of,
    object_key,
    pack_decisions,
    pack_number,
    pack_rows,
    visit_key,
)
from processors.association.history import History
from processors.association.matching import pixels_of
from processors.association.objects import best_of_visits, mean_positions
from processors.association.ownership import RELEASED, owned, taken_away
from processors.association.rules import Rules
from processors.association.summary import summarise
from schemas.events import AssociationDecision
from schemas.public import forced_source_dtype

__all__ = ["fold", "object_versions", "regrouped", "window_of"]

Array = np.ndarray[Any, Any]

LATEST_DAYS = 60.0
"""How much newer than a late visit the rest of the history may be: twice the retention of the visits' log."""

KEPT_MONTHS = 15
"""Months kept in the state: the window, and as much as a late visit may lie back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """One object and the pixel that holds it."""

    object_ids: Array
    pixels: Array

    def of(self, wanted: Array) -> Array:
        return np.asarray(self.pixels[np.searchsorted(self.object_ids, wanted)])


def window_of(mjd: float, rules: Rules) -> tuple[float, float]:
    """Return the first and last time of the history that statistics at a visit's midpoint take in."""
    return mjd - rules.window_days, mjd + LATEST_DAYS


def fold(
    blocks: Blocks, decision: AssociationDecision, detectors: Iterable[int], *, rules: Rules | None = None
) -> Changes:
    """Return what a decision changes in the state, nothing if the state holds it already.

    Parameters
    ----------
    blocks
        The state after every earlier decision in the log.
    decision
        The decision.
    detectors
        Detectors whose results it took in (``decide.detectors_of``).
    rules
        The numbers that it was made by.
    """
    rules = rules or Rules()
    view = History(blocks)
    before = view.folded(decision.visit)
    if any(earlier.sequence == decision.sequence for earlier in before):
        return {}
    number = view.decisions()
    sources, forced = decision.diasources.to_array(), decision.forced.to_array()
    changes = regrouped(
        blocks, sources, number, forced=forced, released=_released(decision), as_of_mjd=_as_of(decision), rules=rules
    )
    changes |= owned(History(ChangedBlocks(blocks, changes)), decision, number)
    record = FoldedDecision(sequence=decision.sequence, number=number, detectors=tuple(detectors))
    changes[visit_key(decision.visit)] = pack_decisions(sorted((*before, record), key=lambda one: one.sequence))
    changes[COUNT_KEY] = pack_number(number + 1)
    return changes


def regrouped(
    blocks: Blocks,
    sources: Array,
    number: int,
    *,
    as_of_mjd: float,
    rules: Rules,
    forced: Array | None = None,
    released: Array | None = None,
) -> Changes:
    """Return what the sources that objects lose and gain change in the objects.

    Parameters
    ----------
    blocks
        The state before.
    sources
        Public DIASource rows with their new diaObjectId.
    number
        Number of the decision.
    as_of_mjd
        Whose twelve months positions are made of, MJD TAI; an object without a source in them, which lost one, is closed.
    rules
        The numbers to work by.
    forced
        Public forced rows.
    released
        Rows of ``ownership.RELEASED``.
    """
    forced = np.zeros(0, forced_source_dtype()) if forced is None else forced
    released = np.zeros(0, RELEASED) if released is None else released
    changes = taken_away(History(blocks), released, number)
    view = History(ChangedBlocks(blocks, changes))
    place, own = _placed(view, sources, forced, released)
    changes |= own
    changes |= _appended(view, _source_rows(sources, number), place, (b"s", "diaSourceId"))
    changes |= _appended(view, _forced_rows(forced, number), place, (b"f", "diaForcedSourceId"))
    touched = _touched(sources, released)
    if len(touched):
        changes |= _heads(
            History(ChangedBlocks(blocks, changes)), touched, place.of(touched), as_of_mjd, (number, rules)
        )
    return changes


def object_versions(view: History, decision: AssociationDecision, *, rules: Rules | None = None) -> Array:
    """Return the public DIAObject rows that a folded decision made, in order of their identifiers.

    The state may have gone on since: rows of later decisions are left out, so the versions come out the same whenever they
    are asked for.

    Raises
    ------
    UnknownVisitError
        When the decision is not folded.
    """
    rules = rules or Rules()
    number = view.number_of(decision.visit, decision.sequence)
    sources, forced = decision.diasources.to_array(), decision.forced.to_array()
    touched = np.union1d(_touched(sources, _released(decision)), forced["diaObjectId"])
    if decision.correction is not None:
        touched = np.setdiff1d(touched, decision.correction.closed.to_array()["diaObjectId"])
    pixels = view.pixels_of(touched)
    where = pixels, *window_of(_as_of(decision), rules)
    ours, at_objects = view.sources(*where, number=number), view.forced(*where)
    rows = summarise(
        ours[np.isin(ours["diaObjectId"], touched)],
        at_objects[np.isin(at_objects["diaObjectId"], touched) & (at_objects["decision"] <= number)],
        touched,
        processed_mjd_tai=decision.processed_mjd_tai,
    )
    _place_dormant(rows, view.heads(pixels))
    return rows


def _released(decision: AssociationDecision) -> Array:
    return np.zeros(0, RELEASED) if decision.correction is None else decision.correction.released.to_array()


def _touched(sources: Array, released: Array) -> Array:
    """Return the DIAObjects that gain or lose a source, ascending."""
    return np.unique(np.concatenate([sources["diaObjectId"], released["diaObjectId"][released["diaObjectId"] != 0]]))


def _as_of(decision: AssociationDecision) -> float:
    """Return the latest midpoint of a visit, or when a correction's night was over."""
    if decision.correction is not None:
        return decision.processed_mjd_tai
    times = [table.to_array()["midpointMjdTai"] for table in (decision.diasources, decision.forced) if table.rows]
    return float(np.concatenate(times).max()) if times else 0.0


def _place_dormant(rows: Array, heads: Array) -> None:
    """Give objects without a DIASource in the window the position they last had."""
    for row in np.flatnonzero(np.isnan(rows["ra"])):
        for head in heads[heads["diaObjectId"] == rows["diaObjectId"][row]]:
            for name in ("ra", "dec", "raErr", "decErr"):
                rows[name][row] = head[name]


def _placed(view: History, sources: Array, forced: Array, released: Array) -> tuple[_Place, Changes]:
    """Return the pixel of every object of the decision, and the changes that remember those of new ones."""
    object_ids = np.union1d(_touched(sources, released), forced["diaObjectId"])
    pixels = view.pixels_of(object_ids)
    new = np.flatnonzero(pixels < 0)
    founders = np.searchsorted(sources["diaSourceId"], object_ids[new])
    pixels[new] = pixels_of(sources["ra"][founders], sources["dec"][founders], STORAGE_ORDER)
    changes: Changes = {object_key(int(object_ids[at])): pack_number(int(pixels[at])) for at in new}
    return _Place(object_ids=object_ids, pixels=pixels), changes


def _source_rows(sources: Array, number: int) -> Array:
    rows = _rows(sources, SOURCE_ROW, number)
    rows["released"] = LIVE
    return rows


def _forced_rows(forced: Array, number: int) -> Array:
    return _rows(forced, FORCED_ROW, number)


def _rows(public: Array, dtype: np.dtype[Any], number: int) -> Array:
    rows = np.zeros(len(public), dtype)
    for name in dtype.names or ():
        if name not in ("mjd", "decision", "released", "band"):
            rows[name] = public[name]
    rows["mjd"], rows["decision"], rows["band"] = public["midpointMjdTai"], number, public["band"].astype("S1")
    return rows


def _appended(view: History, rows: Array, place: _Place, names: tuple[bytes, str]) -> Changes:
    """Return the month blocks with new rows in them, and the end of those that are too old."""
    kind, identifier = names
    if len(rows) == 0:
        return {}
    number = int(rows["decision"][0])
    pixels = place.of(rows["diaObjectId"])
    months = np.floor(rows["mjd"] / 30.0).astype(np.int64)
    order = np.lexsort((months, pixels))
    starts = np.flatnonzero(np.diff(pixels[order], prepend=-1) | np.diff(months[order], prepend=-1))
    parts = np.split(order, starts[1:])
    keys = [month_key(kind, int(pixels[part[0]]), int(months[part[0]])) for part in parts]
    changes: Changes = {}
    for key, part, old in zip(keys, parts, view.blocks(keys, rows.dtype), strict=True):
        block = np.concatenate([old, rows[part]])
        block = block[np.lexsort((block[identifier], block["mjd"], block["diaObjectId"]))]
        changes[key] = pack_rows(block, number)
    oldest = month_of(float(rows["mjd"].max())) - KEPT_MONTHS
    for pixel in np.unique(pixels).tolist():
        changes[month_key(kind, pixel, oldest)] = None
    return changes


def _heads(view: History, touched: Array, pixels: Array, as_of_mjd: float, made: tuple[int, Rules]) -> Changes:
    """Return the blocks of heads with the objects touched moved to their mean positions, those without a source left out."""
    number, rules = made
    rows = view.sources(pixels, *window_of(as_of_mjd, rules))
    rows = rows[np.isin(rows["diaObjectId"], touched)]
    means = mean_positions(best_of_visits(rows), touched)
    heads = np.zeros(len(touched), HEAD_ROW)
    heads["diaObjectId"] = touched
    for name in ("ra", "dec", "raErr", "decErr", "detections"):
        heads[name] = means[name]
    np.maximum.at(heads["last_visit"], np.searchsorted(touched, rows["diaObjectId"]), rows["visit"])
    keys, first = np.unique(pixels[np.argsort(pixels, kind="stable")], return_index=True)
    parts = np.split(heads[np.argsort(pixels, kind="stable")], first[1:])
    names = [head_key(pixel) for pixel in keys.tolist()]
    changes: Changes = {}
    for key, mine, old in zip(names, parts, view.blocks(names, HEAD_ROW), strict=True):
        stayed = old[~np.isin(old["diaObjectId"], mine["diaObjectId"])]
        block = np.concatenate([stayed, mine[mine["detections"] > 0]])
        changes[key] = pack_rows(block[np.argsort(block["diaObjectId"], kind="stable")], number)
    return changes
