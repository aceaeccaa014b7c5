"""Two-body motion about the Sun in universal variables: ellipse, parabola and hyperbola by one formula.

With beta = 2 GM / r - v^2, the functions ``G_n(s) = s^n c_n(beta s^2)`` of the Stumpff functions c_n, and eta = r . v, the
time since the epoch is ``r G1 + eta G2 + GM G3``, which grows with s always (Stumpff 1959; Mikkola and Innanen 1999, CeMDA 74,
59). The partial derivatives follow from differentiating those very functions, so that they hold for every conic as well.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from processors.moving_objects.constants import GM_SUN_AU3_PER_DAY2

__all__ = ["anomaly", "lagrange_series", "step", "step_with_partials", "stumpff", "two_body", "two_body_with_partials"]

Floats = NDArray[np.float64]

_MU = GM_SUN_AU3_PER_DAY2

_SERIES_WITHIN = 1.0
"""Below this the series of the Stumpff functions are used: eleven terms leave less than 1e-19."""

_NEWTON_STEPS = 8
"""Steps of Newton's method tried before the root is bracketed; a step of a day about the Sun needs one or two."""

_FARTHEST = 50.0
"""``beta s^2`` up to which Newton's method is trusted: one revolution is at 39.5."""

_SHORT = 1e-5
"""``dt^2 (v^2 / r^2 + GM / r^3)`` below which the series of Lagrange's coefficients leaves 5e-16 of the velocity (measured against
extended precision over a thousand conics): half a day in the main belt."""

_BRACKETED_STEPS = 200
"""Bisection alone would reach the last digit in sixty."""


@numba.njit(cache=True, error_model="numpy")
def stumpff(x: float) -> tuple[float, float, float, float]:
    """Return the Stumpff functions c0, c1, c2, c3 of ``x``; infinite beyond x = -5e5."""
    if abs(x) < 1e-3:
        c2 = 0.5 - x * (1.0 / 24.0 - x * (1.0 / 720.0 - x * (1.0 / 40320.0 - x / 3628800.0)))
        c3 = 1.0 / 6.0 - x * (1.0 / 120.0 - x * (1.0 / 5040.0 - x * (1.0 / 362880.0 - x / 39916800.0)))
    elif abs(x) <= _SERIES_WITHIN:
        c2, c3 = 0.0, 0.0
        for k in range(11, 0, -1):
            c2 = (1.0 - x * c2) / ((2 * k - 1) * (2 * k))
            c3 = (1.0 - x * c3) / ((2 * k) * (2 * k + 1))
    elif x > 0.0:
        root = np.sqrt(x)
        c0 = np.cos(root)
        c1 = np.sin(root) / root
        return c0, c1, (1.0 - c0) / x, (1.0 - c1) / x
    else:
        root = np.sqrt(-x)
        c0 = np.cosh(root)
        c1 = np.sinh(root) / root
        return c0, c1, (1.0 - c0) / x, (1.0 - c1) / x
    return 1.0 - x * c2, 1.0 - x * c3, c2, c3


@numba.njit(cache=True, error_model="numpy")
def _kepler(s: float, r: float, eta: float, beta: float) -> tuple[float, float, float]:
    """Return time, distance and radial product (its derivatives by s) at ``s``."""
    c0, c1, c2, c3 = stumpff(beta * s * s)
    time = r * s * c1 + eta * s * s * c2 + _MU * s * s * s * c3
    distance = r * c0 + eta * s * c1 + _MU * s * s * c2
    return time, distance, eta * c0 + (_MU - beta * r) * s * c1


@numba.njit(cache=True, error_model="numpy")
def _bracketed(dt: float, r: float, eta: float, beta: float) -> float:
    """Solve Kepler's equation within a bracket; NaN where even that fails (non-finite input)."""
    sign = 1.0 if dt > 0.0 else -1.0
    low, high = 0.0, sign * abs(dt) / r
    for _ in range(2000):
        time = _kepler(high, r, eta, beta)[0]
        if not sign * (dt - time) > 0.0:
            break
        low, high = high, 2.0 * high
    s, last = 0.5 * (low + high), abs(high - low)
    for _ in range(_BRACKETED_STEPS):
        time, distance, _ = _kepler(s, r, eta, beta)
        if sign * (dt - time) > 0.0:
            low = s
        else:
            high = s
        new = s + (dt - time) / distance
        # Far out on a hyperbola Newton's steps all have one length: halve the bracket unless they shrink.
        if not (min(low, high) < new < max(low, high) and abs(new - s) < 0.5 * last):
            new = 0.5 * (low + high)
        last = abs(new - s)
        if last <= 1e-16 * abs(s):
            return new
        s = new
    return s if np.isfinite(s) else np.nan


