"""Time scales: TAI inside, TDB for orbits, UTC at the edges and for the turn of the Earth."""

from __future__ import annotations

import warnings
from typing import Any

import erfa  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import SECONDS_PER_DAY

__all__ = ["TT_MINUS_TAI_DAYS", "tai_from_tdb", "tai_from_utc", "tdb_from_tai", "tdb_minus_tt_days", "utc_from_tai"]

Floats = NDArray[np.float64]

TT_MINUS_TAI_DAYS = 32.184 / SECONDS_PER_DAY
"""TT runs ahead of TAI by this (IAU 1991 recommendation IV)."""

_MJD_ZERO_JD = 2400000.5

_J2000_MJD = 51544.5

_TERMS = (
    (0.001657, 628.3076, 6.2401),
    (0.000022, 575.3385, 4.2970),
    (0.000014, 1256.6152, 6.1969),
    (0.000005, 606.9777, 4.0212),
    (0.000005, 52.9691, 0.4444),
    (0.000002, 21.3299, 5.5431),
)
"""TDB - TT: amplitude in seconds, radians per century, phase (USNO Circular 179, equation 2.6; good to 10 microseconds, in
which an object at 10 degrees a day moves 0.004 mas)."""


def tdb_minus_tt_days(mjd_tt: float | NDArray[Any]) -> Floats:
    """Return TDB - TT in days at the geocentre, for any shape of MJD."""
    centuries = (np.asarray(mjd_tt, np.float64) - _J2000_MJD) / 36525.0
    seconds = sum((a * np.sin(rate * centuries + phase) for a, rate, phase in _TERMS), np.zeros_like(centuries))
    secular = 0.000010 * centuries * np.sin(628.3076 * centuries + 4.2490)
    return np.asarray((seconds + secular) / SECONDS_PER_DAY)


def tdb_from_tai(mjd_tai: float | NDArray[Any]) -> Floats:
    """Return MJD TDB of MJD TAI, any shape; NaN stays NaN."""
    tt = np.asarray(mjd_tai, np.float64) + TT_MINUS_TAI_DAYS
    return np.asarray(tt + tdb_minus_tt_days(tt))


def tai_from_tdb(mjd_tdb: float | NDArray[Any]) -> Floats:
    """Return MJD TAI of MJD TDB, any shape; the inverse of `tdb_from_tai` to the last digit of a float64."""
    tdb = np.asarray(mjd_tdb, np.float64)
    return np.asarray(tdb - tdb_minus_tt_days(tdb) - TT_MINUS_TAI_DAYS)


def utc_from_tai(mjd_tai: float | NDArray[Any]) -> Floats:
    """Return MJD UTC of MJD TAI, any shape, with the leap seconds known to ERFA."""
    with warnings.catch_warnings():
        # Years after the last leap second announced are "dubious" to ERFA: the last one is kept.
        warnings.simplefilter("ignore", erfa.ErfaWarning)
        first, second = erfa.taiutc(_MJD_ZERO_JD, np.asarray(mjd_tai, np.float64))
    return np.asarray((first - _MJD_ZERO_JD) + second)


def tai_from_utc(mjd_utc: float | NDArray[Any]) -> Floats:
    """Return MJD TAI of MJD UTC, any shape, with the leap seconds known to ERFA."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", erfa.ErfaWarning)
        first, second = erfa.utctai(_MJD_ZERO_JD, np.asarray(mjd_utc, np.float64))
    return np.asarray((first - _MJD_ZERO_JD) + second)
