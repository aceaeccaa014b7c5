"""An asteroid that nobody knows, observed where astropy's Earth and a straight line put it."""

from __future__ import annotations

from typing import Any

import erfa  # type: ignore[import-untyped]
import numpy as np

from infra.ephemerides import observatory
from tests.support.association_cases import FIRST_MJD, detector_result, midpoint_of, source_rows, visit_number
from tests.support.corrections import STATE, LoggedNight

EARTH_RADIUS_AU = 6378.137 / 149597870.7
LIGHT_DAYS_PER_AU = 499.004783836 / 86400.0
TDB_LESS_TAI_DAYS = 32.184 / 86400.0
UTC_LESS_TAI_DAYS = -37.0 / 86400.0


def asteroid_night(visits: int = 3, code: str = "X05") -> tuple[LoggedNight, list[int]]:
    """Return a night whose visits each saw the asteroid of ``corrections.orbit``, and its DIASources."""
    night, found = LoggedNight(), []
    for index in range(visits):
        visit, mjd = visit_number(index), midpoint_of(index)
        ra, dec = place(mjd, code)
        rows = source_rows([ra], [dec], visit=visit, mjd=mjd)
        night.decide(visit, [detector_result(rows, visit=visit, mjd=mjd)], band="r")
        found.append(int(rows["diaSourceId"][0]))
    return night, found


def place(mjd_tai: float, code: str) -> tuple[float, float]:
    """Return where the asteroid is seen: right ascension and declination, degrees."""
    tdb = mjd_tai + TDB_LESS_TAI_DAYS
    earth, _ = erfa.epv00(2400000.5, tdb)
    observer = np.asarray(earth["p"], np.float64) + _site(mjd_tai, code)
    state = np.array(STATE)
    delay = 0.0
    for _ in range(3):
        seen = state[:3] + state[3:] * (tdb - delay - FIRST_MJD) - observer
        delay = float(np.linalg.norm(seen)) * LIGHT_DAYS_PER_AU
    x, y, z = seen
    return float(np.degrees(np.arctan2(y, x)) % 360.0), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


def _site(mjd_tai: float, code: str) -> np.ndarray[Any, Any]:
    site, utc, tt = observatory(code), mjd_tai + UTC_LESS_TAI_DAYS, mjd_tai + TDB_LESS_TAI_DAYS
    turn = np.asarray(erfa.c2t06a(2400000.5, tt, 2400000.5, utc, 0.0, 0.0))
    longitude = np.radians(site.longitude_deg)
    cosine, sine = site.rho_cos_phi, site.rho_sin_phi
    return (
        np.asarray(turn.T @ np.array([cosine * np.cos(longitude), cosine * np.sin(longitude), sine])) * EARTH_RADIUS_AU
    )
