"""Times that people give: UTC moments, steps, and the grids between them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import SECONDS_PER_DAY
from processors.moving_objects.timescales import tai_from_utc
from streams.views.errors import RequestError

__all__ = ["MOST_MOMENTS", "grid", "parse_step", "parse_utc", "tai_of", "utc_text"]

MOST_MOMENTS = 50_000
"""Rows of one ephemeris: a minute's step for a month."""

_MJD_EPOCH = dt.datetime(1858, 11, 17, tzinfo=dt.UTC)
_STEP = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(d|h|m|s)")
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def parse_utc(text: str) -> dt.datetime:
    """Return the moment of an ISO 8601 text; without an offset it is UTC.

    Raises
    ------
    RequestError
        When it is no such text; the second 60 of a leap second is none.
    """
    try:
        moment = dt.datetime.fromisoformat(text.strip())
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise RequestError(f"{text!r} is no ISO time such as 2026-09-21T04:30:00.") from error


def parse_step(text: str) -> dt.timedelta:
    """Return a step such as ``1d``, ``6h``, ``10m`` or ``30s``.

    Raises
    ------
    RequestError
        When it is none, or not longer than a millisecond.
    """
    match = _STEP.fullmatch(text.strip().lower())
    try:
        step = dt.timedelta(**{_UNITS[match[2]]: float(match[1])}) if match else dt.timedelta()
    except OverflowError:
        step = dt.timedelta()
    if step < dt.timedelta(milliseconds=1):
        raise RequestError(f"{text!r} is no step such as 1d, 6h, 10m or 30s.")
    return step


def grid(begin: dt.datetime, end: dt.datetime, step: dt.timedelta) -> list[dt.datetime]:
    """Return the moments from one to another, the last included where a step meets it.

    Raises
    ------
    RequestError
        When they are in the wrong order, or would be more than ``MOST_MOMENTS``.
    """
    if end < begin:
        raise RequestError(f"The ephemeris would end at {utc_text(end)}, before it begins at {utc_text(begin)}.")
    count = (end - begin) // step + 1
    if count > MOST_MOMENTS:
        raise RequestError(f"These are {count} rows and {MOST_MOMENTS} are the most: take a longer step.")
    return [begin + k * step for k in range(count)]


def tai_of(moments: Sequence[dt.datetime]) -> NDArray[np.float64]:
    """Return the MJD TAI of moments, ``(n,)``, good to a microsecond (milliseconds before 1972, when UTC's seconds differed).

    The days begin where UTC says; within them a second is a second, also on the day of a leap second.
    """
    since = [moment - _MJD_EPOCH for moment in moments]
    days = np.array([span.days for span in since], np.float64)
    rest = np.array([(span - dt.timedelta(days=span.days)).total_seconds() for span in since], np.float64)
    return np.asarray(tai_from_utc(days) + rest / SECONDS_PER_DAY)


def utc_text(moment: dt.datetime) -> str:
    """Return a moment as ISO 8601 with a Z, with fractions of a second only where there are some."""
    return moment.replace(tzinfo=None).isoformat() + "Z"
