"""How values look on a page: numbers with units, positions, times, bands."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from typing import Any

from schemas.events import Verdict
from schemas.ids import day_obs_of, sequence_of
from streams.views.sky import galactic, sexagesimal

__all__ = ["FILTERS", "ab_magnitude", "flux_text", "night_text"]

AB_ZERO_POINT = 31.4
"""AB magnitude of 1 nJy (Oke and Gunn 1983: 3631 Jy is magnitude 0)."""


def ab_magnitude(flux: float | None) -> float | None:
    """Return the AB magnitude of a flux in nJy, None where it has none."""
    return AB_ZERO_POINT - 2.5 * math.log10(flux) if flux is not None and flux > 0 else None


def flux_text(flux: float | None, error: float | None = None) -> str:
    """Return a flux with its error, in nJy or, from 10,000 nJy up, in µJy."""
    if flux is None or math.isnan(flux):
        return "–"
    scale, unit = (1000.0, "µJy") if abs(flux) >= 10_000 else (1.0, "nJy")
    digits = 2 if scale > 1 else 0
    tail = "" if error is None or math.isnan(error) else f" ± {error / scale:.{digits}f}"
    return f"{flux / scale:,.{digits}f}{tail} {unit}"


def night_text(day_obs: int | None) -> str:
    """Return a night as a date."""
    if day_obs is None:
        return "no night yet"
    return dt.datetime.strptime(str(day_obs), "%Y%m%d").strftime("%-d %B %Y")


def _magnitude(flux: float | None) -> str:
    magnitude = ab_magnitude(flux)
    return "–" if magnitude is None else f"{magnitude:.2f}"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def _galactic(place: tuple[float, float]) -> str:
    longitude, latitude = galactic(*place)
    return f"l {longitude:.5f}°  b {latitude:+.5f}°"


def _degrees(place: tuple[float, float]) -> str:
    return f"{place[0]:.6f} {place[1]:+.6f}"


def _visit(visit: int) -> str:
    return f"{day_obs_of(visit)} #{sequence_of(visit)}"


def _clock(unix_s: float | None) -> str:
    if not unix_s:
        return "–"
    return dt.datetime.fromtimestamp(unix_s, tz=dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _utc(mjd: float | None) -> str:
    from streams.toolkit.lightcurve import utc_texts

    return "–" if mjd is None else f"{utc_texts([mjd])[0]} UTC"


def _jobs(jobs: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in jobs.items()) or "–"


_VERDICTS = {
    Verdict.UNDECIDED: ("undecided", "nothing was made of it: it may be anything"),
    Verdict.TRACKLET: (
        "tracklet",
        "it moved as a Solar System object could, in a free tracklet that no orbit holds yet",
    ),
    Verdict.LINKED: ("linked", "it is a detection of an object of ours, found by linking nights"),
    Verdict.ATTRIBUTED: ("attributed", "it is a detection of an object that was known before"),
    Verdict.STATIONARY: ("stationary", "it stands still, or recurs at its place: no Solar System object"),
    Verdict.PRECOVERED: ("precovered", "it is a detection, found afterwards, of an object that was discovered later"),
}


_FOUND_LATER = ("found later", "a later night found whose detections these are")


def _verdict(number: int) -> str:
    return (_FOUND_LATER if number < 0 else _VERDICTS[Verdict(number)])[0]


def _verdict_meaning(number: int) -> str:
    return (_FOUND_LATER if number < 0 else _VERDICTS[Verdict(number)])[1]


FILTERS: dict[str, Callable[..., Any]] = {
    "clock": _clock,
    "degrees": _degrees,
    "flux": flux_text,
    "galactic": _galactic,
    "jobs": _jobs,
    "magnitude": _magnitude,
    "night": night_text,
    "number": _number,
    "sexagesimal": lambda place: sexagesimal(*place),
    "utc": _utc,
    "verdict": _verdict,
    "verdict_meaning": _verdict_meaning,
    "visit": _visit,
}
"""Filters of the templates."""
