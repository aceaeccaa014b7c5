"""What a decision says to others: one update for each object touched, one event for each DIASource and each new version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from schemas.events import AssociationDecision, DiaObjectVersion, DiaSourceEvent, ObjectUpdate
from schemas.ids import unpack_dia_source_id
from schemas.public import dia_source_dtype
from schemas.public_avro import encode_rows

__all__ = [
    "accepted_rows",
    "dia_object_versions",
    "dia_source_events",
    "moving_updates",
    "object_updates",
    "rows_by_object",
]

Array = np.ndarray[Any, Any]


def accepted_rows(decision: AssociationDecision) -> Array:
    """Return all public DIASource rows of a decision, of DIAObjects and of moving objects, in order of their identifiers."""
    parts = [t.to_array() for t in (decision.diasources, decision.moving) if t.rows]
    rows = np.concatenate([np.zeros(0, dia_source_dtype()), *parts])
    return rows[np.argsort(rows["diaSourceId"], kind="stable")]


def object_updates(decision: AssociationDecision, versions: Array) -> Iterator[ObjectUpdate]:
    """Yield the update of each object touched, in order of their identifiers.

    Parameters
    ----------
    decision
        The decision.
    versions
        Public DIAObject rows that it made (``fold.object_versions``).
    """
    sources, forced = decision.diasources.to_array(), decision.forced.to_array()
    source_data, forced_data = encode_rows(sources, "diaSource"), encode_rows(forced, "diaForcedSource")
    of_source, of_forced = rows_by_object(sources["diaObjectId"]), rows_by_object(forced["diaObjectId"])
    identifiers, detectors = sources["diaSourceId"].tolist(), sources["detector"].tolist()
    for identifier, version in zip(versions["diaObjectId"].tolist(), encode_rows(versions, "diaObject"), strict=True):
        mine, at_object = of_source.get(identifier, []), of_forced.get(identifier, [])
        times = [float(sources["midpointMjdTai"][row]) for row in mine]
        times += [float(forced["midpointMjdTai"][row]) for row in at_object]
        names = sorted({f"{detectors[row]:03d}" for row in mine})
        yield ObjectUpdate(
            dia_object_id=identifier,
            visit=decision.visit,
            sequence=decision.sequence,
            diasources=tuple(source_data[row] for row in mine),
            forced=tuple(forced_data[row] for row in at_object),
            dia_object=version,
            cause=_cause(decision.sequence, bool(mine)),
            cutouts={name: decision.cutouts[name] for name in names if name in decision.cutouts},
            dia_source_ids=tuple(identifiers[row] for row in mine),
            midpoint_mjd_tai=max(times),
            last_readout_sent_unix_s=decision.last_readout_sent_unix_s,
        )


def moving_updates(decision: AssociationDecision) -> Iterator[ObjectUpdate]:
    """Yield the update of each known moving object that was seen, in order of their identifiers.

    Parameters
    ----------
    decision
        The decision.
    """
    if decision.moving.rows == 0:
        return
    sources = decision.moving.to_array()
    source_data = encode_rows(sources, "diaSource")
    circumstances = encode_rows(decision.circumstances.to_array(), "ssSource")
    for identifier, mine in sorted(rows_by_object(sources["ssObjectId"]).items()):
        names = sorted({f"{sources['detector'][row]:03d}" for row in mine})
        yield ObjectUpdate(
            dia_object_id=0,
            ss_object_id=identifier,
            visit=decision.visit,
            sequence=decision.sequence,
            diasources=tuple(source_data[row] for row in mine),
            forced=(),
            dia_object=b"",
            circumstances=tuple(circumstances[row] for row in mine),
            mpc_orbits=decision.mpc_orbits[mine[0]],
            cause=_cause(decision.sequence, True),
            cutouts={name: decision.cutouts[name] for name in names if name in decision.cutouts},
            dia_source_ids=tuple(sources["diaSourceId"][mine].tolist()),
            midpoint_mjd_tai=float(sources["midpointMjdTai"][mine].max()),
            last_readout_sent_unix_s=decision.last_readout_sent_unix_s,
        )


def dia_source_events(updates: Iterable[ObjectUpdate]) -> Iterator[DiaSourceEvent]:
    """Yield one event for each DIASource of updates, in their order."""
    for update in updates:
        for identifier, record in zip(update.dia_source_ids, update.diasources, strict=True):
            yield DiaSourceEvent(
                dia_source_id=identifier,
                dia_object_id=update.dia_object_id,
                ss_object_id=update.ss_object_id,
                visit=update.visit,
                sequence=update.sequence,
                detector=unpack_dia_source_id(identifier).detector,
                record=record,
            )


def dia_object_versions(updates: Iterable[ObjectUpdate]) -> Iterator[DiaObjectVersion]:
    """Yield one event for the new version in each update, in their order."""
    for update in updates:
        if not update.dia_object:
            continue
        yield DiaObjectVersion(
            dia_object_id=update.dia_object_id,
            visit=update.visit,
            sequence=update.sequence,
            record=update.dia_object,
        )


def rows_by_object(object_ids: Array) -> dict[int, list[int]]:
    """Return the positions of each object's rows, in their order."""
    groups: dict[int, list[int]] = {}
    for row, identifier in enumerate(object_ids.tolist()):
        groups.setdefault(identifier, []).append(row)
    return groups


def _cause(sequence: int, detected: bool) -> str:
    if sequence:
        return "late"
    return "detected" if detected else "forced"
