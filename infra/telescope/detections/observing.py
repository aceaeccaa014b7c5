"""What a visit records of the bodies: detections with their noise, trails and losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.telescope.detections.brightness import (
    COLOURS,
    astrometric_sigma_arcsec,
    light_curve,
    phase_function,
    signal_to_noise,
    trailing_loss,
)
from infra.telescope.detections.members import Bodies
from infra.telescope.detections.motion import NightPaths, seen_from
from schemas.detections import DETECTION

__all__ = ["DETECTION", "THRESHOLD", "Instant", "detect_bodies", "displaced", "rows_of"]

_Floats = NDArray[np.float64]
_Random = np.random.Generator

THRESHOLD = 5.0
"""S/N of the faintest detection."""

MAG_PER_SN = 2.5 / np.log(10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """A time and where the observer and the Sun are then, barycentric au."""

    mjd_tdb: float
    observer: _Floats
    sun: _Floats


def rows_of(visit: np.void, n: int) -> NDArray[np.void]:
    """Return ``n`` detections of a visit with everything that is the same for all."""
    rows = np.zeros(n, DETECTION)
    rows["visit"], rows["midpoint_mjd_tai"], rows["band"] = visit["visit"], visit["midpoint_mjd_tai"], visit["band"]
    return rows


def displaced(ra: _Floats, dec: _Floats, east_arcsec: _Floats, north_arcsec: _Floats) -> tuple[_Floats, _Floats]:
    """Return positions (degrees) moved by small offsets on the sky."""
    return (ra + east_arcsec / 3600 / np.cos(np.radians(dec))) % 360.0, dec + north_arcsec / 3600


def detect_bodies(
    visit: np.void, bodies: Bodies, paths: NightPaths, instants: tuple[Instant, Instant, Instant], random: _Random
) -> tuple[NDArray[np.void], NDArray[np.intp]]:
    """Return the detections of a visit and the index of each one's body.

    Parameters
    ----------
    instants
        When the shutter opens, half way, and when it closes.
    """
    begin, middle, end = instants
    near = _near(visit, paths, middle)
    line, place = seen_from(paths.take(near), middle.observer, middle.mjd_tdb)
    inside = _separation_cosine(line, visit) >= np.cos(np.radians(float(visit["radius_deg"])))
    near, line, place = near[inside], line[inside], place[inside]
    ends = [seen_from(paths.take(near), at.observer, at.mjd_tdb)[0] for at in (begin, end)]
    length, angle = _trail(ends[0], ends[1])
    mag = _magnitudes(bodies, near, line, place - middle.sun, visit)
    ratio = signal_to_noise(mag + trailing_loss(length, float(visit["fwhm_arcsec"])), float(visit["depth_mag"]))
    noise = random.normal(size=len(near))
    seen = ratio + noise >= THRESHOLD
    near, line, length, angle = near[seen], line[seen], length[seen], angle[seen]
    mag, ratio, noise = mag[seen], ratio[seen], noise[seen]
    rows = rows_of(visit, len(near))
    rows["mag"], rows["mag_err"] = mag - 2.5 * np.log10(1 + noise / ratio), MAG_PER_SN / ratio
    _place(rows, line, ratio, length, angle, random)
    _measure_trails(rows, ratio, length, angle, float(visit["fwhm_arcsec"]), random)
    return rows, near


def _near(visit: np.void, paths: NightPaths, middle: Instant) -> NDArray[np.intp]:
    """Bodies that may be in the field: judged without light time, hence with what they move in a third of a day."""
    line = paths.coefficients[0] - middle.observer
    distance = np.linalg.norm(line, axis=1)
    moves = np.linalg.norm(paths.coefficients[1], axis=1) / distance * 2 + np.radians(1.0)
    reach = np.minimum(np.radians(float(visit["radius_deg"])) + moves, np.pi)
    return np.flatnonzero(_separation_cosine(line, visit) >= np.cos(reach))


def _separation_cosine(line: _Floats, visit: np.void) -> _Floats:
    ra, dec = np.radians(visit["ra"]), np.radians(visit["dec"])
    pointing = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    return np.asarray(line @ pointing / np.linalg.norm(line, axis=1))


def _magnitudes(bodies: Bodies, chosen: NDArray[np.intp], line: _Floats, sunward: _Floats, visit: np.void) -> _Floats:
    r, delta = np.linalg.norm(sunward, axis=1), np.linalg.norm(line, axis=1)
    phase = np.arccos(np.clip(np.einsum("ni,ni->n", sunward, line) / (r * delta), -1, 1))
    turning = light_curve(
        np.full(len(chosen), visit["midpoint_mjd_tai"]),
        bodies.amplitude[chosen],
        bodies.period_hours[chosen],
        bodies.phase[chosen],
    )
    colour = COLOURS[bodies.colour[chosen], int(visit["band"])]
    return np.asarray(bodies.h[chosen] + 5 * np.log10(r * delta) + phase_function(phase) + colour + turning)


def _trail(begin: _Floats, end: _Floats) -> tuple[_Floats, _Floats]:
    """Length in arcseconds and position angle east of north, degrees in 0 to 180, of the way between two directions."""
    ra = np.arctan2(begin[:, 1], begin[:, 0])
    dec = np.arctan2(begin[:, 2], np.hypot(begin[:, 0], begin[:, 1]))
    a = begin / np.linalg.norm(begin, axis=1, keepdims=True)
    way = end / np.linalg.norm(end, axis=1, keepdims=True) - a
    east = -way[:, 0] * np.sin(ra) + way[:, 1] * np.cos(ra)
    north = (-way[:, 0] * np.cos(ra) - way[:, 1] * np.sin(ra)) * np.sin(dec) + way[:, 2] * np.cos(dec)
    return np.degrees(np.hypot(east, north)) * 3600, np.degrees(np.arctan2(east, north)) % 180.0


def _place(
    rows: NDArray[np.void], line: _Floats, ratio: _Floats, length: _Floats, angle: _Floats, random: _Random
) -> None:
    """Fill positions with their noise: a trail's place along itself is known less well."""
    across = astrometric_sigma_arcsec(ratio)
    # The centroid of a uniform trail has the deviation of a uniform distribution over S/N.
    along = np.hypot(across, length / np.sqrt(12) / ratio)
    s, c = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    da, dc = along * random.normal(size=len(rows)), across * random.normal(size=len(rows))
    ra = np.degrees(np.arctan2(line[:, 1], line[:, 0])) % 360.0
    dec = np.degrees(np.arctan2(line[:, 2], np.hypot(line[:, 0], line[:, 1])))
    rows["ra"], rows["dec"] = displaced(ra, dec, da * s + dc * c, da * c - dc * s)
    rows["ra_err_arcsec"], rows["dec_err_arcsec"] = np.hypot(along * s, across * c), np.hypot(along * c, across * s)


def _measure_trails(
    rows: NDArray[np.void], ratio: _Floats, length: _Floats, angle: _Floats, fwhm: float, random: _Random
) -> None:
    """Fill the trails that are longer than the image is wide; shorter ones are not told from a point."""
    sigma = fwhm / ratio
    measured = length + sigma * random.normal(size=len(rows))
    turned = angle + np.degrees(sigma / np.maximum(length, fwhm)) * random.normal(size=len(rows))
    trailed = measured > fwhm
    rows["trail_length_arcsec"] = np.where(trailed, measured, 0.0)
    rows["trail_angle_deg"] = np.where(trailed, turned % 180.0, 0.0)
