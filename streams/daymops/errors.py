"""Errors of DayMOPS' stage and of asking it.

PermanentFailure
├── DayMopsError            the night cannot be run
└── NightNotObservedError   association's log has nothing of the night that is said to be over
"""

from __future__ import annotations

from schemas.errors import PermanentFailure

__all__ = ["DayMopsError", "NightNotObservedError"]


class DayMopsError(PermanentFailure):
    """The night cannot be run."""

    code = "daymops"


class NightNotObservedError(PermanentFailure):
    """Association's log has nothing of the night that is said to be over."""

    code = "night_not_observed"
