"""Objects: founded by a source whose identifier they take, placed where their sources lie on average."""

from __future__ import annotations

from typing import Any

import numpy as np

from processors.association.sphere import positions_of, unit_vectors

__all__ = ["MeanPositions", "best_of_visits", "mean_positions"]

Array = np.ndarray[Any, Any]

MeanPositions = np.dtype(
    [("ra", "<f8"), ("dec", "<f8"), ("raErr", "<f4"), ("decErr", "<f4"), ("ra_dec_Cov", "<f4"), ("detections", "<i4")]
)
"""Mean position of an object, degrees, and the visits that went into it; NaN and 0 where there is none."""


def best_of_visits(sources: Array) -> Array:
    """Return the rows of which statistics are made: of each object's sources in one visit, the best.

    The best has the largest absolute S/N (null counts as 0), then the lowest identifier, so that duplicates inside a
    visit weigh once, whatever order they came in.

    Parameters
    ----------
    sources
        Rows of SOURCE_ROW.

    Returns
    -------
    Array
        Rows of SOURCE_ROW in order of object, time, identifier.
    """
    strength = np.nan_to_num(np.abs(sources["snr"].astype(np.float64)), nan=0.0)
    order = np.lexsort((sources["diaSourceId"], -strength, sources["visit"], sources["diaObjectId"]))
    rows = sources[order]
    first = np.ones(len(rows), bool)
    first[1:] = (rows["visit"][1:] != rows["visit"][:-1]) | (rows["diaObjectId"][1:] != rows["diaObjectId"][:-1])
    rows = rows[first]
    return rows[np.lexsort((rows["diaSourceId"], rows["mjd"], rows["diaObjectId"]))]


def mean_positions(sources: Array, object_ids: Array) -> Array:
    """Return the mean position of each object: the direction of the plain sum of its sources' unit vectors.

    The mean is not weighted, as in ap_association: errors of bright sources are dominated by systematics that weights would
    ignore. The errors are those of that mean, each source's errors carried through.

    Parameters
    ----------
    sources
        Rows of SOURCE_ROW, one per object and visit, in canonical order (see `best_of_visits`).
    object_ids
        Objects wanted, ascending; every row belongs to one of them.

    Returns
    -------
    Array
        One row of ``MeanPositions`` per object; errors are NaN where no source has any.
    """
    number = np.searchsorted(object_ids, sources["diaObjectId"])
    count = np.bincount(number, minlength=len(object_ids))
    vectors = unit_vectors(sources["ra"], sources["dec"])
    total = np.stack([np.bincount(number, vectors[:, axis], len(object_ids)) for axis in range(3)], axis=1)
    means = np.zeros(len(object_ids), MeanPositions)
    ra, dec = positions_of(total)
    means["ra"], means["dec"] = np.where(count, ra, np.nan), np.where(count, dec, np.nan)
    means["detections"] = count
    for name, power in (("raErr", 2), ("decErr", 2), ("ra_dec_Cov", 1)):
        means[name] = _carried(sources[name].astype(np.float64), number, len(object_ids), power)
    return means


def _carried(errors: Array, number: Array, objects: int, power: int) -> Array:
    """Return the error (power 2) or covariance (power 1) of the mean of those that are known."""
    known = np.isfinite(errors)
    count = np.bincount(number[known], minlength=objects)
    total = np.bincount(number[known], errors[known] ** power, objects)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count.astype(np.float64) ** 2
        return np.sqrt(mean) if power == 2 else mean
