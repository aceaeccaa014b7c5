"""The decision of one visit: which object each source belongs to.

A decision is a function of the accepted results and of the state after all decisions before it in the log; it changes
nothing. The state changes by folding it (``fold.py``), so a crash anywhere repeats a decision, to the same bytes, or a
fold, never half of one. Rows are taken in the order of their identifiers, so the order in which results arrived is
forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from processors.association.assignment import assign
from processors.association.blocks import STORAGE_ORDER
from processors.association.duplicates import best_of_groups, group_duplicates
from processors.association.fold import window_of
from processors.association.history import History
from processors.association.matching import (
    Pairs,
    Points,
    candidate_pairs,
    likelihood_costs,
    pixels_around,
    pixels_of,
    same_source,
)
from processors.association.rules import Rules
from processors.association.solar_system import circumstances_of, match_predicted
from processors.association.validation import valid_forced, valid_sources
from schemas.events import AssociationDecision, DetectorResult
from schemas.ids import day_obs_of, forced_source_id
from schemas.public import dia_source_dtype, forced_source_dtype, null_rows
from schemas.tables import Table

__all__ = ["Matched", "Predicted", "VisitToDecide", "decide", "detectors_of", "match_visit"]

Array = np.ndarray[Any, Any]

_DETECTOR_DETAIL = "detector_{:03d}_rows"
_UNREAD = "detector:"


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitToDecide:
    """A closed visit, or a late result of one."""

    instrument: str
    visit: int
    processed_mjd_tai: float
    """Last end of read-out; what every record calls its time of processing."""
    band: str = ""
    sequence: int = 0
    """0 for the visit's own decision, then one more for each late result."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Results that cannot be read, as ``detector:<number>``, with the reason."""
    predicted: Predicted | None = None
    """The known moving objects of the field."""
    last_readout_sent_unix_s: float = 0.0
    """When the telescope sent the last end of read-out; only carried through, for latencies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What NightMOPS predicted for the visit."""

    rows: Array
    """Of `schemas.predictions.predicted_dtype`."""
    mjd_tai: float
    """When the positions hold."""
    mpc_orbits: Sequence[bytes]
    """Public mpc_orbits record of each row, encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What matching found for the sources of one visit, each array in the order of the sources."""

    object_ids: Array
    founded: Array
    """Ascending identifiers of the objects founded."""
    separation: Array
    """Arcseconds from the object as it was; NaN for a source that founded one or follows another source."""
    followers: int
    """Sources that belong to an object only beside a better source of this visit."""


def decide(
    visit: VisitToDecide, results: Iterable[DetectorResult], view: History, *, rules: Rules | None = None
) -> AssociationDecision:
    """Decide the visit.

    Parameters
    ----------
    visit
        Which visit, and when it was read out.
    results
        Accepted results in any order; a second one of a detector is ignored.
    view
        The state after every earlier decision.
    rules
        The numbers to work by.
    """
    rules = rules or Rules()
    accepted = _in_order(results, visit.visit)
    refused = dict(visit.refused)
    sources = _gather([valid_sources(result) for result in accepted], dia_source_dtype(), refused)
    sources["timeProcessedMjdTai"] = visit.processed_mjd_tai
    sources, moving = _part_moving(sources, visit.predicted, rules)
    matched = match_visit(sources, view, visit.visit, rules=rules)
    sources["diaObjectId"] = matched.object_ids
    forced = _forced_rows(accepted, view, refused)
    forced["timeProcessedMjdTai"] = visit.processed_mjd_tai
    return AssociationDecision(
        instrument=visit.instrument,
        visit=visit.visit,
        sequence=visit.sequence,
        day_obs=day_obs_of(visit.visit),
        band=visit.band or (accepted[0].band if accepted else ""),
        processed_mjd_tai=visit.processed_mjd_tai,
        diasources=Table.from_array(sources),
        forced=Table.from_array(forced),
        new_objects=tuple(matched.founded.tolist()),
        quarantined=refused,
        cutouts={f"{result.detector:03d}": result.cutouts for result in accepted if result.cutouts is not None},
        details=_details(accepted, (sources, moving.sources), forced, matched),
        moving=Table.from_array(moving.sources),
        circumstances=Table.from_array(moving.circumstances),
        mpc_orbits=moving.mpc_orbits,
        last_readout_sent_unix_s=visit.last_readout_sent_unix_s,
    )


