"""The clock of a night, checked by its known asteroids as visits are associated.

A visit with enough of them judges itself; with fewer, all asteroids of the night so far judge, each once, by the mean of its
residuals: an orbit's own error is the same in every visit and does not average out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from processors.moving_objects.clock_check import arcsec_per_s, clock_metrics, clock_offset, well_known
from schemas.events import AssociationDecision

__all__ = ["NightClock", "Residual", "checked"]

MOST_ASTEROIDS = 300
"""How many asteroids a night keeps; a visit that has so many judges itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """Sums over an asteroid's detections of a night."""

    along_arcsec: float
    cross_arcsec: float
    rate_arcsec_per_s: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NightClock:
    """What the asteroids of one night said so far."""

    day_obs: int = 0
    residuals: Mapping[str, Residual] = field(default_factory=dict)
    """By designation."""
    visits: Mapping[str, int] = field(default_factory=dict)
    """Decisions that were counted: visit, as text, to the last sequence."""


def checked(clock: NightClock, decision: AssociationDecision) -> tuple[NightClock, dict[str, float]]:
    """Take a decision's asteroids in and return what the clock's metrics are with them.

    A correction brings nothing newly seen, a decision delivered twice nothing new; both give no metrics.
    """
    done = clock.visits.get(str(decision.visit), -1) if decision.day_obs == clock.day_obs else -1
    if decision.correction is not None or decision.sequence <= done or not decision.circumstances.rows:
        return clock, {}
    rows = decision.circumstances.to_array()
    rows = rows[well_known(rows["designation"])]
    rates = arcsec_per_s(np.hypot(rows["ephRateRa"].astype(np.float64), rows["ephRateDec"].astype(np.float64)))
    clock = _added(clock, decision, rows, rates)
    own = clock_offset(rows["ephOffsetAlongTrack"], rows["ephOffsetCrossTrack"], rates)
    return clock, clock_metrics(own or _of_night(clock))


def _added(clock: NightClock, decision: AssociationDecision, rows: Any, rates: Any) -> NightClock:
    if clock.day_obs != decision.day_obs:
        clock = NightClock(day_obs=decision.day_obs)
    sums = dict(clock.residuals)
    for row, rate in zip(rows, rates.tolist(), strict=True):
        name, along, cross = str(row["designation"]), *(float(row[f"ephOffset{track}Track"]) for track in _TRACKS)
        known = sums.get(name, Residual(along_arcsec=0.0, cross_arcsec=0.0, rate_arcsec_per_s=0.0, count=0))
        if np.isfinite([along, cross, rate]).all() and (known.count or len(sums) < MOST_ASTEROIDS):
            sums[name] = Residual(
                along_arcsec=known.along_arcsec + along,
                cross_arcsec=known.cross_arcsec + cross,
                rate_arcsec_per_s=known.rate_arcsec_per_s + rate,
                count=known.count + 1,
            )
    return replace(clock, residuals=sums, visits=dict(clock.visits) | {str(decision.visit): decision.sequence})


_TRACKS = ("Along", "Cross")


def _of_night(clock: NightClock) -> Any:
    """Return the offset of a night's asteroids, each counted once; None where they are too few."""
    found = list(clock.residuals.items())
    kept = [
        one for (_, one), good in zip(found, well_known(np.array([name for name, _ in found])), strict=True) if good
    ]
    along, cross, rate = (
        np.array([getattr(one, name) / one.count for one in kept], np.float64)
        for name in ("along_arcsec", "cross_arcsec", "rate_arcsec_per_s")
    )
    return clock_offset(along, cross, rate)
