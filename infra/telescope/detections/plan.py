"""Which visits a survey has: fields along the ecliptic near opposition, two visits a field and night, every third night."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.telescope.chance import generator
from infra.telescope.detections.errors import SurveyError
from infra.telescope.detections.kepler import TO_EQUATOR
from infra.telescope.detections.solar_system import Ephemeris, tdb_of
from schemas.ids import visit_id

__all__ = ["BANDS", "VISIT", "SurveySettings", "begin_mjd_tai", "opposition_longitude", "plan_visits"]

_Floats = NDArray[np.float64]

BANDS = "ugrizy"
"""The bands, in the order of their numbers."""

DEPTHS = np.array([23.70, 24.97, 24.52, 24.13, 23.56, 22.55])
"""Five-sigma magnitude of one 30 s visit at the zenith in median seeing, by band (SMTN-002)."""

VISIT = np.dtype(
    [
        ("visit", "<i8"),
        ("day_obs", "<i4"),
        ("midpoint_mjd_tai", "<f8"),
        ("exposure_time_s", "<f4"),
        ("band", "u1"),
        ("ra", "<f8"),
        ("dec", "<f8"),
        ("rotation_deg", "<f4"),
        ("radius_deg", "<f4"),
        ("fwhm_arcsec", "<f4"),
        ("depth_mag", "<f4"),
    ]
)
"""One visit: pointing in degrees ICRS, rotation east of north, radius of the round field, five-sigma depth."""

FIELDS = {"S": (3, 2), "M": (8, 3), "L": (8, 3)}
"""Fields along and across the ecliptic."""

EVERY = 3
"""Nights between two visits' pairs of a field: the main survey returns in about three nights (LSST Science Book, 2.1)."""

SPACING_DEG, RADIUS_DEG = 3.0, 1.748
"""Between field centres; of the field of view: 9.6 square degrees."""

PAIR_GAP_MINUTES = 33.0
"""Between the visits of a pair, in another band (Bianco et al. 2022, ApJS 258, 1)."""

EXPOSURE_S, CADENCE_S = 30.0, 39.0

_PAIRS = ((1, 2), (2, 3), (3, 4), (2, 2), (3, 3))
"""Bands of the two visits of a pair: g-r, r-i, i-z, r-r, i-i."""

