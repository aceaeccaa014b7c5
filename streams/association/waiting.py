"""What DayMOPS decided and association has not answered, and whether this is the moment to answer.

DayMOPS' log says what and in which order; association's own log says what is answered. Nothing else is remembered, so a correction
that had to wait is found again after a crash.

A correction is applied when no visit is under way: every announced one is closed or cancelled, and the newest closed one is decided.
So a correction lies between two visits of association's log, never between what a visit was told of its field and what became of
it, and a replay that puts it between the same two gives the same bytes. By day, when DayMOPS runs, that is at once.
"""

from __future__ import annotations

from typing import TypeVar

from infra.logs import get_logger
from infra.reading import place_of
from processors.association.history import History
from schemas.errors import SchemaError
from schemas.events import Announced, Cancelled, DayMopsDecision, VisitClosed, VisitEvent
from schemas.ids import day_visit
from schemas.wire import EventCodec
from streams.partition_reader import PartitionReader

__all__ = ["TOPIC", "WaitingCorrections", "is_answered"]

TOPIC = "daymops-log"
T = TypeVar("T")
_LOGGER = get_logger(__name__)


class WaitingCorrections:
    """DayMOPS' decisions without an answer, for all instruments.

    Parameters
    ----------
    decisions, visits
        Readers of the one partition of DayMOPS' log and of the visits' log.
    codec
        Decodes them.
    """

    def __init__(self, decisions: PartitionReader, visits: PartitionReader, codec: EventCodec) -> None:
        self._decisions, self._visits, self._codec = decisions, visits, codec
        self._next_decision = self._next_visit = 0
        self._waiting: list[DayMopsDecision] = []
        self._under_way: set[tuple[str, int]] = set()
        self._ended: set[tuple[str, int]] = set()
        self._closed: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many wait, as far as the log was read."""
        return len(self._waiting)

    def read(self) -> None:
        """Read on in DayMOPS' log; what is no decision is the dead letters' matter."""
        for message in self._decisions.records(self._next_decision, self._decisions.end()):
            self._next_decision = place_of(message)[1] + 1
            event = self._decoded(DayMopsDecision, message.value())
            if event is not None:
                self._waiting.append(event)

    def next_of(self, instrument: str, view: History) -> DayMopsDecision | None:
        """Return the first decision that awaits its answer; those that are answered are forgotten."""
        self._waiting = [d for d in self._waiting if d.instrument != instrument or not is_answered(view, d)]
        return next((d for d in self._waiting if d.instrument == instrument), None)

    def give_up(self, decision: DayMopsDecision) -> None:
        """Forget a decision that cannot be answered, until this process begins anew."""
        self._waiting.remove(decision)

    def is_quiet(self, instrument: str, view: History) -> bool:
        """Tell whether no visit is under way."""
        self._read_visits()
        newest = self._closed.get(instrument)
        if any(whose == instrument for whose, _ in self._under_way):
            return False
        return newest is None or bool(view.folded(newest))

    def close(self) -> None:
        """Close the readers."""
        self._decisions.close()
        self._visits.close()

    def _read_visits(self) -> None:
        for message in self._visits.records(self._next_visit, self._visits.end()):
            self._next_visit = place_of(message)[1] + 1
            event = self._decoded(VisitEvent, message.value())
            if event is not None:
                self._take(event)

    def _take(self, event: VisitEvent) -> None:
        name = event.instrument, event.visit
        if isinstance(event.fact, Announced) and name not in self._ended:
            self._under_way.add(name)
        elif isinstance(event.fact, Cancelled | VisitClosed):
            self._under_way.discard(name)
            self._ended.add(name)
        if isinstance(event.fact, VisitClosed):
            self._closed[event.instrument] = event.visit

    def _decoded(self, kind: type[T], value: bytes | None) -> T | None:
        try:
            return None if value is None else self._codec.decode(kind, value)
        except SchemaError as error:
            _LOGGER.warning("record passed over", what=kind.__name__, reason=str(error))
            return None


def is_answered(view: History, decision: DayMopsDecision) -> bool:
    """Tell whether association has answered a decision, or a later one of the same night: then it says nothing new."""
    answers = view.folded(day_visit(decision.day_obs))
    return any(answer.sequence >= decision.sequence for answer in answers)
