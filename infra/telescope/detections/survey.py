"""A survey without pixels: from settings to detections, visits and the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.telescope.chance import generator
from infra.telescope.detections.false_sources import (
    Residuals,
    false_rows,
    satellite_rows,
    stationary_residuals,
    stationary_rows,
)
from infra.telescope.detections.findable import MIN_NIGHTS, good_nights
from infra.telescope.detections.focal_plane import bright_stars, in_star_mask, on_silicon, tangent_plane
from infra.telescope.detections.integration import integrate
from infra.telescope.detections.members import FINDABLE_SHARE, MEMBERS, Bodies, draw_bodies, sky_box
from infra.telescope.detections.motion import NODES_DAYS, NightPaths
from infra.telescope.detections.observing import Instant, detect_bodies, displaced
from infra.telescope.detections.plan import SurveySettings, begin_mjd_tai, opposition_longitude, plan_visits
from infra.telescope.detections.solar_system import Ephemeris, Site, site, tdb_of
from schemas.ids import pack_dia_source_id

__all__ = ["KINDS", "LATER_DAYS", "TRUE_DETECTION", "TRUE_OBJECT", "Survey", "simulate_survey"]

_Rows = NDArray[np.void]
_Floats = NDArray[np.float64]

KINDS = ("object", "chance", "stationary", "satellite")
"""What a detection is, in the order of its numbers in the truth."""

LATER_DAYS = 7.0
"""After the last night: the time of the second true state, for judging predictions."""

BLENDED = 0.015
"""Of the hard variant's detections, lost because a fixed star or galaxy lies beneath."""

TRUE_DETECTION = np.dtype([("detection_id", "<i8"), ("object_id", "<i8"), ("kind", "u1")])
"""Whose a detection is: object_id is -1 for what is no body; kind is an index into ``KINDS``."""

TRUE_OBJECT = np.dtype(
    [
        ("object_id", "<i8"),
        ("object_class", "u1"),
        ("h", "<f8"),
        ("colour", "u1"),
        ("epoch_mjd_tdb", "<f8"),
        ("state", "<f8", (6,)),
        ("later_mjd_tdb", "<f8"),
        ("later_state", "<f8", (6,)),
        ("n_detections", "<i4"),
        ("n_good_nights", "<i4"),
        ("findable", "?"),
    ]
)
"""A body: heliocentric ICRF states (au, au/day) at the survey's begin and after its end; ``object_class`` is an index into
``populations.CLASSES``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was observed, and what it truly is."""

    settings: SurveySettings
    detections: _Rows
    """Dtype ``observing.DETECTION``, in order of time and identifier."""
    visits: _Rows
    true_detections: _Rows
    """Row by row that of ``detections``."""
    true_objects: _Rows


def simulate_survey(settings: SurveySettings, *, progress: Callable[[str, float], None] = lambda *_: None) -> Survey:
    """Simulate a survey; the same settings give the same survey.

    Parameters
    ----------
    progress
        Told the name of the step and its finished share.

    Raises
    ------
    MissingExtraError
        When heyoka is not installed.
    SurveyError
        When the observatory is unknown.
    """
    place = site(settings.observatory)
    midnights = begin_mjd_tai(settings.begin_day_obs) + np.arange(settings.nights)
    with Ephemeris() as ephemeris:
        visits = plan_visits(settings, opposition_longitude(float(midnights.mean()), ephemeris))
        epoch = float(np.floor(tdb_of(float(midnights[0])) - 1))
        bodies = _bodies(settings, visits, epoch, ephemeris)
        progress("orbits", 1.0)
        nodes = (tdb_of(midnights)[:, None] + NODES_DAYS).ravel()
        later = np.ceil(nodes[-1]) + LATER_DAYS
        moved = integrate(
            bodies.states, epoch, np.append(nodes, later), ephemeris, lambda share: progress("integration", share)
        )
        detections, truth = _observe(settings, visits, bodies, moved[:-1], place, ephemeris, progress)
        later_states = moved[-1] - ephemeris.states("Sun", later)
    objects = _true_objects(bodies, epoch, float(later), later_states, detections, truth)
    return Survey(settings=settings, detections=detections, visits=visits, true_detections=truth, true_objects=objects)


def _bodies(settings: SurveySettings, visits: _Rows, epoch: float, ephemeris: Ephemeris) -> Bodies:
    wanted = {name: round(n / FINDABLE_SHARE[settings.size][name]) for name, n in MEMBERS[settings.size].items()}
    days = settings.nights + 1.0
    return draw_bodies(wanted, sky_box(visits), epoch, days, seed=settings.seed, ephemeris=ephemeris)


