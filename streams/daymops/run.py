"""DayMOPS asked for by hand: nights are announced to its stage, which answers on its log; here one waits and reads the answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from confluent_kafka import TopicPartition
from numpy.typing import NDArray

from infra import kafka
from infra.reading import read_to_end
from infra.settings import Settings
from processors.moving_objects.detections import day_obs_of, mjd_of_day_obs, night_numbers, validated_detections
from schemas import avro
from schemas.events import DayMopsDecision, DeadLetter, NightEnded, OrbitDetermined, OrbitOrigin
from schemas.tables import Table
from schemas.topics import dead_letter_topic
from streams.bulk import BulkProducer
from streams.compose import Wiring
from streams.daymops.errors import DayMopsError
from streams.daymops.known import known_orbits_of
from streams.daymops.sources import TOPIC as ASSOCIATION_TOPIC
from streams.daymops.stage import GROUP, LOG_TOPIC, NIGHT_TOPIC
from streams.event_log import Logged, read_events
from streams.moving_objects.orbit_store import read_orbit_store
from streams.partition_reader import PartitionReader
from streams.stage_codec import Outgoing, StageCodec

__all__ = ["DayRun", "end_night", "nights_by_hand", "run_nights"]

PATIENCE_S = 600.0
"""How long the stage may be silent: the first time ever its kernels are compiled, a minute of CPU on an idle machine."""

POLL_S = 0.2

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRun:
    """What DayMOPS made of what it was asked."""

    decision: DayMopsDecision | None
    """The newest one for the night; None where there is none."""
    new: int
    """Decisions that were made because of this."""
    orbits: tuple[tuple[str, OrbitDetermined], ...]
    """All objects of our own, in order of designations."""


def nights_by_hand(detections: NDArray[Any], day_obs: int, window_nights: int) -> list[tuple[int, NDArray[Any]]]:
    """Return the nights of detections up to one, each with its rows, at most so many nights back.

    Raises
    ------
    InvalidDetectionsError
        When detections break their contract.
    DayMopsError
        When there is none of these nights.
    """
    rows = validated_detections(detections)
    numbers = night_numbers(rows["midpoint_mjd_tai"])
    nights = [(day_obs_of(int(number)), int(number)) for number in np.unique(numbers)]
    nights = [one for one in nights if one[0] <= day_obs]
    nights = [one for one in nights if one[1] > nights[-1][1] - window_nights]
    if not nights:
        raise DayMopsError(f"There are no detections of night {day_obs} or of nights before it.")
    return [(name, rows[numbers == number]) for name, number in nights]


def run_nights(
    settings: Settings,
    day_obs: int,
    nights: Sequence[tuple[int, NDArray[Any]]] = (),
    *,
    reason: str = "asked",
    progress: Progress = lambda *_: None,
) -> DayRun:
    """Ask the running system for DayMOPS, wait until it has answered, and return what it found.

    Parameters
    ----------
    settings
        The running system.
    day_obs
        The night.
    nights
        Detections by hand, night by night; without any, the night's own from association's log, as it is now.
    reason
        Who asks; see `NightEnded`.
    progress
        Called with a night, how many are done and how many there are.

    Raises
    ------
    DayMopsError
        When the night is no date, when the stage refused it, with its reason, or does not answer.
    KafkaUnavailableError
        When the cluster does not answer; nothing is half done, and the run may be repeated.
    """
    _require_date(day_obs)
    wiring = Wiring(settings)
    before = len(_decisions(wiring))
    asked = [_by_hand(wiring, name, rows) for name, rows in nights] or [end_night(wiring, day_obs, reason=reason)]
    names = [str(name) for name, _ in nights] or [str(day_obs)]
    _wait(wiring, NIGHT_TOPIC, asked, lambda done: progress(names[min(done, len(names) - 1)], done, len(names)))
    _require_not_refused(wiring, asked)
    decisions = _decisions(wiring)
    if decisions:
        _wait(wiring, LOG_TOPIC, [decisions[-1].offset], lambda _: None)
    own = [one.event for one in decisions if one.event.day_obs == day_obs]
    return DayRun(decision=own[-1] if own else None, new=len(decisions) - before, orbits=_own_orbits(wiring))


def _require_date(day_obs: int) -> None:
    """Refuse what is no night before it is in the log for ever."""
    try:
        mjd_of_day_obs(day_obs)
    except ValueError as error:
        raise DayMopsError(f"{day_obs} is no night such as 20260921.") from error


def end_night(wiring: Wiring, day_obs: int, *, reason: str) -> int:
    """Say that a night is over, with everything that association has said until now, and return where that lies in the log."""
    settings = wiring.settings
    reader = PartitionReader(settings.bootstrap, ASSOCIATION_TOPIC)
    try:
        end = reader.end()
    finally:
        reader.close()
    return _announce(wiring, _ended(wiring, day_obs, end, reason))


def _by_hand(wiring: Wiring, day_obs: int, rows: NDArray[Any]) -> int:
    claim = wiring.objects.put(avro.encode(Table.from_array(rows)))
    return _announce(wiring, replace(_ended(wiring, day_obs, 0, "asked"), detections=claim))


def _ended(wiring: Wiring, day_obs: int, end: int, reason: str) -> NightEnded:
    settings = wiring.settings
    instrument = settings.night.instrument
    known = known_orbits_of(settings.bootstrap, wiring.codec, instrument, day_obs)
    return NightEnded(instrument=instrument, day_obs=day_obs, association_end=end, known_orbits=known, reason=reason)


def _announce(wiring: Wiring, ended: NightEnded) -> int:
    producer = BulkProducer(wiring.producer("night-ended"), StageCodec(wiring.registry))
    producer.put([Outgoing(topic=NIGHT_TOPIC, key=ended.instrument, record=ended)])
    last = producer.confirm()
    if last is None:
        raise DayMopsError("Kafka confirmed the end of a night without saying where it lies.")
    return last[1]


def _wait(wiring: Wiring, topic: str, offsets: Sequence[int], tell: Callable[[int], None]) -> None:
    """Wait until the stage has dealt with records of a topic; ``tell`` hears how many are done."""
    client = wiring.consumer(GROUP)
    seen, since = -1, time.monotonic()
    try:
        while (done := _done(client, topic, offsets)) < len(offsets):
            if done != seen:
                seen, since = done, time.monotonic()
                tell(done)
            if time.monotonic() - since > PATIENCE_S:
                raise DayMopsError("DayMOPS does not answer; see `nightcast status` and its log in the data directory.")
            time.sleep(POLL_S)
    finally:
        client.close()


def _done(client: Any, topic: str, offsets: Sequence[int]) -> int:
    with kafka.translated("ask how far DayMOPS is"):
        (place,) = client.committed([TopicPartition(topic, 0)], 15.0)
    return sum(offset < place.offset for offset in offsets)


def _require_not_refused(wiring: Wiring, offsets: Sequence[int]) -> None:
    for message in read_to_end(wiring.settings.bootstrap, dead_letter_topic(NIGHT_TOPIC)):
        value = message.value()
        letter = None if value is None else wiring.codec.decode(DeadLetter, value)
        if letter is not None and letter.origin_topic == NIGHT_TOPIC and letter.origin_offset in offsets:
            raise DayMopsError(f"DayMOPS refused a night: {letter.reason}")


def _decisions(wiring: Wiring) -> list[Logged]:
    instrument = wiring.settings.night.instrument
    every = read_events(wiring.settings.bootstrap, wiring.codec, LOG_TOPIC)
    return [item for item in every if item.event.instrument == instrument]


def _own_orbits(wiring: Wiring) -> tuple[tuple[str, OrbitDetermined], ...]:
    events = read_orbit_store(wiring.settings.bootstrap, wiring.codec)
    return tuple(
        (name, event.fact)
        for name, event in sorted(events.items())
        if isinstance(event.fact, OrbitDetermined)
        and event.fact.origin is OrbitOrigin.DISCOVERED
        and event.fact.merged_into is None
    )
