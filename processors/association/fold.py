"""How the state changes: by folding decisions, each once.

``fold`` gives the changes and applies nothing; whoever keeps the blocks writes all of them in one batch. Folding a decision
that the state already holds changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from processors.association.errors import UnknownVisitError
from processors.association.history import (
    COUNT_KEY,
    FORCED_ROW,
    HEAD_ROW,
    SOURCE_ROW,
    STORAGE_ORDER,
    Blocks,
    Changes,
    FoldedDecision,
    History,
    head_key,
    month_key,
    month_of,
    object_key,
    overlay,
    pack_decisions,
    pack_number,
    pack_rows,
    visit_key,
)
from processors.association.matching import pixels_of
from processors.association.objects import best_of_visits, mean_positions
from processors.association.rules import Rules
from processors.association.summary import summarise
from schemas.events import AssociationDecision

__all__ = ["fold", "object_versions", "window_of"]

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
    place, changes = _placed(view, sources, forced)
    changes |= _appended(view, _source_rows(sources, number), place, (b"s", "diaSourceId"))
    changes |= _appended(view, _forced_rows(forced, number), place, (b"f", "diaForcedSourceId"))
    seen = np.unique(sources["diaObjectId"])
    if len(seen):
        changes |= _heads(History(overlay(blocks, changes)), seen, place.of(seen), sources, (number, rules))
    record = FoldedDecision(sequence=decision.sequence, number=number, detectors=tuple(detectors))
    changes[visit_key(decision.visit)] = pack_decisions(sorted((*before, record), key=lambda one: one.sequence))
    changes[COUNT_KEY] = pack_number(number + 1)
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
    number = next((one.number for one in view.folded(decision.visit) if one.sequence == decision.sequence), None)
    if number is None:
        raise UnknownVisitError(f"Decision {decision.sequence} of visit {decision.visit} is not folded.")
    sources, forced = decision.diasources.to_array(), decision.forced.to_array()
    touched = np.unique(np.concatenate([sources["diaObjectId"], forced["diaObjectId"]]))
    pixels = view.pixels_of(touched)
    where = pixels, *window_of(_midpoint(sources, forced), rules)
    rows = summarise(
        _of_objects(view.sources(*where), touched, number),
        _of_objects(view.forced(*where), touched, number),
        touched,
        processed_mjd_tai=decision.processed_mjd_tai,
    )
    _place_dormant(rows, view.heads(pixels))
    return rows


def _midpoint(sources: Array, forced: Array) -> float:
    times = np.concatenate([sources["midpointMjdTai"], forced["midpointMjdTai"]])
    return float(times.max()) if len(times) else 0.0


def _of_objects(rows: Array, object_ids: Array, number: int) -> Array:
    return rows[np.isin(rows["diaObjectId"], object_ids) & (rows["decision"] <= number)]


def _place_dormant(rows: Array, heads: Array) -> None:
    """Give objects without a DIASource in the window the position they last had."""
    for row in np.flatnonzero(np.isnan(rows["ra"])):
        head = heads[np.searchsorted(heads["diaObjectId"], rows["diaObjectId"][row])]
        for name in ("ra", "dec", "raErr", "decErr"):
            rows[name][row] = head[name]


def _placed(view: History, sources: Array, forced: Array) -> tuple[_Place, Changes]:
    """Return the pixel of every object of the decision, and the changes that remember those of new ones."""
    object_ids = np.unique(np.concatenate([sources["diaObjectId"], forced["diaObjectId"]]))
    pixels = view.pixels_of(object_ids)
    new = np.flatnonzero(pixels < 0)
    founders = np.searchsorted(sources["diaSourceId"], object_ids[new])
    pixels[new] = pixels_of(sources["ra"][founders], sources["dec"][founders], STORAGE_ORDER)
    changes: Changes = {object_key(int(object_ids[at])): pack_number(int(pixels[at])) for at in new}
    return _Place(object_ids=object_ids, pixels=pixels), changes


def _source_rows(sources: Array, number: int) -> Array:
    return _rows(sources, SOURCE_ROW, number)


def _forced_rows(forced: Array, number: int) -> Array:
    return _rows(forced, FORCED_ROW, number)


def _rows(public: Array, dtype: np.dtype[Any], number: int) -> Array:
    rows = np.zeros(len(public), dtype)
    for name in dtype.names or ():
        if name not in ("mjd", "decision", "band"):
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


def _heads(view: History, seen: Array, pixels: Array, sources: Array, made: tuple[int, Rules]) -> Changes:
    """Return the blocks of heads with the objects that were seen moved to their mean positions."""
    number, rules = made
    first, last = window_of(float(sources["midpointMjdTai"].max()), rules)
    rows = view.sources(pixels, first, last)
    means = mean_positions(best_of_visits(rows[np.isin(rows["diaObjectId"], seen)]), seen)
    heads = np.zeros(len(seen), HEAD_ROW)
    heads["diaObjectId"] = seen
    for name in ("ra", "dec", "raErr", "decErr", "detections"):
        heads[name] = means[name]
    heads["last_visit"] = int(sources["visit"].max())
    keys = np.unique(pixels).tolist()
    changes: Changes = {}
    for pixel, old in zip(keys, view.blocks([head_key(pixel) for pixel in keys], HEAD_ROW), strict=True):
        changes[head_key(pixel)] = pack_rows(_replaced(old, heads[pixels == pixel]), number)
    return changes


def _replaced(old: Array, new: Array) -> Array:
    """Return heads in order of their identifiers, the new ones in place of the old."""
    new = new.copy()
    stayed = old[~np.isin(old["diaObjectId"], new["diaObjectId"])]
    before = old[np.isin(old["diaObjectId"], new["diaObjectId"])]
    at = np.searchsorted(new["diaObjectId"], before["diaObjectId"])
    new["last_visit"][at] = np.maximum(new["last_visit"][at], before["last_visit"])
    rows = np.concatenate([stayed, new])
    return rows[np.argsort(rows["diaObjectId"], kind="stable")]
