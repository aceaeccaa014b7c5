"""The Moving Object Database: a fold of the orbit store's topic, and how a catalogue is swapped into it.

An imported catalogue is one event that claims one file, so it is swapped in whole or not at all. Our own orbits are an event
each. An own orbit is left out where the imported catalogue has the same designation, and where it was merged into another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.logs import get_logger
from infra.objects import ObjectStore
from infra.parquet import from_parquet, to_parquet
from infra.reading import read_to_end
from processors.moving_objects.stored_orbits import named_rows
from schemas.errors import PermanentFailure, SchemaError
from schemas.events import CatalogueImported, OrbitDetermined, OrbitEvent
from schemas.orbits import COVARIANCE_COLUMNS, ORBIT_ROW, STATE_COLUMNS, orbit_rows
from schemas.wire import EventCodec
from streams.bulk import BulkProducer
from streams.stage_codec import Outgoing

__all__ = [
    "CATALOGUE_KEY",
    "TOPIC",
    "OrbitsAtHand",
    "WorseCatalogueError",
    "import_catalogue",
    "orbits_at_hand",
    "own_rows",
    "read_orbit_store",
]

TOPIC = "orbit-store"
CATALOGUE_KEY = "catalogue"
"""Designation under which the imported catalogue stands."""

LARGEST_LOSS = 0.05
"""A catalogue that lacks more than this share of the objects of the one before is refused unless it is forced."""

log = get_logger(__name__)


class WorseCatalogueError(PermanentFailure):
    """A new catalogue knows less than the one that it would replace."""

    code = "worse_catalogue"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrbitsAtHand:
    """All orbits as of the end of the log."""

    rows: NDArray[Any]
    """Of `schemas.orbits.ORBIT_ROW`, in order of designations."""
    own: frozenset[str]
    """Designations of our own orbits among them."""

    @property
    def sha256(self) -> str:
        """Digest of the rows: what ephemerides are built from."""
        return hashlib.sha256(self.rows.tobytes()).hexdigest()


def read_orbit_store(bootstrap: str, codec: EventCodec) -> dict[str, OrbitEvent]:
    """Return the newest event of each designation, as of the end that the topic has now.

    Raises
    ------
    KafkaUnavailableError
        When the cluster does not answer.
    """
    newest: dict[str, OrbitEvent] = {}
    for message in read_to_end(bootstrap, TOPIC):
        value, key = message.value(), (message.key() or b"").decode(errors="replace")
        if value is None:
            newest.pop(key, None)
            continue
        try:
            event = codec.decode(OrbitEvent, value)
        except SchemaError as error:
            log.error("orbit not read", key=key, reason=str(error))
            continue
        newest[event.designation] = event
    return newest


def orbits_at_hand(events: Iterable[OrbitEvent], objects: ObjectStore) -> OrbitsAtHand:
    """Return the orbits that events stand for.

    Raises
    ------
    ObjectMissingError, CorruptObjectError, ParquetError
        When the catalogue's file is gone or broken.
    """
    facts = {event.designation: event.fact for event in events}
    imported = facts.pop(CATALOGUE_KEY, None)
    known = np.zeros(0, ORBIT_ROW)
    if isinstance(imported, CatalogueImported):
        known = from_parquet(objects.get(imported.orbits), ORBIT_ROW)
    names = set(known["designation"].tolist())
    own = {
        name: fact
        for name, fact in sorted(facts.items())
        if isinstance(fact, OrbitDetermined) and fact.merged_into is None and name not in names
    }
    rows = np.concatenate([known, own_rows(own)])
    return OrbitsAtHand(rows=rows[np.argsort(rows["designation"], kind="stable")], own=frozenset(own))


def import_catalogue(
    rows: NDArray[Any],
    name: str,
    *,
    events: Iterable[OrbitEvent],
    objects: ObjectStore,
    producer: BulkProducer,
    refused: int = 0,
    force: bool = False,
) -> CatalogueImported:
    """Swap a catalogue in, in one step; the one before stays where the new one is worse.

    Parameters
    ----------
    rows
        Orbits with their designations; packed names and numbers are filled in.
    name
        What people call the catalogue.
    events
        The orbit store as it is.
    objects, producer
        Where the file and the event go.
    refused
        Lines of its source that could not be read.
    force
        Take it although it is worse.

    Raises
    ------
    InvalidDesignationError
        When a designation has no packed form.
    WorseCatalogueError
        When it has no orbits, or lacks more than a twentieth of the objects of the one before.
    """
    rows = named_rows(rows)
    before = next((event.fact for event in events if event.designation == CATALOGUE_KEY), None)
    if not force:
        _require_no_loss(rows, before, objects)
    fact = CatalogueImported(name=name, count=len(rows), orbits=objects.put(to_parquet(rows)), refused=refused)
    if fact != before:
        event = OrbitEvent(designation=CATALOGUE_KEY, fact=fact)
        producer.put([Outgoing(topic=TOPIC, key=CATALOGUE_KEY, record=event)])
        producer.confirm()
    return fact


def _require_no_loss(rows: NDArray[Any], before: object, objects: ObjectStore) -> None:
    if len(rows) == 0:
        raise WorseCatalogueError("The new catalogue has no orbits; the one before stays.")
    if not isinstance(before, CatalogueImported):
        return
    old = from_parquet(objects.get(before.orbits), ORBIT_ROW)["designation"]
    lost = int((~np.isin(old, rows["designation"])).sum())
    if lost > LARGEST_LOSS * len(old):
        raise WorseCatalogueError(
            f"The new catalogue lacks {lost} of the {len(old)} objects of {before.name}; that one stays. Force it if it is right."
        )


def own_rows(own: Mapping[str, OrbitDetermined]) -> NDArray[Any]:
    """Return orbits of ours by designation as rows to store; packed names are not filled in."""
    rows = orbit_rows(len(own))
    for row, (name, fact) in zip(rows, own.items(), strict=True):
        row["designation"], row["ss_object_id"] = name, fact.ss_object_id
        row["epoch_mjd_tdb"], row["n_observations"] = fact.epoch_mjd_tdb, fact.n_detections
        row["arc_days"], row["rms_arcsec"] = fact.arc_days, fact.rms_arcsec
        row["g"], row["h"] = fact.slope, np.nan if fact.absolute_magnitude is None else fact.absolute_magnitude
        for column, value in zip(STATE_COLUMNS, fact.state, strict=True):
            row[column] = value
        for column, value in zip(COVARIANCE_COLUMNS, fact.covariance, strict=False):
            row[column] = value
    return rows
