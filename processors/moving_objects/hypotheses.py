"""Hypotheses about range: what the two detections of a tracklet do not tell.

A tracklet gives a direction and its rate. With a hypothesis about the distance and its rate at a common epoch it becomes a
full orbit, and all tracklets of one object arrive at the same place with the same motion. A hypothesis here is a cell in
inverse distance, gamma = 1 / rho, and gamma_dot = rho' / rho, as seen from where the observer is at the epoch: in these two
the motion on the sky is almost linear (Bernstein and Khushalani 2000, AJ 120, 3323), so that within a cell the arrival of a
tracklet is a constant and two derivatives. The search solves for the place inside the cell, and a dozen cells
hold the main belt where a metric ball about points in heliocentric distance needs two hundred.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2, LIGHT_DAYS_PER_AU
from processors.moving_objects.kepler import lagrange_series

__all__ = ["ARRIVAL", "Cell", "Family", "arrivals", "cells_of", "families"]

Array = np.ndarray[Any, Any]

_MU = GM_SUN_AU3_PER_DAY2

ARRIVAL = 18
"""Columns of an arrival: direction and rate (radians per day) at the epoch, then the derivatives of both by gamma and by
gamma_dot, three components each."""

_PULL_RADIANS_PER_DAY2 = 5e-4
"""Greatest difference of the Sun's pull on a near object and on the Earth, over the distance (2 GM / au^3 is 6e-4)."""

_TIDE_PER_DAY2 = 2.5e-3
"""Greatest gradient of the Sun's pull between the Earth and an object, 2 GM / r^3 at 0.62 au: looking 38 degrees past the Sun."""

_EARTH_AU_PER_DAY = 0.0176
"""Fastest motion of the Earth, at perihelion."""

_NEAREST_AU = 0.003
"""Tracklets that a hypothesis would put nearer than about the Moon are left alone."""