@numba.njit(cache=True, error_model="numpy")
def anomaly(dt: float, r: float, eta: float, beta: float) -> float:
    """Return the universal anomaly ``s`` reached ``dt`` days after distance ``r``, radial product ``eta``, energy ``beta``."""
    # Three terms of the series of s in dt: the root to rounding for a step of minutes about an orbit of years.
    h = dt / r
    half = 0.5 * eta / r
    s = h * (1.0 - half * h + (2.0 * half * half - (_MU - beta * r) / (6.0 * r)) * h * h)
    for _ in range(_NEWTON_STEPS):
        # Past one revolution, or far out on a hyperbola, the guess was worthless.
        if not abs(beta) * s * s < _FARTHEST:
            return _bracketed(dt, r, eta, beta)
        time, distance, product = _kepler(s, r, eta, beta)
        miss = dt - time
        change = miss / distance
        # Halley's correction: the next digit of the step comes free with the derivative at hand.
        change = miss / (distance + 0.5 * change * product)
        if not abs(change) < 0.5 * abs(s) + 1e-300:
            return _bracketed(dt, r, eta, beta)
        s += change
        # The steps shrink with the cube: what is left of one below 1e-7 is beneath rounding.
        if abs(change) <= 1e-7 * abs(s):
            return s
    return _bracketed(dt, r, eta, beta)


@numba.njit(cache=True, error_model="numpy", inline="always")
def lagrange_series(u: float, p: float, q: float, dt: float) -> tuple[float, float, float, float]:
    """Return Lagrange's coefficients f and g less dt, both to the sixth order in time, and the rates of f and, less 1, of g.

    Parameters
    ----------
    u, p, q
        ``GM / r^3``, ``r . v / r^2`` and ``v^2 / r^2 - u``.
    dt
        Span of time, days.
    """
    f4 = (3.0 * u * q - 15.0 * u * p * p + u * u) / 24.0
    f5 = (7.0 * u * p**3 - 3.0 * u * p * q - u * u * p) / 8.0
    f6 = (
        630.0 * u * p * p * q - 24.0 * u * u * q - u**3 - 45.0 * u * q * q - 945.0 * u * p**4 + 210.0 * (u * p) ** 2
    ) / 720.0
    g5 = (9.0 * u * q - 45.0 * u * p * p + u * u) / 120.0
    g6 = (210.0 * u * p**3 - 90.0 * u * p * q - 15.0 * u * u * p) / 360.0
    fm = dt * dt * (-0.5 * u + dt * (0.5 * u * p + dt * (f4 + dt * (f5 + dt * f6))))
    gm = dt * dt * dt * (-u / 6.0 + dt * (0.25 * u * p + dt * (g5 + dt * g6)))
    df = dt * (-u + dt * (1.5 * u * p + dt * (4.0 * f4 + dt * (5.0 * f5 + dt * 6.0 * f6))))
    dgm = dt * dt * (-0.5 * u + dt * (u * p + dt * (5.0 * g5 + dt * 6.0 * g6)))
    return fm, gm, df, dgm


