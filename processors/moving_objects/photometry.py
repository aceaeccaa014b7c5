"""Brightness of a small body from its absolute magnitude: the H-G, H-G12 and H-G12* systems, compiled."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

__all__ = ["SLOPE_G", "SLOPE_G12", "SLOPE_G12_STAR", "phase_flux", "v_magnitude", "v_magnitudes"]

Floats = NDArray[np.float64]

SLOPE_G = 0
"""The slope is G of the H-G system (Bowell et al. 1989, Asteroids II, 524)."""

SLOPE_G12 = 1
"""The slope is G12 of the H-G12 system (Muinonen et al. 2010, Icarus 209, 542)."""

SLOPE_G12_STAR = 2
"""The slope is G12* of the same functions with one line each for G1 and G2 (Penttilae et al. 2016, P&SS 123, 117)."""


def _knots(degrees: list[float], values: list[float], ends: tuple[float, float]) -> tuple[Floats, Floats]:
    x = np.radians(degrees)
    spline = CubicSpline(x, values, bc_type=((1, np.array(ends[0])), (1, np.array(ends[1]))))
    return x, np.ascontiguousarray(spline.c.T)


_X12 = [7.5, 30.0, 60.0, 90.0, 120.0, 150.0]
_X1, _C1 = _knots(
    _X12, [7.5e-1, 3.3486016e-1, 1.3410560e-1, 5.1104756e-2, 2.1465687e-2, 3.6396989e-3], (-1.9098593, -9.1328612e-2)
)
_X2, _C2 = _knots(
    _X12,
    [9.25e-1, 6.2884169e-1, 3.1755495e-1, 1.2716367e-1, 2.2373903e-2, 1.6505689e-4],
    (-5.7295780e-1, -8.6573138e-8),
)
_X3, _C3 = _knots(
    [0.0, 0.3, 1.0, 2.0, 4.0, 8.0, 12.0, 20.0, 30.0],
    [1.0, 8.3381185e-1, 5.7735424e-1, 4.2144772e-1, 2.3174230e-1, 1.0348178e-1, 6.1733473e-2, 1.6107006e-2, 0.0],
    (-1.0630097e-1, 0.0),
)
# The three base functions of H-G1-G2: knots and end slopes of Muinonen et al. 2010, tables 3 and 4.


@numba.njit(cache=True, error_model="numpy")
def _spline(x: float, knots: Floats, coefficients: Floats) -> float:
    piece = 0
    while piece < coefficients.shape[0] - 1 and x > knots[piece + 1]:
        piece += 1
    d = x - knots[piece]
    c = coefficients[piece]
    return float(((c[0] * d + c[1]) * d + c[2]) * d + c[3])


@numba.njit(cache=True, error_model="numpy")
def _of_hg(cosine: float, g: float) -> float:
    half = np.sqrt((1.0 - cosine) / (1.0 + cosine)) if cosine > -1.0 else np.inf
    if half == 0.0:
        return 1.0
    sine = np.sqrt(1.0 - cosine * cosine)
    smooth = np.exp(-90.56 * half * half)
    scaled = sine / (0.119 + 1.341 * sine - 0.754 * sine * sine)
    logarithm = np.log(half)
    first = smooth * (1.0 - 0.986 * scaled) + (1.0 - smooth) * np.exp(-3.332 * np.exp(0.631 * logarithm))
    second = smooth * (1.0 - 0.238 * scaled) + (1.0 - smooth) * np.exp(-1.862 * np.exp(1.218 * logarithm))
    return float((1.0 - g) * first + g * second)


@numba.njit(cache=True, error_model="numpy")
def _of_hg12(phase: float, g12: float, star: bool) -> float:
    if star:
        g1, g2 = 0.84293649 * g12, 0.53513350 * (1.0 - g12)
    elif g12 < 0.2:
        g1, g2 = 0.7527 * g12 + 0.06164, -0.9612 * g12 + 0.6270
    else:
        g1, g2 = 0.9529 * g12 + 0.02162, -0.6125 * g12 + 0.5572
    if phase < _X1[0]:
        first, second = 1.0 - 6.0 * phase / np.pi, 1.0 - 9.0 * phase / (5.0 * np.pi)
    else:
        first, second = _spline(phase, _X1, _C1), _spline(phase, _X2, _C2)
    third = _spline(phase, _X3, _C3) if phase < _X3[-1] else 0.0
    return g1 * first + g2 * second + (1.0 - g1 - g2) * third


@numba.njit(cache=True, error_model="numpy")
def phase_flux(cosine: float, slope: float, kind: int) -> float:
    """Return the brightness at the phase angle of that cosine over the one at zero; negative or zero past the model's end."""
    if kind == SLOPE_G:
        return _of_hg(cosine, slope)
    return _of_hg12(np.arccos(cosine), slope, kind == SLOPE_G12_STAR)


@numba.njit(cache=True, error_model="numpy")
def v_magnitude(h: float, slope: float, kind: int, r_delta: float, cosine: float) -> float:
    """Return the V magnitude at product ``r_delta`` of the distances to Sun and observer, au^2, and cosine of the phase angle.

    NaN where ``h`` is NaN or the phase function is not positive.
    """
    flux = phase_flux(cosine, slope, kind)
    return h + 2.5 * np.log10(r_delta * r_delta / flux) if flux > 0.0 else np.nan


@numba.njit(cache=True, error_model="numpy")
def _each(h: Floats, slope: Floats, kind: NDArray[np.int64], r_delta: Floats, cosine: Floats, out: Floats) -> None:
    for k in range(out.shape[0]):
        out[k] = v_magnitude(h[k], slope[k], kind[k], r_delta[k], cosine[k])


def v_magnitudes(
    h: NDArray[Any],
    slope: NDArray[Any] | float,
    *,
    helio_range_au: NDArray[Any],
    topo_range_au: NDArray[Any],
    phase_angle_deg: NDArray[Any],
    kind: NDArray[Any] | int = SLOPE_G,
) -> Floats:
    """Return V magnitudes ``(n,)``.

    Parameters
    ----------
    h
        ``(n,)`` absolute magnitudes; NaN gives NaN.
    slope, kind
        G, G12 or G12*, and which of them it is (``SLOPE_G``, ``SLOPE_G12``, ``SLOPE_G12_STAR``).
    helio_range_au, topo_range_au, phase_angle_deg
        ``(n,)`` distances to Sun and observer and the angle between them at the body. H-G12 ends at 150 degrees; beyond, its
        last pieces go on as long as they are positive.
    """
    out = np.empty(np.shape(h))
    same = [np.ascontiguousarray(np.broadcast_to(a, out.shape), np.float64) for a in (h, slope)]
    kinds = np.ascontiguousarray(np.broadcast_to(kind, out.shape), np.int64)
    product = np.asarray(helio_range_au, np.float64) * np.asarray(topo_range_au, np.float64)
    _each(same[0], same[1], kinds, product, np.cos(np.radians(np.asarray(phase_angle_deg, np.float64))), out)
    return out
