"""Orbits fitted by hand: to the observations of a file, or again to what a stored object holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.ephemerides import load_solar_system, observatory
from processors.moving_objects.ades_report import utc_texts
from processors.moving_objects.arcs import arcs
from processors.moving_objects.cometary import cometary_elements, element_sigmas
from processors.moving_objects.discoveries import absolute_magnitudes
from processors.moving_objects.link_rules import link_qualities, reasons_against
from processors.moving_objects.observations import Observations
from processors.moving_objects.observers import observer_states
from processors.moving_objects.orbit_fit import (
    CONSTRAINED,
    CONVERGED,
    STALLED,
    UNDETERMINED,
    UNUSABLE,
    OrbitFits,
    fit_many,
)
from processors.moving_objects.orbit_fit_nbody import refine
from processors.moving_objects.solar_system import SolarSystem, sun_velocities
from processors.moving_objects.timescales import tdb_from_tai
from schemas.errors import PermanentFailure

__all__ = ["FittedOrbit", "NothingToFitError", "fit_observations", "fitted_record"]

Floats = NDArray[np.float64]

STATUS = {
    CONVERGED: "converged",
    CONSTRAINED: "converged with the prior that the orbit is bound",
    UNUSABLE: "fewer than three usable detections at three times",
    STALLED: "did not converge",
    UNDETERMINED: "the detections do not determine an orbit",
}
"""What the fits' codes mean to people."""


class NothingToFitError(PermanentFailure):
    """There is no observation to fit an orbit to."""

    code = "nothing_to_fit"


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedOrbit:
    """One object's orbit and how well it fits."""

    name: str
    status: str
    ok: bool
    epoch_mjd_tdb: float
    state: Floats
    """``(6,)`` heliocentric ICRF, au and au/day; NaN without an orbit."""
    covariance: Floats
    elements: Any
    """One row of `cometary.ELEMENTS`."""
    sigmas: Any
    """The same, one-sigma errors."""
    h: float
    chi2: float
    dof: int
    rms_arcsec: float
    minima: int
    reasons: tuple[str, ...]
    """Why the Minor Planet Center's rules for links would not take it; empty where they would."""
    detections: NDArray[Any]
    """By time."""
    stations: tuple[str, ...]
    residuals_arcsec: Floats
    """``(n, 2)`` observed less computed, east and north."""
    used: NDArray[np.bool_]


def fit_observations(
    observations: Observations, *, code: str, nbody: bool = True, outlier_sigmas: float = 0.0, name: str | None = None
) -> list[FittedOrbit]:
    """Fit an orbit to each object of some observations, in order of their names.

    Parameters
    ----------
    observations
        Detections with the objects and stations they name.
    code
        Observatory of those that name none.
    nbody
        Let the planets and the Moon pull; two-body motion otherwise.
    outlier_sigmas
        Set detections aside that stand out by more; 0 keeps all.
    name
        Take all observations as this one object's, whatever they name.

    Raises
    ------
    NothingToFitError
        When there are no observations.
    UnknownObservatoryError, EphemerisSpanError
        When a station is not known, or a time lies outside the planetary ephemeris.
    """
    rows = observations.detections
    if not len(rows):
        raise NothingToFitError("There is no observation to fit an orbit to.")
    names = np.full(len(rows), name) if name else observations.names
    order = np.lexsort((rows["detection_id"], rows["midpoint_mjd_tai"], names))
    rows, names = rows[order], names[order]
    stations = np.array([station or code for station in observations.stations[order].tolist()])
    unique, begin = np.unique(names, return_index=True)
    offsets = np.append(begin, len(rows)).astype(np.int64)
    times = tdb_from_tai(rows["midpoint_mjd_tai"])
    solar_system = load_solar_system(float(times.min()), float(times.max()))
    observers = _observers(solar_system, stations, rows["midpoint_mjd_tai"])
    grouped = arcs(
        rows, offsets, mjd_tdb=times, observers=observers, sun_velocities=sun_velocities(solar_system, times)
    )
    fits = fit_many(grouped, outlier_sigmas=outlier_sigmas)
    if nbody:
        fits = refine(grouped, fits, solar_system=solar_system, outlier_sigmas=outlier_sigmas)
    magnitudes = absolute_magnitudes(rows, offsets, fits, observers=observers, solar_system=solar_system)
    reasons = [tuple(reasons_against(quality)) for quality in link_qualities(grouped, fits)]
    return [
        _orbit(k, str(unique[k]), fits, (rows, stations), slice(offsets[k], offsets[k + 1]), magnitudes[k], reasons[k])
        for k in range(len(unique))
    ]


def _observers(solar_system: SolarSystem, stations: NDArray[np.str_], mjd_tai: Floats) -> Floats:
    states = np.empty((len(stations), 6))
    for station in np.unique(stations).tolist():
        mine = stations == station
        states[mine] = observer_states(solar_system, observatory(station), mjd_tai[mine])
    return states


def _orbit(
    k: int,
    name: str,
    fits: OrbitFits,
    observed: tuple[NDArray[Any], NDArray[np.str_]],
    own: slice,
    magnitude: float,
    reasons: tuple[str, ...],
) -> FittedOrbit:
    state, epoch, covariance = fits.states[k : k + 1], fits.epochs_mjd_tdb[k : k + 1], fits.covariances[k : k + 1]
    return FittedOrbit(
        name=name,
        status=STATUS[int(fits.status[k])],
        ok=bool(fits.ok[k]),
        epoch_mjd_tdb=float(epoch[0]),
        state=state[0],
        covariance=covariance[0],
        elements=cometary_elements(state, epoch)[0],
        sigmas=element_sigmas(state, epoch, covariance)[0],
        h=float(magnitude),
        chi2=float(fits.chi2[k]),
        dof=int(fits.dof[k]),
        rms_arcsec=float(fits.rms_arcsec[k]),
        minima=int(fits.minima[k]),
        reasons=reasons,
        detections=observed[0][own],
        stations=tuple(observed[1][own].tolist()),
        residuals_arcsec=fits.residuals_arcsec[own],
        used=fits.used[own],
    )


def fitted_record(orbit: FittedOrbit) -> dict[str, Any]:
    """Return what a program is told of a fit; null for what is not known."""
    names = orbit.elements.dtype.names or ()
    times = utc_texts(orbit.detections["midpoint_mjd_tai"])
    return {
        "name": orbit.name,
        "status": orbit.status,
        "epoch_mjd_tdb": _finite(orbit.epoch_mjd_tdb),
        "elements": {
            name: {"value": _finite(orbit.elements[name]), "sigma": _finite(orbit.sigmas[name])} for name in names
        },
        "h": _finite(orbit.h),
        "chi2": _finite(orbit.chi2),
        "dof": orbit.dof,
        "rms_arcsec": _finite(orbit.rms_arcsec),
        "minima": orbit.minima,
        "reportable": not orbit.reasons,
        "reasons": list(orbit.reasons),
        "observations": [
            {
                "utc": time,
                "station": station,
                "residual_ra_arcsec": _finite(residual[0]),
                "residual_dec_arcsec": _finite(residual[1]),
                "sigma_ra_arcsec": _finite(row["ra_err_arcsec"]),
                "sigma_dec_arcsec": _finite(row["dec_err_arcsec"]),
                "used": bool(used),
            }
            for time, station, residual, row, used in zip(
                times, orbit.stations, orbit.residuals_arcsec, orbit.detections, orbit.used, strict=True
            )
        ],
    }


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
