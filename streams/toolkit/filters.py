"""The search that a person types and a program sends: the same parameters for pages, API and live lists."""

from __future__ import annotations

import math
import re
from typing import Annotated

from fastapi import Query

from streams.views.errors import RequestError
from streams.views.queries import AlertSearch
from streams.views.rows import AlertRow
from streams.views.sky import Cone, parse_position, separation_arcsec

__all__ = ["BANDS", "Filters", "cursor_of", "matches", "search_of"]

BANDS = "ugrizy"

_IDENTIFIER = re.compile(r"^(?:LSST-AP-D[SO]-)?(\d{1,19})$", re.IGNORECASE)
"""A number alone, or with the prefix that Rubin gives to DIASources and DIAObjects."""

DEFAULT_RADIUS_ARCSEC = 10.0


class Filters:
    """Parameters of a search in an address; all are optional."""

    def __init__(
        self,
        q: Annotated[str, Query(description="id of an alert or object, or a position", max_length=80)] = "",
        radius: Annotated[str, Query(description="about the position, arcseconds", max_length=20)] = "",
        band: Annotated[list[str] | None, Query(description="one or more of u g r i z y")] = None,
        mjd_min: Annotated[str, Query(description="MJD TAI", max_length=20)] = "",
        mjd_max: Annotated[str, Query(description="MJD TAI", max_length=20)] = "",
        snr_min: Annotated[str, Query(description="least S/N on the difference image", max_length=20)] = "",
        visit: Annotated[str, Query(description="visit", max_length=20)] = "",
    ) -> None:
        self.q, self.radius = q.strip(), radius.strip()
        self.band = [one for one in (band or []) if one]
        self.mjd_min, self.mjd_max, self.snr_min, self.visit = mjd_min, mjd_max, snr_min, visit

    @property
    def any(self) -> bool:
        """Whether anything restricts the search."""
        return any((self.q, self.band, self.mjd_min, self.mjd_max, self.snr_min, self.visit))


def search_of(filters: Filters, *, before: str = "", limit: int = 50) -> AlertSearch:
    """Return the search of some filters.

    Raises
    ------
    RequestError
        When one of them makes no sense; the sentence names it.
    """
    identifier, cone = None, None
    if filters.q:
        match = _IDENTIFIER.match(filters.q)
        if match:
            identifier = int(match[1])
        else:
            ra, dec = parse_position(filters.q)
            radius = _real(filters.radius, "search radius")
            cone = Cone(ra=ra, dec=dec, radius_arcsec=DEFAULT_RADIUS_ARCSEC if radius is None else radius)
    if identifier is not None and identifier >= 1 << 63:
        raise RequestError(f"{identifier} is no identifier: identifiers have 63 bits.")
    unknown = [band for band in filters.band if band not in BANDS or len(band) != 1]
    if unknown:
        raise RequestError(f"'{unknown[0]}' is no band; the bands are u, g, r, i, z and y.")
    return AlertSearch(
        identifier=identifier,
        cone=cone,
        bands=tuple(filters.band),
        mjd_min=_real(filters.mjd_min, "earliest time"),
        mjd_max=_real(filters.mjd_max, "latest time"),
        snr_min=_real(filters.snr_min, "least S/N"),
        visit=_visit(filters.visit),
        before=_cursor(before),
        limit=limit,
    )


def matches(row: AlertRow, search: AlertSearch) -> bool:
    """Tell whether an alert is one that a search would find, wherever its page begins."""
    if search.identifier is not None and search.identifier not in (row.alert_id, row.object_id):
        return False
    if search.bands and row.band not in search.bands:
        return False
    if search.visit is not None and row.visit != search.visit:
        return False
    if search.snr_min is not None and not (row.snr is not None and row.snr >= search.snr_min):
        return False
    if not (search.mjd_min or float("-inf")) <= row.mjd <= (search.mjd_max or float("inf")):
        return False
    cone = search.cone
    return cone is None or separation_arcsec(row.ra, row.dec, cone.ra, cone.dec) <= cone.radius_arcsec


def cursor_of(row: AlertRow) -> str:
    """Return where the page after this alert begins."""
    return f"{row.mjd!r}_{row.alert_id}"


def _cursor(text: str) -> tuple[float, int] | None:
    if not text:
        return None
    mjd, _, alert_id = text.partition("_")
    try:
        return float(mjd), int(alert_id)
    except ValueError:
        raise RequestError(f"'{text}' is no beginning of a page.") from None


def _visit(text: str) -> int | None:
    if not text.strip():
        return None
    if not re.fullmatch(r"\d{1,18}", text.strip()):
        raise RequestError(f"A visit is named by a number such as 2027011500010, which '{text}' is not.")
    return int(text)


def _real(text: str, name: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        raise RequestError(f"The {name} is a number, which '{text}' is not.") from None
    if not math.isfinite(value) or value < 0:
        raise RequestError(f"The {name} is a finite number from 0 up, which '{text}' is not.")
    return value
