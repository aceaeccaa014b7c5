"""What association does for each fact of a visit: decide, log, fold, emit.

The order of the steps is the whole of its safety. A decision counts once it is in the log; the local store only follows
the log; what is emitted is computed from the logged decision and the folded store, so doing it again gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from infra.errors import CorruptObjectError, ObjectMissingError
from infra.faults import CrashPoints
from infra.logs import correlate, get_logger
from infra.objects import ObjectStore
from processors.association.decide import Predicted, VisitToDecide, decide, detectors_of
from processors.association.errors import UnknownVisitError
from processors.association.fold import fold, object_versions
from processors.association.known_objects import KNOWN_OBJECT, field_radius, known_objects
from processors.association.rules import Rules
from processors.association.updates import dia_object_versions, dia_source_events, moving_updates, object_updates
from processors.association.visit_order import Answer, VisitOrder
from schemas import avro
from schemas.camera import load_camera
from schemas.errors import UndecodableEventError
from schemas.events import (
    AssociationDecision,
    DetectorOutcome,
    KnownObjects,
    LateResult,
    PredictedField,
    VisitClosed,
    VisitEvent,
)
from schemas.tables import Claim, Table
from streams.association.decisions import DecisionLog
from streams.association.errors import NeverClosedError
from streams.association.results import ResultReader
from streams.association.state import LocalState
from streams.bulk import BulkProducer
from streams.stage_codec import Outgoing

__all__ = ["AssociationService", "Outside"]

_LOGGER = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the service works with."""

    log: DecisionLog
    results: ResultReader
    outputs: BulkProducer
    objects: ObjectStore
    faults: CrashPoints


