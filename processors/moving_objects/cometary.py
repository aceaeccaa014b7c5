"""Cometary elements of states on any conic, what follows from them, and how sure they are.

Heliocentric, ecliptic of J2000. The time from perihelion is Kepler's equation in universal variables started at perihelion
(Danby 1988, chapter 6), which does not care whether the conic is open or closed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2, OBLIQUITY_RADIANS

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

_ANGLES = ("i", "node", "argperi", "mean_anomaly")
_SERIES_BELOW = 0.05
_CIRCLE = 1e-12
_PARABOLA = 1e-9
_STEP = 1e-7


def cometary_elements(states: Floats, epoch_mjd_tdb: Floats) -> Array:
    """Return the elements of states, dtype ``ELEMENTS``.

    Of a closed orbit the perihelion nearest in time is given. In the plane of the ecliptic the node is put at longitude 0, on
    a circle the perihelion at the node.

    Parameters
    ----------
    states
        ``(n, 6)``, heliocentric, ICRF axes, au and au/day; a row with NaN gives NaN.
    """
    c, s = np.cos(OBLIQUITY_RADIANS), np.sin(OBLIQUITY_RADIANS)
    turn = np.array([[1.0, 0.0, 0.0], [0.0, c, s], [0.0, -s, c]])
    r, v = states[:, :3] @ turn.T, states[:, 3:] @ turn.T
    momentum = np.cross(r, v)
    size, distance = _length(momentum), _length(r)
    toward = np.cross(v, momentum) / GM_SUN_AU3_PER_DAY2 - r / distance[:, None]
    e = _length(toward)
    rows = np.zeros(len(states), ELEMENTS)
    rows["e"], rows["q"] = e, size**2 / GM_SUN_AU3_PER_DAY2 / (1 + e)
    tilt = np.hypot(momentum[:, 0], momentum[:, 1])
    node = np.where(tilt == 0, 0.0, np.arctan2(momentum[:, 0], -momentum[:, 1]))
    line = np.stack([np.cos(node), np.sin(node), np.zeros_like(node)], axis=1)
    ahead = np.cross(momentum / size[:, None], line)
    toward = np.where((e > _CIRCLE)[:, None], toward, line)
    argperi = np.arctan2(_dot(toward, ahead), _dot(toward, line))
    true = np.arctan2(_dot(r, ahead), _dot(r, line)) - argperi
    rows["i"], rows["node"] = np.degrees(np.arctan2(tilt, momentum[:, 2])), np.degrees(node) % 360.0
    rows["argperi"] = np.degrees(argperi) % 360.0
    rows["peri_time"] = epoch_mjd_tdb - _since_perihelion(rows["q"], e, np.mod(true + np.pi, 2 * np.pi) - np.pi)
    _derive(rows, epoch_mjd_tdb)
    return rows


def _length(vectors: Floats) -> Floats:
    return np.asarray(np.sqrt((vectors**2).sum(axis=1)))


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray((a * b).sum(axis=1))


def _since_perihelion(q: Floats, e: Floats, true: Floats) -> Floats:
    """Days since perihelion at a true anomaly in radians, -pi to pi."""
    w = np.tan(true / 2)
    ratio = (1 - e) / (1 + e) * w**2
    s = 2 * w * np.sqrt(q / (GM_SUN_AU3_PER_DAY2 * (1 + e))) * _arctan_over(ratio)
    x = GM_SUN_AU3_PER_DAY2 * (1 - e) / q * s**2
    return np.asarray(q * s + GM_SUN_AU3_PER_DAY2 * e * s**3 * _c3(x))


def _arctan_over(x: Floats) -> Floats:
    """Arc tangent of the root of x over that root, for negative x the area tangent: smooth through 0."""
    small = np.abs(x) < _SERIES_BELOW
    root, near = np.sqrt(np.abs(np.where(small, 1.0, x))), np.where(small, x, 0.0)
    # A hyperbola's root stays below 1 up to its asymptote.
    closed = np.where(x > 0, np.arctan(root), np.arctanh(np.minimum(root, 1 - 1e-16))) / root
    series = sum((-near) ** k / (2 * k + 1) for k in range(13))
    return np.where(small, series, closed)


def _c3(x: Floats) -> Floats:
    """Stumpff's function c3: (1 - sin(y) / y) / y^2 with y the root of x."""
    small = np.abs(x) < 0.5
    y = np.sqrt(np.abs(np.where(small, 1.0, x)))
    closed = np.where(x > 0, (y - np.sin(y)) / y**3, (np.sinh(np.minimum(y, 700.0)) - y) / y**3)
    term, series = np.full_like(x, 1 / 6), np.zeros_like(x)
    for k in range(1, 12):
        series = series + term
        term = -term * np.where(small, x, 0.0) / ((2 * k + 2) * (2 * k + 3))
    return np.where(small, series, closed)


def _derive(rows: Array, epoch_mjd_tdb: Floats) -> None:
    e, q = rows["e"], rows["q"]
    with np.errstate(divide="ignore", invalid="ignore"):
        rows["a"] = np.where(np.abs(1 - e) > _PARABOLA, q / (1 - e), np.nan)
        motion = np.where(e < 1 - _PARABOLA, np.degrees(np.sqrt(GM_SUN_AU3_PER_DAY2 / rows["a"] ** 3)), np.nan)
    rows["mean_motion"], rows["period"] = motion, 360.0 / motion
    rows["mean_anomaly"] = motion * (epoch_mjd_tdb - rows["peri_time"]) % 360.0


def element_sigmas(states: Floats, epoch_mjd_tdb: Floats, covariances: Floats) -> Array:
    """Return the one-sigma errors of the elements, dtype ``ELEMENTS``, NaN where the covariance is not known.

    To first order, by central differences along the six components.
    """
    partials = np.empty((len(states), len(ELEMENTS.names or ()), 6))
    middle = cometary_elements(states, epoch_mjd_tdb)
    scale = np.repeat(np.stack([_length(states[:, :3]), _length(states[:, 3:])], axis=1), 3, axis=1) * _STEP
    for k in range(6):
        step = np.zeros_like(states)
        step[:, k] = scale[:, k]
        after, before = (_beside(middle, cometary_elements(states + sign * step, epoch_mjd_tdb)) for sign in (1, -1))
        for j, name in enumerate(ELEMENTS.names or ()):
            change = after[name] - before[name]
            if name in _ANGLES:
                change = (change + 180.0) % 360.0 - 180.0
            partials[:, j, k] = change / (2 * scale[:, k])
    variances = np.einsum("njk,nkl,njl->nj", partials, covariances, partials)
    rows = np.zeros(len(states), ELEMENTS)
    for j, name in enumerate(ELEMENTS.names or ()):
        rows[name] = np.sqrt(np.maximum(variances[:, j], 0.0))
    return rows


def _beside(middle: Array, elements: Array) -> Array:
    """Elements with the perihelion nearest to that of their neighbour: at aphelion the two may have taken different ones."""
    with np.errstate(invalid="ignore"):
        turns = np.round((elements["peri_time"] - middle["peri_time"]) / elements["period"])
        back = turns * elements["period"]
    # An open orbit has one perihelion: no period that could be lost.
    elements["peri_time"] -= np.where(np.isfinite(back), back, 0.0)
    return elements


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