_SPEED_MARGIN = 1.05
"""A cell reaches beyond its middle: speeds up to five per cent above that of escape stay in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One hypothesis: ranges of inverse distance, its rate and the angular speed at the epoch."""

    gamma: float
    """Middle of the inverse distance, 1/au."""
    gamma_half: float
    gamma_dot: float
    """Middle of rho'/rho, per day."""
    gamma_dot_half: float
    slowest: float
    """Angular speed at the epoch, radians per day."""
    fastest: float

    def numbers(self) -> Array:
        """Return the six numbers as an array, for compiled code."""
        return np.array(
            [self.gamma, self.gamma_half, self.gamma_dot, self.gamma_dot_half, self.slowest, self.fastest], np.float64
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Cells that are searched one after the other, and how large their members may grow."""

    name: str
    gammas: tuple[float, ...]
    """Edges of the inverse distance, 1/au, increasing."""
    speeds_deg_per_day: tuple[float, ...]
    """Edges of the angular speed."""
    bend_arcsec: float
    """How far from linear the arrival may be at the edge of a cell; smaller cells are more and quicker ones."""


def families() -> tuple[Family, ...]:
    """Return the families in the order of the search: the many and easy early, so that later pools are small.

    The distant come first of all: a few of their nights also fit nearer orbits, but hardly anything else fits theirs.
    """
    return (
        Family(name="distant", gammas=(0.006, 0.05, 0.15), speeds_deg_per_day=(0.0, 0.12), bend_arcsec=15.0),
        Family(name="main belt", gammas=(0.3, 0.45, 0.65, 0.95, 1.4), speeds_deg_per_day=(0.0, 0.42), bend_arcsec=15.0),
        Family(name="Trojans", gammas=(0.15, 0.3), speeds_deg_per_day=(0.0, 0.25), bend_arcsec=15.0),
        Family(name="near, slow", gammas=(1.4, 2.1, 3.2, 6.0), speeds_deg_per_day=(0.0, 0.42), bend_arcsec=60.0),
        Family(
            name="near",
            gammas=(0.3, 0.6, 0.95, 1.4, 2.1, 3.2, 6.0, 20.0),
            speeds_deg_per_day=(0.42, 0.7, 1.1),
            bend_arcsec=60.0,
        ),
        Family(
            name="near, fast",
            gammas=(0.6, 1.4, 2.1, 3.2, 6.0, 20.0),
            speeds_deg_per_day=(1.1, 1.7, 2.6, 5.0),
            bend_arcsec=90.0,
        ),
    )


_RADIAL_AU_PER_DAY = 0.026
"""Fastest change of distance that is searched, 45 km/s: a bound orbit at 1 au meeting the Earth."""

_SIDE_AU_PER_DAY = 0.042
"""Fastest motion across the line of sight relative to the Earth, 73 km/s, the same."""


def cells_of(family: Family, half_span_days: float) -> list[Cell]:
    """Return the cells of a family for a window of twice ``half_span_days``.

    The width in gamma_dot follows from how much the motion of the fastest members bends: a change x of gamma_dot moves the
    arrival by speed * t * (x t) to first and speed * t * (x t)^2 to second order.
    """
    span = max(half_span_days, 1.0)
    cells = []
    for low, high in zip(family.gammas[:-1], family.gammas[1:], strict=True):
        for slow, fast in zip(family.speeds_deg_per_day[:-1], family.speeds_deg_per_day[1:], strict=True):
            if math.radians(slow) > _SIDE_AU_PER_DAY * high:
                continue
            top = min(math.radians(fast), _SIDE_AU_PER_DAY * high)
            half = math.sqrt(math.radians(family.bend_arcsec / 3600.0) / (top * span)) / span
            reach = _RADIAL_AU_PER_DAY * high
            count = max(1, math.ceil(reach / half))
            cells += [
                Cell(
                    gamma=0.5 * (low + high),
                    gamma_half=0.5 * (high - low),
                    gamma_dot=reach * (2 * k + 1 - count) / count,
                    gamma_dot_half=reach / count,
                    slowest=math.radians(slow),
                    fastest=math.radians(fast),
                )
                for k in range(count)
            ]
    return cells


@njit(cache=True)
def _carried(x: Any, v: Any, dt: float, out: Any) -> None:
    """Carry a heliocentric state by the f and g series to the sixth order, enough for a window at 0.5 au and beyond."""
    r2 = x[0] * x[0] + x[1] * x[1] + x[2] * x[2]
    u = _MU / (r2 * math.sqrt(r2))
    p = (x[0] * v[0] + x[1] * v[1] + x[2] * v[2]) / r2
    q = (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]) / r2 - u
    fm, gm, df, dgm = lagrange_series(u, p, q, dt)
    for k in range(3):
        out[k] = x[k] + fm * x[k] + (dt + gm) * v[k]
        out[3 + k] = df * x[k] + v[k] + dgm * v[k]


@njit(cache=True)
def _arrive(
    t: float, u: Any, w: Any, observer: Any, view: Any, rho: float, rho_dot: float, work: Any, out: Any
) -> bool:
    """Write direction, rate, gamma and gamma_dot at the epoch of a tracklet with a distance and its rate; False if too near."""
    x, v, later = work[0], work[1], work[2]
    slow = 1.0 / (1.0 - rho_dot * LIGHT_DAYS_PER_AU)
    for k in range(3):
        x[k] = observer[k] + rho * u[k]
        v[k] = (observer[3 + k] + rho_dot * u[k] + rho * w[k]) * slow
    _carried(x, v, t + rho * LIGHT_DAYS_PER_AU, later)
    for k in range(6):
        later[k] -= view[k]
    distance = math.sqrt(later[0] ** 2 + later[1] ** 2 + later[2] ** 2)
    if distance < _NEAREST_AU:
        return False
    along = 0.0
    for k in range(3):
        out[k] = later[k] / distance
        along += out[k] * later[3 + k]
    for k in range(3):
        out[3 + k] = (later[3 + k] - along * out[k]) / distance
    out[6], out[7] = 1.0 / distance, along / distance
    return True


@njit(cache=True)
def _first_range(t: float, u: Any, w: Any, observer: Any, view: Any, cell: Any) -> Any:
    """Return distance and rate at the tracklet from those at the epoch, to third order in time."""
    rho0, rho_dot0 = 1.0 / cell[0], cell[2] / cell[0]
    rho = max(rho0 - rho_dot0 * t, 0.3 * rho0)
    w2 = w[0] * w[0] + w[1] * w[1] + w[2] * w[2]
    here2, there2 = 0.0, 0.0
    for k in range(3):
        here2 += (observer[k] + rho * u[k]) ** 2
        there2 += view[k] ** 2
    pull, drag = -_MU / (here2 * math.sqrt(here2)), -_MU / (there2 * math.sqrt(there2))
    accel = rho * w2
    for k in range(3):
        accel += u[k] * (pull * (observer[k] + rho * u[k]) - drag * view[k])
    return rho0 - rho_dot0 * t + 0.5 * accel * t * t, rho_dot0 - accel * t


@njit(cache=True)
def _bound_at(gamma: float, u: Any, w: Any, observer: Any, rho: float, rho_dot: float, noise: float, cell: Any) -> bool:
    """Whether some rate of the distance in the cell makes the orbit an ellipse at one inverse distance."""
    scale = cell[0] / gamma
    far, slack = rho * scale, cell[3] / gamma
    r2, side2, radial, off = 0.0, 0.0, rho_dot * scale, 0.0
    for k in range(3):
        radial += observer[3 + k] * u[k]
        r2 += (observer[k] + far * u[k]) ** 2
        across = observer[3 + k] + far * w[k]
        side2 += across * across
        off += across * u[k]
    side = max(0.0, math.sqrt(max(0.0, side2 - off * off)) - 3.0 * far * noise)
    least = max(0.0, abs(radial) - slack)
    return bool(side * side + least * least <= _SPEED_MARGIN * _SPEED_MARGIN * 2.0 * _MU / math.sqrt(r2))


@njit(cache=True)
def _bound(u: Any, w: Any, observer: Any, rho: float, rho_dot: float, noise: float, cell: Any) -> bool:
    """Whether some distance and rate in the cell make the orbit an ellipse, the rate's noise allowed for.

    A rate on the sky is an ellipse's at distances within about the speed of escape there over the Earth's speed of the one
    where the parallax alone makes it: far out that is a tenth, and steps of half of it leave none out.
    """
    if _bound_at(cell[0], u, w, observer, rho, rho_dot, noise, cell):
        return True
    gamma, last = max(cell[0] - cell[1], 0.02 * cell[0]), cell[0] + cell[1]
    while gamma < last:
        if _bound_at(gamma, u, w, observer, rho, rho_dot, noise, cell):
            return True
        gamma *= 1.0 + 0.5 * math.sqrt(2.0 * gamma)
    return bool(_bound_at(last, u, w, observer, rho, rho_dot, noise, cell))


@njit(cache=True)
def _speed_fits(speed: float, t: float, rho: float, cell: Any) -> bool:
    """Whether the speed at the epoch may lie in the cell's range.

    In straight motion distance squared times angular speed is constant; the Sun's pull on object and observer differs by
    less than 5e-4 radians per day squared.
    """
    then = speed * (rho * cell[0]) ** 2
    slack = 0.1 * then + _PULL_RADIANS_PER_DAY2 * min(1.0, cell[0]) * abs(t)
    slack += 2.0 * then * abs(t) * cell[3]
    return bool(cell[4] - slack <= then <= cell[5] + slack)


@njit(cache=True)
def _likely(times: Any, rates: Any, epoch: float, cell: Any, out: Any) -> None:
    """Write which tracklets may pass ``_speed_fits``, whatever the Sun's pull does: a loop without branches, for most fail."""
    gamma, drift, width = cell[0], cell[2], 2.0 * cell[3]
    pull = _PULL_RADIANS_PER_DAY2 * min(1.0, gamma)
    for i in range(times.shape[0]):
        t = epoch - times[i]
        far = abs(t)
        w2 = rates[i, 0] ** 2 + rates[i, 1] ** 2 + rates[i, 2] ** 2
        line = 1.0 - drift * t
        half = 0.5 * t * t
        middle = line + half * w2 * max(line, 0.3)
        tide = half * _TIDE_PER_DAY2 * (max(line, 0.3) + _EARTH_AU_PER_DAY * far * gamma)
        low, high = max(middle - tide, 0.0), max(middle + tide, 0.0)
        speed, slack = math.sqrt(w2), pull * far
        above = speed * low * low * (0.9 - width * far) - slack > cell[5]
        below = speed * high * high * (1.1 + width * far) + slack < cell[4]
        out[i] = not (above or below)


@njit(cache=True)
def arrivals(
    times: Any,
    vectors: Any,
    rates: Any,
    noises: Any,
    observers: Any,
    view: Any,
    epoch: float,
    cell: Any,
    out: Any,
    which: Any,
) -> int:
    """Write the arrivals of the tracklets that a cell can hold, and which they are; return how many.

    Parameters
    ----------
    times, vectors, rates, noises, observers
        Of the tracklets, as in ``Tracklets``.
    view
        Heliocentric position and velocity of the viewpoint at the epoch, au and au/day.
    epoch
        MJD TAI.
    cell
        ``Cell.numbers()``.
    out
        Arrivals, float32, shape (n, 18): see ``ARRIVAL``.
    which
        Positions of the tracklets, int64, shape (n,).
    """
    work, base, one, other = np.empty((3, 6)), np.empty(8), np.empty(8), np.empty(8)
    slope, likely = np.empty((2, 6)), np.empty(times.shape[0], np.bool_)
    _likely(times, rates, epoch, cell, likely)
    count = 0
    for i in np.flatnonzero(likely):
        speed = math.sqrt(rates[i, 0] ** 2 + rates[i, 1] ** 2 + rates[i, 2] ** 2)
        t = epoch - times[i]
        u, w, observer = vectors[i], rates[i], observers[i]
        rho, rho_dot = _first_range(t, u, w, observer, view, cell)
        if rho < _NEAREST_AU or not _speed_fits(speed, t, rho, cell):
            continue
        if not _bound(u, w, observer, rho, rho_dot, noises[i], cell):
            continue
        far, fast = 0.02 * rho, 0.3 * cell[3] / cell[0] + 1e-5
        if not (
            _arrive(t, u, w, observer, view, rho, rho_dot, work, base)
            and _arrive(t, u, w, observer, view, rho + far, rho_dot, work, one)
            and _arrive(t, u, w, observer, view, rho, rho_dot + fast, work, other)
        ):
            continue
        a, b = (one[6] - base[6]) / far, (other[6] - base[6]) / fast
        c, d = (one[7] - base[7]) / far, (other[7] - base[7]) / fast
        det = a * d - b * c
        if det == 0.0:
            continue
        miss, miss_dot = cell[0] - base[6], cell[2] - base[7]
        rho += (d * miss - b * miss_dot) / det
        rho_dot += (a * miss_dot - c * miss) / det
        for k in range(6):
            by_rho, by_rate = (one[k] - base[k]) / far, (other[k] - base[k]) / fast
            slope[0, k] = (by_rho * d - by_rate * c) / det
            slope[1, k] = (by_rate * a - by_rho * b) / det
        if rho < _NEAREST_AU or not _arrive(t, u, w, observer, view, rho, rho_dot, work, base):
            continue
        miss, miss_dot = cell[0] - base[6], cell[2] - base[7]
        speed = 0.0
        for k in range(6):
            out[count, k] = base[k] + slope[0, k] * miss + slope[1, k] * miss_dot
            out[count, 6 + k], out[count, 12 + k] = slope[0, k], slope[1, k]
        speed = math.sqrt(base[3] ** 2 + base[4] ** 2 + base[5] ** 2)
        if cell[4] * 0.93 <= speed <= cell[5] * 1.07:
            which[count] = i
            count += 1
    return count
