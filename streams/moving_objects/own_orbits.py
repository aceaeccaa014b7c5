"""Our own orbits with what they hold, read from the log: the one thing that refits and reports begin with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.settings import Settings
from schemas import avro
from schemas.events import DayMopsDecision, OrbitDetermined, TrackletState
from schemas.tables import Table
from schemas.wire import EventCodec
from streams.compose import Wiring
from streams.event_log import read_events
from streams.moving_objects.holdings import detection_claims, detections_in, detections_of_folder
from streams.moving_objects.orbit_store import read_orbit_store
from streams.moving_objects.show import UnknownOrbitError, place_of

__all__ = ["OwnOrbit", "chosen_for_report", "own_orbit", "own_orbits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnOrbit:
    """An orbit of ours and the detections that it holds."""

    designation: str
    fact: OrbitDetermined
    detections: NDArray[Any]
    """Rows of ``DETECTION`` by time."""
    missing: int
    """Detections that it holds and that no table has."""


def own_orbits(settings: Settings, wanted: Mapping[str, OrbitDetermined], folder: Path | None = None) -> list[OwnOrbit]:
    """Return orbits with their detections, in order of their designations.

    Parameters
    ----------
    settings
        The running system.
    wanted
        The newest fact of each.
    folder
        Folder with ``detections.parquet``, for nights that DayMOPS' decisions do not keep.

    Raises
    ------
    KafkaUnavailableError, RegistryUnavailableError
        When the system does not run.
    """
    wiring = Wiring(settings)
    tracklets = _newest_tracklets(settings.bootstrap, wiring.codec)
    members = {name: _members(fact, tracklets.values(), name) for name, fact in sorted(wanted.items())}
    every = {one for ids in members.values() for one in ids}
    decisions = (item.event for item in read_events(settings.bootstrap, wiring.codec, "daymops-log"))
    claims = detection_claims(one for one in decisions if isinstance(one, DayMopsDecision))
    rows = detections_in(claims, wiring.objects, every)
    if folder is not None:
        other = detections_of_folder(folder, every)
        rows = np.concatenate([rows, other[~np.isin(other["detection_id"], rows["detection_id"])]])
    return [_own(name, wanted[name], rows, ids) for name, ids in members.items()]


def own_orbit(settings: Settings, designation: str, folder: Path | None = None) -> OwnOrbit:
    """Return one orbit of ours with its detections.

    Raises
    ------
    UnknownOrbitError
        When there is no such orbit of ours; one merged into another leads there by its sentence.
    """
    wiring = Wiring(settings)
    facts = _facts(settings.bootstrap, wiring.codec)
    names = np.array(sorted(facts), np.str_)
    place = place_of(names, designation)
    if place is None:
        raise UnknownOrbitError(f"{designation!r} is no orbit of ours; see `nightcast orbits list --own`.")
    name = str(names[place])
    if facts[name].merged_into:
        raise UnknownOrbitError(f"{name} was merged into {facts[name].merged_into}.")
    return own_orbits(settings, {name: facts[name]}, folder)[0]


def chosen_for_report(settings: Settings, day_obs: int | None) -> dict[str, OrbitDetermined]:
    """Return our discoveries that the link rules let report, by designation, as their orbits are now.

    Parameters
    ----------
    settings
        The running system.
    day_obs
        Night of DayMOPS that found them or had more of them, whatever later nights made of them since; None for all.

    Raises
    ------
    KafkaUnavailableError, RegistryUnavailableError
        When the system does not run.
    ObjectMissingError, CorruptObjectError
        When a table of the night's decisions is gone or broken.
    """
    wiring = Wiring(settings)
    facts = _facts(settings.bootstrap, wiring.codec)
    touched = set(facts) if day_obs is None else _touched_by(wiring, day_obs)
    return {
        name: fact
        for name, fact in facts.items()
        if fact.reportable and fact.merged_into is None and (name in touched or fact.day_obs == day_obs)
    }


def _touched_by(wiring: Wiring, day_obs: int) -> set[str]:
    """Return the orbits that a night's decisions found or bettered."""
    names: set[str] = set()
    for item in read_events(wiring.settings.bootstrap, wiring.codec, "daymops-log"):
        if isinstance(item.event, DayMopsDecision) and item.event.day_obs == day_obs:
            rows = avro.decode(Table, wiring.objects.get(item.event.orbits)).to_array()
            if {"designation", "change"} <= set(rows.dtype.names or ()):
                names |= set(rows["designation"][np.isin(rows["change"], ("new", "better"))].tolist())
    return names


def _facts(bootstrap: str, codec: EventCodec) -> dict[str, OrbitDetermined]:
    found = read_orbit_store(bootstrap, codec)
    return {name: one.fact for name, one in sorted(found.items()) if isinstance(one.fact, OrbitDetermined)}


def _newest_tracklets(bootstrap: str, codec: EventCodec) -> dict[int, TrackletState]:
    events = (item.event for item in read_events(bootstrap, codec, "tracklet-store"))
    return {event.tracklet_id: event for event in events if isinstance(event, TrackletState)}


def _members(fact: OrbitDetermined, tracklets: Iterable[TrackletState], name: str) -> list[int]:
    mine = set(fact.tracklets)
    held = [state for state in tracklets if state.holder == name or state.tracklet_id in mine]
    # A tracklet that is another's by now is no longer this orbit's, whatever its own last fact says.
    return sorted({one for state in held if state.holder in (name, None) for one in state.dia_source_ids})


def _own(name: str, fact: OrbitDetermined, rows: NDArray[Any], ids: list[int]) -> OwnOrbit:
    mine = rows[np.isin(rows["detection_id"], ids)]
    mine = mine[np.lexsort((mine["detection_id"], mine["midpoint_mjd_tai"]))]
    return OwnOrbit(designation=name, fact=fact, detections=mine, missing=len(ids) - len(mine))
