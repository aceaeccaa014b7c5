"""How bright a body is in a band, with what S/N a visit sees it, and what its motion does to its image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SLOPE_G", "astrometric_sigma_arcsec", "light_curve", "phase_function", "signal_to_noise", "trailing_loss"]

_Floats = NDArray[np.float64]

SLOPE_G = 0.15
"""Slope parameter of every body: the Minor Planet Center's default."""

COLOURS = np.array([[1.614, 0.302, -0.172, -0.291, -0.298, -0.303], [1.927, 0.395, -0.255, -0.455, -0.401, -0.406]])
"""Band minus V for C-like and S-like spectra in LSST's bands ugrizy (Jones et al. 2018, Icarus 303, 181, table 1)."""

SYSTEMATIC_ARCSEC, IMAGE_WIDTH_ARCSEC = 0.012, 0.7
"""Floor of one position and the width that S/N divides, per axis."""

_GAMMA = 0.039
"""Of the relation of S/N and depth (Ivezic et al. 2019, ApJ 873, 111, equation 5, g to y)."""


def phase_function(phase: _Floats) -> _Floats:
    """Return the magnitudes lost at phase angles in radians by the H-G law (Bowell et al. 1989)."""
    half = np.tan(phase / 2)
    bright = (1 - SLOPE_G) * np.exp(-3.33 * half**0.63) + SLOPE_G * np.exp(-1.87 * half**1.22)
    return np.asarray(-2.5 * np.log10(bright))


def light_curve(mjd: _Floats, amplitude: _Floats, period_hours: _Floats, phase: _Floats) -> _Floats:
    """Return magnitudes to add for rotation: two maxima a turn, ``amplitude`` from peak to peak."""
    return np.asarray(amplitude / 2 * np.sin(4 * np.pi * (mjd * 24 / period_hours) + phase))


def signal_to_noise(mag: _Floats, depth: float) -> _Floats:
    """Return the S/N of a point source in a visit of a five-sigma depth."""
    x = 10 ** (0.4 * (mag - depth))
    return np.asarray(1 / np.sqrt((0.04 - _GAMMA) * x + _GAMMA * x**2))


def trailing_loss(length_arcsec: _Floats, fwhm_arcsec: float) -> _Floats:
    """Return magnitudes of S/N lost by a trail (Jones et al. 2018, equation for SNR: a = 0.67, b = 1.16)."""
    # Their x is the trail's length in units of the image's width.
    x = length_arcsec / fwhm_arcsec
    return np.asarray(1.25 * np.log10(1 + 0.67 * x**2 / (1 + 1.16 * x)))


def astrometric_sigma_arcsec(signal_to_noise: _Floats) -> _Floats:
    """Return sigma of a position on each axis."""
    return np.asarray(np.hypot(SYSTEMATIC_ARCSEC, IMAGE_WIDTH_ARCSEC / signal_to_noise))
