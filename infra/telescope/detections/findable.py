"""What a linker can be asked to find: bodies with enough good nights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIN_NIGHTS", "good_nights", "night_of"]

MIN_NIGHTS = 3
"""Good nights that make a body findable: Rubin's criterion of three pairs."""

MIN_SEPARATION_ARCSEC, MAX_GAP_DAYS = 1.0, 90.0 / 1440
"""Of the two detections that make a night good."""


def night_of(mjd_tai: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of each time's night: MJD of the noon (TAI) before it."""
    return np.floor(mjd_tai - 0.5).astype(np.int64)


def good_nights(group: NDArray[np.int64], detections: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the good nights of each group of detections.

    A night is good when two detections of it lie at least one arcsecond and at most 90 minutes apart.

    Parameters
    ----------
    group
        Which body or link each detection belongs to; negative ones are left out.
    detections
        With ``midpoint_mjd_tai``, ``ra`` and ``dec``.

    Returns
    -------
    groups, counts
        Every group that has a detection, in order, and its number of good nights.
    """
    used = np.flatnonzero(group >= 0)
    group, rows = group[used], detections[used]
    order = np.lexsort((rows["midpoint_mjd_tai"], group))
    group, rows = group[order], rows[order]
    night, mjd = night_of(rows["midpoint_mjd_tai"]), rows["midpoint_mjd_tai"]
    good = np.zeros(len(group), bool)
    for ahead in range(1, len(group)):
        same = (group[ahead:] == group[:-ahead]) & (night[ahead:] == night[:-ahead])
        if not same.any():
            break
        first = np.flatnonzero(same)
        apart = _separation_arcsec(rows[first], rows[first + ahead]) >= MIN_SEPARATION_ARCSEC
        good[first] |= apart & (mjd[first + ahead] - mjd[first] <= MAX_GAP_DAYS)
    groups = np.unique(group)
    pairs = np.unique(np.stack([group[good], night[good]], axis=1), axis=0)
    counts = np.zeros(len(groups), np.int64)
    np.add.at(counts, np.searchsorted(groups, pairs[:, 0]), 1)
    return groups, counts


def _separation_arcsec(a: NDArray[np.void], b: NDArray[np.void]) -> NDArray[np.float64]:
    d1, d2 = np.radians(a["dec"]), np.radians(b["dec"])
    dra, ddec = np.radians(b["ra"] - a["ra"]), d2 - d1
    half = np.sin(ddec / 2) ** 2 + np.cos(d1) * np.cos(d2) * np.sin(dra / 2) ** 2
    return np.asarray(np.degrees(2 * np.arcsin(np.sqrt(half))) * 3600)
