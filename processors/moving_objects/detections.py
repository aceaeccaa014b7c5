"""Detections as the search for moving objects sees them: one row each, checked, in one order, with its night."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import numpy as np

from processors.association.sphere import unit_vectors
from processors.moving_objects.errors import InvalidDetectionsError
from schemas.detections import DETECTION

__all__ = [
    "BANDS",
    "DETECTION",
    "blocks",
    "day_obs_of",
    "detection_vectors",
    "mjd_of_day_obs",
    "night_numbers",
    "no_detections",
    "validated_detections",
]

Array = np.ndarray[Any, Any]

BANDS = "ugrizy"
"""The bands, in the order of their numbers in ``DETECTION``."""

_MJD_OF_UNIX_EPOCH = 40587
"""1970-01-01 as a modified Julian date."""

_NIGHT_BEGINS = 0.5
"""A night has one number from noon to noon UTC, as Rubin's day_obs (SITCOMTN-032); TAI for UTC shifts noon by 37 s only."""


_BLOCK = 32768
"""Rows computed at once: a quarter of a megabyte a column, which stays in the processor's cache."""


def no_detections() -> Array:
    """Return an empty array of detections."""
    return np.zeros(0, DETECTION)


def validated_detections(rows: Array) -> Array:
    """Check detections and put them into their canonical order.

    A visit delivered twice gives the same rows twice: they are taken once. The answer does not depend on the order of
    the rows.

    Parameters
    ----------
    rows
        Detections, dtype ``DETECTION``, shape (n,); may be empty.

    Returns
    -------
    Array
        In order of time, visit and detection_id.

    Raises
    ------
    InvalidDetectionsError
        If the dtype is another, a position, time or error is not finite or outside its range, the band unknown, or one
        detection_id stands for two different detections.
    """
    rows = np.asarray(rows)
    if rows.dtype != DETECTION or rows.ndim != 1:
        raise InvalidDetectionsError(f"Detections need one axis and the dtype DETECTION, not {rows.dtype}.")
    for broken, what in _breaches(rows):
        if broken.any():
            raise InvalidDetectionsError(f"Detection {rows['detection_id'][broken].min()} has {what}.")
    rows = _once_each(rows)
    return np.asarray(rows[np.lexsort((rows["detection_id"], rows["visit"], rows["midpoint_mjd_tai"]))])


def detection_vectors(rows: Array) -> Array:
    """Return the unit vectors towards detections (ICRS), shape (n, 3)."""
    out = np.empty((len(rows), 3))
    for part in blocks(len(rows)):
        out[part] = unit_vectors(rows["ra"][part], rows["dec"][part])
    return out


def blocks(count: int) -> Iterator[slice]:
    """Yield slices of at most ``_BLOCK`` rows that cover all: what is computed of each row in several steps needs no more memory."""
    for begin in range(0, count, _BLOCK):
        yield slice(begin, min(begin + _BLOCK, count))


def night_numbers(mjd_tai: Array) -> Array:
    """Return the number of the night of each time: the whole MJD of the noon before it, int64."""
    return np.floor(np.asarray(mjd_tai, np.float64) - _NIGHT_BEGINS).astype(np.int64)


def day_obs_of(night: int) -> int:
    """Return the day_obs (yyyymmdd) of a night's number."""
    day = date(1970, 1, 1) + timedelta(days=int(night) - _MJD_OF_UNIX_EPOCH)
    return day.year * 10000 + day.month * 100 + day.day


def mjd_of_day_obs(day_obs: int) -> int:
    """Return the number of the night of a day_obs, the inverse of ``day_obs_of``."""
    day = date(day_obs // 10000, day_obs // 100 % 100, day_obs % 100)
    return (day - date(1970, 1, 1)).days + _MJD_OF_UNIX_EPOCH


def _breaches(rows: Array) -> list[tuple[Array, str]]:
    ra, dec, errors = rows["ra"], rows["dec"], (rows["ra_err_arcsec"], rows["dec_err_arcsec"])
    length, angle = rows["trail_length_arcsec"], rows["trail_angle_deg"]
    return [
        (~np.isfinite(rows["midpoint_mjd_tai"]), "no finite time"),
        (~((ra >= 0.0) & (ra < 360.0)), "a right ascension outside 0 to 360 degrees"),
        (~((dec >= -90.0) & (dec <= 90.0)), "a declination outside -90 to 90 degrees"),
        (
            ~np.all([np.isfinite(e) & (e > 0.0) for e in errors], axis=0),
            "a position error that is not positive and finite",
        ),
        (rows["band"] >= len(BANDS), "an unknown band"),
        (~((length >= 0.0) & np.isfinite(length)), "a trail length that is negative or not finite"),
        ((length > 0.0) & ~np.isfinite(angle), "a trail without an angle"),
    ]


def _once_each(rows: Array) -> Array:
    """Return each row once, in order of detection_id."""
    rows = rows[np.argsort(rows["detection_id"], kind="stable")]
    again = np.concatenate([[False], rows["detection_id"][1:] == rows["detection_id"][:-1]])[: len(rows)]
    here = np.flatnonzero(again)
    differs = np.array([rows[i].tobytes() != rows[i - 1].tobytes() for i in here], bool)
    if differs.any():
        which = rows["detection_id"][here[differs]].min()
        raise InvalidDetectionsError(f"Detection {which} is there twice with different contents.")
    return np.asarray(rows[~again])
