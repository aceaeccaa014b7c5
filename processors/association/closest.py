"""Sources at predicted places: how far off one may lie, and who takes whom, closest first and one to one.

By night association matches a visit with NightMOPS' predictions, by day DayMOPS matches it with orbits that are known by then; both
do it here, and differ in the limits that they give.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["allowed_arcsec", "closest_first"]

Array = np.ndarray[Any, Any]


def allowed_arcsec(
    east: Array,
    north: Array,
    ellipse: tuple[Array, Array, Array],
    *,
    radius_arcsec: float,
    sigmas: float,
    source_error_arcsec: Array | float = 0.0,
    widest_arcsec: float = np.inf,
) -> Array:
    """Return how far a source may lie from its place in the direction in which it lies, arcseconds.

    Parameters
    ----------
    east, north
        Source less predicted place, arcseconds.
    ellipse
        Semi-axes of one sigma in arcseconds, and the position angle of the major one in degrees east of north; an unknown ellipse
        (NaN) adds nothing.
    radius_arcsec
        Allowed for a perfect prediction.
    sigmas
        How many sigmas of prediction and source are added.
    source_error_arcsec
        One sigma of the source.
    widest_arcsec
        The most that is added.
    """
    major, minor, angle_deg = (np.nan_to_num(np.asarray(part, np.float64)) for part in ellipse)
    angle = np.arctan2(east, north) - np.radians(angle_deg)
    spread = np.hypot(np.hypot(major * np.cos(angle), minor * np.sin(angle)), source_error_arcsec)
    return np.asarray(radius_arcsec + np.minimum(sigmas * spread, widest_arcsec))


def closest_first(source: Array, place: Array, closeness: Array, names: Array) -> Array:
    """Return the positions of the pairs that are taken, each source and each place once, the closest first.

    Parameters
    ----------
    source, place
        The two sides of each pair, shape (n,).
    closeness
        Smaller is closer; equal ones are decided by the place, then by the source's name.
    names
        Identifier of each pair's source.
    """
    taken_source, taken_place, chosen = set[int](), set[int](), list[int]()
    sides = list(zip(source.tolist(), place.tolist(), strict=True))
    for pair in np.lexsort((names, place, closeness)).tolist():
        one, other = sides[pair]
        if one not in taken_source and other not in taken_place:
            taken_source.add(one)
            taken_place.add(other)
            chosen.append(pair)
    return np.array(chosen, np.int64)
