"""Corrections of DayMOPS in a recording: which ones, between which visits, and which ones come too late to matter.

A replay does not run DayMOPS. What it decided in time for a visit of the recorded nights is part of the recording, with its tables,
and is put on the replay's log at the same place: when the same visits are closed and no later one is announced. What it decided
after the last of them changes no visit; it is neither recorded nor compared, so a night that was recorded before DayMOPS saw it
and one recorded afterwards are the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields

from schemas.events import AssociationDecision, DayMopsDecision
from schemas.ids import day_obs_of
from schemas.tables import Claim
from streams.replay.recording import RecordedCorrection, RecordingHeader

__all__ = ["CorrectionScore", "Key", "claims_of", "in_time", "too_late"]

Key = tuple[int, int]
"""Visit number and sequence of a decision of association."""


def in_time(
    decisions: Iterable[AssociationDecision],
    daymops: Mapping[tuple[int, int], DayMopsDecision],
    *,
    instrument: str,
    nights: Collection[int],
) -> tuple[RecordedCorrection, ...]:
    """Return the corrections that lie before a visit of the nights, in the log's order.

    Parameters
    ----------
    decisions
        Association's log.
    daymops
        The instrument's decisions of DayMOPS by night and sequence.
    instrument, nights
        What is recorded.
    """
    last, found, waiting = 0, list[RecordedCorrection](), list[RecordedCorrection]()
    for decision in decisions:
        if decision.instrument != instrument:
            continue
        if decision.correction is None:
            if day_obs_of(decision.visit) in nights:
                found, waiting, last = found + waiting, [], decision.visit
        elif (decision.day_obs, decision.sequence) in daymops:
            event = daymops[decision.day_obs, decision.sequence]
            waiting.append(RecordedCorrection(after_visit=last, decision=event))
    return tuple(found)


def too_late(decisions: Iterable[AssociationDecision], nights: Collection[int]) -> set[Key]:
    """Return the corrections that lie after the last visit of the nights, of all nights where none is named."""
    late: set[Key] = set()
    for decision in decisions:
        if decision.correction is not None:
            late.add((decision.visit, decision.sequence))
        elif not nights or day_obs_of(decision.visit) in nights:
            late.clear()
    return late


class CorrectionScore:
    """Which recorded decision of DayMOPS is to be put on its log now: one after the other, each at its place among the visits.

    Parameters
    ----------
    header
        Of the recording.
    """

    def __init__(self, header: RecordingHeader) -> None:
        self._pending = list(header.corrections)
        self._visits = header.visits
        self._sent = 0

    def due(self, closed: Collection[int], answered: int) -> DayMopsDecision | None:
        """Take out the next decision when every visit before it is closed and every decision before it is answered."""
        if not self._pending or answered < self._sent:
            return None
        after = self._pending[0].after_visit
        before = self._visits[: self._visits.index(after) + 1] if after in self._visits else ()
        if not set(before) <= set(closed):
            return None
        self._sent += 1
        return self._pending.pop(0).decision


def claims_of(decision: DayMopsDecision) -> Iterator[Claim]:
    """Yield the files of a decision of DayMOPS that its readers need.

    The state is none of them: only DayMOPS itself goes on from it, and it removes those that are old.
    """
    for field in fields(decision):
        value = getattr(decision, field.name)
        if isinstance(value, Claim) and field.name != "state":
            yield value
