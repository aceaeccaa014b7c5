"""One night of DayMOPS: link the window's detections night by night, fit what was found, and put it into the log.

The window is linked from its first night each time, so the answer depends on its detections alone, not on which nights were
run before. A decision that is made again is the same bytes and is not written twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.ephemerides import load_solar_system, observatory
from infra.objects import ObjectStore
from infra.settings import Settings
from processors.moving_objects.detections import day_obs_of, night_numbers, validated_detections
from processors.moving_objects.discoveries import Discoveries, orbits_of_links
from processors.moving_objects.linking_nightly import NightlyRules, NightlyState, begin, link_night
from processors.moving_objects.observers import observer_states
from processors.moving_objects.timescales import tdb_from_tai
from schemas import avro
from schemas.errors import PermanentFailure
from schemas.events import (
    DayMopsDecision,
    OrbitDetermined,
    OrbitEvent,
    OrbitOrigin,
    TrackletState,
    TrackletStatus,
)
from schemas.orbits import COVARIANCE_COLUMNS, STATE_COLUMNS
from schemas.tables import Table
from schemas.wire import EventCodec
from streams.bulk import BulkProducer
from streams.compose import Wiring
from streams.event_log import read_events
from streams.stage_codec import Outgoing, StageCodec

__all__ = ["DayMopsError", "DayRun", "decide_night", "link_window", "run_night", "tracklet_id"]

LOG_TOPIC, ORBIT_TOPIC, TRACKLET_TOPIC = "daymops-log", "orbit-store", "tracklet-store"

Progress = Callable[[str, int, int], None]


class DayMopsError(PermanentFailure):
    """The night cannot be run."""

    code = "daymops"


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRun:
    """What a night of DayMOPS gave."""

    decision: DayMopsDecision
    discoveries: Discoveries
    is_new: bool
    """Whether the log did not have it yet."""


def link_window(
    detections: NDArray[Any], day_obs: int, *, code: str, window_nights: int, progress: Progress = lambda *_: None
) -> tuple[NightlyState, tuple[int, ...]]:
    """Link the detections of the nights up to one, night by night.

    Parameters
    ----------
    detections
        Rows of `detections.DETECTION`, of any nights; later ones than the night are left out.
    day_obs
        The last night.
    code
        Code of the observatory.
    window_nights
        How many nights are linked with each other.
    progress
        Called with a night, how many are done and how many there are.

    Returns
    -------
    tuple
        The state after the last night, and the nights that had detections.

    Raises
    ------
    InvalidDetectionsError
        When detections break their contract.
    DayMopsError
        When there is no detection of the window.
    """
    rows = validated_detections(detections)
    numbers = night_numbers(rows["midpoint_mjd_tai"])
    named = np.array([day_obs_of(int(number)) for number in np.unique(numbers)], np.int64)
    nights = np.unique(numbers)[named <= day_obs]
    nights = nights[nights > nights[-1] - window_nights] if len(nights) else nights
    if not len(nights):
        raise DayMopsError(f"There are no detections of night {day_obs} or of nights before it.")
    state, rules = begin(), NightlyRules(window_nights=window_nights)
    for done, number in enumerate(nights.tolist()):
        progress(str(day_obs_of(number)), done, len(nights))
        tonight = rows[numbers == number]
        state, _ = link_night(state, tonight, _observers(tonight, code), rules)
    return state, tuple(int(day_obs_of(number)) for number in nights.tolist())


def decide_night(
    state: NightlyState, nights: tuple[int, ...], *, instrument: str, day_obs: int, code: str, objects: ObjectStore
) -> tuple[DayMopsDecision, Discoveries]:
    """Fit the links of a window and put together what DayMOPS decides; tables go into the object store."""
    detections = state.detections
    times = tdb_from_tai(detections["midpoint_mjd_tai"])
    solar_system = load_solar_system(float(times.min()), float(times.max()))
    found = orbits_of_links(
        detections, state.link_ids.tolist(), state.members(), solar_system=solar_system, observatory=observatory(code)
    )
    reassigned = _reassigned(found)

    def put(rows: NDArray[Any]) -> Any:
        return objects.put(avro.encode(Table.from_array(rows)))

    decision = DayMopsDecision(
        instrument=instrument,
        day_obs=day_obs,
        sequence=0,
        window=nights,
        tracklets=put(_tracklet_rows(state, found)),
        orbits=put(_orbit_table(found)),
        reassigned=put(reassigned),
        verdicts=put(_verdicts(detections, reassigned, day_obs)),
        counts={
            "detections": float(len(detections)),
            "links": float(len(state.link_ids)),
            "orbits": float(len(found)),
            "links_without_orbit": float(found.without_orbit),
            "reportable": float(sum(not reasons for reasons in found.reasons)),
            "free_tracklets": float(len(state.tracklets)),
        },
    )
    return decision, found


def run_night(
    settings: Settings, detections: NDArray[Any], day_obs: int, *, window_nights: int, progress: Progress
) -> DayRun:
    """Run DayMOPS for a night on the running system: decide, log, and put the new orbits and tracklets into their stores.

    Raises
    ------
    InvalidDetectionsError, DayMopsError
        See `link_window`.
    KafkaUnavailableError
        When the cluster does not answer; nothing is half done, and the run may be repeated.
    """
    wiring, night = Wiring(settings), settings.night
    state, nights = link_window(
        detections, day_obs, code=night.observatory, window_nights=window_nights, progress=progress
    )
    decision, found = decide_night(
        state, nights, instrument=night.instrument, day_obs=day_obs, code=night.observatory, objects=wiring.objects
    )
    decision, is_new = _numbered(decision, settings.bootstrap, wiring.codec)
    producer = BulkProducer(wiring.producer("daymops"), StageCodec(wiring.registry))
    if is_new:
        producer.put([Outgoing(topic=LOG_TOPIC, key=night.instrument, record=decision)])
        producer.confirm()
    producer.put(_stored(decision, found, state))
    producer.confirm()
    return DayRun(decision=decision, discoveries=found, is_new=is_new)


def tracklet_id(members: tuple[int, ...]) -> int:
    """Return a tracklet's identifier: 63 bits of a hash of its members in ascending order."""
    text = ",".join(map(str, sorted(members))).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1 or 1


