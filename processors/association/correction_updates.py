"""What a correction says to others: one update for each object that lost or gained sources, was closed, or got a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from processors.association.ownership import orbits_of
from processors.association.updates import rows_by_object
from schemas.events import AssociationDecision, ObjectUpdate
from schemas.public_avro import encode_rows

__all__ = ["correction_updates"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sources:
    """Public rows and their records."""

    rows: Array
    encoded: list[bytes]

    @classmethod
    def of(cls, rows: Array) -> _Sources:
        return cls(rows=rows, encoded=encode_rows(rows, "diaSource"))


def correction_updates(decision: AssociationDecision, versions: Array, number: int) -> Iterator[ObjectUpdate]:
    """Yield the updates of a correction: DIAObjects in order of their identifiers, then Solar System objects.

    None of them makes an alert: nothing was newly seen.

    Parameters
    ----------
    decision
        A decision with a correction.
    versions
        Public DIAObject rows that it made (``fold.object_versions``).
    number
        Its place among all decisions (``History.number_of``).
    """
    assert decision.correction is not None
    correction = decision.correction
    closed = dict(correction.closed.to_array().tolist())
    verdicts = dict(correction.verdicts.to_array().tolist())
    records = dict(zip(versions["diaObjectId"].tolist(), encode_rows(versions, "diaObject"), strict=True))
    gained, lost = _Sources.of(decision.diasources.to_array()), correction.released.to_array()
    came, went = rows_by_object(gained.rows["diaObjectId"]), rows_by_object(lost["diaObjectId"])
    for identifier in sorted({*records, *closed, *verdicts}):
        told = _told(gained, came.get(identifier, []), lost[went.get(identifier, [])])
        yield _update(
            decision,
            dia_object_id=identifier,
            dia_object=records.get(identifier, b""),
            cause="closed" if identifier in closed else "reassigned" if identifier in records else "verdict",
            successor=closed.get(identifier, 0),
            verdict=verdicts.get(identifier, -1),
            correction=number,
            **told,
        )
    yield from _of_moving(decision, lost, number)


def _of_moving(decision: AssociationDecision, lost: Array, number: int) -> Iterator[ObjectUpdate]:
    orbits = orbits_of(decision)
    gained = _Sources.of(decision.moving.to_array())
    circumstances = encode_rows(decision.circumstances.to_array(), "ssSource")
    came, went = rows_by_object(gained.rows["ssObjectId"]), rows_by_object(lost["ssObjectId"])
    for identifier in sorted({*orbits, *came, *went} - {0}):
        mine = came.get(identifier, [])
        yield _update(
            decision,
            dia_object_id=0,
            ss_object_id=identifier,
            dia_object=b"",
            cause="reassigned",
            circumstances=tuple(circumstances[row] for row in mine),
            mpc_orbits=orbits.get(identifier, b""),
            correction=number,
            **_told(gained, mine, lost[went.get(identifier, [])]),
        )


def _told(gained: _Sources, mine: list[int], lost: Array) -> dict[str, Any]:
    """Return what an update says of the sources that its object gained and lost."""
    rows = gained.rows[mine]
    return {
        "diasources": tuple(gained.encoded[row] for row in mine),
        "dia_source_ids": tuple(rows["diaSourceId"].tolist()),
        "released": tuple(lost["diaSourceId"].tolist()),
        "midpoints_mjd_tai": (*rows["midpointMjdTai"].tolist(), *lost["midpointMjdTai"].tolist()),
    }


def _update(decision: AssociationDecision, **told: Any) -> ObjectUpdate:
    return ObjectUpdate(
        visit=decision.visit,
        sequence=decision.sequence,
        forced=(),
        cutouts={},
        midpoint_mjd_tai=max(told["midpoints_mjd_tai"], default=decision.processed_mjd_tai),
        **told,
    )
