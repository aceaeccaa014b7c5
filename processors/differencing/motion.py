"""Dipoles among detected sources: stars that moved between the epochs of template and visit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.differencing.fitting import fit_dipoles, forced_fluxes
from processors.differencing.layers import Layers
from processors.differencing.psf import PsfGrid, adaptive_moments
from processors.differencing.sky import offset_on_sky

__all__ = ["measure_dipoles"]

DIPOLE_SNR = 5 * math.sqrt(2)
"""Least score of the two lobes in quadrature (ip_diffim's classification)."""

DIPOLE_SHARE = 0.65
"""Largest part of the flux that one lobe may have (ip_diffim)."""

DIPOLE_SEPARATION = 5.0
"""Largest distance of the lobes in standard deviations of the PSF (ip_diffim)."""

PRIOR_FRACTION = 0.1
"""Looseness of the hold that the fluxes before subtraction have on the lobes."""

_HALF = 10

Pixels = NDArray[Any]
Rows = NDArray[Any]


def _grid(psf: PsfGrid) -> tuple[Pixels, Pixels, Pixels]:
    return psf.x_nodes, psf.y_nodes, psf.coefficients


def measure_dipoles(layers: Layers, peaks: Rows, fits: Pixels, rows: Rows) -> dict[int, tuple[float, float]]:
    """Fit dipoles to peaks that have an opposite lobe and fill their fields.

    Parameters
    ----------
    layers
        Images and PSFs.
    peaks
        Result of `detect_peaks`.
    fits
        Point-source fits of the same peaks; their chi squared is what a dipole must better.
    rows
        DIASources, filled in place.

    Returns
    -------
    dict
        For the index of each source classified as a dipole, the point between its lobes.
    """
    rows["dipoleFitAttempted"] = peaks["partner_snr"] != 0
    rows["isDipole"] = 0
    chosen = np.flatnonzero(peaks["partner_snr"] != 0)
    if len(chosen) == 0:
        return {}
    start, prior = _dipole_start(layers, peaks[chosen])
    values, covariances, chi2, pixels, good = fit_dipoles(
        layers.difference, layers.variance, layers.usable, *_grid(layers.psf), start, prior, _HALF
    )
    centres = {}
    for k, n in enumerate(chosen):
        if not good[k]:
            continue
        _fill_dipole(layers, rows, int(n), values[k], covariances[k], float(chi2[k]), int(pixels[k]))
        if _is_dipole(layers, peaks[n], values[k], float(chi2[k]), float(fits[n, 7])):
            rows["isDipole"][n] = 1
            centres[int(n)] = (float(values[k, 0] + values[k, 2]) / 2, float(values[k, 1] + values[k, 3]) / 2)
    return centres


def _dipole_start(layers: Layers, peaks: Rows) -> tuple[Pixels, Pixels]:
    """Guess lobes near the middle of the two peaks, with the fluxes of the images before subtraction."""
    positive = peaks["snr"] > 0
    x_plus = np.where(positive, peaks["x"], peaks["partner_x"]).astype(float)
    y_plus = np.where(positive, peaks["y"], peaks["partner_y"]).astype(float)
    x_minus = np.where(positive, peaks["partner_x"], peaks["x"]).astype(float)
    y_minus = np.where(positive, peaks["partner_y"], peaks["y"]).astype(float)
    x, y = (x_plus + x_minus) / 2, (y_plus + y_minus) / 2
    science, science_error, _, _ = forced_fluxes(
        layers.science, layers.science_variance, layers.usable, *_grid(layers.science_psf), x, y, _HALF
    )
    template, template_error, _, _ = forced_fluxes(
        layers.template, layers.template_variance, layers.usable, *_grid(layers.template_psf), x, y, _HALF
    )
    science, template = np.nan_to_num(science), np.nan_to_num(template)
    share = 0.25
    start = np.stack(
        [
            x + share * (x_plus - x_minus) / 2,
            y + share * (y_plus - y_minus) / 2,
            x - share * (x_plus - x_minus) / 2,
            y - share * (y_plus - y_minus) / 2,
            np.maximum(science, 0),
            np.maximum(template, 0),
        ],
        axis=1,
    )
    sigma = [
        np.hypot(PRIOR_FRACTION * np.abs(flux), np.nan_to_num(error, nan=1e30)) + 1e-12
        for flux, error in ((science, science_error), (template, template_error))
    ]
    return np.ascontiguousarray(start), np.stack([science, sigma[0], template, sigma[1]], axis=1)


def _is_dipole(layers: Layers, peak: Any, values: Pixels, chi2: float, point_chi2: float) -> bool:
    plus, minus = float(values[4]), float(values[5])
    if min(plus, minus) <= 0:
        return False
    separation = math.hypot(values[0] - values[2], values[1] - values[3])
    psf = layers.psf.mean
    half = psf.shape[0] // 2
    xx, yy, _, _ = adaptive_moments(psf, float(half), float(half), 1.5, float(half))
    return bool(
        math.hypot(peak["snr"], peak["partner_snr"]) > DIPOLE_SNR
        and max(plus, minus) / (plus + minus) < DIPOLE_SHARE
        and separation < DIPOLE_SEPARATION * math.sqrt((xx + yy) / 2)
        and chi2 < point_chi2 - 10
    )


def _fill_dipole(
    layers: Layers, rows: Rows, n: int, values: Pixels, covariance: Pixels, chi2: float, pixels: int
) -> None:
    plus, minus = values[4], values[5]
    rows["dipoleMeanFlux"][n] = (plus + minus) / 2
    rows["dipoleFluxDiff"][n] = plus - minus
    with np.errstate(invalid="ignore"):
        together = covariance[4, 4] + covariance[5, 5]
        rows["dipoleMeanFluxErr"][n] = np.sqrt(together + 2 * covariance[4, 5]) / 2
        rows["dipoleFluxDiffErr"][n] = np.sqrt(together - 2 * covariance[4, 5])
    x, y = (values[0] + values[2]) / 2, (values[1] + values[3]) / 2
    length, angle = offset_on_sky(layers.wcs, x, y, values[0] - values[2], values[1] - values[3])
    rows["dipoleLength"][n], rows["dipoleAngle"][n] = length, angle
    rows["dipoleChi2"][n], rows["dipoleNdata"][n] = chi2, pixels