def _observers(detections: NDArray[Any], code: str) -> NDArray[np.float64]:
    times = tdb_from_tai(detections["midpoint_mjd_tai"])
    solar_system = load_solar_system(float(times.min()), float(times.max()))
    return observer_states(solar_system, observatory(code), detections["midpoint_mjd_tai"])


def _numbered(decision: DayMopsDecision, bootstrap: str, codec: EventCodec) -> tuple[DayMopsDecision, bool]:
    """Give the decision the next number of its night; one that the log has already keeps its own and is not new."""
    before = [
        item.event
        for item in read_events(bootstrap, codec, LOG_TOPIC)
        if (item.event.instrument, item.event.day_obs) == (decision.instrument, decision.day_obs)
    ]
    if before and dataclasses.replace(before[-1], sequence=0) == decision:
        return before[-1], False
    return dataclasses.replace(decision, sequence=len(before)), True


def _stored(decision: DayMopsDecision, found: Discoveries, state: NightlyState) -> list[Outgoing]:
    """Return the events of the stores that follow from a decision."""
    records = [
        Outgoing(topic=ORBIT_TOPIC, key=str(row["designation"]), record=_orbit_event(found, place, decision, state))
        for place, row in enumerate(found.rows)
    ]
    for tracklet in _tracklet_states(found, state, decision):
        records.append(Outgoing(topic=TRACKLET_TOPIC, key=tracklet.tracklet_id, record=tracklet))
    return records


def _orbit_event(found: Discoveries, place: int, decision: DayMopsDecision, state: NightlyState) -> OrbitEvent:
    row = found.rows[place]
    nights = _by_night(found.members[place], state)
    return OrbitEvent(
        designation=str(row["designation"]),
        fact=OrbitDetermined(
            origin=OrbitOrigin.DISCOVERED,
            ss_object_id=int(row["ss_object_id"]),
            epoch_mjd_tdb=float(row["epoch_mjd_tdb"]),
            state=tuple(float(row[name]) for name in STATE_COLUMNS),
            covariance=tuple(float(row[name]) for name in COVARIANCE_COLUMNS),
            absolute_magnitude=float(row["h"]) if np.isfinite(row["h"]) else None,
            slope=float(row["g"]),
            day_obs=decision.day_obs,
            tracklets=tuple(sorted(tracklet_id(members) for members in nights.values())),
            n_detections=int(row["n_observations"]),
            arc_days=float(row["arc_days"]),
            chi2=float(found.chi2[place]),
            rms_arcsec=float(row["rms_arcsec"]),
            reportable=not found.reasons[place],
            reasons=found.reasons[place],
        ),
    )