@numba.njit(cache=True, error_model="numpy")
def step(
    x: float, y: float, z: float, vx: float, vy: float, vz: float, dt: float
) -> tuple[float, float, float, float, float, float]:
    """Return the state ``dt`` days later (au, au/day, about the Sun); NaN for a state at the Sun's centre or not finite.

    Callable from compiled code; any conic, either direction of time, any number of revolutions.
    """
    r2, v2 = x * x + y * y + z * z, vx * vx + vy * vy + vz * vz
    r, eta = np.sqrt(r2), x * vx + y * vy + z * vz
    u, turn = _MU / (r2 * r), v2 / r2
    if dt * dt * (turn + u) < _SHORT:
        fm, gm, df, dgm = lagrange_series(u, eta / r2, turn - u, dt)
    else:
        beta = 2.0 * _MU / r - v2
        if beta > 0.0:
            period = 2.0 * np.pi * _MU / (beta * np.sqrt(beta))
            if abs(dt) > 0.5 * period:
                dt -= period * np.rint(dt / period)
        s = anomaly(dt, r, eta, beta)
        c0, c1, c2, c3 = stumpff(beta * s * s)
        g1, g2 = s * c1, s * s * c2
        later = r * c0 + eta * g1 + _MU * g2
        fm, gm = -_MU * g2 / r, -_MU * s * s * s * c3
        df, dgm = -_MU * g1 / (r * later), -_MU * g2 / later
    g = dt + gm
    return (
        x + fm * x + g * vx,
        y + fm * y + g * vy,
        z + fm * z + g * vz,
        vx + df * x + dgm * vx,
        vy + df * y + dgm * vy,
        vz + df * z + dgm * vz,
    )


@numba.njit(cache=True, error_model="numpy")
def _higher(x: float, c2: float, c3: float) -> tuple[float, float]:
    """Return the Stumpff functions c4 and c5."""
    if abs(x) > _SERIES_WITHIN:
        return (0.5 - c2) / x, (1.0 / 6.0 - c3) / x
    c4, c5 = 0.0, 0.0
    for k in range(11, 0, -1):
        c4 = (1.0 - x * c4) / ((2 * k + 1) * (2 * k + 2))
        c5 = (1.0 - x * c5) / ((2 * k + 2) * (2 * k + 3))
    return 0.5 * c4, c5 / 6.0


@numba.njit(cache=True, error_model="numpy")
def step_with_partials(state: Floats, dt: float, out: Floats, phi: Floats) -> None:
    """Write the state ``dt`` days later into ``out`` (6,) and its partials by ``state`` into ``phi`` (6, 6), closed form."""
    r = np.sqrt(state[0] ** 2 + state[1] ** 2 + state[2] ** 2)
    eta = state[0] * state[3] + state[1] * state[4] + state[2] * state[5]
    beta = 2.0 * _MU / r - (state[3] ** 2 + state[4] ** 2 + state[5] ** 2)
    rest, turns = dt, 0.0
    if beta > 0.0:
        period = 2.0 * np.pi * _MU / (beta * np.sqrt(beta))
        if abs(dt) > 0.5 * period:
            turns = np.rint(dt / period)
            rest = dt - turns * period
    s = anomaly(rest, r, eta, beta) if rest != 0.0 else 0.0
    if turns != 0.0:
        s += turns * 2.0 * np.pi / np.sqrt(beta)
    c0, c1, c2, c3 = stumpff(beta * s * s)
    c4, c5 = _higher(beta * s * s, c2, c3)
    g1, g2, g3 = s * c1, s**2 * c2, s**3 * c3
    g4, g5 = s**4 * c4, s**5 * c5
    later = r * c0 + eta * g1 + _MU * g2
    f, g, df, dg = 1.0 - _MU * g2 / r, dt - _MU * g3, -_MU * g1 / (r * later), 1.0 - _MU * g2 / later
    # Derivatives of G1, G2, G3 and G0 by beta at constant s.
    b0, b1, b2, b3 = -0.5 * s * g1, 0.5 * (g3 - s * g2), 0.5 * (2.0 * g4 - s * g3), 0.5 * (3.0 * g5 - s * g4)
    by_beta = -(r * b1 + eta * b2 + _MU * b3) / later
    coefficients = np.empty((3, 4))
    for which in range(3):
        # Change of s at constant time, by r, eta and beta in turn; then of f, g and their rates.
        ds = -g1 / later if which == 0 else (-g2 / later if which == 1 else by_beta)
        d1, d2, d3 = c0 * ds, g1 * ds, g2 * ds
        d0 = -beta * g1 * ds
        dr = 0.0
        if which == 0:
            dr = 1.0
        if which == 2:
            d0, d1, d2, d3 = d0 + b0, d1 + b1, d2 + b2, d3 + b3
        dlater = r * d0 + eta * d1 + _MU * d2
        if which == 0:
            dlater += c0
        if which == 1:
            dlater += g1
        coefficients[which, 0] = -_MU * (d2 / r - g2 * dr / (r * r))
        coefficients[which, 1] = -_MU * d3
        coefficients[which, 2] = df * (-dr / r - dlater / later) - _MU * d1 / (r * later)
        coefficients[which, 3] = -_MU * (d2 / later - g2 * dlater / (later * later))
    _assemble(state, r, coefficients, (f, g, df, dg), out, phi)


