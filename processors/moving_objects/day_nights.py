"""Which nights DayMOPS decided, and what a further delivery of a night asks for: a small fold of its decisions.

Nights are linked in their own order, whenever they come. A night later than all others is linked with the state there is. One that
comes late, or comes again with more detections, is linked where it belongs, and every later night after it once more, from
the last state that knew only earlier nights. What comes again without anything new changes nothing; what is older than the nights
that are kept is refused.

A state is large (48 MB after a night of 20,000 detections), so few are kept: the newest ones, from which nights go on, and of those before
one in a while, from which a late night can still be linked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from processors.moving_objects.errors import NightTooOldError
from schemas.events import DayMopsDecision
from schemas.tables import Claim

__all__ = ["DayNights", "NightKept", "Work", "fold_decision", "retired_states", "work_for"]

KEPT_NIGHTS = 45
"""Nights whose candidates are remembered at least: a window of 30 nights (LDM-151's stretch) and half of one more. Older ones are
forgotten as soon as there is a state to begin from without them."""

STATES_KEPT = 4
"""Newest states that are kept where nothing else is said: late results come within days."""

STATES_APART = 15
"""Of older nights one state in so many is kept: a night that comes so late costs linking at most so many more nights again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NightKept:
    """A night that was decided."""

    day_obs: int
    decisions: int
    """How often it was decided."""
    detections: Claim
    """Its candidates, all that were delivered."""
    state: Claim | None = None
    """The state after it, where it is kept and no decision on an earlier night made it out of date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayNights:
    """The nights that were decided, ascending."""

    nights: tuple[NightKept, ...] = ()
    forgotten: int = 0
    """The last night that is kept no longer; 0 where none is."""

    def of(self, day_obs: int) -> NightKept | None:
        """Return a night, if it was decided and is kept."""
        return next((night for night in self.nights if night.day_obs == day_obs), None)

    def states(self) -> tuple[Claim, ...]:
        """Return the states that are kept, oldest first; two of them are the same where a night was empty."""
        return tuple(night.state for night in self.nights if night.state is not None)


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


def fold_decision(nights: DayNights, decision: DayMopsDecision, states_kept: int = STATES_KEPT) -> DayNights:
    """Return the nights after a decision; one that was folded before changes nothing.

    Parameters
    ----------
    nights
        Those decided before.
    decision
        The decision.
    states_kept
        Newest states to keep, at least one; of the others one in ``STATES_APART`` nights stays.
    """
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
    every = _thinned(every, max(1, states_kept))
    begins = [place for place in range(len(every) - KEPT_NIGHTS + 1) if every[place].state is not None]
    gone = begins[-1] if begins else 0
    return DayNights(nights=every[gone:], forgotten=every[gone - 1].day_obs if gone else nights.forgotten)


def retired_states(before: DayNights, after: DayNights) -> tuple[Claim, ...]:
    """Return the states of before that no night of after names, oldest first, each once."""
    named = {state.sha256 for state in after.states()}
    return tuple(dict.fromkeys(state for state in before.states() if state.sha256 not in named))


def _thinned(nights: tuple[NightKept, ...], newest: int) -> tuple[NightKept, ...]:
    """Return nights without the states that are kept no longer.

    Of the older ones the first stays, and from there on the next one that is far enough: the same ones, when nights are added behind.
    """
    with_state = [place for place, night in enumerate(nights) if night.state is not None]
    keep = set(with_state[-newest:])
    last = -STATES_APART
    for place in with_state[:-newest]:
        if place - last >= STATES_APART:
            keep.add(place)
            last = place
    return tuple(night if place in keep else replace(night, state=None) for place, night in enumerate(nights))


def _newest(nights: DayNights) -> Claim | None:
    """Return the state after all nights: the last night's, for every decision ends there."""
    return nights.nights[-1].state if nights.nights else None
