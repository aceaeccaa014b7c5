"""What association does for each fact of a visit: decide, log, fold, emit.

The order of the steps is the whole of its safety. A decision counts once it is in the log; the local store only follows
the log; what is emitted is computed from the logged decision and the folded store, so doing it again gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infra.errors import CorruptObjectError, ObjectMissingError
from infra.faults import CrashPoints
from infra.logs import correlate, get_logger
from infra.objects import ObjectStore
from processors.association.decide import Predicted, VisitToDecide, decide, detectors_of
from processors.association.errors import UnknownVisitError
from processors.association.fold import fold
from processors.association.known_objects import KNOWN_OBJECT, field_radius, known_objects
from processors.association.rules import Rules
from processors.association.visit_order import Answer, VisitOrder
from schemas import avro
from schemas.camera import load_camera
from schemas.errors import NightcastError, UndecodableEventError
from schemas.events import (
    AssociationDecision,
    DayMopsDecision,
    DetectorOutcome,
    KnownObjects,
    LateResult,
    PredictedField,
    VisitClosed,
    VisitEvent,
)
from schemas.ids import day_visit
from schemas.tables import Claim, Table
from streams.association.decisions import DecisionLog
from streams.association.errors import NeverClosedError
from streams.association.outputs import records_of, ss_object_records
from streams.association.results import ResultReader
from streams.association.state import LocalState
from streams.association.waiting import WaitingCorrections
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
    waiting: WaitingCorrections
    observatory: str
    """Code of the observatory."""


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
        self._began = False

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

    def answer_daymops(self, delivered: DayMopsDecision | None = None) -> bool:
        """Answer what DayMOPS decided and nobody has answered, if no visit is under way; tell whether anything was put out.

        Parameters
        ----------
        delivered
            The decision that was just read from its log; whatever cannot be answered of others is only logged.

        Raises
        ------
        NightcastError
            Why ``delivered`` cannot be answered; why another cannot be for now.
        """
        waiting, said = self._outside.waiting, False
        if delivered is not None or not self._began:
            waiting.read()
            self._began = True
        if delivered is None and not len(waiting):
            return False
        self.catch_up()
        while (event := waiting.next_of(self._instrument, self._state.view)) is not None:
            if not waiting.is_quiet(self._instrument, self._state.view):
                _LOGGER.info("a correction waits for the end of a visit", day_obs=event.day_obs)
                break
            try:
                said |= self._correct(event)
            except NightcastError as error:
                if error.retriable:
                    raise
                waiting.give_up(event)
                _LOGGER.error("correction given up", day_obs=event.day_obs, code=error.code, reason=str(error))
                if event == delivered:
                    raise
        return self._repeat(delivered) or said

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
        return self._emit(visit, 0, fresh)

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
        return self._emit(visit, sequence, fresh)

    def _correct(self, event: DayMopsDecision) -> bool:
        # Here because a night without moving objects never needs the compiled code behind it.
        from streams.association.corrections import CorrectionSource, corrected

        source = CorrectionSource(
            state=self._state,
            log=self._outside.log,
            objects=self._outside.objects,
            observatory=self._outside.observatory,
        )
        with correlate(day_obs=event.day_obs):
            fresh = self._logged(corrected(event, source, self._rules))
        return self._emit(day_visit(event.day_obs), event.sequence, fresh)

    def _repeat(self, delivered: DayMopsDecision | None) -> bool:
        """Put out what an answer says that was logged before this process began."""
        if delivered is None or delivered.instrument != self._instrument:
            return False
        if self._state.offset_of(day_visit(delivered.day_obs), delivered.sequence) is None:
            return False
        return self._emit(day_visit(delivered.day_obs), delivered.sequence, None)

    def _decide(
        self,
        visit: int,
        outcomes: Sequence[DetectorOutcome],
        readout_mjd_tai: float,
        *,
        predicted: Claim | None,
        sequence: int = 0,
    ) -> AssociationDecision | None:
        """Decide, log and fold a visit."""
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
            last_readout_sent_unix_s=self._order.readout_sent(visit),
        )
        return self._logged(decide(asked, results, self._state.view, rules=self._rules))

    def _logged(self, decision: AssociationDecision) -> AssociationDecision | None:
        """Log and fold a decision; return it if it is the one that the log keeps."""
        visit = decision.visit
        self._outside.faults.reach("association-decided", {"visit": visit})
        offset = self._outside.log.append(decision)
        self._outside.faults.reach("association-logged", {"visit": visit, "offset": offset})
        alone = offset == self._state.next_offset
        if alone:
            self._fold(offset, decision)
        else:  # somebody else wrote in between: the first decision of the visit in the log counts
            self.catch_up()
        self._outside.faults.reach("association-folded", {"visit": visit, "offset": offset})
        what = "visit decided" if decision.correction is None else "night corrected"
        _LOGGER.info(what, sequence=decision.sequence, quarantined=len(decision.quarantined), **decision.details)
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

    def _emit(self, visit: int, sequence: int, fresh: AssociationDecision | None) -> bool:
        """Put out what the folded decisions of the log say, in the log's order, up to its end; tell whether there was anything.

        What is known to have been put out is not put out again; what is not known comes again, the same bytes.
        """
        offset = self._state.offset_of(visit, sequence)
        if offset is None:
            raise UnknownVisitError(
                f"Decision {sequence} of visit {visit} is folded but its place in the log is not known."
            )
        first = self._state.next_to_emit
        first = offset if first is None else first
        if fresh is not None and first == offset:
            return self._put_out(offset, fresh)
        said = False
        for place, decision in self._outside.log.since(first) if first < self._state.next_offset else ():
            if place < self._state.next_offset:
                said |= self._put_out(place, decision)
        return said

    def _put_out(self, offset: int, decision: AssociationDecision) -> bool:
        said = 0
        if decision.instrument == self._instrument:
            said = self._outside.outputs.put(records_of(self._state.view, decision, self._rules))
            self._outside.outputs.confirm()
            said += self._outside.outputs.put(ss_object_records(self._state.view, decision))
            self._outside.outputs.confirm()
        self._state.emitted(offset)
        return said > 0

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
