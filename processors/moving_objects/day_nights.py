"""Which nights DayMOPS decided, and what a further delivery of a night asks for: a small fold of its decisions.

Nights are linked in their own order, whenever they come. A night later than all others is linked with the state there is. One that
comes late, or comes again with more detections, is linked where it belongs, and every later night after it once more, from
the last state that knew only earlier nights. What comes again without anything new changes nothing; what is older than the nights
that are kept is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from processors.moving_objects.errors import NightTooOldError
from schemas.events import DayMopsDecision
from schemas.tables import Claim

__all__ = ["DayNights", "NightKept", "Work", "fold_decision", "work_for"]

KEPT_NIGHTS = 45
"""Nights whose candidates and states are remembered: a window of 30 nights (LDM-151's stretch) and half of one more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NightKept:
    """A night that was decided."""

    day_obs: int
    decisions: int
    """How often it was decided."""
    detections: Claim
    """Its candidates, all that were delivered."""
    state: Claim | None = None
    """The state after it, where no decision on an earlier night made it out of date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayNights:
    """The nights that were decided, ascending."""

    nights: tuple[NightKept, ...] = ()
    forgotten: int = 0
    """The last night that is kept no longer; 0 where none is."""

    def of(self, day_obs: int) -> NightKept | None:
        """Return a night, if it was decided and is kept."""
        return next((night for night in self.nights if night.day_obs == day_obs), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a delivery of a night asks for."""

    sequence: int
    begin: Claim | None
    """The state to begin from; None for the one before the first night."""
    now: Claim | None
    """The newest state, which the log's readers know."""
    again: tuple[NightKept, ...]
    """Nights to link, ascending, with what was delivered before: the night itself among them where it was decided before."""


def work_for(nights: DayNights, day_obs: int) -> Work:
    """Return what is to be linked for a night.

    Raises
    ------
    NightTooOldError
        When it lies before the nights that are kept.
    """
    if nights.forgotten and day_obs <= nights.forgotten:
        raise NightTooOldError(f"Night {day_obs} comes too late: nights up to {nights.forgotten} are decided for good.")
    earlier = [night for night in nights.nights if night.day_obs < day_obs]
    known = [night for night in earlier if night.state is not None]
    if nights.forgotten and not known:
        raise NightTooOldError(f"Night {day_obs} comes too late: no state from before it is kept.")
    begin = known[-1] if known else None
    first = 0 if begin is None else begin.day_obs
    own = nights.of(day_obs)
    return Work(
        sequence=0 if own is None else own.decisions,
        begin=None if begin is None else begin.state,
        now=_newest(nights),
        again=tuple(night for night in nights.nights if night.day_obs > first),
    )


def fold_decision(nights: DayNights, decision: DayMopsDecision) -> DayNights:
    """Return the nights after a decision; one that was folded before changes nothing."""
    own = nights.of(decision.day_obs)
    if decision.detections is None or decision.state is None or (own is not None and own.decisions > decision.sequence):
        return nights
    kept = {night.day_obs: night for night in nights.nights}
    kept[decision.day_obs] = NightKept(
        day_obs=decision.day_obs, decisions=decision.sequence + 1, detections=decision.detections
    )
    last, first = max(decision.nights), min(decision.nights)
    every = tuple(
        replace(night, state=decision.state if day_obs == last else None) if day_obs >= first else night
        for day_obs, night in sorted(kept.items())
    )
    forgotten = every[-KEPT_NIGHTS - 1].day_obs if len(every) > KEPT_NIGHTS else nights.forgotten
    return DayNights(nights=every[-KEPT_NIGHTS:], forgotten=forgotten)


def _newest(nights: DayNights) -> Claim | None:
    """Return the state after all nights: the last night's, for every decision ends there."""
    return nights.nights[-1].state if nights.nights else None
