"""The records that a decision puts out: updates, sources, versions of objects, tombstones of those that are closed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from processors.association.correction_updates import correction_updates
from processors.association.fold import object_versions
from processors.association.history import History
from processors.association.rules import Rules
from processors.association.updates import dia_object_versions, dia_source_events, moving_updates, object_updates
from schemas.events import AssociationDecision, ObjectUpdate
from streams.stage_codec import Outgoing

__all__ = ["CLOSED_HEADERS", "records_of", "ss_object_records", "warm_up"]

CLOSED_HEADERS = ("reason", "ss_object_id", "visit", "sequence")
"""Headers of a closed DIAObject's tombstone: why, where its sources went, and the correction that decided it."""


def records_of(view: History, decision: AssociationDecision, rules: Rules) -> Iterator[Outgoing]:
    """Yield the records of DIAObjects and sources of a folded decision, the same ones whenever it is asked.

    Parameters
    ----------
    view
        The state, with the decision folded.
    decision
        The decision.
    rules
        The numbers that it was made by.
    """
    updates = list(_updates(view, decision, rules))
    for update in updates:
        yield Outgoing(topic="object-updates", key=update.owner, record=update)
    for source in dia_source_events(updates):
        yield Outgoing(topic="diasources", key=source.dia_object_id or source.ss_object_id, record=source)
    for version in dia_object_versions(updates):
        yield Outgoing(topic="diaobjects", key=version.dia_object_id, record=version)
    for update in updates:
        if update.cause == "closed":
            yield Outgoing(topic="diaobjects", key=update.dia_object_id, record=None, headers=_why(update))


def ss_object_records(view: History, decision: AssociationDecision) -> Iterator[Outgoing]:
    """Yield the newest version of each Solar System object that a folded decision touched; a tombstone where none is left."""
    if not decision.moving.rows and decision.correction is None:
        return
    # Here because most nights of a survey without asteroids never need the compiled code behind it.
    from processors.association.ss_objects import ss_object_versions

    for identifier, version in ss_object_versions(view, decision):
        headers = () if version is not None else _of_decision(decision.visit, decision.sequence)
        yield Outgoing(topic="ssobjects", key=identifier, record=version, headers=headers)


def warm_up() -> None:
    """Load the compiled code that versions of Solar System objects need, so that the first visit that sees one takes no longer."""
    from processors.association import ss_objects

    ss_objects.warm_up()


def _updates(view: History, decision: AssociationDecision, rules: Rules) -> Iterable[ObjectUpdate]:
    versions = object_versions(view, decision, rules=rules)
    if decision.correction is not None:
        return correction_updates(decision, versions, view.number_of(decision.visit, decision.sequence))
    return [*object_updates(decision, versions), *moving_updates(decision)]


def _why(update: ObjectUpdate) -> tuple[tuple[str, bytes], ...]:
    what = ("reason", b"reassigned by DayMOPS"), ("ss_object_id", str(update.successor).encode())
    return *what, *_of_decision(update.visit, update.sequence)


def _of_decision(visit: int, sequence: int) -> tuple[tuple[str, bytes], ...]:
    return ("visit", str(visit).encode()), ("sequence", str(sequence).encode())
