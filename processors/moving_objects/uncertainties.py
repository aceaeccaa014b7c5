"""How sure a place on the sky is: the error ellipse of a predicted position from the covariance of the state.

Errors of the elements themselves are those of `cometary.element_sigmas`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.apparent import astrometric
from processors.moving_objects.arcs import directions
from processors.moving_objects.constants import ARCSEC_PER_RADIAN
from processors.moving_objects.solar_system import SolarSystem
from processors.moving_objects.variational import Forces, advance, forces_of, no_forces

__all__ = ["SkyEllipses", "carry_covariance", "sky_ellipses"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyEllipses:
    """One-sigma error ellipses on the sky, one for each object; NaN where the orbit or its covariance is.

    Parameters
    ----------
    ra_deg, dec_deg
        ``(n,)`` predicted astrometric place, ICRS.
    covariance_arcsec2
        ``(n, 2, 2)`` of (east on the great circle, north).
    major_arcsec, minor_arcsec
        ``(n,)`` half axes.
    position_angle_deg
        ``(n,)`` of the major axis, east of north, 0 to 180.
    """

    ra_deg: Floats
    dec_deg: Floats
    covariance_arcsec2: Floats
    major_arcsec: Floats
    minor_arcsec: Floats
    position_angle_deg: Floats


@numba.njit(cache=True)
def _carry(states: Floats, covariances: Floats, begin: Floats, end: Floats, forces: Forces, out: Floats) -> None:
    for k in range(states.shape[0]):
        phi = np.eye(6)
        advance(states[k], phi, begin[k], end[k], forces)
        out[k] = phi @ covariances[k] @ phi.T


def carry_covariance(
    states: Floats,
    covariances: Floats,
    *,
    begin_mjd_tdb: Floats | float,
    end_mjd_tdb: Floats | float,
    solar_system: SolarSystem | None = None,
) -> tuple[Floats, Floats]:
    """Return states ``(n, 6)`` and covariances ``(n, 6, 6)`` at another time, by the variational equations.

    Parameters
    ----------
    states, covariances
        Heliocentric ICRF, au and au/day, and their covariances.
    begin_mjd_tdb, end_mjd_tdb
        One time for all or ``(n,)``.
    solar_system
        Bodies that pull beside the Sun; none: two-body motion.
    """
    moved = np.array(states, np.float64).reshape(-1, 6)
    out = np.empty((len(moved), 6, 6))
    begin, end = (
        np.ascontiguousarray(np.broadcast_to(np.asarray(t, np.float64), (len(moved),)))
        for t in (begin_mjd_tdb, end_mjd_tdb)
    )
    forces = no_forces() if solar_system is None else forces_of(solar_system)
    _carry(moved, np.ascontiguousarray(covariances, np.float64), begin, end, forces, out)
    return moved, out


def sky_ellipses(states: Floats, covariances: Floats, *, observer: Floats, sun_velocity: Floats) -> SkyEllipses:
    """Return the error ellipses of astrometric places.

    Parameters
    ----------
    states, covariances
        ``(n, 6)`` and ``(n, 6, 6)`` at the time of observation (`carry_covariance`).
    observer
        ``(6,)`` or ``(n, 6)`` heliocentric state of the observer then.
    sun_velocity
        ``(3,)`` or ``(n, 3)`` barycentric velocity of the Sun then.
    """
    places = astrometric(states, observers=observer, sun_velocities=sun_velocity)
    _, east, north = directions(places.ra_deg, places.dec_deg)
    # The error of the place when the light left is that of now less what the error of the velocity makes in the light time,
    # a part in 1e4 of it, which an ellipse does not need.
    across = np.stack([east, north], axis=1) / places.delta_au[:, None, None]
    sky = across @ covariances[:, :3, :3] @ across.transpose(0, 2, 1) * ARCSEC_PER_RADIAN**2
    half = 0.5 * (sky[:, 0, 0] - sky[:, 1, 1])
    mean, radius = 0.5 * (sky[:, 0, 0] + sky[:, 1, 1]), np.hypot(half, sky[:, 0, 1])
    return SkyEllipses(
        ra_deg=places.ra_deg,
        dec_deg=places.dec_deg,
        covariance_arcsec2=sky,
        major_arcsec=np.sqrt(mean + radius),
        minor_arcsec=np.sqrt(np.maximum(mean - radius, 0.0)),
        position_angle_deg=np.degrees(0.5 * np.arctan2(2.0 * sky[:, 0, 1], -2.0 * half)) % 180.0,
    )