def _observe(
    settings: SurveySettings,
    visits: _Rows,
    bodies: Bodies,
    moved: _Floats,
    place: Site,
    ephemeris: Ephemeris,
    progress: Callable[[str, float], None],
) -> tuple[_Rows, _Rows]:
    first = begin_mjd_tai(settings.begin_day_obs)
    centre, reach = _circle(visits)
    residuals = stationary_residuals(settings.size, settings.seed, *centre, reach)
    stars = bright_stars(settings.seed, centre, reach)
    parts: list[tuple[_Rows, _Rows]] = []
    paths, current = None, -1
    for done, (visit, instants) in enumerate(zip(visits, _instants(visits, place, ephemeris), strict=True)):
        night = round(float(visit["midpoint_mjd_tai"]) - first)
        if paths is None or night != current:
            current = night
            when = float(tdb_of(first + night)) + float(NODES_DAYS[1])
            paths = NightPaths.through(moved[3 * night : 3 * night + 3], when)
        parts.append(_visit_rows(settings, visit, bodies, paths, instants, residuals, stars))
        progress("visits", (done + 1) / len(visits))
    detections, truth = (np.concatenate(column) for column in zip(*parts, strict=True))
    return detections, truth


def _circle(visits: _Rows) -> tuple[tuple[float, float], float]:
    """Centre (degrees) and radius of a circle about all fields."""
    ra, dec = np.radians(visits["ra"]), np.radians(visits["dec"])
    unit = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    mean = unit.mean(axis=0) / np.linalg.norm(unit.mean(axis=0))
    away = float(np.degrees(np.arccos(np.clip(unit @ mean, -1, 1).min())))
    centre = float(np.degrees(np.arctan2(mean[1], mean[0])) % 360), float(np.degrees(np.arcsin(mean[2])))
    return centre, away + float(visits["radius_deg"].max())


def _instants(visits: _Rows, place: Site, ephemeris: Ephemeris) -> Iterator[tuple[Instant, Instant, Instant]]:
    half = visits["exposure_time_s"].astype(np.float64) / 2 / 86400
    columns = []
    for shift in (-half, 0 * half, half):
        times = visits["midpoint_mjd_tai"] + shift
        tdb = tdb_of(times)
        observers, suns = ephemeris.observer(place, times), ephemeris.states("Sun", tdb)[:, :3]
        columns.append(
            [Instant(mjd_tdb=float(t), observer=o, sun=s) for t, o, s in zip(tdb, observers, suns, strict=True)]
        )
    yield from zip(columns[0], columns[1], columns[2], strict=True)


def _visit_rows(
    settings: SurveySettings,
    visit: np.void,
    bodies: Bodies,
    paths: NightPaths,
    instants: tuple[Instant, Instant, Instant],
    residuals: Residuals,
    stars: _Floats,
) -> tuple[_Rows, _Rows]:
    """One visit's detections and their truth, in the order of identifiers, which tells nothing of what they are."""
    number = int(visit["visit"])
    random = generator(settings.seed, "visit", number)
    real, owner = detect_bodies(visit, bodies, paths, instants, random)
    groups = [real, false_rows(visit, settings.size, random), stationary_rows(visit, residuals, random)]
    if settings.hard:
        groups.append(satellite_rows(visit, random))
    rows = np.concatenate(groups)
    truth = np.zeros(len(rows), TRUE_DETECTION)
    truth["object_id"] = -1
    truth["object_id"][: len(real)] = owner + 1
    truth["kind"] = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    if settings.hard:
        kept = _survives(rows, visit, stars, random)
        rows, truth = rows[kept], truth[kept]
        shift = random.normal(0.0, 0.005, 2)
        rows["ra"], rows["dec"] = displaced(rows["ra"], rows["dec"], np.asarray(shift[0]), np.asarray(shift[1]))
    shuffled = random.permutation(len(rows))
    rows, truth = rows[shuffled], truth[shuffled]
    rows["detection_id"] = pack_dia_source_id(number, 0, 0) + np.arange(len(rows))
    truth["detection_id"] = rows["detection_id"]
    return rows, truth


def _survives(rows: _Rows, visit: np.void, stars: _Floats, random: np.random.Generator) -> NDArray[np.bool_]:
    east, north = tangent_plane(rows["ra"], rows["dec"], float(visit["ra"]), float(visit["dec"]))
    clear = random.uniform(size=len(rows)) >= BLENDED
    inside = on_silicon(east, north, float(visit["rotation_deg"]))
    return np.asarray(clear & inside & ~in_star_mask(rows["ra"], rows["dec"], stars))


def _true_objects(
    bodies: Bodies, epoch: float, later: float, later_states: _Floats, detections: _Rows, truth: _Rows
) -> _Rows:
    rows = np.zeros(len(bodies.h), TRUE_OBJECT)
    rows["object_id"], rows["object_class"] = np.arange(1, len(rows) + 1), bodies.kind
    rows["h"], rows["colour"] = bodies.h, bodies.colour
    rows["epoch_mjd_tdb"], rows["state"] = epoch, bodies.states
    rows["later_mjd_tdb"], rows["later_state"] = later, later_states
    own = truth["object_id"][truth["object_id"] > 0]
    rows["n_detections"] = np.bincount(own - 1, minlength=len(rows))
    groups, counts = good_nights(truth["object_id"], detections)
    rows["n_good_nights"][groups - 1] = counts
    rows["findable"] = rows["n_good_nights"] >= MIN_NIGHTS
    return rows
