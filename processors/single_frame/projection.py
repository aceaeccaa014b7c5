"""The gnomonic projection (Calabretta & Greisen 2002, section 5.1.3) in arcseconds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["deproject", "project"]

_ARCSEC = 180 * 3600 / np.pi


def project(
    ra: NDArray[np.float64], dec: NDArray[np.float64], ra0: float, dec0: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return xi (east) and eta (north) on the plane tangent at (ra0, dec0), degrees in, and what lies within 60 degrees.

    Values of points farther away are meaningless.
    """
    a, d = np.radians(ra - ra0), np.radians(dec)
    d0 = np.radians(dec0)
    depth = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a)
    ahead = depth > 0.5
    safe = np.where(ahead, depth, 1.0)
    xi = np.cos(d) * np.sin(a) / safe
    eta = (np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(a)) / safe
    return xi * _ARCSEC, eta * _ARCSEC, ahead


def deproject(
    xi: NDArray[np.float64], eta: NDArray[np.float64], ra0: float, dec0: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ra in [0, 360) and dec in degrees, the inverse of `project`."""
    x, y = xi / _ARCSEC, eta / _ARCSEC
    d0 = np.radians(dec0)
    depth = np.cos(d0) - y * np.sin(d0)
    ra = ra0 + np.degrees(np.arctan2(x, depth))
    dec = np.degrees(np.arctan2(np.sin(d0) + y * np.cos(d0), np.hypot(x, depth)))
    return np.mod(ra, 360.0), dec
