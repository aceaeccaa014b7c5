"""What DayMOPS does with the end of a night: gather, decide, put the tables into the object store, and name them in one event."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.ephemerides import load_solar_system, observatory
from infra.logs import get_logger
from infra.objects import ObjectStore
from infra.parquet import from_parquet
from processors.moving_objects.day_attribution import Sky
from processors.moving_objects.day_candidates import NightCandidates, night_by_hand
from processors.moving_objects.day_changes import DayChanges, changes_between
from processors.moving_objects.day_decide import DayStep, decide_night
from processors.moving_objects.day_nights import DayNights, NightKept, Work, work_for
from processors.moving_objects.day_state import DayRules, DayState, begin_days, nights_of
from processors.moving_objects.day_store import state_from_bytes, state_to_bytes
from processors.moving_objects.detections import day_obs_of, mjd_of_day_obs, validated_detections
from processors.moving_objects.errors import InvalidDetectionsError
from processors.moving_objects.linking_nightly import NightlyRules
from processors.moving_objects.timescales import tdb_from_tai
from schemas import avro
from schemas.events import DayMopsDecision, NightEnded
from schemas.orbits import ORBIT_ROW, orbit_rows
from schemas.tables import Claim, Table

__all__ = ["Desk", "rules_of", "rows_of"]

SUMMED = ("attributed_known", "attributed_ours", "identified", "precovered")
"""Counts that are summed over the nights that a decision links; of the others the last night's stand."""

Array = NDArray[Any]
FromLog = Callable[[NightEnded, NDArray[np.int64]], NightCandidates]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delivered:
    """A night with all that was ever delivered of it."""

    night: NightCandidates
    claim: Claim


