"""Known orbits as the propagators take them: columns of one length, checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.errors import InvalidOrbitsError
from processors.moving_objects.nightly_covariance import FACTOR_SIZE
from processors.moving_objects.photometry import SLOPE_G

__all__ = ["DEFAULT_SLOPE", "Orbits", "known_orbits", "part", "require_valid"]

DEFAULT_SLOPE = 0.15
"""G where none is known (Minor Planet Center)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orbits:
    """Known orbits, one a row."""

    object_id: NDArray[np.int64]
    """ssObjectId, unique."""
    states: NDArray[np.float64]
    """``(n, 6)`` heliocentric ICRF, au and au/day."""
    epoch_mjd_tdb: NDArray[np.float64]
    h: NDArray[np.float32]
    """Absolute magnitude; NaN where unknown: the object is kept, its V is NaN."""
    slope: NDArray[np.float32]
    slope_kind: NDArray[np.uint8]
    """Which system the slope belongs to (`photometry.SLOPE_G` and its sisters)."""
    factors: NDArray[np.float32]
    """``(n, 21)`` square roots of the covariances (`nightly_covariance.factors_of`); NaN where unknown."""

    def __len__(self) -> int:
        """Return the number of orbits."""
        return len(self.object_id)


def known_orbits(
    object_id: NDArray[np.int64],
    states: NDArray[np.float64],
    epoch_mjd_tdb: float | NDArray[np.float64],
    *,
    h: NDArray[np.floating] | None = None,
    slope: NDArray[np.floating] | None = None,
    slope_kind: int = SLOPE_G,
    factors: NDArray[np.float32] | None = None,
) -> Orbits:
    """Return orbits with everything that is not given filled: H and covariance unknown, G 0.15 where it is NaN or missing."""
    n = len(object_id)
    slopes = np.full(n, DEFAULT_SLOPE, np.float32) if slope is None else np.asarray(slope, np.float32)
    return Orbits(
        object_id=np.asarray(object_id, np.int64),
        states=np.ascontiguousarray(states, np.float64).reshape(n, 6),
        epoch_mjd_tdb=np.array(np.broadcast_to(epoch_mjd_tdb, (n,)), np.float64),
        h=np.full(n, np.nan, np.float32) if h is None else np.asarray(h, np.float32),
        slope=np.where(np.isnan(slopes), np.float32(DEFAULT_SLOPE), slopes),
        slope_kind=np.full(n, slope_kind, np.uint8),
        factors=np.full((n, FACTOR_SIZE), np.nan, np.float32) if factors is None else np.asarray(factors, np.float32),
    )


def part(orbits: Orbits, rows: slice | NDArray[np.int64]) -> Orbits:
    """Return some of the orbits."""
    return Orbits(
        object_id=orbits.object_id[rows],
        states=orbits.states[rows],
        epoch_mjd_tdb=orbits.epoch_mjd_tdb[rows],
        h=orbits.h[rows],
        slope=orbits.slope[rows],
        slope_kind=orbits.slope_kind[rows],
        factors=orbits.factors[rows],
    )


def require_valid(orbits: Orbits) -> None:
    """Raise `InvalidOrbitsError`, which names the first such object, if a state or epoch is not finite or at the Sun's centre."""
    good = np.isfinite(orbits.epoch_mjd_tdb) & np.isfinite(orbits.states).all(axis=1)
    good &= (orbits.states[:, :3] != 0.0).any(axis=1)
    if not good.all():
        wrong = orbits.object_id[~good]
        raise InvalidOrbitsError(
            f"Object {wrong[0]} has a state or an epoch that is not a number ({len(wrong)} such objects): take it out."
        )
