"""How the light of variable objects changes: smooth functions of time, fixed by a few numbers."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

__all__ = ["Curve", "relative_flux"]


class Curve(IntEnum):
    """Kinds of light curve; each reads its parameters (a, b, c) in its own way."""

    CONSTANT = 0
    RR_LYRAE = 1
    """Period in days, amplitude in magnitudes, phase."""
    ECLIPSING = 2
    """Period in days, depth as a share of the light, time of an eclipse (MJD)."""
    FLARE = 3
    """Time of the flare (MJD), height relative to the star, decay in days."""
    PULSATING = 4
    """Period in days, amplitude in magnitudes, phase."""
    SUPERNOVA = 5
    """Time of the explosion (MJD), rise in days, decline in days; relative to the flux at peak."""
    AGN = 6
    """Amplitude in magnitudes, time scale in days, phase."""
    VANISHED = 7
    """Time at which the object went dark (MJD)."""


def relative_flux(curve: int, a: float, b: float, c: float, mjd: float) -> float:
    """Return the flux at a time relative to the catalogue's.

    Parameters
    ----------
    curve
        A `Curve`.
    a, b, c
        Its parameters.
    mjd
        Time in MJD TAI.
    """
    return _CURVES[Curve(curve)](a, b, c, mjd)


def _constant(a: float, b: float, c: float, mjd: float) -> float:
    return 1.0


def _rr_lyrae(period: float, amplitude: float, phase: float, mjd: float) -> float:
    turn = 2 * np.pi * (mjd / period + phase)
    saw = sum(np.sin(k * turn + 0.3 * (k - 1)) / k**1.3 for k in range(1, 6))
    return float(10 ** (0.4 * amplitude / 2.4 * saw))


def _eclipsing(period: float, depth: float, zero: float, mjd: float) -> float:
    phase = np.mod((mjd - zero) / period + 0.5, 1.0) - 0.5
    second = np.mod(phase + 1.0, 1.0) - 0.5
    return float(1 - depth * np.exp(-((phase / 0.12) ** 4)) - 0.4 * depth * np.exp(-((second / 0.12) ** 4)))


def _flare(start: float, height: float, decay: float, mjd: float) -> float:
    since = (mjd - start) / decay
    if since < -0.2:
        return 1.0
    return float(1 + height * ((since + 0.2) / 0.2 if since < 0 else 0.7 * np.exp(-since) + 0.3 * np.exp(-since / 5)))


def _pulsating(period: float, amplitude: float, phase: float, mjd: float) -> float:
    return float(10 ** (0.2 * amplitude * np.sin(2 * np.pi * (mjd / period + phase))))


def _supernova(explosion: float, rise: float, decline: float, mjd: float) -> float:
    since = mjd - explosion
    if since <= 0:
        return 0.0
    if since < rise:
        return float((since / rise) ** 2 * (3 - 2 * since / rise))
    return float(np.exp(-(since - rise) / decline))


def _agn(amplitude: float, scale: float, phase: float, mjd: float) -> float:
    waves = sum(np.sin(2 * np.pi * (mjd * f / scale + phase * (7 * f + 1))) / np.sqrt(f) for f in (0.37, 1.0, 2.3, 5.1))
    return float(10 ** (0.2 * amplitude * waves))


def _vanished(end: float, b: float, c: float, mjd: float) -> float:
    return 1.0 if mjd < end else 0.0


_CURVES = {
    Curve.CONSTANT: _constant,
    Curve.RR_LYRAE: _rr_lyrae,
    Curve.ECLIPSING: _eclipsing,
    Curve.FLARE: _flare,
    Curve.PULSATING: _pulsating,
    Curve.SUPERNOVA: _supernova,
    Curve.AGN: _agn,
    Curve.VANISHED: _vanished,
}
