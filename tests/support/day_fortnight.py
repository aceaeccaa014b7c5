"""A fortnight of the simulated sky for DayMOPS, as detections, and as association would have logged it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from infra.objects import ObjectStore
from infra.telescope import plan_night
from infra.telescope.fortnight import fortnight_detections
from infra.telescope.known_orbits import is_known
from infra.telescope.sky import Asteroid, make_asteroids
from processors.moving_objects.day_candidates import NightCandidates, candidates_of
from processors.moving_objects.day_nights import DayNights, fold_decision
from processors.moving_objects.detections import day_obs_of, night_numbers
from schemas.camera import load_camera
from schemas.events import AssociationDecision, DayMopsDecision, NightEnded
from schemas.ids import pack_dia_source_id
from schemas.public import null_rows
from schemas.tables import NO_ROWS, Claim, Table
from streams.daymops.desk import Desk
from streams.nightmops.ephemerides import mid_night_of

__all__ = ["DAY_OBS", "Fortnight", "association_decisions", "decided", "fortnight", "sources_of"]

DAY_OBS = 20260921
"""The night after the fortnight."""

NANOJANSKY_OF_ZERO = 10 ** (0.4 * 31.4)


@dataclass(frozen=True, kw_only=True)
class Fortnight:
    """Detections of the night's unknown asteroids among false ones."""

    asteroids: tuple[Asteroid, ...]
    times: tuple[float, ...]
    """Of the night's visits, MJD TAI."""
    detections: np.ndarray[Any, Any]
    """detection_id is that of a DIASource; its rank counts the asteroids first."""

    def nights(self) -> list[tuple[int, np.ndarray[Any, Any]]]:
        """Return the nights in order, each with its detections."""
        numbers = night_numbers(self.detections["midpoint_mjd_tai"])
        return [(day_obs_of(int(n)), self.detections[numbers == n]) for n in np.unique(numbers)]

    def asteroid_of(self, detection_id: int) -> int:
        """Return whose a detection is; a number beyond the asteroids is a false one's."""
        return detection_id & 0xFFFFF


@cache
def fortnight(seed: int = 3) -> Fortnight:
    """Return the fortnight before the night of the tiny camera."""
    camera = load_camera("tiny")
    visits = plan_night(camera, seed, DAY_OBS, 3)
    times = tuple(visit.start_mjd_tai for visit in visits)
    every = make_asteroids(camera, seed, DAY_OBS, list(times))
    detections = fortnight_detections(every, seed, DAY_OBS, mid_night_of(DAY_OBS, "X05"))
    detections["detection_id"] = [
        pack_dia_source_id(int(row["visit"]), 0, int(row["detection_id"]) % 1000) for row in detections
    ]
    unknown = tuple(asteroid for asteroid in every if not is_known(asteroid))
    return Fortnight(asteroids=unknown, times=times, detections=detections)


def sources_of(detections: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return detections as public DIASource rows, each the founder of its DIAObject."""
    rows = null_rows("diaSource", len(detections))
    rows["diaSourceId"] = rows["diaObjectId"] = detections["detection_id"]
    rows["visit"], rows["midpointMjdTai"] = detections["visit"], detections["midpoint_mjd_tai"]
    rows["ra"], rows["dec"] = detections["ra"], detections["dec"]
    rows["raErr"], rows["decErr"] = detections["ra_err_arcsec"] / 3600, detections["dec_err_arcsec"] / 3600
    rows["psfFlux"] = NANOJANSKY_OF_ZERO * 10 ** (-0.4 * detections["mag"].astype(float))
    rows["psfFluxErr"] = rows["psfFlux"] * detections["mag_err"] / (2.5 / np.log(10))
    rows["band"] = ["ugrizy"[band] for band in detections["band"]]
    return rows


def association_decisions(instrument: str, detections: np.ndarray[Any, Any]) -> list[AssociationDecision]:
    """Return what association would have logged, visit by visit: every detection an object of its own."""
    decisions = []
    for visit in np.unique(detections["visit"]).tolist():
        rows = sources_of(detections[detections["visit"] == visit])
        decisions.append(
            AssociationDecision(
                instrument=instrument,
                visit=visit,
                sequence=0,
                day_obs=visit // 100_000,
                band="r",
                processed_mjd_tai=float(rows["midpointMjdTai"].max()),
                diasources=Table.from_array(rows[np.argsort(rows["diaSourceId"])]),
                forced=NO_ROWS,
                new_objects=tuple(sorted(rows["diaObjectId"].tolist())),
                quarantined={},
                cutouts={},
                details={},
            )
        )
    return decisions


def decided(
    nights: list[tuple[int, np.ndarray[Any, Any], int]], *, instrument: str, known: Claim | None = None
) -> list[DayMopsDecision]:
    """Return the decisions for nights, each with its detections and the end of association's log that it names."""
    rows = {day_obs: detections for day_obs, detections, _ in nights}

    def from_log(ended: NightEnded, ours: Any) -> NightCandidates:
        sources = sources_of(rows[ended.day_obs])
        return candidates_of(ended.day_obs, sources, sources[:0])

    desk = Desk(instrument, "X05", objects=ObjectStore.memory(), from_log=from_log)
    state, decisions = DayNights(), []
    for day_obs, _, end in nights:
        ended = NightEnded(instrument=instrument, day_obs=day_obs, association_end=end, known_orbits=known)
        decision = desk.decide(ended, state)
        if decision is not None:
            decisions.append(decision)
            state = fold_decision(state, decision)
    return decisions
