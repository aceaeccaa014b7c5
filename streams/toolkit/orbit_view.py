"""What the pages of moving objects show: an orbit from our store or from an alert's packet, and what belongs to it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.ephemerides import load_solar_system
from infra.objects import open_object_store
from infra.settings import Settings
from processors.association.sphere import local_offsets, unit_vectors
from processors.moving_objects.cometary import cometary_elements, element_sigmas, orbit_types
from processors.moving_objects.detections import BANDS, DETECTION
from processors.moving_objects.orbit_table import perihelion_states, table_of_rows
from schemas.errors import NightcastError
from schemas.events import OrbitDetermined, TrackletState
from schemas.orbits import ORBIT_ROW, STATE_COLUMNS, covariances_of, orbit_rows, states_of
from streams.moving_objects.ephemeris import object_ephemeris, record
from streams.moving_objects.holdings import detections_in
from streams.moving_objects.orbit_store import own_rows
from streams.moving_objects.show import ORBIT_CLASSES
from streams.toolkit.lightcurve import utc_texts
from streams.toolkit.orbit_drawing import Drawing, ResidualPlot, draw_orbit, draw_residuals
from streams.toolkit.present import ab_magnitude
from streams.toolkit.service import Toolkit
from streams.views import moving, queries
from streams.views.errors import NotInViewError
from streams.views.records import decode_record
from streams.views.rows import AlertRow

__all__ = ["NIGHTS_AHEAD", "ElementLine", "OrbitView", "SeenDetection", "class_of", "orbit_view"]

NIGHTS_AHEAD = 10
"""Nights of the ephemeris table."""

_UNITS = {
    "a": "au", "e": "", "i": "°", "q": "au", "node": "°", "argperi": "°", "peri_time": "MJD TDB", "mean_anomaly": "°",
    "period": "d",
}  # fmt: skip
_MEANINGS = {
    "a": "semi-major axis", "e": "eccentricity", "i": "inclination to the ecliptic", "q": "perihelion distance",
    "node": "longitude of the ascending node", "argperi": "argument of perihelion", "peri_time": "time of perihelion",
    "mean_anomaly": "mean anomaly at the epoch", "period": "period of revolution",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementLine:
    """One element with its error."""

    name: str
    value: float
    sigma: float | None
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenDetection:
    """One detection with its residual."""

    identifier: int
    utc: str
    band: str
    mag: float | None
    residual_east: float | None
    residual_north: float | None
    sigma_east: float
    sigma_north: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OrbitView:
    """Everything known of a moving object."""

    designation: str
    ss_object_id: int
    own: OrbitDetermined | None
    """Our own fit; None for an orbit of the imported catalogue, as the newest alert carries it."""
    orbit_class: str
    epoch_mjd_tdb: float
    h: float | None
    arc_days: float | None
    n_observations: int | None
    rms_arcsec: float | None
    elements: Sequence[ElementLine]
    drawing: Drawing | None
    detections: Sequence[SeenDetection]
    residuals: ResidualPlot | None
    missing: int
    """Detections of its tracklets that no table has."""
    ephemeris: Sequence[Mapping[str, Any]]
    problem: str | None
    """Why ephemeris or residuals are missing."""
    tracklets: Sequence[TrackletState]
    alerts: Sequence[AlertRow]


def orbit_view(toolkit: Toolkit, wanted: str) -> OrbitView:
    """Return what is known of an object by its designation or by its number.

    Raises
    ------
    NotInViewError
        When no orbit of ours and no alert is of this object.
    """
    with toolkit.view.reading() as connection:
        number = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) > _LONGEST_NUMBER else None
        event = moving.orbit_of(connection, designation=None if number else wanted, ss_object_id=number)
        fact = event.fact if event is not None else None
        own = fact if isinstance(fact, OrbitDetermined) else None
        identifier = own.ss_object_id if own is not None else number
        alerts = [] if identifier is None else moving.alerts_of_ss_object(connection, identifier)
        tracklets = [] if event is None else moving.tracklets_of(connection, event.designation)
        nights = {one.day_obs for one in tracklets} | {one.decided_day_obs for one in tracklets}
        claims = moving.detection_claims(connection, nights)
        published = [] if identifier is None else queries.measurements_of(connection, identifier)
    sent: Mapping[str, Any] = {}
    if event is not None and own is not None:
        row = own_rows({event.designation: own})
    elif alerts:
        sent = toolkit.opened(alerts[0].alert_id).record.get("mpc_orbits") or {}
        row = _row_of_packet(sent, alerts[0])
    else:
        raise NotInViewError(f"No orbit of ours and no alert is of the moving object {wanted}.")
    wanted_ids = [one for tracklet in tracklets for one in tracklet.dia_source_ids]
    held = detections_in(claims, open_object_store(toolkit.settings), wanted_ids)
    every = _joined(held, [decode_record(text, "diaSource") for kind, text in published if kind == "detection"])
    return _view(toolkit.settings, (row, sent), own, every, wanted_ids, (tracklets, alerts))


_LONGEST_NUMBER = 9
"""Digits of a minor planet's number; our identifiers of objects have more."""