def _by_night(members: tuple[int, ...], state: NightlyState) -> Mapping[int, tuple[int, ...]]:
    """Return a link's members by the number of their night."""
    order = np.argsort(state.detections["detection_id"], kind="stable")
    places = order[np.searchsorted(state.detections["detection_id"][order], members)]
    nights: dict[int, list[int]] = {}
    for identifier, number in zip(
        members, night_numbers(state.detections["midpoint_mjd_tai"][places]).tolist(), strict=True
    ):
        nights.setdefault(int(number), []).append(identifier)
    return {number: tuple(sorted(ids)) for number, ids in nights.items()}


def _tracklet_states(found: Discoveries, state: NightlyState, decision: DayMopsDecision) -> list[TrackletState]:
    """Return the newest state of every tracklet that an orbit holds, and of the free ones."""
    held = [
        (members, str(row["designation"]))
        for row, ids in zip(found.rows, found.members, strict=True)
        for members in _by_night(ids, state).values()
    ]
    ids = state.detections["detection_id"][state.tracklets.members]
    free = [tuple(sorted(part.tolist())) for part in np.split(ids, state.tracklets.offsets[1:-1])] if len(ids) else []
    states = [_tracklet(members, TrackletStatus.LINKED, holder, state, decision) for members, holder in held]
    return states + [_tracklet(members, TrackletStatus.FREE, None, state, decision) for members in free]


def _tracklet(
    members: tuple[int, ...], status: TrackletStatus, holder: str | None, state: NightlyState, decision: DayMopsDecision
) -> TrackletState:
    rows = state.detections[np.isin(state.detections["detection_id"], members)]
    first, last = rows[0], rows[-1]
    days = max(float(last["midpoint_mjd_tai"] - first["midpoint_mjd_tai"]), 1e-6)
    cosine = np.cos(np.radians(first["dec"]))
    east = ((last["ra"] - first["ra"] + 180.0) % 360.0 - 180.0) * cosine
    with np.errstate(invalid="ignore"):
        magnitude = float(np.nanmedian(rows["mag"])) if np.isfinite(rows["mag"]).any() else float("nan")
    return TrackletState(
        tracklet_id=tracklet_id(members),
        instrument=decision.instrument,
        day_obs=int(day_obs_of(int(night_numbers(rows["midpoint_mjd_tai"])[0]))),
        dia_source_ids=tuple(sorted(members)),
        status=status,
        holder=holder,
        mjd_tai=float(np.mean(rows["midpoint_mjd_tai"])),
        ra=float(first["ra"]),
        dec=float(first["dec"]),
        rate_ra=float(east / days),
        rate_dec=float((last["dec"] - first["dec"]) / days),
        magnitude=magnitude,
        decided_day_obs=decision.day_obs,
    )


def _tracklet_rows(state: NightlyState, found: Discoveries) -> NDArray[Any]:
    """Return every tracklet that an orbit holds: its identifier, night and holder."""
    rows = [
        (tracklet_id(members), day_obs_of(number), str(row["designation"]))
        for row, ids in zip(found.rows, found.members, strict=True)
        for number, members in sorted(_by_night(ids, state).items())
    ]
    return np.array(rows, [("tracklet_id", "<i8"), ("day_obs", "<i8"), ("holder", "<U16")])


def _orbit_table(found: Discoveries) -> NDArray[Any]:
    names = ("designation", "ss_object_id", "epoch_mjd_tdb", *STATE_COLUMNS, "h", "arc_days", "rms_arcsec")
    table = np.zeros(
        len(found), [(name, found.rows.dtype[name]) for name in names] + [("chi2", "<f8"), ("reportable", "<i1")]
    )
    for name in names:
        table[name] = found.rows[name]
    table["chi2"], table["reportable"] = found.chi2, [not reasons for reasons in found.reasons]
    return table


def _reassigned(found: Discoveries) -> NDArray[Any]:
    rows = [
        (identifier, int(row["ss_object_id"]))
        for row, ids in zip(found.rows, found.members, strict=True)
        for identifier in ids
    ]
    return np.array(sorted(rows), [("dia_source_id", "<i8"), ("ss_object_id", "<i8")])


def _verdicts(detections: NDArray[Any], reassigned: NDArray[Any], day_obs: int) -> NDArray[Any]:
    """Return for each detection of the night whether it is consistent with a Solar System object."""
    nights = np.array([day_obs_of(int(number)) for number in night_numbers(detections["midpoint_mjd_tai"])], np.int64)
    tonight = np.sort(detections["detection_id"][nights == day_obs])
    verdicts = np.zeros(len(tonight), [("dia_source_id", "<i8"), ("is_solar_system_object", "<i1")])
    verdicts["dia_source_id"] = tonight
    verdicts["is_solar_system_object"] = np.isin(tonight, reassigned["dia_source_id"])
    return verdicts
