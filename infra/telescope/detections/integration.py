"""The truth's motion by heyoka: Sun, eight planets and Moon as bodies with mass, everything else massless.

A Taylor integration to machine precision of barycentric Newtonian motion from DE440's state at the epoch, and the Sun's
first post-Newtonian term on the massless bodies (Moyer 2000, equation 4-61 reduced to the one-body limit). heyoka is the
optional extra ``survey``; it is imported when first needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.telescope.detections.errors import MissingExtraError
from infra.telescope.detections.solar_system import AU_KM, BODIES, Ephemeris

__all__ = ["integrate"]

_Floats = NDArray[np.float64]

GROUP = 48
"""Massless bodies in one system: enough to make the ten massive ones cheap, few enough that one close encounter
does not shorten the steps of many."""

LANES = 4
"""Systems integrated side by side, on every machine: the widest vector of one's processor would group the bodies otherwise
and round their last digits otherwise."""

_LIGHT_AU_PER_DAY = 299792.458 * 86400 / AU_KM
_DAY_UNITS = 86400.0**2 / AU_KM**3


def integrate(
    states: _Floats,
    epoch_mjd_tdb: float,
    at_mjd_tdb: _Floats,
    ephemeris: Ephemeris,
    progress: Callable[[float], None] = lambda _: None,
) -> _Floats:
    """Return barycentric states (times, n, 6) of massless bodies.

    Parameters
    ----------
    states
        Heliocentric states (n, 6) at the epoch, ICRF, au and au/day.
    at_mjd_tdb
        Increasing times, none before the epoch.
    progress
        Told the finished share after each group.

    Raises
    ------
    MissingExtraError
        When heyoka is not installed.
    """
    sun, *_ = massive = [ephemeris.states(name, epoch_mjd_tdb)[0] for name, _, _ in BODIES]
    result = np.empty((len(at_mjd_tdb), len(states), 6))
    if not len(states):
        return result
    system = _system()
    grid = np.concatenate([[0.0], at_mjd_tdb - epoch_mjd_tdb])
    times = np.ascontiguousarray(np.repeat(grid[:, None], LANES, axis=1))
    chunk = GROUP * LANES
    for begin in range(0, len(states), chunk):
        own = states[begin : begin + chunk] + sun
        filled = np.resize(own, (chunk, 6)).reshape(LANES, GROUP, 6)
        start = np.concatenate([np.repeat(np.array(massive)[None], LANES, axis=0), filled], axis=1)
        system.set_time(0.0)
        system.state[:] = start.reshape(LANES, -1).T
        # The answer's axes are time, variable, lane.
        grown = system.propagate_grid(times)[1][1:, len(BODIES) * 6 :]
        found = np.moveaxis(grown, 2, 1).reshape(len(at_mjd_tdb), chunk, 6)
        result[:, begin : begin + len(own)] = found[:, : len(own)]
        progress(min(1.0, (begin + chunk) / len(states)))
    return result


def _system() -> Any:
    try:
        import heyoka  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise MissingExtraError("The survey's truth needs heyoka: pip install 'nightcast[survey]'.") from error
    masses = [gm * _DAY_UNITS for _, _, gm in BODIES]
    equations = heyoka.model.nbody(len(BODIES) + GROUP, masses=masses, Gconst=1.0)
    equations = _with_relativity(equations, masses[0])
    # Any start serves: each group brings its own state. Compact mode keeps the compilation at a second or two.
    blank = np.random.default_rng(0).normal(size=(len(equations), LANES))
    return heyoka.taylor_adaptive_batch(equations, blank, compact_mode=True)


def _with_relativity(equations: list[Any], gm_sun: float) -> list[Any]:
    changed = list(equations)
    sun = [equations[axis][0] for axis in range(6)]
    for body in range(len(BODIES), len(equations) // 6):
        own = [equations[6 * body + axis][0] - sun[axis] for axis in range(6)]
        position, velocity = own[:3], own[3:]
        square = sum(x * x for x in position)
        distance = square**0.5
        radial, speed = (
            (4.0 * gm_sun / distance - sum(v * v for v in velocity)),
            4.0 * sum(x * v for x, v in zip(position, velocity, strict=True)),
        )
        scale = gm_sun / (_LIGHT_AU_PER_DAY**2 * square * distance)
        for axis in range(3):
            name, rate = changed[6 * body + 3 + axis]
            changed[6 * body + 3 + axis] = (name, rate + scale * (radial * position[axis] + speed * velocity[axis]))
    return changed
