"""Cells of the sky for the night's catalogue: HEALPix in nested order, where a cell's parts follow one another."""

from __future__ import annotations

from functools import cache

import astropy_healpix
import numpy as np
from astropy import units
from numpy.typing import NDArray

__all__ = ["cell_of", "cells_within", "pixel_radius_rad"]

Floats = NDArray[np.float64]

_COARSE_NSIDE = 8

_RADII_DEG = {8: 7.48, 32: 1.91, 128: 0.478}
"""Greatest distance of a corner from the centre of its pixel, rounded up (measured over all pixels of each size)."""


def pixel_radius_rad(nside: int) -> float:
    """Return a bound on the distance of a pixel's points from its centre, radians."""
    return float(np.radians(_RADII_DEG[nside]))


def cell_of(vectors: Floats, nside: int) -> NDArray[np.int64]:
    """Return the nested HEALPix cell of unit vectors ``(n, 3)``."""
    longitude = np.arctan2(vectors[:, 1], vectors[:, 0])
    latitude = np.arcsin(np.clip(vectors[:, 2], -1.0, 1.0))
    cells = astropy_healpix.lonlat_to_healpix(longitude * units.rad, latitude * units.rad, nside, order="nested")
    return np.asarray(cells, np.int64)


@cache
def _centres(nside: int) -> Floats:
    pixels = np.arange(12 * nside * nside)
    longitude, latitude = (a.to_value("rad") for a in astropy_healpix.healpix_to_lonlat(pixels, nside, order="nested"))
    cosine = np.cos(latitude)
    return np.stack([cosine * np.cos(longitude), cosine * np.sin(longitude), np.sin(latitude)], axis=-1)


def cells_within(centre: Floats, radius_rad: float, nside: int) -> NDArray[np.int64]:
    """Return all cells that a circle may touch, ascending: those whose centre is within the radius plus a pixel's."""
    near = _closer(_centres(_COARSE_NSIDE), centre, radius_rad + pixel_radius_rad(_COARSE_NSIDE))
    parts = (nside // _COARSE_NSIDE) ** 2
    cells = (np.flatnonzero(near)[:, None] * parts + np.arange(parts)).reshape(-1)
    return cells[_closer(_centres(nside)[cells], centre, radius_rad + pixel_radius_rad(nside))]


def _closer(centres: Floats, centre: Floats, angle: float) -> NDArray[np.bool_]:
    return np.asarray(centres @ centre >= np.cos(min(angle, np.pi)))