def match_visit(sources: Array, view: History, visit: int, *, rules: Rules) -> Matched:
    """Give each source of one visit its object.

    Duplicates inside the visit are grouped first and the best of each group is matched. A best source without an object
    founds one, unless it is rather a second view of an object that the visit has already seen; then it follows that object.

    Parameters
    ----------
    sources
        Public DIASource rows in order of their identifiers; positions are finite.
    view
        The state before the visit, or before its late result.
    visit
        The visit.
    rules
        The numbers to work by.
    """
    points = Points.of(sources)
    groups = group_duplicates(points, rules)
    best = best_of_groups(groups, sources["snr"], sources["diaSourceId"])
    heads = view.heads(pixels_around(pixels_of(sources["ra"], sources["dec"], STORAGE_ORDER), STORAGE_ORDER))
    pairs = candidate_pairs(Points.of(sources[best]), Points.of(heads), rules)
    seen = heads["last_visit"] >= visit
    if seen.any():
        seen[seen] = _seen_in(view, heads["diaObjectId"][seen], visit, float(sources["midpointMjdTai"].max()), rules)
    chosen = _chosen(pairs, heads, seen, rules)
    owner, separation = np.zeros(len(best), np.int64), np.full(len(best), np.nan)
    owner[pairs.source[chosen]] = heads["diaObjectId"][pairs.object[chosen]]
    separation[pairs.source[chosen]] = pairs.separation[chosen]
    _follow(owner, pairs, heads, chosen, seen, rules)
    founders = owner == 0
    owner[founders] = sources["diaSourceId"][best][founders]
    whole = np.full(len(sources), np.nan)
    whole[best] = separation
    return Matched(
        object_ids=owner[groups] if len(groups) else np.zeros(0, np.int64),
        founded=np.sort(owner[founders]),
        separation=whole,
        followers=len(sources) - int(chosen.sum()) - int(founders.sum()),
    )


