"""What the hard variant loses: gaps between the sensors and masks about bright stars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from infra.telescope.chance import generator

__all__ = ["bright_stars", "in_star_mask", "on_silicon", "tangent_plane"]

_Floats = NDArray[np.float64]
_Bools = NDArray[np.bool_]

PIXEL_ARCSEC = 0.2
SENSOR_PIXELS = (4072, 4000)
"""Of an ITL or e2v sensor, the smaller of each axis (LSE-349)."""

SENSOR_PITCH_ARCSEC, RAFT_PITCH_ARCSEC = 845.0, 2540.0
"""42.25 mm and 127 mm at 20 arcseconds per mm."""

RAFTS = 5
"""Rafts along a side; the four corners hold no science sensors."""

STARS_PER_SQUARE_DEGREE = 12.0
"""Stars bright enough for a mask, brighter than about V = 11, near the ecliptic far from the Milky Way."""

MASK_ARCSEC = (8.0, 150.0)
"""Radius of the smallest and the widest mask."""


def tangent_plane(ra: _Floats, dec: _Floats, ra0: float, dec0: float) -> tuple[_Floats, _Floats]:
    """Return gnomonic coordinates east and north of a pointing in arcseconds; all angles in degrees."""
    a, d, d0 = np.radians(ra - ra0), np.radians(dec), np.radians(dec0)
    depth = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a)
    east = np.cos(d) * np.sin(a) / depth
    north = (np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(a)) / depth
    return np.degrees(east) * 3600, np.degrees(north) * 3600


def on_silicon(east: _Floats, north: _Floats, rotation_deg: float) -> _Bools:
    """Return which places of the tangent plane (arcseconds) fall on a science sensor."""
    turn = np.radians(rotation_deg)
    x, y = east * np.cos(turn) - north * np.sin(turn), east * np.sin(turn) + north * np.cos(turn)
    raft_x, in_x = _cell(x, RAFT_PITCH_ARCSEC, RAFTS)
    raft_y, in_y = _cell(y, RAFT_PITCH_ARCSEC, RAFTS)
    corner = np.isin(raft_x, (0, RAFTS - 1)) & np.isin(raft_y, (0, RAFTS - 1))
    outside = (raft_x < 0) | (raft_x >= RAFTS) | (raft_y < 0) | (raft_y >= RAFTS)
    good = _on_sensor(in_x, SENSOR_PIXELS[0]) & _on_sensor(in_y, SENSOR_PIXELS[1])
    return np.asarray(good & ~corner & ~outside)


def _cell(x: _Floats, pitch: float, count: int) -> tuple[NDArray[np.int64], _Floats]:
    """Which cell of a row and where from its middle."""
    cell = np.floor(x / pitch + count / 2)
    return cell.astype(np.int64), x - (cell - count / 2 + 0.5) * pitch


def _on_sensor(x: _Floats, pixels: int) -> _Bools:
    _, inside = _cell(x, SENSOR_PITCH_ARCSEC, 3)
    return np.abs(inside) <= pixels * PIXEL_ARCSEC / 2


def bright_stars(seed: int, ra_dec: tuple[float, float], radius_deg: float) -> _Floats:
    """Return the bright stars about a place: ra, dec in degrees and mask radius in arcseconds, shape (n, 3)."""
    random = generator(seed, "stars")
    n = int(random.poisson(STARS_PER_SQUARE_DEGREE * np.pi * radius_deg**2))
    r, angle = radius_deg * np.sqrt(random.uniform(size=n)), random.uniform(0, 2 * np.pi, n)
    dec = ra_dec[1] + r * np.sin(angle)
    ra = ra_dec[0] + r * np.cos(angle) / np.cos(np.radians(dec))
    # Numbers of stars grow by 10^0.4 a magnitude or a little less and the halo's radius by 10^0.2: numbers go as r^-2.
    low, high = MASK_ARCSEC
    mask = 1 / np.sqrt(random.uniform(1 / high**2, 1 / low**2, n))
    return np.stack([ra % 360, dec, mask], axis=1)


def in_star_mask(ra: _Floats, dec: _Floats, stars: _Floats) -> _Bools:
    """Return which places (degrees) lie within the mask of a star."""
    from scipy.spatial import cKDTree

    if not len(ra) or not len(stars):
        return np.zeros(len(ra), bool)
    tree = cKDTree(_unit(ra, dec))
    hidden = np.zeros(len(ra), bool)
    reach = np.radians(stars[:, 2] / 3600)
    for found in tree.query_ball_point(_unit(stars[:, 0], stars[:, 1]), reach):
        hidden[found] = True
    return hidden


def _unit(ra: _Floats, dec: _Floats) -> _Floats:
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=1)
