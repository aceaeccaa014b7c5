"""Moving objects for the toolkit's view: discoveries of a simulated fortnight, DayMOPS' runs and verdicts, a known asteroid's alerts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from infra.objects import open_object_store
from infra.settings import Settings
from processors.moving_objects.detections import day_obs_of, night_numbers
from processors.moving_objects.rows import mpc_orbit_records
from schemas import avro
from schemas.events import (
    DayMopsDecision,
    ObjectUpdate,
    OrbitDetermined,
    OrbitEvent,
    OrbitOrigin,
    TrackletState,
    TrackletStatus,
    Verdict,
)
from schemas.ids import day_visit, pack_dia_source_id, visit_id
from schemas.predictions import ss_object_id_of
from schemas.tables import Table
from streams.moving_objects.fitting import FittedOrbit, fit_observations
from streams.moving_objects.holdings import observations_of
from streams.moving_objects.orbit_store import own_rows
from streams.toolkit.service import Toolkit
from streams.views.fold import Message
from tests.support.orbit_arcs import TrueArcs, simulated_arcs
from tests.support.packets import BuiltAlert, Story, frame_packet
from tests.support.toolkits import fill

__all__ = ["DECIDED", "NAMES", "VERDICTS", "MovingSky", "fill_moving", "orbit_event", "rows_of", "tracklets_of"]

NAMES = ("NCaaaaaa", "NCbbbbbb", "NCcccccc")
"""Our discoveries: two that may be reported, and one that is held back and whose detections are in no table."""

DECIDED = 20251204

VERDICTS = {
    pack_dia_source_id(visit_id(DECIDED, 1), 0, rank): verdict
    for rank, verdict in enumerate(
        (Verdict.TRACKLET, Verdict.LINKED, Verdict.UNDECIDED, Verdict.TRACKLET, Verdict.STATIONARY, -1)
    )
}
"""What DayMOPS says of DIAObjects of the last night; the one that is linked, and one of which it said so later, went to the first
discovery."""


@dataclass(frozen=True, kw_only=True)
class MovingSky:
    """What was put into the view."""

    truth: TrueArcs
    fits: dict[str, FittedOrbit]
    known_id: int
    """Number of the asteroid that the alerts of the story are of."""
    known_alerts: list[int]

    def rows(self, name: str) -> Any:
        """Return the detections of a discovery."""
        return rows_of(self.truth, NAMES.index(name))


def rows_of(truth: TrueArcs, k: int) -> Any:
    """Return the detections of an object of the truth."""
    return truth.detections[truth.offsets[k] : truth.offsets[k + 1]]


def tracklets_of(rows: Any, name: str) -> list[TrackletState]:
    """Return the tracklets, one a night, that an orbit holds."""
    numbers = night_numbers(rows["midpoint_mjd_tai"])
    found = []
    for night in np.unique(numbers).tolist():
        mine = rows[numbers == night]
        ids = tuple(sorted(mine["detection_id"].tolist()))
        found.append(
            TrackletState(
                tracklet_id=min(ids) * 1000, instrument="NightcastSim", day_obs=day_obs_of(night), dia_source_ids=ids,
                status=TrackletStatus.LINKED, holder=name, mjd_tai=float(mine["midpoint_mjd_tai"].mean()),
                ra=float(mine["ra"][0]), dec=float(mine["dec"][0]), rate_ra=0.2112, rate_dec=-0.0531,
                magnitude=float(np.median(mine["mag"])), decided_day_obs=DECIDED,
            )
        )  # fmt: skip
    return found


def orbit_event(fit: FittedOrbit, tracklets: Iterable[TrackletState], **changes: Any) -> OrbitEvent:
    """Return the event of a fitted orbit."""
    times = fit.detections["midpoint_mjd_tai"]
    fact = OrbitDetermined(
        origin=OrbitOrigin.DISCOVERED, ss_object_id=ss_object_id_of(fit.name), epoch_mjd_tdb=fit.epoch_mjd_tdb,
        state=tuple(fit.state.tolist()), covariance=tuple(fit.covariance[np.triu_indices(6)].tolist()),
        absolute_magnitude=fit.h, slope=0.15, day_obs=DECIDED,
        tracklets=tuple(sorted(one.tracklet_id for one in tracklets)), n_detections=len(times),
        arc_days=float(np.ptp(times)), chi2=fit.chi2, rms_arcsec=fit.rms_arcsec, reportable=True, reasons=(),
    )  # fmt: skip
    return OrbitEvent(designation=fit.name, fact=replace(fact, **changes))


def fill_moving(toolkit: Toolkit, story: Story, *, seed: int = 91) -> MovingSky:
    """Put discoveries into a toolkit's view and object store, and make a story's alerts those of a known asteroid."""
    truth = simulated_arcs("MBA", len(NAMES) + 1, seed=seed, nights=14, seen=(5, 6))
    fits = {
        name: fit_observations(observations_of(rows_of(truth, k), name), code="X05")[0]
        for k, name in enumerate((*NAMES, "2014 AA3"))
    }
    facts: list[tuple[str, str, Any]] = []
    for k, name in enumerate(NAMES):
        tracklets = tracklets_of(rows_of(truth, k), name)
        facts += [("tracklet-store", str(one.tracklet_id), one) for one in tracklets]
        why = () if k < 2 else ("Three nights leave a uncertain by 0.07 au, not below 0.05.",)
        facts.append(("orbit-store", name, orbit_event(fits[name], tracklets, reportable=not why, reasons=why)))
    facts += [("daymops-log", "NightcastSim", one) for one in _decisions(toolkit.settings, truth)]
    facts += [("object-updates", str(one.dia_object_id), one) for one in map(_verdict_update, VERDICTS)]
    alerts = [_as_asteroid(alert, fits["2014 AA3"]) for alert in story.alerts]
    fill(toolkit.view, [*_messages(toolkit, facts), *alerts])
    number = ss_object_id_of("K14A03A")
    return MovingSky(truth=truth, fits=fits, known_id=number, known_alerts=[one.alert_id for one in story.alerts])


def _verdict_update(object_id: int) -> ObjectUpdate:
    verdict = VERDICTS[object_id]
    closed = verdict in (Verdict.LINKED, -1)
    return ObjectUpdate(
        dia_object_id=object_id, visit=day_visit(DECIDED), sequence=0, diasources=(), forced=(), dia_object=b"",
        cause="closed" if closed else "verdict", cutouts={}, dia_source_ids=(), midpoint_mjd_tai=0.0,
        successor=ss_object_id_of(NAMES[0]) if closed else 0, correction=1, verdict=int(verdict),
    )  # fmt: skip


def _decisions(settings: Settings, truth: TrueArcs) -> list[DayMopsDecision]:
    objects = open_object_store(settings)
    kept = objects.put(avro.encode(Table.from_array(truth.detections[: truth.offsets[2]])))
    nothing = objects.put(avro.encode(Table.from_array(truth.detections[:0])))
    return [
        DayMopsDecision(
            instrument="NightcastSim", day_obs=day, sequence=0, window=(day,), tracklets=nothing, orbits=nothing,
            reassigned=nothing, verdicts=nothing, detections=kept if day == DECIDED else nothing,
            counts={
                "detections": 1000.0 + 100 * k, "attributed_known": 612.0, "attributed_ours": 41.0, "precovered": 2.0,
                "links": 3.0 + k, "links_without_orbit": 0.0, "orbits": 3.0, "reportable": 2.0, "free_tracklets": 212.0,
            },
        )
        for k, day in enumerate((20251202, 20251203, DECIDED))
    ]  # fmt: skip


def _messages(toolkit: Toolkit, facts: list[tuple[str, str, Any]]) -> list[Message]:
    offsets: dict[str, int] = {}
    found = []
    for topic, key, event in facts:
        offset = offsets.get(topic, 0)
        offsets[topic] = offset + 1
        value = toolkit.view.codec.encode(topic, event)
        found.append(Message(topic=topic, partition=0, offset=offset, key=key.encode(), value=value, timestamp_s=1.8e9))
    return found


def _as_asteroid(alert: BuiltAlert, fit: FittedOrbit) -> Message:
    """Return an alert once more, with the orbit of an asteroid in the place of its object."""
    fact = orbit_event(fit, ()).fact
    assert isinstance(fact, OrbitDetermined)
    row = own_rows({"2014 AA3": fact})
    row["packed"] = "K14A03A"
    (orbit,) = mpc_orbit_records(row)
    source = {**alert.record["diaSource"], "diaObjectId": None, "ssObjectId": ss_object_id_of("K14A03A")}
    record = {**alert.record, "diaSource": source, "diaObject": None, "mpc_orbits": {**orbit, "id": 1}}
    return Message(
        topic="alert-store", partition=0, offset=100_000 + alert.visit % 100_000, key=str(alert.alert_id).encode(),
        value=frame_packet(record), timestamp_s=1.8e9,
    )  # fmt: skip