class Desk:
    """Decides nights of one instrument.

    Parameters
    ----------
    instrument, code
        Whose nights, and the code of its observatory.
    objects
        Where tables and states are.
    from_log
        Gives a night's candidates from association's log; the numbers of our own objects go with it.
    rules
        Limits.
    """

    def __init__(
        self, instrument: str, code: str, *, objects: ObjectStore, from_log: FromLog, rules: DayRules | None = None
    ) -> None:
        self._instrument, self._code = instrument, code
        self._objects, self._from_log = objects, from_log
        self._rules = rules or DayRules()

    def decide(self, ended: NightEnded, nights: DayNights) -> DayMopsDecision | None:
        """Return the decision for a night that is over; None where everything that it has was decided upon before.

        Raises
        ------
        NightTooOldError, DayTooLargeError
            When it comes too late, or has too much.
        InvalidDetectionsError
            When its detections break their contract, are of another night, or contradict those that were delivered before.
        ObjectMissingError, CorruptObjectError, ParquetError
            When what it names is gone or broken.
        """
        work = work_for(nights, ended.day_obs)
        made = self._made(ended, nights, work)
        return None if made is None else self._decision(ended, *made, work.sequence)

    def _made(
        self, ended: NightEnded, nights: DayNights, work: Work
    ) -> tuple[tuple[DayStep, DayChanges], _Delivered, tuple[int, ...]] | None:
        """Link and compare; the states before end with this, so that the new one is written without them in memory."""
        now = self._state(work.now)
        delivered = self._delivered(ended, now, nights.of(ended.day_obs))
        own = nights.of(ended.day_obs)
        if own is not None and own.detections == delivered.claim:
            log.info("night decided before", day_obs=ended.day_obs, detections=len(delivered.night.detections))
            return None
        linked = [self._again(night) for night in work.again if night.day_obs != ended.day_obs]
        linked = sorted([*linked, delivered.night], key=lambda night: night.day_obs)
        begin = now if work.begin == work.now else self._state(work.begin)
        step = self._linked(begin, linked, ended)
        changes = changes_between(
            now, step.state, delivered.night, merged=step.merged, reasons=step.reasons, rules=self._rules
        )
        return (step, changes), delivered, tuple(n.day_obs for n in linked)

    def _state(self, claim: Claim | None) -> DayState:
        return begin_days() if claim is None else state_from_bytes(self._objects.get(claim))

    def _delivered(self, ended: NightEnded, now: DayState, own: NightKept | None) -> _Delivered:
        if ended.detections is None:
            night = self._from_log(ended, np.asarray(now.objects["ss_object_id"], np.int64))
        else:
            night = night_by_hand(ended.day_obs, validated_detections(rows_of(self._objects, ended.detections)))
        rows = validated_detections(night.detections)
        other = nights_of(rows) != mjd_of_day_obs(ended.day_obs)
        if ended.detections is not None and other.any():
            raise InvalidDetectionsError(f"{other.sum()} of the detections are not of night {ended.day_obs}.")
        before = [] if own is None else [rows_of(self._objects, own.detections)]
        every = validated_detections(np.concatenate([*before, rows[~other]]))
        claim = self._objects.put(avro.encode(Table.from_array(every)))
        return _Delivered(
            night=NightCandidates(day_obs=night.day_obs, detections=every, founded=night.founded), claim=claim
        )

    def _again(self, night: NightKept) -> NightCandidates:
        return night_by_hand(night.day_obs, rows_of(self._objects, night.detections))

    def _linked(self, state: DayState, nights: list[NightCandidates], ended: NightEnded) -> DayStep:
        """Link nights one after the other; what the steps said of objects is gathered."""
        known = orbit_rows(0)
        if ended.known_orbits is not None:
            known = from_parquet(self._objects.get(ended.known_orbits), ORBIT_ROW)
        sky = self._sky(state, nights, known)
        step = DayStep(state=state)
        for night in nights:
            after = decide_night(step.state, night, known, sky, self._rules)
            reasons, merged = {**step.reasons, **after.reasons}, {**step.merged, **after.merged}
            counts = {**after.counts, **{name: step.counts.get(name, 0.0) + after.counts[name] for name in SUMMED}}
            step = DayStep(state=after.state, merged=merged, reasons=reasons, counts=counts)
        return step

    def _sky(self, state: DayState, nights: list[NightCandidates], known: Array) -> Sky:
        tai = [state.linking.detections, state.past, state.held, *(night.detections for night in nights)]
        times = [tdb_from_tai(rows["midpoint_mjd_tai"]) for rows in tai if len(rows)]
        times += [rows["epoch_mjd_tdb"][np.isfinite(rows["epoch_mjd_tdb"])] for rows in (state.objects, known)]
        every = np.concatenate([*times, np.zeros(0)])
        span = (float(every.min()), float(every.max())) if len(every) else (60_000.0, 60_000.0)
        return Sky(solar_system=load_solar_system(*span), observatory=observatory(self._code))

    def _decision(
        self,
        ended: NightEnded,
        made: tuple[DayStep, DayChanges],
        delivered: _Delivered,
        nights: tuple[int, ...],
        sequence: int,
    ) -> DayMopsDecision:
        step, changes = made
        window = np.unique(nights_of(step.state.linking.detections))
        state = self._objects.put(state_to_bytes(step.state))
        return DayMopsDecision(
            instrument=self._instrument,
            day_obs=ended.day_obs,
            sequence=sequence,
            window=tuple(day_obs_of(int(night)) for night in window),
            tracklets=self._put(changes.tracklets.rows),
            orbits=self._put(changes.orbits),
            reassigned=self._put(changes.reassigned),
            verdicts=self._put(changes.verdicts),
            counts={**step.counts, "detections": float(len(delivered.night.detections))},
            tracklet_members=self._put(_column("dia_source_id", changes.tracklets.members)),
            orbit_tracklets=self._put(_column("tracklet_id", changes.orbit_tracklets)),
            nights=nights,
            detections=delivered.claim,
            association_end=ended.association_end,
            known_orbits=ended.known_orbits,
            state=state,
            digest=hashlib.sha256(f"{delivered.claim.sha256} {state.sha256} {nights}".encode()).hexdigest(),
        )

    def _put(self, rows: Array) -> Claim:
        return self._objects.put(avro.encode(Table.from_array(rows)))


def rows_of(objects: ObjectStore, claim: Claim) -> Array:
    """Return the rows of a table in the object store.

    Raises
    ------
    ObjectMissingError, CorruptObjectError, SchemaError
        When it is gone or broken.
    """
    return avro.decode(Table, objects.get(claim)).to_array()


def rules_of(*, window_nights: int, past_nights: int, detections_most: int, objects_most: int) -> DayRules:
    """Return DayMOPS' rules with the numbers of the settings."""
    return DayRules(
        nightly=NightlyRules(window_nights=window_nights),
        past_nights=past_nights,
        detections_most=detections_most,
        objects_most=objects_most,
    )


def _column(name: str, values: NDArray[np.int64]) -> Array:
    rows = np.zeros(len(values), [(name, "<i8")])
    rows[name] = values
    return rows
