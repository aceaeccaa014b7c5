"""When each recorded message goes out again. Pure: messages, time and closed visits in, messages out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from streams.replay.errors import ReplayError
from streams.replay.recording import RecordedMessage

__all__ = ["FLAT_OUT", "Pace", "Score", "parse_pace"]

FLAT_OUT = "flat-out"


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a night is played: times the pace it had, or as fast as visits can be done."""

    factor: float | None
    """None plays flat out."""


def parse_pace(text: str) -> Pace:
    """Read ``real``, a factor such as ``4``, or ``flat-out``.

    Raises
    ------
    ReplayError
        When it is none of these.
    """
    if text == FLAT_OUT:
        return Pace(None)
    try:
        factor = 1.0 if text == "real" else float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise ReplayError(f"A pace is real, a factor such as 4, or {FLAT_OUT}, which {text!r} is not.")
    return Pace(factor)


class Score:
    """What is still to be played.

    Flat out, messages of a visit are held until the visit two before is closed: association hands the known objects of a field
    on with that lag, and a queue that cannot be worked off would only make visits late. Messages of one visit keep their order.
    What belongs to no announced visit follows everything that came before it. At every pace visits wait for the corrections that lay
    before them.

    Parameters
    ----------
    messages
        The recording, in its order.
    visits
        Announced visits, in their order.
    pace
        How fast.
    corrected_after
        Of each correction of DayMOPS in order: the visit after which it lay, 0 for before all.
    """

    def __init__(
        self,
        messages: Sequence[RecordedMessage],
        visits: Sequence[int],
        pace: Pace,
        corrected_after: Sequence[int] = (),
    ) -> None:
        self._pending = list(messages)
        self._before = {visit: visits[index - 2] for index, visit in enumerate(visits) if index >= 2}
        self._known = frozenset(visits)
        places = [visits.index(visit) if visit in visits else -1 for visit in corrected_after]
        self._needed = {visit: sum(place < index for place in places) for index, visit in enumerate(visits)}
        self._factor = pace.factor
        self._start = messages[0].at_unix_s if messages else 0.0

    @property
    def finished(self) -> bool:
        """Whether all of it has been played."""
        return not self._pending

    def due(self, elapsed_s: float, closed: Collection[int], answered: int = 0) -> list[RecordedMessage]:
        """Take out what may be sent now, in order.

        Parameters
        ----------
        elapsed_s
            Seconds since the start of the replay.
        closed
            Visits that are closed.
        answered
            How many corrections association has answered.
        """
        ready: list[RecordedMessage] = []
        held: list[RecordedMessage] = []
        for message in self._pending:
            may = self._timely(message, elapsed_s) if self._factor is not None else self._open(message, closed, held)
            may = may and self._needed.get(message.visit or 0, 0) <= answered
            (ready if may else held).append(message)
        self._pending = held
        return ready

    def _timely(self, message: RecordedMessage, elapsed_s: float) -> bool:
        return (message.at_unix_s - self._start) / (self._factor or 1.0) <= elapsed_s

    def _open(self, message: RecordedMessage, closed: Collection[int], held: Sequence[RecordedMessage]) -> bool:
        if message.visit not in self._known:
            return not held
        before = self._before.get(message.visit)
        return before is None or before in closed
