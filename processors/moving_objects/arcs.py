"""The arc of an object as the fits read it: one row of numbers per detection, arcs of many objects one after the other.

A row holds what the residual of a detection needs: its time, the observer and the Sun at that time, the observed direction
with east and north beside it, and one over the two sigmas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import ARCSEC_PER_RADIAN

__all__ = [
    "COLUMNS",
    "EAST",
    "LINE_OF_SIGHT",
    "NORTH",
    "OBSERVER",
    "OBSERVER_VELOCITY",
    "SUN_VELOCITY",
    "TIME",
    "WEIGHT_EAST",
    "WEIGHT_NORTH",
    "Arcs",
    "arcs",
    "directions",
    "take",
]

TIME = 0
"""Column of the time of mid exposure, MJD TDB."""

OBSERVER = 1
"""First of three columns: heliocentric ICRF position of the observer, au."""

OBSERVER_VELOCITY = 4
"""First of three columns: heliocentric ICRF velocity of the observer, au/day."""

SUN_VELOCITY = 7
"""First of three columns: barycentric velocity of the Sun, au/day (it moves while the light travels)."""

LINE_OF_SIGHT = 10
"""First of three columns: unit vector to the detection."""

EAST = 13
"""First of three columns: unit vector towards east at the detection."""

NORTH = 16
"""First of three columns: unit vector towards north at the detection."""

WEIGHT_EAST = 19
"""Column of one over the sigma along right ascension (great circle), 1/radian."""

WEIGHT_NORTH = 20
"""Column of one over the sigma along declination, 1/radian."""

COLUMNS = 21
"""Numbers per detection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arcs:
    """Detections of many objects, grouped.

    Parameters
    ----------
    offsets
        ``(objects + 1,)``: the detections of object k are rows ``offsets[k]:offsets[k + 1]``, by time.
    rows
        ``(detections, 21)`` float64, the columns named in this module.
    order
        ``(detections,)``: which of the given detections a row was.
    """

    offsets: NDArray[np.int64]
    rows: NDArray[np.float64]
    order: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.offsets) - 1


def directions(
    ra_deg: NDArray[Any], dec_deg: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return unit vectors ``(n, 3)`` towards positions, and towards east and north there."""
    ra, dec = np.radians(np.asarray(ra_deg, np.float64)), np.radians(np.asarray(dec_deg, np.float64))
    sa, ca, sd, cd = np.sin(ra), np.cos(ra), np.sin(dec), np.cos(dec)
    return (
        np.stack([ca * cd, sa * cd, sd], axis=-1),
        np.stack([-sa, ca, np.zeros_like(sa)], axis=-1),
        np.stack([-ca * sd, -sa * sd, cd], axis=-1),
    )


def arcs(
    detections: NDArray[Any],
    offsets: NDArray[Any],
    *,
    mjd_tdb: NDArray[np.float64],
    observers: NDArray[np.float64],
    sun_velocities: NDArray[np.float64],
) -> Arcs:
    """Group the detections of many objects for the fits.

    Parameters
    ----------
    detections
        Rows with ``ra``, ``dec`` in degrees ICRS and ``ra_err_arcsec``, ``dec_err_arcsec`` (`detections.DETECTION`); sigmas are
        taken as they are, without a floor, and ``detection_id``. Rows of an object may come in any order: the answer does not depend on it.
    offsets
        ``(objects + 1,)``, object k owns ``detections[offsets[k]:offsets[k + 1]]``.
    mjd_tdb
        ``(n,)`` time of each detection.
    observers
        ``(n, 6)`` heliocentric ICRF state of the observer at it, au and au/day.
    sun_velocities
        ``(n, 3)`` barycentric velocity of the Sun at it, au/day.

    Returns
    -------
    Arcs
        NaN and sigmas of zero stay in the rows: the fits refuse such an object, not the batch.
    """
    bounds = np.ascontiguousarray(offsets, np.int64)
    rows = np.empty((len(detections), COLUMNS))
    rows[:, TIME] = mjd_tdb
    rows[:, OBSERVER : OBSERVER + 6] = observers
    rows[:, SUN_VELOCITY : SUN_VELOCITY + 3] = sun_velocities
    for column, vectors in zip(
        (LINE_OF_SIGHT, EAST, NORTH), directions(detections["ra"], detections["dec"]), strict=True
    ):
        rows[:, column : column + 3] = vectors
    with np.errstate(divide="ignore"):
        rows[:, WEIGHT_EAST] = ARCSEC_PER_RADIAN / detections["ra_err_arcsec"].astype(np.float64)
        rows[:, WEIGHT_NORTH] = ARCSEC_PER_RADIAN / detections["dec_err_arcsec"].astype(np.float64)
    owner = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    order = np.lexsort((detections["detection_id"], rows[:, TIME], owner))
    return Arcs(offsets=bounds, rows=np.ascontiguousarray(rows[order]), order=order)


def take(grouped: Arcs, objects: NDArray[np.int64]) -> Arcs:
    """Return the arcs of some objects, in the order asked for; their detections count as given in the order of the rows."""
    counts = np.diff(grouped.offsets)[objects]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    rows = np.repeat(grouped.offsets[objects] - offsets[:-1], counts) + np.arange(offsets[-1])
    return Arcs(offsets=offsets, rows=grouped.rows[rows], order=np.arange(len(rows)))
