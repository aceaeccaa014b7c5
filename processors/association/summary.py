"""Every field of the public DIAObject (schema v11.1), computed anew from twelve months of history.

Computing anew costs microseconds per object, is exact, and does not depend on the order in which visits came; sliding
sums drift. Objects and bands are segments of one array, so nothing is looped in Python.

==================================  =============================================================================
field                               rule
==================================  =============================================================================
psfFluxMean, psfFluxMeanErr         mean of psfFlux weighted by inverse variance; 1 / sqrt(sum of weights)
psfFluxSigma                        sample standard deviation (N - 1); null below two
psfFluxNdata                        DIASources with a finite flux and a positive error; 0 where there are none
psfFluxMin, psfFluxMax              extremes of psfFlux
psfFluxMaxSlope                     largest change of psfFlux per day between consecutive times; null below two
psfFluxErrMean                      plain mean of psfFluxErr
fpFluxMean, fpFluxMeanErr           as psfFluxMean, over forced psfFlux at the object's position on the difference
scienceFluxMean, scienceFluxMeanErr as psfFluxMean, over the DIASources' scienceFlux
firstDiaSourceMjdTai, last...       extremes of the DIASources' midpoints
nDiaSources                         all DIASources, duplicates within a visit too
==================================  =============================================================================

Everything else counts one DIASource per visit (`objects.best_of_visits`). What cannot be computed is null. Means are formed
in float64 and stored in the schema's float32. The choices follow ap_association's plug-ins (meas_base,
diaCalculationPlugins.py) and the DPDD (LSE-163, table of DIAObject).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from processors.association.objects import best_of_visits, mean_positions
from schemas.public import null_rows

__all__ = ["BANDS", "summarise"]

Array = np.ndarray[Any, Any]

BANDS = "ugrizy"
"""Bands of the public schema, in its order."""


def summarise(sources: Array, forced: Array, object_ids: Array, *, processed_mjd_tai: float) -> Array:
    """Return the public DIAObject rows of objects.

    Parameters
    ----------
    sources
        Rows of SOURCE_ROW, those within the window only, each of one of the objects.
    forced
        Rows of FORCED_ROW, the same.
    object_ids
        Ascending.
    processed_mjd_tai
        Start of validity: the last read-out of the visit that made the version.

    Returns
    -------
    Array
        One public row per object in the order given; ra and dec are NaN for an object without sources.
    """
    rows = null_rows("diaObject", len(object_ids))
    rows["diaObjectId"] = object_ids
    rows["validityStartMjdTai"] = processed_mjd_tai
    best = best_of_visits(sources)
    means = mean_positions(best, object_ids)
    for name in ("ra", "dec", "raErr", "decErr", "ra_dec_Cov"):
        rows[name] = means[name]
    _times(rows, sources, object_ids)
    _difference_fluxes(rows, best, object_ids)
    _weighted_means(rows, best, object_ids, ("scienceFlux", "scienceFlux"))
    in_order = forced[np.lexsort((forced["diaForcedSourceId"], forced["mjd"], forced["diaObjectId"]))]
    _weighted_means(rows, in_order, object_ids, ("psfFlux", "fpFlux"))
    return rows


def _times(rows: Array, sources: Array, object_ids: Array) -> None:
    number = np.searchsorted(object_ids, sources["diaObjectId"])
    rows["nDiaSources"] = np.bincount(number, minlength=len(object_ids))
    first, last = np.full(len(object_ids), np.inf), np.full(len(object_ids), -np.inf)
    np.minimum.at(first, number, sources["mjd"])
    np.maximum.at(last, number, sources["mjd"])
    rows["firstDiaSourceMjdTai"] = np.where(np.isfinite(first), first, np.nan)
    rows["lastDiaSourceMjdTai"] = np.where(np.isfinite(last), last, np.nan)


def _segments(table: Array, object_ids: Array, flux_name: str) -> tuple[Array, Array, Array, Array]:
    """Return segment (object * 6 + band), flux, error and time of the rows that statistics can use, in their order."""
    flux = table[flux_name].astype(np.float64)
    error = table[f"{flux_name}Err"].astype(np.float64)
    band = np.full(len(table), -1)
    for index, name in enumerate(BANDS):
        band[table["band"] == name.encode()] = index
    good = np.isfinite(flux) & np.isfinite(error) & (error > 0.0) & (band >= 0)
    number = np.searchsorted(object_ids, table["diaObjectId"][good])
    return number * len(BANDS) + band[good], flux[good], error[good], table["mjd"][good]


def _store(rows: Array, field: str, values: Array) -> None:
    by_band = values.reshape(-1, len(BANDS))
    for index, band in enumerate(BANDS):
        rows[f"{band}_{field}"] = by_band[:, index]


def _weighted(segment: Array, flux: Array, error: Array, size: int) -> tuple[Array, Array]:
    weight = error**-2.0
    total = np.bincount(segment, weight, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(segment, weight * flux, size) / total
        return mean, np.where(total > 0.0, total**-0.5, np.nan)


def _weighted_means(rows: Array, table: Array, object_ids: Array, names: tuple[str, str]) -> None:
    column, field = names
    segment, flux, error, _ = _segments(table, object_ids, column)
    mean, mean_error = _weighted(segment, flux, error, len(object_ids) * len(BANDS))
    _store(rows, f"{field}Mean", mean)
    _store(rows, f"{field}MeanErr", mean_error)


def _difference_fluxes(rows: Array, best: Array, object_ids: Array) -> None:
    segment, flux, error, mjd = _segments(best, object_ids, "psfFlux")
    size = len(object_ids) * len(BANDS)
    count = np.bincount(segment, minlength=size)
    mean, mean_error = _weighted(segment, flux, error, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        plain = np.bincount(segment, flux, size) / count
        spread = np.bincount(segment, (flux - plain[segment]) ** 2, size) / (count - 1.0)
        error_mean = np.bincount(segment, error, size) / count
    least, most = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(least, segment, flux)
    np.maximum.at(most, segment, flux)
    _store(rows, "psfFluxMean", mean)
    _store(rows, "psfFluxMeanErr", mean_error)
    _store(rows, "psfFluxSigma", np.where(count > 1, np.sqrt(spread), np.nan))
    _store(rows, "psfFluxNdata", count)
    _store(rows, "psfFluxMin", np.where(count > 0, least, np.nan))
    _store(rows, "psfFluxMax", np.where(count > 0, most, np.nan))
    _store(rows, "psfFluxMaxSlope", _slopes(segment, flux, mjd, size))
    _store(rows, "psfFluxErrMean", error_mean)


def _slopes(segment: Array, flux: Array, mjd: Array, size: int) -> Array:
    """Return the largest rise per day between one time and the next within each segment, NaN where there is none."""
    order = np.lexsort((mjd, segment))
    segment, flux, mjd = segment[order], flux[order], mjd[order]
    days = np.diff(mjd)
    usable = (segment[1:] == segment[:-1]) & (days > 0.0)
    slopes = np.full(size, -np.inf)
    np.maximum.at(slopes, segment[1:][usable], np.diff(flux)[usable] / days[usable])
    return np.where(np.isfinite(slopes), slopes, np.nan)
