"""A night's coarse ephemerides by hand: shown from the log, or built from the orbits at hand and put into it."""

from __future__ import annotations

from collections.abc import Callable

from infra.settings import Settings
from schemas.events import EphemerisCatalogue
from streams.bulk import BulkProducer
from streams.compose import Wiring
from streams.event_log import read_events
from streams.moving_objects.orbit_store import orbits_at_hand, read_orbit_store
from streams.nightmops.ephemerides import build_ephemerides, mid_night_of
from streams.nightmops.stage import CATALOGUE_TOPIC
from streams.stage_codec import Outgoing, StageCodec
from streams.views.errors import RequestError

__all__ = ["night_ephemerides", "outdated_night", "refresh_ephemerides"]


def night_ephemerides(
    settings: Settings, day_obs: int, *, rebuild: bool, say: Callable[[str], None]
) -> tuple[EphemerisCatalogue, bool]:
    """Return a night's ephemerides, and whether they were built now.

    Raises
    ------
    RequestError
        When the night is no date.
    KafkaUnavailableError, RegistryUnavailableError
        When the system does not run.
    UnknownObservatoryError, EphemerisSpanError, CatalogueTooLargeError
        As `build_ephemerides` does.
    """
    wiring, night = Wiring(settings), settings.night
    try:
        mid_night_of(day_obs, night.observatory)
    except ValueError as error:
        raise RequestError(f"{day_obs} is no night such as 20260921.") from error
    known = [
        item.event
        for item in read_events(settings.bootstrap, wiring.codec, CATALOGUE_TOPIC)
        if (item.event.instrument, item.event.day_obs) == (night.instrument, day_obs)
    ]
    if known and not rebuild:
        return known[-1], False
    say("Reading the orbits.")
    at_hand = orbits_at_hand(read_orbit_store(settings.bootstrap, wiring.codec).values(), wiring.objects)
    if known and known[-1].orbits_sha256 == at_hand.sha256:
        say("The ephemerides of these very orbits are there already.")
        return known[-1], False
    say(f"Carrying {len(at_hand.rows)} orbits to the night.")
    built = build_ephemerides(
        at_hand,
        day_obs,
        instrument=night.instrument,
        code=night.observatory,
        objects=wiring.objects,
        memory_limit_bytes=settings.nightmops.memory_gb * 1e9,
    )
    producer = BulkProducer(wiring.producer("ephemerides"), StageCodec(wiring.registry))
    producer.put([Outgoing(topic=CATALOGUE_TOPIC, key=night.instrument, record=built)])
    producer.confirm()
    return built, True


def outdated_night(settings: Settings) -> int | None:
    """Return the last night with ephemerides if they were built from other orbits than there are now; None where they were not.

    Raises
    ------
    KafkaUnavailableError, RegistryUnavailableError
        When the system does not run.
    """
    wiring, instrument = Wiring(settings), settings.night.instrument
    events = (item.event for item in read_events(settings.bootstrap, wiring.codec, CATALOGUE_TOPIC))
    newest = {event.day_obs: event.orbits_sha256 for event in events if event.instrument == instrument}
    if not newest:
        return None
    at_hand = orbits_at_hand(read_orbit_store(settings.bootstrap, wiring.codec).values(), wiring.objects)
    last = max(newest)
    return None if newest[last] == at_hand.sha256 else last


def refresh_ephemerides(settings: Settings, day_obs: int) -> None:
    """Build the ephemerides of a night that has not begun anew, if they were built from other orbits than there are now.

    Raises
    ------
    RequestError, KafkaUnavailableError, RegistryUnavailableError, UnknownObservatoryError, EphemerisSpanError, CatalogueTooLargeError
        See `night_ephemerides`.
    """
    if outdated_night(settings) == day_obs:
        night_ephemerides(settings, day_obs, rebuild=True, say=lambda _: None)
