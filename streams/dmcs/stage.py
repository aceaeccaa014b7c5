"""The DMCS's stage: the visit saga between the logs of visits, jobs, predictions and exposures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from processors.control import visit_saga
from processors.control.visit_saga import Fact, SagaRules
from processors.control.visit_state import SagaState
from schemas.events import JobEvent, PredictedSsObjects, VisitEvent
from streams.errors import UnknownInstrumentError
from streams.records import Place
from streams.stage import Incoming, Outgoing, StageSpec

__all__ = ["dmcs_spec"]

Step = tuple[SagaState, list[Outgoing]]

AFTER_RESTART_S = 10.0
"""How long the timer keeps quiet after a restart in the middle of a night."""


def dmcs_spec(rules: SagaRules, inputs: Callable[[], Mapping[str, str]]) -> StageSpec[SagaState]:
    """Return the stage.

    Parameters
    ----------
    rules
        Instrument and times.
    inputs
        Asked at each announcement for the inputs its jobs are given: name to sha256. What it says is logged in the plans, so a
        replay of the log does not ask.
    """

    def handle(state: SagaState, incoming: Incoming, now: float) -> Step:
        event, at = incoming.record, incoming.timestamp_s
        if event.instrument != rules.instrument:
            raise UnknownInstrumentError(f"This DMCS serves {rules.instrument} and not {event.instrument}.")
        if isinstance(event, PredictedSsObjects):
            return _written(visit_saga.fold_prediction(state, event, at, rules))
        if isinstance(event, JobEvent):
            return _written(visit_saga.fold_job(state, event, at, rules))
        return _written(visit_saga.fold_visit(state, event, at, rules, inputs()))

    pause = _Pause()

    def tick(state: SagaState, now: float) -> Step:
        return _written(visit_saga.tick(state, now, rules)) if pause.is_over(now) else (state, [])

    return StageSpec(
        stage="dmcs",
        topics=("visit-events", "jobs", "predicted-ssobjects"),
        handle=handle,
        tick=tick,
        initial=SagaState(),
        state_type=SagaState,
        restored=pause.restored,
    )


class _Pause:
    """Keeps the timer quiet after a restart: the bridge was perhaps away too, and still has to say that what seems missing came."""

    def __init__(self) -> None:
        self._due = False
        self._until = 0.0

    def restored(self, state: SagaState, places: tuple[Place, ...]) -> None:
        """Begin a pause where visits are known."""
        self._due = bool(state.visits)

    def is_over(self, now: float) -> bool:
        """Tell whether the timer may run; the pause counts from the first time that it would have."""
        if self._due:
            self._due, self._until = False, now + AFTER_RESTART_S
        return now >= self._until


def _written(step: tuple[SagaState, list[Fact]]) -> Step:
    state, facts = step
    return state, [Outgoing(topic=_topic(fact), key=fact.instrument, record=fact) for fact in facts]


def _topic(fact: Fact) -> str:
    if isinstance(fact, VisitEvent):
        return "visit-events"
    return "jobs" if isinstance(fact, JobEvent) else "exposures"
