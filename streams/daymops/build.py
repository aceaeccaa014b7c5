"""Makes DayMOPS' stage."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import ObjectStoreError
from infra.logs import get_logger
from processors.moving_objects.day_candidates import NightCandidates
from processors.moving_objects.day_nights import DayNights
from schemas.events import DayMopsDecision, NightEnded
from schemas.tables import Claim
from streams.compose import Wiring
from streams.daymops.desk import Desk, rules_of
from streams.daymops.known import known_orbits_of
from streams.daymops.sources import TOPIC, night_from_log
from streams.daymops.stage import DayMopsState, daymops_spec
from streams.daymops.stores import stored
from streams.partition_reader import PartitionReader
from streams.stage import StageSpec

__all__ = ["build"]

_LOGGER = get_logger(__name__)


def build(wiring: Wiring, name: str, on_exit: ExitStack) -> StageSpec[DayMopsState]:
    """Return the stage that searches the nights for moving objects."""
    settings = wiring.settings
    instrument, code = settings.night.instrument, settings.night.observatory
    reader = PartitionReader(settings.bootstrap, TOPIC)
    on_exit.callback(reader.close)

    def decide(ended: NightEnded, nights: DayNights, first: int) -> DayMopsDecision | None:
        def from_log(ended: NightEnded, ours: NDArray[np.int64]) -> NightCandidates:
            span = first, ended.association_end
            return night_from_log(
                reader, wiring.codec, instrument=instrument, day_obs=ended.day_obs, span=span, ours=ours
            )

        rules = rules_of(**settings.daymops.model_dump(exclude={"states_kept"}))
        return Desk(instrument, code, objects=wiring.objects, from_log=from_log, rules=rules).decide(ended, nights)

    def logged(decision: DayMopsDecision) -> None:
        facts: dict[str, Any] = {"day_obs": decision.day_obs, "sequence": decision.sequence}
        wiring.crash_points.reach("daymops-logged", facts)

    def discard(claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
        return tuple(claim for claim in claims if not _removed(wiring, claim))

    return daymops_spec(
        instrument,
        decide=decide,
        stored=lambda decision: stored(decision, wiring.objects),
        known=lambda day_obs: known_orbits_of(settings.bootstrap, wiring.codec, instrument, day_obs),
        logged=logged,
        discard=discard,
        states_kept=settings.daymops.states_kept,
    )


def _removed(wiring: Wiring, claim: Claim) -> bool:
    """Remove an object; where the store cannot now, the next decision tries again."""
    try:
        wiring.objects.delete(claim)
    except ObjectStoreError as error:
        _LOGGER.warning("state not removed", key=claim.uri, reason=str(error))
        return False
    return True