def detectors_of(decision: AssociationDecision) -> tuple[int, ...]:
    """Return the detectors whose results the decision took in, or found that they cannot be read."""
    prefix, suffix = _DETECTOR_DETAIL.split("{:03d}")
    used = [name[len(prefix) : -len(suffix)] for name in decision.details if name.startswith(prefix)]
    unread = [name.removeprefix(_UNREAD) for name in decision.quarantined if name.startswith(_UNREAD)]
    return tuple(sorted({int(number) for number in (*used, *unread)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moving:
    """Sources of known moving objects, in order of their identifiers, and what goes with them."""

    sources: Array
    circumstances: Array
    mpc_orbits: tuple[bytes, ...]


def _part_moving(sources: Array, predicted: Predicted | None, rules: Rules) -> tuple[Array, _Moving]:
    """Part the sources of known moving objects from the others; duplicates of one follow it and do not found anything.

    Without a prediction there are none: the night goes on, and DayMOPS repairs the association by day.
    """
    if predicted is None or len(sources) == 0:
        return sources, _Moving(sources=sources[:0], circumstances=null_rows("ssSource", 0), mpc_orbits=())
    groups = group_duplicates(Points.of(sources), rules)
    best = best_of_groups(groups, sources["snr"], sources["diaSourceId"])
    matches = match_predicted(sources[best], predicted.rows, predicted.mjd_tai, rules)
    row = np.full(len(best), -1)
    row[matches.source] = matches.predicted
    rank = np.zeros(len(best), np.int64)
    rank[matches.source] = matches.rank
    of_source, mine = row[groups], row[groups] >= 0
    sources["ssObjectId"][mine] = predicted.rows["ssObjectId"][of_source[mine]]
    chosen = predicted.rows[of_source[mine]]
    return sources[~mine], _Moving(
        sources=sources[mine],
        circumstances=circumstances_of(sources[mine], chosen, predicted.mjd_tai, rank[groups][mine]),
        mpc_orbits=tuple(predicted.mpc_orbits[at] for at in of_source[mine].tolist()),
    )


def _chosen(pairs: Pairs, heads: Array, seen: Array, rules: Rules) -> Array:
    """Return which pairs are taken; objects that the visit has already seen take no second source."""
    costs, alone = likelihood_costs(pairs, heads["detections"][pairs.object], rules)
    free = np.flatnonzero(~seen[pairs.object])
    chosen = np.zeros(len(pairs), bool)
    chosen[free] = assign(pairs.source[free], pairs.object[free], costs[free], alone)
    return chosen


def _follow(owner: Array, pairs: Pairs, heads: Array, chosen: Array, seen: Array, rules: Rules) -> None:
    """Attach sources without an object to a taken one beside them where they are rather the same: founds no twins."""
    taken = seen.copy()
    taken[pairs.object[chosen]] = True
    beside = (owner[pairs.source] == 0) & taken[pairs.object] & same_source(pairs, rules)
    near = pairs.where(beside)
    costs, _ = likelihood_costs(near, heads["detections"][near.object], rules)
    order = np.lexsort((near.object, costs, near.source))
    source, first = np.unique(near.source[order], return_index=True)
    owner[source] = heads["diaObjectId"][near.object[order][first]]


def _seen_in(view: History, object_ids: Array, visit: int, mjd: float, rules: Rules) -> Array:
    """Return which objects have a DIASource of the visit already."""
    first, last = window_of(mjd, rules)
    rows = view.sources(view.pixels_of(object_ids), first, last)
    return np.isin(object_ids, rows["diaObjectId"][rows["visit"] == visit])


def _in_order(results: Iterable[DetectorResult], visit: int) -> list[DetectorResult]:
    """Return the visit's results in order of detectors, one each."""
    by_detector: dict[int, DetectorResult] = {}
    for result in results:
        if result.visit == visit:
            by_detector.setdefault(result.detector, result)
    return [by_detector[detector] for detector in sorted(by_detector)]


def _gather(parts: Sequence[tuple[Array, dict[str, str]]], dtype: np.dtype[Any], refused: dict[str, str]) -> Array:
    for _, reasons in parts:
        refused.update(reasons)
    return np.concatenate([np.zeros(0, dtype), *(rows for rows, _ in parts)])


def _forced_rows(results: Sequence[DetectorResult], view: History, refused: dict[str, str]) -> Array:
    """Return the forced sources of known objects, in order of object and detector, with their identifiers."""
    claimed = [result.forced.to_array()["diaObjectId"] for result in results if result.forced.rows]
    known = np.unique(np.concatenate([np.zeros(0, np.int64), *claimed]))
    known = known[view.alive(known)]
    rows = _gather([valid_forced(result, known) for result in results], forced_source_dtype(), refused)
    rows = rows[np.lexsort((rows["detector"], rows["diaObjectId"]))]
    keys = zip(rows["diaObjectId"].tolist(), rows["visit"].tolist(), rows["detector"].tolist(), strict=True)
    rows["diaForcedSourceId"] = [forced_source_id(*key) for key in keys]
    return rows


def _details(
    results: Sequence[DetectorResult], parts: tuple[Array, Array], forced: Array, matched: Matched
) -> dict[str, float]:
    sources, moving = parts
    separation = matched.separation[np.isfinite(matched.separation)]
    details = {
        "sources": float(len(sources) + len(moving)),
        "forced": float(len(forced)),
        "matched": float(len(separation)),
        "founded": float(len(matched.founded)),
        "moving": float(len(moving)),
        "followers": float(matched.followers),
        "median_separation_arcsec": float(np.median(separation)) if len(separation) else 0.0,
    }
    for result in results:
        rows = sum(int(np.sum(part["detector"] == result.detector)) for part in parts)
        details[_DETECTOR_DETAIL.format(result.detector)] = float(rows)
    return details
