"""Geometry on the sphere by unit vectors, so that right ascension never wraps and the poles are places like others."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["ARCSEC", "chord_of", "local_offsets", "positions_of", "unit_vectors"]

Array = np.ndarray[Any, Any]

ARCSEC = np.pi / 180.0 / 3600.0
"""One arcsecond in radians."""


def unit_vectors(ra: Array, dec: Array) -> Array:
    """Return the unit vectors of positions.

    Parameters
    ----------
    ra, dec
        Degrees, shape (n,), float64: float32 would cost 0.1 arcsec.

    Returns
    -------
    Array
        Shape (n, 3), float64.
    """
    longitude, latitude = np.radians(np.asarray(ra, np.float64)), np.radians(np.asarray(dec, np.float64))
    cosine = np.cos(latitude)
    return np.stack([cosine * np.cos(longitude), cosine * np.sin(longitude), np.sin(latitude)], axis=-1)


def positions_of(vectors: Array) -> tuple[Array, Array]:
    """Return right ascension in [0, 360) and declination, degrees, of vectors of any length (shape (n, 3))."""
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    ra = np.degrees(np.arctan2(y, x))
    ra = np.where(ra < 0.0, ra + 360.0, ra)
    return np.where(ra >= 360.0, 0.0, ra), np.degrees(np.arctan2(z, np.hypot(x, y)))


def chord_of(arcsec: float) -> float:
    """Return the length of the chord that an angle in arcseconds spans on the unit sphere."""
    return float(2.0 * np.sin(0.5 * arcsec * ARCSEC))


def local_offsets(ra: Array, dec: Array, vectors: Array, others: Array) -> tuple[Array, Array]:
    """Return how far each other vector lies east and north of its position, in arcseconds.

    The difference of the unit vectors is projected on the tangent plane at the position, which is exact to 1e-11
    arcsec for the few arcseconds that association deals with, at the poles too.

    Parameters
    ----------
    ra, dec
        Positions, degrees, shape (n,).
    vectors, others
        Unit vectors of the positions and of the others, shape (n, 3).
    """
    longitude, latitude = np.radians(ra), np.radians(dec)
    sin_lon, cos_lon = np.sin(longitude), np.cos(longitude)
    sin_lat, cos_lat = np.sin(latitude), np.cos(latitude)
    dx, dy, dz = (others - vectors).T
    east = -sin_lon * dx + cos_lon * dy
    north = -sin_lat * cos_lon * dx - sin_lat * sin_lon * dy + cos_lat * dz
    return east / ARCSEC, north / ARCSEC
