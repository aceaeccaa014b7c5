"""Which imported orbits a night is compared with: those it was observed with, else the catalogue there is."""

from __future__ import annotations

from schemas.events import CatalogueImported
from schemas.tables import Claim
from schemas.wire import EventCodec
from streams.event_log import read_events
from streams.moving_objects.orbit_store import CATALOGUE_KEY, read_orbit_store

__all__ = ["known_orbits_of"]


def known_orbits_of(bootstrap: str, codec: EventCodec, instrument: str, day_obs: int) -> Claim | None:
    """Return the claim on the orbits that a night's detections may be attributed to, None where there are none.

    Raises
    ------
    KafkaUnavailableError
        When the cluster does not answer.
    """
    observed = None
    for item in read_events(bootstrap, codec, "ephemeris-catalogues"):
        if (item.event.instrument, item.event.day_obs) == (instrument, day_obs):
            observed = item.event.orbits
    if isinstance(observed, Claim):
        return observed
    catalogue = read_orbit_store(bootstrap, codec).get(CATALOGUE_KEY)
    return catalogue.fact.orbits if catalogue and isinstance(catalogue.fact, CatalogueImported) else None
