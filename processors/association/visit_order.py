"""Which announced visit may be told of which objects: the order of visits, folded from their log.

The visit two before an announced one is its reference: when that is closed and folded, the known objects of the announced
field are final. Cancelled visits do not count. Everything here follows from the log alone, never from how fast anything was.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.events import Announced, Cancelled, VisitClosed, VisitEvent

__all__ = ["Answer", "VisitOrder"]

VISITS_BEFORE = 2
"""How many visits before an announced one its reference lies (architecture, section 2, step 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An announced visit whose known objects can be named now."""

    visit: int
    announced: Announced
    as_of_visit: int | None
    """The last visit that counts, None when there is none."""


class VisitOrder:
    """The announced, cancelled and closed visits of one instrument."""

    def __init__(self) -> None:
        self._announced: dict[int, Announced] = {}
        self._cancelled: set[int] = set()
        self._closed: dict[int, float] = {}
        self._waiting: set[int] = set()

    def announcement(self, visit: int) -> Announced | None:
        """Return what was announced of a visit."""
        return self._announced.get(visit)

    def is_closed(self, visit: int) -> bool:
        """Tell whether a visit is closed."""
        return visit in self._closed

    def readout_sent(self, visit: int) -> float:
        """Return when a closed visit's last end of read-out was sent, seconds since 1970, 0 for others."""
        return self._closed.get(visit, 0.0)

    def apply(self, event: VisitEvent) -> list[Answer]:
        """Take the next event of the log and return the visits that it lets be answered, in order.

        A closed visit must be folded into the state before its answers are computed.
        """
        if isinstance(event.fact, Announced):
            if event.visit in self._announced:
                return []
            self._announced[event.visit] = event.fact
            self._waiting.add(event.visit)
        elif isinstance(event.fact, Cancelled):
            self._cancelled.add(event.visit)
            self._waiting.discard(event.visit)
        elif isinstance(event.fact, VisitClosed):
            self._closed[event.visit] = event.fact.last_readout_sent_unix_s
            self._waiting.discard(event.visit)
        else:
            return []
        answers = [self._answer(visit) for visit in sorted(self._waiting) if self._is_settled(visit)]
        self._waiting.difference_update(answer.visit for answer in answers)
        return answers

    def _reference(self, visit: int) -> int | None:
        before = sorted(v for v in self._announced if v < visit and v not in self._cancelled)
        return before[-VISITS_BEFORE] if len(before) >= VISITS_BEFORE else None

    def _is_settled(self, visit: int) -> bool:
        reference = self._reference(visit)
        return reference is None or reference in self._closed

    def _answer(self, visit: int) -> Answer:
        return Answer(visit=visit, announced=self._announced[visit], as_of_visit=self._reference(visit))
