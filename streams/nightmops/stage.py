"""NightMOPS' stage: an announced visit is answered with the known moving objects of its field.

The night's coarse ephemerides are built once, with the first announcement that needs them unless an event brings them before, and
their event says from which orbits. A prediction is a function of those ephemerides and of the announcement alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from schemas.events import Announced, EphemerisCatalogue, PredictedSsObjects, VisitEvent
from streams.stage import Incoming, Outgoing, StageSpec

__all__ = ["CATALOGUE_TOPIC", "NightMopsState", "nightmops_spec"]

CATALOGUE_TOPIC = "ephemeris-catalogues"
PREDICTION_TOPIC = "predicted-ssobjects"

KEPT_NIGHTS = 4
"""Nights whose ephemerides are remembered."""

Build = Callable[[int], EphemerisCatalogue]
Predict = Callable[[EphemerisCatalogue, int, Announced], PredictedSsObjects]


@dataclass(frozen=True, slots=True, kw_only=True)
class NightMopsState:
    """Ephemerides at hand, in order of nights."""

    catalogues: tuple[EphemerisCatalogue, ...] = ()

    def of(self, day_obs: int) -> EphemerisCatalogue | None:
        """Return a night's ephemerides."""
        return next((one for one in self.catalogues if one.day_obs == day_obs), None)

    def with_catalogue(self, catalogue: EphemerisCatalogue) -> NightMopsState:
        """Return the state with a night's ephemerides put in their place."""
        rest = [one for one in self.catalogues if one.day_obs != catalogue.day_obs]
        kept = sorted([*rest, catalogue], key=lambda one: one.day_obs)[-KEPT_NIGHTS:]
        return replace(self, catalogues=tuple(kept))


Step = tuple[NightMopsState, list[Outgoing]]


def nightmops_spec(
    instrument: str,
    *,
    build: Build,
    predict: Predict,
    opened: Callable[[EphemerisCatalogue], None] = lambda _: None,
    work_ahead: Callable[[], bool] = lambda: False,
    is_open: Callable[[EphemerisCatalogue], bool] = lambda _: False,
    settle: Callable[[], None] = lambda: None,
) -> StageSpec[NightMopsState]:
    """Return the stage.

    Parameters
    ----------
    instrument
        Whose visits are predicted; those of others are left alone.
    build
        Makes a night's ephemerides from all orbits at hand.
    predict
        Names the moving objects of a visit.
    opened
        Told, when the stage begins and when it has nothing to do, the newest ephemerides that it has: they can be made ready before
        a visit asks.
    work_ahead
        Called when the stage has nothing to do; returns whether there is more. It changes no prediction, only its time.
    is_open
        Tells whether a visit is predicted within milliseconds from ephemerides.
    settle
        Called before predictions are committed: returns when they are stored.
    """

    def handle(state: NightMopsState, incoming: Incoming, now: float) -> Step:
        event = incoming.record
        if isinstance(event, EphemerisCatalogue):
            return (state.with_catalogue(event) if event.instrument == instrument else state), []
        announced = announced_by(event)
        return (state, []) if announced is None else _predicted(state, event.visit, announced)

    def announced_by(event: object) -> Announced | None:
        if not isinstance(event, VisitEvent) or event.instrument != instrument:
            return None
        return event.fact if isinstance(event.fact, Announced) else None

    def prompt(state: NightMopsState, event: object) -> bool:
        announced = announced_by(event)
        catalogue = None if announced is None else state.of(announced.day_obs)
        return catalogue is not None and is_open(catalogue)

    def _predicted(state: NightMopsState, visit: int, announced: Announced) -> Step:
        outgoing = []
        catalogue = state.of(announced.day_obs)
        if catalogue is None:
            catalogue = build(announced.day_obs)
            state = state.with_catalogue(catalogue)
            outgoing.append(Outgoing(topic=CATALOGUE_TOPIC, key=f"{instrument}:{announced.day_obs}", record=catalogue))
        prediction = predict(catalogue, visit, announced)
        outgoing.append(Outgoing(topic=PREDICTION_TOPIC, key=instrument, record=prediction))
        return state, outgoing

    def restored(state: NightMopsState, _places: tuple[tuple[str, int], ...]) -> None:
        if state.catalogues:
            opened(state.catalogues[-1])

    def idle(state: NightMopsState) -> bool:
        if state.catalogues:
            opened(state.catalogues[-1])
        return work_ahead()

    return StageSpec(
        stage="nightmops",
        topics=("visit-events", CATALOGUE_TOPIC),
        handle=handle,
        initial=NightMopsState(),
        state_type=NightMopsState,
        restored=restored,
        idle=idle,
        prompt=prompt,
        settle=settle,
    )
