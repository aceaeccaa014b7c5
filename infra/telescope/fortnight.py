"""The nights before a simulated night, at catalogue level: its asteroids as a survey saw them, among false detections.

Positions are those of the same two-body orbits that the night's pixels show, with astrometric noise by signal-to-noise; a pair of
visits each night, half an hour apart.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.telescope.chance import generator
from infra.telescope.detections.observing import DETECTION
from infra.telescope.known_orbits import absolute_magnitude, is_known
from infra.telescope.orbits import sky_position
from infra.telescope.sky import Asteroid

__all__ = ["fortnight_detections"]

PAIR_DAYS = 33.0 / 1440.0
"""Time between the two visits of a night (the cadence's usual pair)."""

FALSE_PER_VISIT = 20
"""False detections of each visit, within a degree of the field."""

FLOOR_ARCSEC, PER_SNR_ARCSEC = 0.012, 0.7
"""Astrometric error per axis: the floor, and what one over the signal-to-noise adds (moving_objects.md, section 6)."""

DEPTH_MAG = 24.0
"""Magnitude of a signal-to-noise of five."""


def fortnight_detections(
    asteroids: list[Asteroid], seed: int, day_obs: int, mid_night_mjd_tai: float, nights: int = 14
) -> NDArray[Any]:
    """Return detections of the night's unknown asteroids on the nights before it, in order of time; known ones would be explained.

    Parameters
    ----------
    asteroids
        Of the night.
    seed
        Of the sky.
    day_obs, mid_night_mjd_tai
        The night itself, YYYYMMDD, and its middle.
    nights
        How many nights before it.
    """
    parts = []
    for back in range(nights, 0, -1):
        for pair in (0, 1):
            mjd = mid_night_mjd_tai - back + pair * PAIR_DAYS
            random = generator(seed, "fortnight", day_obs, back, pair)
            parts.append(_visit(asteroids, (mjd, mid_night_mjd_tai), _visit_id(day_obs, back, pair), random))
    return np.concatenate(parts)


def _visit_id(day_obs: int, back: int, pair: int) -> int:
    date = dt.date(day_obs // 10_000, day_obs // 100 % 100, day_obs % 100) - dt.timedelta(days=back)
    return int(date.strftime("%Y%m%d")) * 100_000 + 1 + 2 * pair


def _visit(
    asteroids: list[Asteroid], times: tuple[float, float], visit: int, random: np.random.Generator
) -> NDArray[Any]:
    """Detections of a visit; times are its own and that at which the asteroids have the night's brightness."""
    mjd, night = times
    seen = [asteroid for asteroid in asteroids if not is_known(asteroid)]
    rows = np.zeros(len(seen) + FALSE_PER_VISIT, DETECTION)
    places = np.array([sky_position(asteroid.orbit, mjd)[:2] for asteroid in seen]).reshape(-1, 2)
    centre = places.mean(axis=0) if len(places) else np.zeros(2)
    spots = centre + random.uniform(-1.0, 1.0, (FALSE_PER_VISIT, 2))
    bright = [a.mag_r + absolute_magnitude(a, night) - absolute_magnitude(a, mjd) for a in seen]
    magnitude = np.concatenate([bright, random.uniform(21.0, 23.8, FALSE_PER_VISIT)])
    snr = 5.0 * 10 ** (0.4 * (DEPTH_MAG - magnitude))
    error = np.hypot(FLOOR_ARCSEC, PER_SNR_ARCSEC / snr)
    noise = random.normal(size=(2, len(rows))) * error / 3600.0
    every = np.concatenate([places, spots])
    rows["dec"] = every[:, 1] + noise[1]
    rows["ra"] = (every[:, 0] + noise[0] / np.cos(np.radians(every[:, 1]))) % 360.0
    rows["ra_err_arcsec"] = rows["dec_err_arcsec"] = error
    rows["mag"], rows["mag_err"] = magnitude + random.normal(size=len(rows)) * 1.0857 / snr, 1.0857 / snr
    rows["band"], rows["visit"], rows["midpoint_mjd_tai"] = 2, visit, mjd
    rows["detection_id"] = visit * 1000 + np.arange(len(rows))
    return rows
