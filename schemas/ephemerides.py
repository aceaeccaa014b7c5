"""Structures in which an ephemeris file and a list of observatories enter the pipeline: the bodies of the Solar System, a site.

They hold what the files say, in au, days and degrees; `infra.ephemerides` fills them and `processors.moving_objects` reads
them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BODIES", "COLUMNS", "SEGMENTS", "Observatory", "SolarSystem"]

BODIES: tuple[str, ...] = (
    "Sun",
    "Mercury",
    "Venus",
    "Earth",
    "Moon",
    "Mars",
    "Jupiter",
    "Saturn",
    "Uranus",
    "Neptune",
    "Pluto",
)
"""The bodies in their order; Mars and beyond stand for the barycentres of their systems."""

SEGMENTS: tuple[tuple[int, int], ...] = (
    (0, 10),
    (0, 1),
    (0, 2),
    (0, 3),
    (3, 301),
    (0, 4),
    (0, 5),
    (0, 6),
    (0, 7),
    (0, 8),
    (0, 9),
)
"""NAIF numbers (centre, target) of the segments in their order: as the bodies, but the Earth-Moon barycentre for the Earth and
the Moon as seen from that barycentre."""

COLUMNS = 5
"""Numbers per segment of `SolarSystem.layout`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolarSystem:
    """Chebyshev coefficients of the bodies' barycentric positions over a span of time, ICRF axes, au.

    Parameters
    ----------
    begin_mjd_tdb, end_mjd_tdb
        The span in which positions may be asked for.
    layout
        ``(segments, 5)`` float64: begin (MJD TDB), days per record, coefficients per component, records, and where the segment
        begins in ``coefficients``. The first eleven are `SEGMENTS`; what follows are further bodies, heliocentric.
    coefficients
        All coefficients, au: segment by segment, record by record, x, y, z, lowest degree first.
    further_gm
        ``(segments - 11,)`` GM of the further bodies, au^3/day^2.
    """

    begin_mjd_tdb: float
    end_mjd_tdb: float
    layout: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    further_gm: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observatory:
    """Where an observatory stands, as the Minor Planet Center gives it: parallax constants in equatorial Earth radii."""

    code: str
    """Three characters, for instance X05."""
    name: str
    longitude_deg: float
    """East of Greenwich."""
    rho_cos_phi: float
    """Distance from the Earth's axis."""
    rho_sin_phi: float
    """Height above the equator's plane, to the north."""
