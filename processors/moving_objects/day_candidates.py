"""A night's DIASources as DayMOPS takes them: what no Solar System object explains and what does not stand still.

A DIAObject that an earlier night founded stands still: its sources are left out. So are dipoles, which are stars that moved
since the template, and sources of negative flux, which are what the template had and the night has not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from processors.moving_objects.detections import BANDS, no_detections
from schemas.detections import DETECTION
from schemas.ids import day_obs_of, unpack_dia_source_id

__all__ = ["FOUNDED", "NightCandidates", "candidates_of", "detections_of_sources", "night_by_hand"]

Array = np.ndarray[Any, Any]

FOUNDED = np.dtype([("dia_object_id", "<i8"), ("dia_source_id", "<i8"), ("stationary", "i1")])
"""A DIAObject that one source of the night founded, and whether other sources say that it stands still."""

AB_ZERO_NJY = 31.4
"""AB magnitude of one nanojansky (Oke & Gunn 1983)."""

_MAG_PER_RELATIVE_FLUX = 2.5 / np.log(10.0)

_DEGREES_TO_ARCSEC = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NightCandidates:
    """What DayMOPS looks at of one night."""

    day_obs: int
    detections: Array
    """Dtype ``DETECTION``: candidates, those of objects of ours that association recognised among them."""
    founded: Array
    """Dtype ``FOUNDED``, in order of DIAObjects."""


def night_by_hand(day_obs: int, detections: Array) -> NightCandidates:
    """Return a night whose detections were given by hand: each founded an object of its own."""
    ids = np.unique(detections["detection_id"])
    founded = np.zeros(len(ids), FOUNDED)
    founded["dia_object_id"] = founded["dia_source_id"] = ids
    return NightCandidates(day_obs=day_obs, detections=detections, founded=founded)


def candidates_of(day_obs: int, sources: Array, recognised: Array) -> NightCandidates:
    """Return the candidates among a night's DIASources.

    Parameters
    ----------
    day_obs
        The night.
    sources
        Public DIASource rows that association gave to DIAObjects, in any order; may be empty.
    recognised
        Public DIASource rows that it gave to Solar System objects of ours: they improve their orbits.
    """
    sources = sources[np.argsort(sources["diaSourceId"], kind="stable")]
    stationary = _is_stationary(sources["diaObjectId"], day_obs)
    usable = ~stationary & (sources["isNegative"] != 1) & (sources["isDipole"] != 1)
    found = [detections_of_sources(sources[usable]), detections_of_sources(recognised)]
    return NightCandidates(day_obs=day_obs, detections=np.concatenate(found), founded=_founded(sources, stationary))


def detections_of_sources(sources: Array) -> Array:
    """Return public DIASource rows as detections; those without a finite position, time and error are left out.

    A source with a fitted trail has the trail's middle, magnitude, length and angle. Magnitudes are NaN where the flux is not
    positive.
    """
    rows = np.zeros(len(sources), DETECTION)
    if not len(sources):
        return no_detections()
    trailed = np.isfinite(sources["trailLength"]) & (sources["trailLength"] > 0) & (sources["trail_flag"] != 1)
    trailed &= np.isfinite(sources["trailAngle"])
    for ours, plain, trail in (("ra", "ra", "trailRa"), ("dec", "dec", "trailDec")):
        chosen = trailed & np.isfinite(sources[trail]) & np.isfinite(sources[f"{trail}Err"])
        rows[ours] = np.where(chosen, sources[trail], sources[plain])
        error = np.where(chosen, sources[f"{trail}Err"], sources[f"{plain}Err"])
        rows[f"{ours}_err_arcsec"] = error * _DEGREES_TO_ARCSEC
    rows["ra"] %= 360.0
    rows["detection_id"], rows["visit"] = sources["diaSourceId"], sources["visit"]
    rows["midpoint_mjd_tai"] = sources["midpointMjdTai"]
    rows["band"] = [BANDS.find(band) % 256 if band else 255 for band in sources["band"].tolist()]
    rows["mag"], rows["mag_err"] = _magnitudes(sources, trailed)
    rows["trail_length_arcsec"] = np.where(trailed, sources["trailLength"], 0.0)
    rows["trail_angle_deg"] = np.where(trailed, sources["trailAngle"], 0.0)
    return rows[_is_complete(rows)]


def _magnitudes(sources: Array, trailed: Array) -> tuple[Array, Array]:
    flux = np.where(trailed & (sources["trailFlux"] > 0), sources["trailFlux"], sources["psfFlux"]).astype(np.float64)
    error = np.where(trailed & (sources["trailFlux"] > 0), sources["trailFluxErr"], sources["psfFluxErr"])
    with np.errstate(invalid="ignore", divide="ignore"):
        good = flux > 0
        magnitude = np.where(good, AB_ZERO_NJY - 2.5 * np.log10(np.where(good, flux, 1.0)), np.nan)
        return magnitude, np.where(good, _MAG_PER_RELATIVE_FLUX * error / flux, np.nan)


def _is_complete(rows: Array) -> Array:
    finite = np.isfinite(rows["ra"]) & np.isfinite(rows["dec"]) & np.isfinite(rows["midpoint_mjd_tai"])
    for name in ("ra_err_arcsec", "dec_err_arcsec"):
        finite &= np.isfinite(rows[name]) & (rows[name] > 0)
    return np.asarray(finite & (rows["band"] < len(BANDS)))


def _is_stationary(object_ids: Array, day_obs: int) -> Array:
    """Return which DIAObjects an earlier night founded: their identifier is that of their first source."""
    each, inverse = np.unique(object_ids, return_inverse=True)
    nights = np.array([day_obs_of(unpack_dia_source_id(one).visit) for one in each.tolist()], np.int64)
    return np.asarray((nights < day_obs)[inverse], bool) if len(each) else np.zeros(0, bool)


def _founded(sources: Array, stationary: Array) -> Array:
    """Return the DIAObjects that the night founded by one source; one that was seen again at its place stands still."""
    new = sources[~stationary]
    ids, counts = np.unique(new["diaObjectId"], return_counts=True)
    rows = np.zeros(len(ids), FOUNDED)
    rows["dia_object_id"] = rows["dia_source_id"] = ids
    rows["stationary"] = counts > 1
    return rows
