"""A night's DIASources as association's log has them, up to a place in it: the same whoever asks and whenever."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.day_candidates import NightCandidates, candidates_of
from schemas.errors import SchemaError
from schemas.events import AssociationDecision
from schemas.public import dia_source_dtype
from schemas.wire import EventCodec
from streams.daymops.errors import NightNotObservedError
from streams.partition_reader import PartitionReader

__all__ = ["TOPIC", "night_from_log"]

TOPIC = "association-log"


def night_from_log(
    reader: PartitionReader,
    codec: EventCodec,
    *,
    instrument: str,
    day_obs: int,
    span: tuple[int, int],
    ours: NDArray[np.int64],
) -> NightCandidates:
    """Return the candidates of a night.

    Parameters
    ----------
    reader, codec
        Of association's log.
    instrument, day_obs
        Whose night.
    span
        Offset of the first record to look at, and of the first one not to look at any more.
    ours
        Numbers of our own objects: what association recognised as one of them improves its orbit.

    Raises
    ------
    NightNotObservedError
        When the log has nothing of the night there.
    KafkaUnavailableError
        When the log cannot be read.
    """
    of_night = [
        decision
        for decision in _decisions(reader, codec, span)
        if (decision.instrument, decision.day_obs) == (instrument, day_obs)
    ]
    if not of_night:
        raise NightNotObservedError(f"Association knows no visit of night {day_obs}.")
    nothing = np.zeros(0, dia_source_dtype())
    sources = [nothing, *(one.diasources.to_array() for one in of_night if one.diasources.rows)]
    moving = [nothing, *(one.moving.to_array() for one in of_night if one.moving.rows)]
    recognised = np.concatenate(moving)
    recognised = recognised[np.isin(recognised["ssObjectId"], ours)]
    return candidates_of(day_obs, np.concatenate(sources), recognised)


def _decisions(reader: PartitionReader, codec: EventCodec, span: tuple[int, int]) -> Iterator[AssociationDecision]:
    """Yield the decisions about visits; corrections are DayMOPS' own words come back, and what cannot be read is nobody's."""
    for message in reader.records(*span):
        value = message.value()
        if value is None:
            continue
        try:
            decision = codec.decode(AssociationDecision, value)
        except SchemaError:
            continue
        if decision.correction is None:
            yield decision
