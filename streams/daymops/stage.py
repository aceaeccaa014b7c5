"""DayMOPS' stage: the end of a night is answered with one decision on its log, from which the stores follow.

It reads association's log to notice that a night is over, the events that say so, and its own log. What it knows is which nights were
decided and where their states are; everything else is in the object store, named by the decisions. A decision counts
when it is in the log; only then, read from there, do the stores get what it says, and only then are states removed that
no night needs any more: whatever is repeated after a crash begins from one that is still there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from processors.moving_objects.day_nights import STATES_KEPT, DayNights, fold_decision, retired_states
from schemas.events import AssociationDecision, DayMopsDecision, NightEnded
from schemas.tables import Claim
from streams.stage import Incoming, Outgoing, StageSpec

__all__ = ["GROUP", "LOG_TOPIC", "NIGHT_TOPIC", "DayMopsState", "daymops_spec"]

ASSOCIATION_TOPIC, NIGHT_TOPIC, LOG_TOPIC = "association-log", "night-events", "daymops-log"

GROUP = "nightcast.daymops"
"""Consumer group: its offsets tell whoever asked for a night that it was dealt with."""

REMEMBERED_NIGHTS = 60
"""Nights of which is remembered where association's log begins to speak of them; older ones are searched from its beginning."""

Decide = Callable[[NightEnded, DayNights, int], DayMopsDecision | None]
Stored = Callable[[DayMopsDecision], list[Outgoing]]
Known = Callable[[int], Claim | None]
Discard = Callable[[tuple[Claim, ...]], tuple[Claim, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayMopsState:
    """What the stage knows."""

    nights: DayNights = field(default_factory=DayNights)
    open_night: int = 0
    """The last night that association spoke of; 0 for none."""
    firsts: Mapping[str, int] = field(default_factory=dict)
    """Night, as text, to the offset where association's log first speaks of it."""
    retired: tuple[Claim, ...] = ()
    """States that no night needs any more and that are not removed yet."""


Step = tuple[DayMopsState, list[Outgoing]]


def daymops_spec(
    instrument: str,
    *,
    decide: Decide,
    stored: Stored,
    known: Known,
    logged: Callable[[DayMopsDecision], None] = lambda _: None,
    discard: Discard = lambda _: (),
    states_kept: int = STATES_KEPT,
) -> StageSpec[DayMopsState]:
    """Return the stage.

    Parameters
    ----------
    instrument
        Whose nights are decided; those of others are left alone.
    decide
        Decides a night, given which were decided before and from which offset of association's log it is to be looked for.
    stored
        Gives the events of the stores that follow from a decision.
    known
        Gives the claim on the orbits that a night may be compared with.
    logged
        Called with each decision that came back from the log, before its stores are written.
    discard
        Removes states from the object store, and returns those that it could not remove.
    states_kept
        Newest states that are kept; see `fold_decision`.
    """

    def handle(state: DayMopsState, incoming: Incoming, now: float) -> Step:
        event = incoming.record
        if getattr(event, "instrument", None) != instrument:
            return state, []
        if isinstance(event, AssociationDecision):
            return _noticed(state, event, incoming.offset)
        if isinstance(event, NightEnded):
            return _decided(state, event)
        logged(event)
        state = _folded(state, event)
        return _cleared(state), stored(event)

    def _noticed(state: DayMopsState, decision: AssociationDecision, offset: int) -> Step:
        """Notice which night association is at: a later one ends the one before, a result for an earlier one ends it again."""
        if decision.correction is not None:
            return state, []
        day, last = decision.day_obs, state.open_night
        if str(day) not in state.firsts or day > last:
            state = replace(state, firsts=_with_first(state.firsts, day, offset), open_night=max(day, last))
        if last in (0, day):
            return state, []
        if day > last:
            return state, [_ended(last, offset, "later")]
        return state, [_ended(day, offset + 1, "late")]

    def _ended(day_obs: int, end: int, reason: str) -> Outgoing:
        event = NightEnded(
            instrument=instrument, day_obs=day_obs, association_end=end, known_orbits=known(day_obs), reason=reason
        )
        return Outgoing(topic=NIGHT_TOPIC, key=instrument, record=event)

    def _decided(state: DayMopsState, ended: NightEnded) -> Step:
        decision = decide(ended, state.nights, state.firsts.get(str(ended.day_obs), 0))
        if decision is None:
            return state, []
        return _folded(state, decision), [Outgoing(topic=LOG_TOPIC, key=instrument, record=decision)]

    def _folded(state: DayMopsState, decision: DayMopsDecision) -> DayMopsState:
        nights = fold_decision(state.nights, decision, states_kept)
        if nights is state.nights:
            return state
        return replace(state, nights=nights, retired=(*state.retired, *retired_states(state.nights, nights)))

    def _cleared(state: DayMopsState) -> DayMopsState:
        """Remove what is not needed: the decision is in the log, so is the state that it was folded into."""
        if not state.retired:
            return state
        needed = {claim.sha256 for claim in state.nights.states()}
        left = discard(tuple(claim for claim in state.retired if claim.sha256 not in needed))
        return replace(state, retired=left)

    return StageSpec(
        stage="daymops",
        topics=(ASSOCIATION_TOPIC, NIGHT_TOPIC, LOG_TOPIC),
        handle=handle,
        initial=DayMopsState(),
        state_type=DayMopsState,
        group=GROUP,
        batch=1,
    )


def _with_first(firsts: Mapping[str, int], day_obs: int, offset: int) -> Mapping[str, int]:
    if str(day_obs) in firsts:
        return firsts
    every = {**firsts, str(day_obs): offset}
    return {name: every[name] for name in sorted(every)[-REMEMBERED_NIGHTS:]}