class AssociationService:
    """Association of one instrument.

    Parameters
    ----------
    instrument
        Its name.
    state
        Its local store.
    outside
        Log, results, outputs, object store.
    rules
        The numbers to work by.
    """

    def __init__(self, instrument: str, *, state: LocalState, outside: Outside, rules: Rules) -> None:
        self._instrument, self._state = instrument, state
        self._outside, self._rules = outside, rules
        self._order = VisitOrder()
        self._applied = -1
        self._answers: list[Answer] = []

    def remember(self, event: VisitEvent, offset: int) -> None:
        """Take a fact that was acted upon before this process began."""
        self._order.apply(event)
        self._applied = offset

    def take(self, event: VisitEvent, offset: int) -> bool:
        """Act on a fact, again if need be, and tell whether a visit's objects were put out.

        Raises
        ------
        NeverClosedError
            When a late result names a visit that was never closed.
        TransientFailure
            When something outside is missing; the same fact may be given again.
        """
        if offset > self._applied:  # a fact that is tried again has been put in order before
            self._answers = self._order.apply(event)
            self._applied = offset
        with correlate(visit=event.visit):
            emitted = False
            if isinstance(event.fact, VisitClosed):
                emitted = self._close(event.visit, event.fact)
            elif isinstance(event.fact, LateResult):
                emitted = self._join_late(event.visit, event.fact)
            for answer in self._answers:
                self._answer(answer)
        return emitted

    def catch_up(self) -> None:
        """Fold what the log holds beyond the local store; fold it anew where the store is ahead of the log."""
        end = self._outside.log.end()
        if self._state.next_offset > end:
            self._state.reset()
        if self._state.next_offset < end:
            for offset, decision in self._outside.log.since(self._state.next_offset):
                self._fold(offset, decision)

    def rebuild(self) -> None:
        """Throw the local store away and fold the whole log."""
        self._state.reset()
        self.catch_up()

    def close(self) -> None:
        """Close the local store."""
        self._state.close()

    def _close(self, visit: int, closed: VisitClosed) -> bool:
        self.catch_up()
        fresh = None
        if not self._state.view.folded(visit):
            fresh = self._decide(visit, closed.outcomes, closed.last_readout_mjd_tai, predicted=closed.predicted)
        return self._emit(fresh or self._logged(visit, 0))

    def _join_late(self, visit: int, late: LateResult) -> bool:
        self.catch_up()
        folded = self._state.view.folded(visit)
        if not folded:
            raise NeverClosedError(f"A result came late for visit {visit}, which was never closed.")
        if late.outcome.result is None:
            return False
        same = [one.sequence for one in folded if late.outcome.detector in one.detectors]
        sequence = same[0] if same else len(folded)
        if sequence == 0:
            _LOGGER.warning("late result of a detector that was in time", detector=late.outcome.detector)
            return False
        fresh = None
        if not same:
            fresh = self._decide(
                visit, (late.outcome,), late.last_readout_mjd_tai, predicted=late.predicted, sequence=sequence
            )
        return self._emit(fresh or self._logged(visit, sequence))

    def _decide(
        self,
        visit: int,
        outcomes: Sequence[DetectorOutcome],
        readout_mjd_tai: float,
        *,
        predicted: Claim | None,
        sequence: int = 0,
    ) -> AssociationDecision | None:
        """Decide, log and fold; return the decision if it is the one that the log keeps."""
        results, refused = self._outside.results.fetch(outcomes, visit)
        announced = self._order.announcement(visit)
        asked = VisitToDecide(
            instrument=self._instrument,
            visit=visit,
            processed_mjd_tai=readout_mjd_tai,
            band=announced.band if announced else "",
            sequence=sequence,
            refused=refused,
            predicted=None if predicted is None else self._predicted(predicted),
        )
        decision = decide(asked, results, self._state.view, rules=self._rules)
        self._outside.faults.reach("association-decided", {"visit": visit})
        offset = self._outside.log.append(decision)
        self._outside.faults.reach("association-logged", {"visit": visit, "offset": offset})
        alone = offset == self._state.next_offset
        if alone:
            self._fold(offset, decision)
        else:  # somebody else wrote in between: the first decision of the visit in the log counts
            self.catch_up()
        self._outside.faults.reach("association-folded", {"visit": visit, "offset": offset})
        _LOGGER.info("visit decided", sequence=sequence, quarantined=len(decision.quarantined), **decision.details)
        return decision if alone else None

    def _predicted(self, claim: Claim) -> Predicted | None:
        """Redeem the claim on the visit's predicted moving objects; without it the night goes on, and DayMOPS repairs."""
        try:
            field = avro.decode(PredictedField, self._outside.objects.get(claim))
        except (ObjectMissingError, CorruptObjectError, UndecodableEventError) as error:
            _LOGGER.error("prediction not used", code=error.code, reason=str(error))
            return None
        return Predicted(rows=field.rows.to_array(), mjd_tai=field.mjd_tai, mpc_orbits=field.mpc_orbits)

    def _fold(self, offset: int, decision: AssociationDecision) -> None:
        if decision.instrument != self._instrument:
            self._state.apply({}, offset=offset, decision=None)
            return
        changes = fold(self._state, decision, detectors_of(decision), rules=self._rules)
        key = (decision.visit, decision.sequence) if changes else None
        self._state.apply(changes, offset=offset, decision=key)

    def _logged(self, visit: int, sequence: int) -> AssociationDecision:
        offset = self._state.offset_of(visit, sequence)
        decision = None if offset is None else self._outside.log.at(offset)
        if decision is None:
            raise UnknownVisitError(f"Decision {sequence} of visit {visit} is folded but not in the log.")
        return decision

    def _emit(self, decision: AssociationDecision) -> bool:
        """Put out what a folded decision says; again, the same bytes."""
        self._outside.outputs.put(self._records(decision))
        self._outside.outputs.confirm()
        return decision.diasources.rows > 0 or decision.forced.rows > 0 or decision.moving.rows > 0

    def _records(self, decision: AssociationDecision) -> Iterator[Outgoing]:
        versions = object_versions(self._state.view, decision, rules=self._rules)
        sent = self._order.readout_sent(decision.visit)
        updates = [
            *object_updates(decision, versions, last_readout_sent_unix_s=sent),
            *moving_updates(decision, last_readout_sent_unix_s=sent),
        ]
        for update in updates:
            yield Outgoing(topic="object-updates", key=update.owner, record=update)
        for source in dia_source_events(updates):
            yield Outgoing(topic="diasources", key=source.dia_object_id or source.ss_object_id, record=source)
        for version in dia_object_versions(updates):
            yield Outgoing(topic="diaobjects", key=version.dia_object_id, record=version)

    def _answer(self, answer: Answer) -> None:
        """Name the known objects of an announced field."""
        self.catch_up()
        announced = answer.announced
        known = np.zeros(0, KNOWN_OBJECT)
        if answer.as_of_visit is not None:
            known = known_objects(
                self._state.view,
                (announced.ra, announced.dec),
                field_radius(load_camera(announced.camera)),
                as_of=(answer.as_of_visit, announced.start_mjd_tai),
                rules=self._rules,
            )
        event = KnownObjects(
            instrument=self._instrument,
            visit=answer.visit,
            as_of_visit=answer.as_of_visit,
            count=len(known),
            positions=self._outside.objects.put(avro.encode(Table.from_array(known))),
        )
        self._outside.outputs.put([Outgoing(topic="known-objects", key=self._instrument, record=event)])
        self._outside.outputs.confirm()