def class_of(row: NDArray[Any]) -> str:
    """Return the name of an orbit's class, of one row of ``ORBIT_ROW``."""
    elements = cometary_elements(states_of(row), row["epoch_mjd_tdb"])
    return ORBIT_CLASSES.get(int(orbit_types(elements)[0]), "unclassified")


def _view(
    settings: Settings,
    orbit: tuple[NDArray[Any], Mapping[str, Any]],
    own: OrbitDetermined | None,
    detections: NDArray[Any],
    wanted: Sequence[int],
    related: tuple[Sequence[TrackletState], Sequence[AlertRow]],
) -> OrbitView:
    row, sent = orbit
    one, name = row[0], str(row["designation"][0])
    times = tuple(detections["midpoint_mjd_tai"].tolist())
    drawing, places, ahead, problem = _computed(row.tobytes(), times, settings.night.observatory)
    residuals = _residuals(places, detections)
    seen = _seen(detections, residuals)
    sigmas = np.stack([detections["ra_err_arcsec"], detections["dec_err_arcsec"]], axis=1).astype(np.float64)
    return OrbitView(
        designation=name,
        ss_object_id=int(one["ss_object_id"]),
        own=own,
        orbit_class=class_of(row),
        epoch_mjd_tdb=float(one["epoch_mjd_tdb"]),
        h=_known(one["h"]),
        arc_days=_known(one["arc_days"]),
        n_observations=int(one["n_observations"]) if one["n_observations"] >= 0 else None,
        rms_arcsec=_known(one["rms_arcsec"]),
        elements=_elements(row, sent),
        drawing=drawing,
        detections=seen,
        residuals=draw_residuals(detections["midpoint_mjd_tai"], residuals, sigmas, [s.utc for s in seen]),
        missing=len(set(wanted) - set(detections["detection_id"].tolist())),
        ephemeris=ahead,
        problem=problem,
        tracklets=related[0],
        alerts=related[1],
    )


@functools.lru_cache(maxsize=64)
def _computed(
    stored: bytes, times: tuple[float, ...], code: str
) -> tuple[Drawing | None, NDArray[Any] | None, tuple[dict[str, Any], ...], str | None]:
    """Return drawing, predicted places at the detections' times, and the nights ahead; a sentence where it cannot be done."""
    row = np.frombuffer(stored, ORBIT_ROW)
    epoch = float(row["epoch_mjd_tdb"][0])
    try:
        drawing = draw_orbit(states_of(row)[0], epoch, load_solar_system(epoch, epoch))
        orbit = table_of_rows(row)
        places = object_ephemeris(orbit, np.array(times), code=code) if times else None
        begin = np.floor(max(times) if times else epoch)
        # Midnight at the observatory is near 0.2 (X05) after the whole MJD; a table of nights needs no better.
        ahead = begin + 1.2 + np.arange(NIGHTS_AHEAD)
        rows = object_ephemeris(orbit, ahead, code=code)
    except NightcastError as error:
        return None, None, (), error.sentence
    table = [{"utc": utc, **record(predicted)} for utc, predicted in zip(utc_texts(ahead.tolist()), rows, strict=True)]
    return drawing, places, tuple(table), None


