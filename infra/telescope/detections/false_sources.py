"""Detections of nothing that moves: chance, stationary residuals and satellites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.telescope.chance import generator
from infra.telescope.detections.brightness import astrometric_sigma_arcsec
from infra.telescope.detections.observing import MAG_PER_SN, THRESHOLD, displaced, rows_of

__all__ = ["FALSE_PER_VISIT", "Residuals", "false_rows", "satellite_rows", "stationary_residuals", "stationary_rows"]

_Floats = NDArray[np.float64]
_Random = np.random.Generator

FALSE_PER_VISIT = {"S": 1000.0, "M": 870.0, "L": 3050.0}
"""False detections in a visit, a tenth of them of stationary residuals: what fills the sizes to 70 k, 270 k and 1.1 M rows."""

STATIONARY_SHARE, STATIONARY_DUTY = 0.1, 0.35
"""Share of the false detections, and the chance that a residual is detected in a visit of it."""

STATIONARY_SCATTER_ARCSEC = 0.15
"""Of a residual's centroid from visit to visit: a dipole's shape follows seeing and parallactic angle."""

TRAILED_SHARE = 0.01
"""Of false detections that look trailed: glints and cosmic rays."""

SATELLITES_PER_VISIT, GLINTS = 0.3, 12.0
"""Trails of satellites that were not masked, and detections along each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Residuals:
    """Stationary residuals: places in degrees and the usual S/N of each."""

    ra: _Floats
    dec: _Floats
    ratio: _Floats


def stationary_residuals(size: str, seed: int, ra: float, dec: float, radius_deg: float) -> Residuals:
    """Return the residuals about a place."""
    random = generator(seed, "stationary")
    area = np.pi * radius_deg**2
    density = FALSE_PER_VISIT[size] * STATIONARY_SHARE / STATIONARY_DUTY / (np.pi * 1.748**2)
    n = int(random.poisson(density * area))
    r, angle = radius_deg * np.sqrt(random.uniform(size=n)), random.uniform(0, 2 * np.pi, n)
    own_ra, own_dec = displaced(np.full(n, ra), dec + r * np.sin(angle), r * np.cos(angle) * 3600, np.zeros(n))
    return Residuals(ra=own_ra, dec=own_dec, ratio=THRESHOLD + random.exponential(6.0, n))


def stationary_rows(visit: np.void, residuals: Residuals, random: _Random) -> NDArray[np.void]:
    """Return the detections of residuals in a visit."""
    cosine = _cosine(residuals.ra, residuals.dec, visit)
    shown = (cosine >= np.cos(np.radians(float(visit["radius_deg"])))) & (
        random.uniform(size=len(cosine)) < STATIONARY_DUTY
    )
    rows = rows_of(visit, int(shown.sum()))
    ratio = np.maximum(residuals.ratio[shown] + random.normal(size=len(rows)), THRESHOLD)
    scatter = STATIONARY_SCATTER_ARCSEC * random.normal(size=(2, len(rows)))
    rows["ra"], rows["dec"] = displaced(residuals.ra[shown], residuals.dec[shown], scatter[0], scatter[1])
    _measure(rows, ratio, visit)
    return rows


def false_rows(visit: np.void, size: str, random: _Random) -> NDArray[np.void]:
    """Return the detections of chance in a visit: even over the field, most near the threshold."""
    n = int(random.poisson(FALSE_PER_VISIT[size] * (1 - STATIONARY_SHARE)))
    rows = rows_of(visit, n)
    r, angle = float(visit["radius_deg"]) * 3600 * np.sqrt(random.uniform(size=n)), random.uniform(0, 2 * np.pi, n)
    rows["ra"], rows["dec"] = _about(visit, r * np.cos(angle), r * np.sin(angle))
    _measure(rows, THRESHOLD + random.exponential(1.5, n), visit)
    trailed = random.uniform(size=n) < TRAILED_SHARE
    rows["trail_length_arcsec"] = np.where(trailed, 1.0 + random.exponential(2.0, n), 0.0)
    rows["trail_angle_deg"] = np.where(trailed, random.uniform(0, 180, n), 0.0)
    return rows


def satellite_rows(visit: np.void, random: _Random) -> NDArray[np.void]:
    """Return detections along the straight trails of satellites, each trailed along its way."""
    radius = float(visit["radius_deg"]) * 3600
    parts = [rows_of(visit, 0)]
    for _ in range(int(random.poisson(SATELLITES_PER_VISIT))):
        angle, offset = random.uniform(0, np.pi), random.uniform(-radius, radius)
        half = np.sqrt(radius**2 - offset**2)
        along = random.uniform(-half, half, int(random.poisson(GLINTS)))
        rows = rows_of(visit, len(along))
        s, c = np.sin(angle), np.cos(angle)
        rows["ra"], rows["dec"] = _about(visit, along * s + offset * c, along * c - offset * s)
        _measure(rows, THRESHOLD + random.exponential(8.0, len(along)), visit)
        rows["trail_length_arcsec"] = 2.0 + random.exponential(6.0, len(along))
        rows["trail_angle_deg"] = (np.degrees(angle) + random.normal(0, 2.0, len(along))) % 180.0
        parts.append(rows)
    return np.concatenate(parts)


def _measure(rows: NDArray[np.void], ratio: _Floats, visit: np.void) -> None:
    rows["mag"] = float(visit["depth_mag"]) - 2.5 * np.log10(ratio / THRESHOLD)
    rows["mag_err"] = MAG_PER_SN / ratio
    rows["ra_err_arcsec"] = rows["dec_err_arcsec"] = astrometric_sigma_arcsec(ratio)


def _about(visit: np.void, east_arcsec: _Floats, north_arcsec: _Floats) -> tuple[_Floats, _Floats]:
    """Sky positions (degrees) of places in the tangent plane of a pointing."""
    x, y = np.radians(east_arcsec / 3600), np.radians(north_arcsec / 3600)
    dec0 = np.radians(visit["dec"])
    depth = np.cos(dec0) - y * np.sin(dec0)
    ra = np.degrees(np.arctan2(x, depth)) + visit["ra"]
    dec = np.degrees(np.arctan2(np.sin(dec0) + y * np.cos(dec0), np.hypot(x, depth)))
    return ra % 360.0, dec


def _cosine(ra: _Floats, dec: _Floats, visit: np.void) -> _Floats:
    d, d0 = np.radians(dec), np.radians(visit["dec"])
    return np.asarray(np.sin(d) * np.sin(d0) + np.cos(d) * np.cos(d0) * np.cos(np.radians(ra - visit["ra"])))