@numba.njit(cache=True, error_model="numpy")
def _assemble(
    state: Floats,
    r: float,
    coefficients: Floats,
    lagrange: tuple[float, float, float, float],
    out: Floats,
    phi: Floats,
) -> None:
    """Write state and partials from Lagrange's four coefficients and their derivatives by r, eta and beta."""
    f, g, df, dg = lagrange
    for k in range(6):
        other = (k + 3) % 6
        if k < 3:
            by_r, by_eta, by_beta = state[k] / r, state[other], -2.0 * _MU * state[k] / (r * r * r)
        else:
            by_r, by_eta, by_beta = 0.0, state[other], -2.0 * state[k]
        change_f = coefficients[0, 0] * by_r + coefficients[1, 0] * by_eta + coefficients[2, 0] * by_beta
        change_g = coefficients[0, 1] * by_r + coefficients[1, 1] * by_eta + coefficients[2, 1] * by_beta
        change_df = coefficients[0, 2] * by_r + coefficients[1, 2] * by_eta + coefficients[2, 2] * by_beta
        change_dg = coefficients[0, 3] * by_r + coefficients[1, 3] * by_eta + coefficients[2, 3] * by_beta
        for i in range(3):
            phi[i, k] = change_f * state[i] + change_g * state[i + 3]
            phi[i + 3, k] = change_df * state[i] + change_dg * state[i + 3]
    for i in range(3):
        phi[i, i] += f
        phi[i, i + 3] += g
        phi[i + 3, i] += df
        phi[i + 3, i + 3] += dg
        out[i] = f * state[i] + g * state[i + 3]
        out[i + 3] = df * state[i] + dg * state[i + 3]


@numba.njit(cache=True, error_model="numpy")
def _steps(states: Floats, dt: Floats, out: Floats) -> None:
    for k in range(states.shape[0]):
        moved = step(
            states[k, 0], states[k, 1], states[k, 2], states[k, 3], states[k, 4], states[k, 5], dt[k % dt.shape[0]]
        )
        for i in range(6):
            out[k, i] = moved[i]


@numba.njit(cache=True, error_model="numpy")
def _steps_with_partials(states: Floats, dt: Floats, out: Floats, phi: Floats) -> None:
    for k in range(states.shape[0]):
        step_with_partials(states[k], dt[k % dt.shape[0]], out[k], phi[k])


def _arguments(state: NDArray[Any], dt_days: float | NDArray[Any]) -> tuple[Floats, Floats]:
    states = np.ascontiguousarray(state, np.float64).reshape(-1, 6)
    dt = np.ascontiguousarray(dt_days, np.float64).reshape(-1)
    if len(dt) not in (1, len(states)):
        raise ValueError(f"{len(states)} states need one or {len(states)} spans of time, not {len(dt)}.")
    return states, dt


def two_body(state: NDArray[Any], dt_days: float | NDArray[Any]) -> Floats:
    """Carry heliocentric states along their conics.

    Parameters
    ----------
    state
        ``(n, 6)``, au and au/day; any conic. A row with NaN gives NaN.
    dt_days
        One span for all, or ``(n,)``; either sign.

    Returns
    -------
    NDArray
        ``(n, 6)``; empty for no states.
    """
    states, dt = _arguments(state, dt_days)
    out = np.empty_like(states)
    _steps(states, dt, out)
    return out


def two_body_with_partials(state: NDArray[Any], dt_days: float | NDArray[Any]) -> tuple[Floats, Floats]:
    """Carry states as `two_body` does and return with them their partials ``(n, 6, 6)`` by the states given."""
    states, dt = _arguments(state, dt_days)
    out, phi = np.empty_like(states), np.empty((len(states), 6, 6))
    _steps_with_partials(states, dt, out, phi)
    return out, phi