_PAIR_WEIGHTS = (0.25, 0.4, 0.15, 0.1, 0.1)
_MJD_ORIGIN = dt.date(1858, 11, 17)
_SITE_MIDNIGHT_DAYS = 0.1965
"""Midnight by the Sun at Cerro Pachon, 70.75 degrees west, as a fraction of the UTC day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveySettings:
    """What survey to make."""

    size: str = "S"
    variant: str = "plain"
    seed: int = 1
    nights: int = 14
    begin_day_obs: int = 20260921
    observatory: str = "X05"

    def __post_init__(self) -> None:
        """Refuse what no survey can be.

        Raises
        ------
        SurveyError
            When the size or variant is unknown, the seed negative or the nights fewer than one or more than sixty.
        """
        if self.size not in FIELDS:
            raise SurveyError(f"There is no survey of size {self.size!r}; there are {', '.join(FIELDS)}.")
        if self.variant not in ("plain", "hard"):
            raise SurveyError(f"A survey is plain or hard, not {self.variant!r}.")
        if not 1 <= self.nights <= 60:
            raise SurveyError(f"A survey has 1 to 60 nights, not {self.nights}.")
        if self.seed < 0:
            raise SurveyError(f"A seed is not negative: {self.seed}.")
        begin_mjd_tai(self.begin_day_obs)

    @property
    def hard(self) -> bool:
        """Whether gaps, masks, blends and lost nights take detections."""
        return self.variant == "hard"


def begin_mjd_tai(day_obs: int) -> float:
    """Return the site's midnight of a night.

    Raises
    ------
    SurveyError
        When the number is no date.
    """
    try:
        day = dt.datetime.strptime(str(day_obs), "%Y%m%d").date()
    except ValueError as error:
        raise SurveyError(f"A night is a date YYYYMMDD, not {day_obs}.") from error
    return (day - _MJD_ORIGIN).days + 1 + _SITE_MIDNIGHT_DAYS


def opposition_longitude(mjd_tai: float, ephemeris: Ephemeris) -> float:
    """Return the ecliptic longitude opposite to the Sun, radians: that of the Earth seen from the Sun."""
    tdb = tdb_of(mjd_tai)
    earth = (ephemeris.states("Earth", tdb) - ephemeris.states("Sun", tdb))[0, :3]
    x, y, _ = TO_EQUATOR.T @ earth
    return float(np.arctan2(y, x))


def plan_visits(settings: SurveySettings, longitude: float) -> NDArray[np.void]:
    """Plan the visits in order of time, dtype ``VISIT``.

    The fields stand about a place near opposition that depends on the seed; each night takes every third of them, twice.
    The hard variant loses about one night in seven, but never so many that fewer than three are left of five or more.
    """
    centres = _centres(settings, longitude)
    lost = _lost_nights(settings)
    nights = [
        _night(settings, night, centres[night % EVERY :: EVERY])
        for night in range(settings.nights)
        if night not in lost
    ]
    return np.concatenate(nights) if nights else np.zeros(0, VISIT)


def _centres(settings: SurveySettings, longitude: float) -> _Floats:
    """Equatorial unit vectors of the fields, neighbours in longitude on different nights."""
    along, across = FIELDS[settings.size]
    random = generator(settings.seed, "fields")
    middle = longitude + np.radians(random.uniform(-6, 6)), np.radians(random.uniform(-1, 1))
    steps = np.radians(SPACING_DEG)
    lon = middle[0] + (np.arange(along) - (along - 1) / 2) * steps
    lat = middle[1] + (np.arange(across) - (across - 1) / 2) * steps
    grid = np.array([(a, b) for b in lat for a in lon])
    unit = np.stack(
        [np.cos(grid[:, 1]) * np.cos(grid[:, 0]), np.cos(grid[:, 1]) * np.sin(grid[:, 0]), np.sin(grid[:, 1])], axis=1
    )
    return np.asarray(unit @ TO_EQUATOR.T)


def _lost_nights(settings: SurveySettings) -> frozenset[int]:
    if not settings.hard:
        return frozenset()
    allowed = min(round(settings.nights / 7), max(0, settings.nights - 3))
    chosen = generator(settings.seed, "clouds").choice(settings.nights, allowed, replace=False)
    return frozenset(int(night) for night in chosen)


def _night(settings: SurveySettings, night: int, centres: _Floats) -> NDArray[np.void]:
    random = generator(settings.seed, "night", night)
    midnight = begin_mjd_tai(settings.begin_day_obs) + night
    day_obs = int((_MJD_ORIGIN + dt.timedelta(days=int(midnight) - 1)).strftime("%Y%m%d"))
    first = midnight + random.uniform(-2.0, 1.0) / 24
    bands = _PAIRS[random.choice(len(_PAIRS), p=_PAIR_WEIGHTS)]
    pointings = np.array([_dithered(centre, random) for centre in centres])
    rows = np.zeros(2 * len(centres), VISIT)
    for turn in range(2):
        own = rows[turn * len(centres) : (turn + 1) * len(centres)]
        start = first + turn * max(PAIR_GAP_MINUTES / 1440, len(centres) * CADENCE_S / 86400)
        own["midpoint_mjd_tai"] = start + np.arange(len(centres)) * CADENCE_S / 86400
        own["band"] = bands[turn]
        own["ra"], own["dec"] = pointings[:, 0], pointings[:, 1]
        own["rotation_deg"] = random.uniform(0, 90)
        own["fwhm_arcsec"] = random.uniform(0.7, 1.1)
        own["depth_mag"] = DEPTHS[bands[turn]] + random.normal(-0.1, 0.12, len(centres))
    rows["exposure_time_s"], rows["radius_deg"], rows["day_obs"] = EXPOSURE_S, RADIUS_DEG, day_obs
    rows["visit"] = [visit_id(day_obs, sequence) for sequence in range(1, len(rows) + 1)]
    return rows


def _dithered(centre: _Floats, random: np.random.Generator) -> tuple[float, float]:
    """Right ascension and declination of a centre moved up to half a degree, degrees."""
    radius, angle = 0.5 * np.sqrt(random.uniform()), random.uniform(0, 2 * np.pi)
    ra, dec = np.degrees(np.arctan2(centre[1], centre[0])), np.degrees(np.arcsin(centre[2]))
    moved = dec + radius * np.sin(angle)
    return float((ra + radius * np.cos(angle) / np.cos(np.radians(moved))) % 360), float(moved)
