"""Positions as people write and read them, and distances on the sphere; no catalogue library is loaded for them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from streams.views.errors import RequestError

__all__ = ["Cone", "galactic", "parse_position", "separation_arcsec", "sexagesimal"]

_GALACTIC = (
    (-0.0548755604162154, -0.8734370902348850, -0.4838350155487132),
    (0.4941094278755837, -0.4448296299600112, 0.7469822444972189),
    (-0.8676661490190047, -0.1980763734312015, 0.4559837761750669),
)
"""Rotation from ICRS to galactic axes (Hipparcos catalogue, ESA SP-1200, volume 1, section 1.5.3)."""

_NUMBER = r"[+-]?\d+(?:\.\d*)?"
_DEGREES = re.compile(rf"^({_NUMBER})[d°]?[\s,]+({_NUMBER})[d°]?$")
_SEXAGESIMAL = re.compile(
    r"^(\d{1,2})[h:\s]\s*(\d{1,2})[m:′'\s]\s*(\d{1,2}(?:\.\d*)?)s?[\s,]*"
    r"([+−-]?)(\d{1,2})[d°:\s]\s*(\d{1,2})[m:′'\s]\s*(\d{1,2}(?:\.\d*)?)[s″\"]?$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cone:
    """A circle on the sky, degrees (ICRS) and arcseconds."""

    ra: float
    dec: float
    radius_arcsec: float


def parse_position(text: str) -> tuple[float, float]:
    """Return right ascension and declination in degrees.

    Parameters
    ----------
    text
        Decimal degrees (``359.999 -1.25``) or sexagesimal hours and degrees (``23:59:59.8 -01:15:00``, ``23h59m59.8s
        -1d15m0s``), with blanks or a comma between the two.

    Raises
    ------
    RequestError
        When the text is neither or lies off the sphere.
    """
    cleaned = text.strip().replace("−", "-")
    if match := _DEGREES.match(cleaned):
        return _checked(float(match[1]), float(match[2]), text)
    if match := _SEXAGESIMAL.match(cleaned):
        hours, degrees = (_sixtieths(match, first) for first in (1, 5))
        return _checked(15 * hours, -degrees if match[4] == "-" else degrees, text)
    raise RequestError(f"'{text}' is no position; write degrees as '359.999 -1.25' or '23:59:59.8 -01:15:00'.")


def sexagesimal(ra: float, dec: float) -> str:
    """Return a position as hours and degrees, to 0.01 s and 0.1 arcsecond."""
    hours = _divide(round(ra % 360.0 / 15 * 360_000) % (24 * 360_000), 100, 2)
    degrees = _divide(round(abs(dec) * 36_000), 10, 1)
    return f"{hours} {'-' if dec < 0 else '+'}{degrees}"


def galactic(ra: float, dec: float) -> tuple[float, float]:
    """Return galactic longitude and latitude in degrees."""
    vector = _unit(ra, dec)
    x, y, z = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in _GALACTIC)
    return math.degrees(math.atan2(y, x)) % 360.0, math.degrees(math.asin(max(-1.0, min(1.0, z))))


def separation_arcsec(ra1: float, dec1: float, ra2: float, dec2: float) -> float:
    """Return the angle between two positions in arcseconds, exact for small and large ones."""
    a, b = _unit(ra1, dec1), _unit(ra2, dec2)
    cross = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    return math.degrees(math.atan2(math.hypot(*cross), dot)) * 3600


def _unit(ra: float, dec: float) -> tuple[float, float, float]:
    a, d = math.radians(ra), math.radians(dec)
    return math.cos(d) * math.cos(a), math.cos(d) * math.sin(a), math.sin(d)


def _sixtieths(match: re.Match[str], first: int) -> float:
    minutes, seconds = int(match[first + 1]), float(match[first + 2])
    if minutes >= 60 or seconds >= 60:
        raise RequestError(f"'{match[0]}' is no position: minutes and seconds stay below 60.")
    return int(match[first]) + minutes / 60 + seconds / 3600


def _checked(ra: float, dec: float, text: str) -> tuple[float, float]:
    if not 0 <= ra <= 360 or not -90 <= dec <= 90:
        raise RequestError(f"'{text}' lies off the sphere: right ascension 0 to 360, declination -90 to 90 degrees.")
    return ra % 360.0, dec


def _divide(count: int, per_second: int, digits: int) -> str:
    seconds, fraction = divmod(count, per_second)
    minutes, second = divmod(seconds, 60)
    whole, minute = divmod(minutes, 60)
    return f"{whole:02d}:{minute:02d}:{second:02d}.{fraction:0{digits}d}"