def _residuals(places: NDArray[Any] | None, detections: NDArray[Any]) -> NDArray[np.float64]:
    if places is None:
        return np.full((len(detections), 2), np.nan)
    ra, dec = places["ephRa"], places["ephDec"]
    east, north = local_offsets(ra, dec, unit_vectors(ra, dec), unit_vectors(detections["ra"], detections["dec"]))
    return np.stack([east, north], axis=1)


def _seen(detections: NDArray[Any], residuals: NDArray[np.float64]) -> list[SeenDetection]:
    times = utc_texts(detections["midpoint_mjd_tai"].tolist()) if len(detections) else []
    return [
        SeenDetection(
            identifier=int(row["detection_id"]),
            utc=utc,
            band=BANDS[int(row["band"])],
            mag=_known(row["mag"]),
            residual_east=_known(off[0]),
            residual_north=_known(off[1]),
            sigma_east=float(row["ra_err_arcsec"]),
            sigma_north=float(row["dec_err_arcsec"]),
        )
        for row, utc, off in zip(detections, times, residuals, strict=True)
    ]


def _elements(row: NDArray[Any], sent: Mapping[str, Any]) -> list[ElementLine]:
    """Return the elements with their errors: from the covariance, or as a packet has them."""
    states, epochs = states_of(row), row["epoch_mjd_tdb"]
    values = cometary_elements(states, epochs)[0]
    sigmas = element_sigmas(states, epochs, covariances_of(row))[0]
    return [
        ElementLine(
            name=name,
            value=float(values[name]),
            sigma=sent.get(f"{name}_unc") if np.isnan(sigmas[name]) else float(sigmas[name]),
            unit=unit,
            meaning=_MEANINGS[name],
        )
        for name, unit in _UNITS.items()
        if np.isfinite(values[name])
    ]


def _row_of_packet(record: Mapping[str, Any], alert: AlertRow) -> NDArray[Any]:
    """Return the orbit that an alert carries; everything unknown where it carries none."""
    row = orbit_rows(1)
    row["ss_object_id"] = alert.ss_object_id or 0
    row["designation"] = record.get("designation") or str(alert.ss_object_id)
    names = ("q", "e", "i", "node", "argperi", "peri_time", "epoch_mjd")
    if any(record.get(name) is None for name in names):
        return row
    q, e, i, node, argument, perihelion, epoch = (np.array([float(record[name])]) for name in names)
    angles = np.radians(np.stack([i, node, argument], axis=1))
    row["epoch_mjd_tdb"] = epoch
    for name, value in zip(
        STATE_COLUMNS, perihelion_states(q_au=q, e=e, angles=angles, days_since=epoch - perihelion)[0], strict=True
    ):
        row[name] = value
    same = {"h": "h", "g": "g", "arc_days": "arc_length_total", "rms_arcsec": "not_normalized_rms"}
    for name, theirs in same.items():
        if record.get(theirs) is not None:
            row[name] = record[theirs]
    row["n_observations"] = -1 if record.get("nobs_total") is None else record["nobs_total"]
    return row


def _joined(held: NDArray[Any], published: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
    """Return detections of DayMOPS' tables and those that object updates brought, each once, by time."""
    known = set(held["detection_id"].tolist())
    fresh = [source for source in published if source["diaSourceId"] not in known and source.get("raErr")]
    rows = np.zeros(len(fresh), DETECTION)
    for row, source in zip(rows, fresh, strict=True):
        row["detection_id"], row["visit"] = source["diaSourceId"], source["visit"]
        row["midpoint_mjd_tai"], row["ra"], row["dec"] = source["midpointMjdTai"], source["ra"], source["dec"]
        row["ra_err_arcsec"], row["dec_err_arcsec"] = 3600.0 * source["raErr"], 3600.0 * (source.get("decErr") or 0.0)
        row["band"] = BANDS.index(source.get("band") or "r")
        magnitude = ab_magnitude(source.get("psfFlux"))
        row["mag"] = np.nan if magnitude is None else magnitude
    rows = np.concatenate([held, rows])
    return rows[np.lexsort((rows["detection_id"], rows["midpoint_mjd_tai"]))]


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
