"""Elements as `mpc_orbits` names them, on any conic, what follows from them, and how sure they are.

Heliocentric, ecliptic of J2000. States become elements in `elements`; here they get their public names, errors and classes.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.elements import conic_elements, elements_of, to_ecliptic

__all__ = ["ELEMENTS", "cometary_elements", "element_sigmas", "orbit_types", "tisserand_jupiter", "uncertainty_codes"]

Floats = NDArray[np.float64]
Array = np.ndarray[Any, Any]

ELEMENTS = np.dtype(
    [
        (name, "<f8")
        for name in (
            "q",
            "e",
            "i",
            "node",
            "argperi",
            "peri_time",
            "a",
            "mean_anomaly",
            "period",
            "mean_motion",
        )
    ]
)
"""Names and units of mpc_orbits: au, degrees, days, MJD TDB. Of open orbits the last three are NaN, of a parabola ``a`` too."""

JUPITER_A_AU = 5.204
"""Semi-major axis by which the Minor Planet Center classifies orbits."""

NEPTUNE_A_AU = 30.178
"""Of the same page ("Orbit Type Definition")."""

MARS_Q_AU = 1.405
"""Of the same page."""

_COLUMNS = len(ELEMENTS.names or ())
_PERI_TIME = (ELEMENTS.names or ()).index("peri_time")
_PARABOLA = 1e-9
_STEP = 1e-7

_SAME = {
    "q": "q_au", "e": "e", "i": "i_deg", "node": "node_deg", "argperi": "argperi_deg", "peri_time": "peri_mjd_tdb",
    "a": "a_au", "mean_anomaly": "mean_anomaly_deg", "period": "period_days",
}  # fmt: skip
"""Names here and in `elements`, which does the work."""


def cometary_elements(states: Floats, epoch_mjd_tdb: Floats) -> Array:
    """Return the elements of states, dtype ``ELEMENTS``.

    Of a closed orbit the perihelion nearest in time is given. In the plane of the ecliptic the node is put at longitude 0, on
    a circle the perihelion at the node. What is within 1e-9 of a parabola is one.

    Parameters
    ----------
    states
        ``(n, 6)``, heliocentric, ICRF axes, au and au/day; a row with NaN gives NaN.
    """
    found = elements_of(states, epoch_mjd_tdb)
    rows = np.zeros(len(found), ELEMENTS)
    for name, theirs in _SAME.items():
        rows[name] = found[theirs]
    is_open = ~(rows["e"] < 1.0 - _PARABOLA)
    for name in ("mean_anomaly", "period"):
        rows[name][is_open] = np.nan
    rows["a"][np.abs(1.0 - rows["e"]) <= _PARABOLA] = np.nan
    rows["mean_motion"] = 360.0 / rows["period"]
    return rows


def element_sigmas(states: Floats, epoch_mjd_tdb: Floats, covariances: Floats) -> Array:
    """Return the one-sigma errors of the elements, dtype ``ELEMENTS``, NaN where the covariance is not known.

    To first order, by central differences along the six components.
    """
    variances = np.empty((len(states), len(ELEMENTS.names or ())))
    ecliptic, turn = to_ecliptic(states), to_ecliptic(np.eye(6))
    # Covariances turned as the states are: the rows of ``turn`` are the axes.
    turned = turn.T @ np.asarray(covariances, np.float64).reshape(-1, 6, 6) @ turn
    epochs = np.ascontiguousarray(np.broadcast_to(epoch_mjd_tdb, (len(states),)), np.float64)
    _write_variances(np.ascontiguousarray(ecliptic), epochs, np.ascontiguousarray(turned), variances)
    return np.sqrt(np.maximum(variances, 0.0)).view(ELEMENTS).reshape(-1)


@numba.njit(cache=True, error_model="numpy")
def _write_variances(states: Floats, epochs: Floats, covariances: Floats, out: Floats) -> None:
    """Write the variances of the elements of ecliptic states; NaN where an element or the covariance is."""
    middle, after, before, state = np.empty(_COLUMNS), np.empty(_COLUMNS), np.empty(_COLUMNS), np.empty(6)
    partials = np.empty((_COLUMNS, 6))
    for n in range(len(states)):
        _public(states[n], epochs[n], middle)
        for k in range(6):
            first = 3 * (k // 3)
            step = _STEP * np.sqrt(states[n, first] ** 2 + states[n, first + 1] ** 2 + states[n, first + 2] ** 2)
            state[:] = states[n]
            state[k] += step
            _public(state, epochs[n], after)
            state[k] = states[n, k] - step
            _public(state, epochs[n], before)
            for j in range(_COLUMNS):
                partials[j, k] = (_beside(middle, after, j) - _beside(middle, before, j)) / (2 * step)
        for j in range(_COLUMNS):
            total = 0.0
            for k in range(6):
                for m in range(6):
                    total += partials[j, k] * covariances[n, k, m] * partials[j, m]
            out[n, j] = total


@numba.njit(cache=True, error_model="numpy", inline="always")
def _public(state: Floats, epoch: float, out: Floats) -> None:
    """Write the elements of an ecliptic state in the order of ``ELEMENTS``."""
    found = np.empty(10)
    found[0] = epoch
    conic_elements(state, found)
    is_open = not found[2] < 1.0 - _PARABOLA
    for j in range(6):
        out[j] = found[j + 1]
    out[6] = np.nan if abs(1.0 - found[2]) <= _PARABOLA else found[7]
    out[7], out[8] = (np.nan, np.nan) if is_open else (found[8], found[9])
    out[9] = 360.0 / out[8]


@numba.njit(cache=True, error_model="numpy", inline="always")
def _beside(middle: Floats, elements: Floats, j: int) -> float:
    """Return one of the elements less that of a neighbour.

    Angles go the short way; the perihelion is the one nearest to the neighbour's, for at aphelion the two may have taken different
    ones.
    """
    change = elements[j] - middle[j]
    if j in (2, 3, 4, 7):
        return float((change + 180.0) % 360.0 - 180.0)
    # An open orbit has one perihelion: no period that could be lost.
    if j == _PERI_TIME and np.isfinite(elements[8]):
        return float(change - np.rint(change / elements[8]) * elements[8])
    return float(change)


def tisserand_jupiter(elements: Array) -> Floats:
    """Return the Tisserand parameter with respect to Jupiter, its own orbit taken as a circle in the ecliptic."""
    e, q = elements["e"], elements["q"]
    inverse = (1 - e) / q
    return np.asarray(
        JUPITER_A_AU * inverse + 2 * np.cos(np.radians(elements["i"])) * np.sqrt(q * (1 + e) / JUPITER_A_AU)
    )


def orbit_types(elements: Array) -> NDArray[np.int32]:
    """Return the Minor Planet Center's class of each orbit ("Orbit Type Definition"), the first that fits of its table."""
    a, q, e, i = elements["a"], elements["q"], elements["e"], elements["i"]
    aphelion = a * (1 + e)
    tisserand = tisserand_jupiter(elements)
    rules = [
        (~np.isfinite(q), 99),
        (np.abs(e - 1) <= _PARABOLA, 31),
        (e > 1, 30),
        ((a < 1) & (aphelion < 0.983), 0),
        (a < 1, 1),
        (q < 1.017, 2),
        (q < 1.3, 3),
        (aphelion < MARS_Q_AU, 9),
        ((a < 3.2) & (q < 1.666), 10),
        ((a < 3.27831) & (i < 75), 11),
        ((a > 4.8) & (a < 5.4) & (e < 0.3), 12),
        ((tisserand > 2) & (tisserand < 3), 20),
        ((a > 29.8) & (a < 30.4), 21),
        (a < JUPITER_A_AU, 19),
        (a < NEPTUNE_A_AU, 22),
        (a >= NEPTUNE_A_AU, 23),
    ]
    with np.errstate(invalid="ignore"):
        return np.select([rule for rule, _ in rules], [code for _, code in rules], 99).astype(np.int32)


def uncertainty_codes(elements: Array, sigmas: Array) -> NDArray[np.int32]:
    """Return the uncertainty parameter U, 0 to 9, of closed orbits with known errors, -1 of others.

    The drift along the orbit in ten years, in arcseconds, on a logarithmic scale ("Calculation of the orbital uncertainty
    parameter", Minor Planet Center).
    """
    years = elements["period"] / 365.25
    with np.errstate(divide="ignore", invalid="ignore"):
        drift = (sigmas["peri_time"] * elements["e"] + 10 * sigmas["period"] / years) * 0.01720209895
        runoff = np.degrees(drift) / years * 3600 * 3
        codes = np.floor(np.log(runoff) / (np.log(648000.0) / 9)) + 1
    return np.where(np.isfinite(runoff), np.clip(codes, 0, 9), -1).astype(np.int32)
